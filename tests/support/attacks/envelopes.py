"""POST changeset of signed content in a forged envelope: what no signature covers, the wrong place, a hostile body."""

import base64
import gzip
import json
from typing import Any

from kinto_signer.core.changeset import EMPTY, Changeset, tombstone
from kinto_signer.core.signature import HALF, P384_ORDER, encode_raw
from tests.support.attacks.attack import MEMORY, Attack, Off, StoppedBy
from tests.support.attacks.changesets import upcoming, with_signature
from tests.support.attacks.publications import Json, body, following, record, whole
from tests.support.attacks.records import YEAR_2100
from tests.support.attacks.target import UNBORN, Target

LIMIT = {"kinto.authority.max_changeset_bytes": "1000000"}
OWN_KEY = {f"kinto.authority.main.{UNBORN}.public_keys": "{stranger}"}
TOO_LONG = 3_000_000


def _refresh(target: Target, *changes: Json, **attributes: Any) -> Json:
    """What a refresh of the present signature looks like."""
    held = target.second
    return {
        "base": held.timestamp,
        "timestamp": held.timestamp,
        "changes": list(changes),
        "metadata": {**held.metadata, **attributes},
    }


def _malleated(text: str) -> str:
    """The other signature that verifies over the same bytes: (r, n - s)."""
    raw = base64.urlsafe_b64decode(text)
    s = P384_ORDER - int.from_bytes(raw[HALF:], "big")
    return encode_raw(raw[:HALF] + s.to_bytes(HALF, "big"))


# --- what the signature does not cover -------------------------------------------------------------------------------


def refresh_with_other_attributes(target: Target) -> None:
    """A refresh under the present signature with another schema."""
    target.publish(_refresh(target, schema={"type": "null"}))


def malleated_refresh_with_other_attributes(target: Target) -> None:
    """A refresh whose signature is the present one malleated, and looks new, with another schema."""
    text = _malleated(target.second.metadata["signature"]["signature"])
    metadata = with_signature(dict(target.second.metadata), text)
    target.publish(_refresh(target, **{**metadata, "schema": {"type": "null"}}))


def refresh_without_an_attribute(target: Target) -> None:
    """A refresh that leaves attributes out, so that they would disappear."""
    content = _refresh(target)
    del content["metadata"]["displayFields"], content["metadata"]["hash"]
    target.publish(content)


def refresh_with_a_tombstone(target: Target) -> None:
    """A refresh with a tombstone, which no signature covers, far ahead: the ETag would stay there."""
    target.publish(_refresh(target, tombstone("forged", YEAR_2100)))


def refresh_with_a_record_twice_dated(target: Target) -> None:
    """A refresh that sends the present records again, one of them altered, as a whole."""
    changes = [{**record(target.second), "text": "forged"}, *target.second.changes[1:]]
    target.publish(_refresh(target, *changes) | {"complete": True})


def whole_without_tombstones(target: Target) -> None:
    """The present state again as a whole, without its tombstones: readers would keep what was deleted."""
    target.publish(whole(target.second, target.second) | {"changes": target.second.records})


# --- the wrong place -------------------------------------------------------------------------------------------------


def another_collections_state(target: Target) -> None:
    """The signed state of another collection, whose metadata says so."""
    forged = _other_state(target, id="elsewhere", bucket="main")
    target.publish(whole(target.second, forged))


def another_collections_state_renamed(target: Target) -> None:
    """The present state of another collection, without its name, where each collection has a key of its own."""
    target.publish(whole(target.second, _other_state(target)))


def _publish_another_collection(target: Target) -> None:
    """A second collection in the same bucket, which has its own key."""
    answer = target.publish(body(EMPTY, _other_state(target)), to=f"{target.bucket}/collections/{UNBORN}")
    assert answer.status_int == 201, answer.text


def _other_state(target: Target, **attributes: Any) -> Changeset:
    key = target.key if attributes else target.stranger
    return following(key, EMPTY, {"id": "other", "last_modified": target.third.timestamp}, **attributes)


def name_that_nobody_guards(target: Target) -> None:
    """A publication to a collection that is not guarded, whose metadata names the guarded one."""
    content = upcoming(target) | {"base": 0}
    content["metadata"] |= {"bucket": "main", "id": "regions"}
    target.publish(content, to="/buckets/free/collections/regions")


def inside_a_batch(target: Target) -> None:
    """A publication as a part of a batch, behind an ordinary write."""
    content = upcoming(target)
    content["changes"][0]["text"] = "forged"
    target.batch(
        {"method": "PUT", "path": "/buckets/free", "body": {"data": {}}},
        {"method": "POST", "path": f"{target.collection}/changeset", "body": content},
    )


def path_in_percent_encoding(target: Target) -> None:
    """An unsigned publication to a path that is spelled with %-escapes and ends in a slash."""
    content = upcoming(target)
    content["changes"][0]["text"] = "forged"
    path = target.collection.replace("main", "%6dain").replace("regions", "region%73")
    target.publish(content, to=path)
    target.send("POST", f"{path}/changeset/", content)


def unborn_collection(target: Target) -> None:
    """An unsigned first publication under a new name in a guarded bucket."""
    content = upcoming(target) | {"base": 0}
    del content["metadata"]["signature"], content["metadata"]["signatures"]
    target.publish(content, to=f"{target.bucket}/collections/{UNBORN}")


def other_methods(target: Target) -> None:
    """PUT, PATCH and DELETE of the changeset."""
    for method in ("PUT", "PATCH", "DELETE"):
        target.send(method, f"{target.collection}/changeset", upcoming(target))


# --- the body --------------------------------------------------------------------------------------------------------


def key_twice(target: Target) -> None:
    """JSON with the member `changes` twice: the signed one first, the forged one behind it."""
    content = upcoming(target)
    forged = [{**change, "text": "forged"} for change in content["changes"]]
    text = json.dumps(content)
    target.publish(f'{text[:-1]}, "changes": {json.dumps(forged)}}}'.encode())


def not_a_number(target: Target) -> None:
    """JSON with NaN, which Python reads and JSON does not have."""
    content = upcoming(target)
    content["changes"][0]["number"] = float("nan")
    target.publish(json.dumps(content).encode())


def gzip_bomb(target: Target) -> None:
    """A short gzip body that is longer than the limit when it is unpacked."""
    content = upcoming(target)
    content["changes"][0]["text"] = "0" * TOO_LONG
    packed = gzip.compress(json.dumps(content).encode())
    target.publish(packed, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})


def too_long(target: Target) -> None:
    """A body longer than the limit."""
    content = upcoming(target)
    content["changes"][0]["text"] = "0" * TOO_LONG
    target.publish(content)


PUBLICATIONS = (
    (43, refresh_with_other_attributes),
    (43, malleated_refresh_with_other_attributes),
    (43, refresh_without_an_attribute),
    (14, refresh_with_a_tombstone),
    (12, refresh_with_a_record_twice_dated),
    (11, whole_without_tombstones),
    (16, another_collections_state),
    (42, inside_a_batch),
    (55, path_in_percent_encoding),
    (1, unborn_collection),
    (26, key_twice),
)

ATTACKS = (
    *(Attack(row, run, off=Off.VERIFICATION) for row, run in PUBLICATIONS),
    Attack(16, another_collections_state_renamed, off=Off.VERIFICATION, settings=OWN_KEY, prepare=_publish_another_collection),
    Attack(48, name_that_nobody_guards, StoppedBy.KINTO, off=Off.VERIFICATION),
    Attack(41, other_methods, StoppedBy.KINTO, off=Off.VERIFICATION),
    Attack(26, not_a_number, off=Off.VERIFICATION, backends=(MEMORY,)),  # PostgreSQL has no such number
    Attack(20, gzip_bomb, off=Off.VERIFICATION, settings=LIMIT),
    Attack(30, too_long, off=Off.VERIFICATION, settings=LIMIT),
)
