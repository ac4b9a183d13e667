"""What is stored after each effect that a row of ``tests/workflow_cases.csv`` names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from kinto_signer.core.changeset import Changeset
from kinto_signer.core.trust import Trust, check
from kinto_signer.errors import VerificationError
from tests.support.stored import Stored
from tests.support.workflow_cases import BUCKET, GROUP_NAMES, SOURCE, Case

TRACKED = {
    "nothing": (),
    "requested": ("last_review_request",),
    "declined": ("last_review",),
    "published": ("last_signature",),
    "published and requested": ("last_signature", "last_review_request"),
    "refreshed": ("last_signature",),
    "rolled back": ("last_edit",),
}
"""Which pairs of tracking fields say afterwards that it was this user, now. All others stay."""

PAIRS = ("last_edit", "last_review_request", "last_review", "last_signature")
COMMENTS = {"last_editor_comment", "last_reviewer_comment"}
OWN = {"last_modified", "status", "hash", "signature", "signatures", "signed_timestamp", "signer_claim"}
OWN |= {"signer_contributors", "signer_approval"}

Collection = dict[str, Any]


def problems(case: Case, user_id: str, before: Stored, after: Stored, trust: Trust) -> Iterator[str]:
    """What is not as the row says. user_id: who made the request."""
    if case.code >= 400:
        yield from _changes(before, after)
        return
    source = _collection(after, "main-workspace")
    if source.get("status", "none") != case.status:
        yield f"the status is {source.get('status')!r}"
    yield from _source(case, before, after)
    yield from _destination(case, before, after, trust)
    yield from _preview(case, before, after, trust)
    if case.old == "(new)":
        yield from _groups(case, user_id, before, after)
    yield from _tracking(case, user_id, _collection(before, "main-workspace"), source)


def _changes(before: Stored, after: Stored) -> Iterator[str]:
    for name in ("objects", "timestamps", "permissions"):
        held, found = getattr(before, name), getattr(after, name)
        changed = [key for key in held.keys() | found.keys() if held.get(key) != found.get(key)]
        if changed:
            yield f"a refused request changed {name}: {changed}"


def _source(case: Case, before: Stored, after: Stored) -> Iterator[str]:
    old, new = _collection(before, "main-workspace"), _collection(after, "main-workspace")
    tracking = {f"{pair}_{what}" for pair in PAIRS for what in ("by", "date")}
    expected = {name: value for name, value in old.items() if name not in tracking | OWN | COMMENTS}
    if case.effect == "rolled back":
        yield from _same_content("source", _live(after, "main-workspace"), _live(before, "main"))
        expected["displayFields"] = _collection(before, "main").get("displayFields")
    elif before.list(SOURCE) != after.list(SOURCE):
        yield "the source's records changed"
    if old and expected != {name: value for name, value in new.items() if name not in tracking | OWN | COMMENTS}:
        yield f"the source's attributes are {new}, and were {old}"


def _destination(case: Case, before: Stored, after: Stored, trust: Trust) -> Iterator[str]:
    if case.effect.startswith("published"):
        yield from _copy_of("main-workspace", "main", after, trust)
        yield from _signed_anew("main", before, after)
    elif case.effect == "refreshed":
        yield from _refreshed("main", before, after, trust)
    else:
        yield from _untouched("main", before, after)


def _preview(case: Case, before: Stored, after: Stored, trust: Trust) -> Iterator[str]:
    match case.preview_after:
        case "source":
            yield from _copy_of("main-workspace", "main-preview", after, trust)
        case "destination":
            yield from _copy_of("main", "main-preview", after, trust)
        case "signed anew":
            yield from _refreshed("main-preview", before, after, trust)
        case "as before":
            yield from _untouched("main-preview", before, after)
        case "-":
            if any("main-preview" in "/".join(key) for key in after.objects):
                yield "a preview was made where none is configured"


def _copy_of(original: str, bucket: str, after: Stored, trust: Trust) -> Iterator[str]:
    yield from _same_content(bucket, _live(after, bucket), _live(after, original))
    if _collection(after, bucket).get("displayFields") != _collection(after, original).get("displayFields"):
        yield f"{bucket} has other displayFields than {original}"
    yield from _verifies(bucket, after, trust)


def _refreshed(bucket: str, before: Stored, after: Stored, trust: Trust) -> Iterator[str]:
    if before.list(_uri(bucket)) != after.list(_uri(bucket)):
        yield f"a refresh changed records of {bucket}"
    yield from _signed_anew(bucket, before, after)
    yield from _verifies(bucket, after, trust)


def _signed_anew(bucket: str, before: Stored, after: Stored) -> Iterator[str]:
    if _collection(before, bucket).get("signature") == _collection(after, bucket).get("signature"):
        yield f"the signature of {bucket} is the old one"


def _untouched(bucket: str, before: Stored, after: Stored) -> Iterator[str]:
    if before.list(_uri(bucket)) != after.list(_uri(bucket)) or _collection(before, bucket) != _collection(after, bucket):
        yield f"{bucket} changed"


def _verifies(bucket: str, stored: Stored, trust: Trust) -> Iterator[str]:
    metadata, changes = _collection(stored, bucket), stored.list(_uri(bucket))
    timestamp = metadata.get("signed_timestamp", 0)
    try:
        check(f"{bucket}/regions", Changeset(timestamp, list(changes.values()), {**metadata, "bucket": bucket}), trust)
    except VerificationError as error:
        yield str(error)
    if timestamp != max((change["last_modified"] for change in changes.values()), default=0):
        yield f"{bucket} was signed for {timestamp}, which is not its newest timestamp"


def _groups(case: Case, user_id: str, before: Stored, after: Stored) -> Iterator[str]:
    members = [(after.get(BUCKET, "group", name) or {}).get("members") for name in GROUP_NAMES]
    if case.groups == "made with it" and members != [[user_id], []]:
        yield f"the groups made with the collection have the members {members}"
    if case.groups != "made with it" and before.list(BUCKET, "group") != after.list(BUCKET, "group"):
        yield f"the groups that were there have the members {members}"
    if case.groups == "not checked":
        return
    writers = after.permissions.get(f"permission:{SOURCE}:write", frozenset())
    if not {f"{BUCKET}/groups/{name}" for name in GROUP_NAMES} <= writers:
        yield f"the groups may not write the source: {sorted(writers)}"


def _tracking(case: Case, user_id: str, before: Collection, after: Collection) -> Iterator[str]:
    moved = set(TRACKED[case.effect])
    if case.effect == "published" and case.old == "to-review":
        moved.add("last_review")
    for pair in PAIRS:
        by, date = after.get(f"{pair}_by"), after.get(f"{pair}_date")
        if pair in moved:
            recent = date and datetime.now(UTC) - datetime.fromisoformat(date) < timedelta(minutes=1)
            if by != user_id or not recent or date == before.get(f"{pair}_date"):
                yield f"{pair}_by is {by!r}, {pair}_date {date!r}"
        elif (by, date) != (before.get(f"{pair}_by"), before.get(f"{pair}_date")):
            yield f"{pair}_by became {by!r}, {pair}_date {date!r}"


def _same_content(name: str, found: Collection, wanted: Collection) -> Iterator[str]:
    if found != wanted:
        yield f"{name} holds {found} and should hold {wanted}"


def _live(stored: Stored, bucket: str) -> dict[str, Any]:
    records = stored.list(_uri(bucket)).values()
    return {one["id"]: {**one, "last_modified": 0} for one in records if not one.get("deleted")}


def _collection(stored: Stored, bucket: str) -> Collection:
    return stored.get(f"/buckets/{bucket}", "collection", "regions") or {}


def _uri(bucket: str) -> str:
    return f"/buckets/{bucket}/collections/regions"
