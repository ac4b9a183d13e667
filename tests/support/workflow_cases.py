"""The rows of ``tests/workflow_cases.csv`` and the states that they start from, made by people who work with S."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.servers import authorization, webtest_app
from tests.support.settings import signer_settings
from tests.support.site import BUCKET, MERGE_PATCH, SOURCE
from tests.support.stored import MemoryStore, PostgresStore, Stored, text_of

CASES = Path(__file__).parents[1] / "workflow_cases.csv"

GROUP_NAMES = ("regions-editors", "regions-reviewers")

MEMBERS = {"none": (), "editor": GROUP_NAMES[:1], "reviewer": GROUP_NAMES[1:], "both": GROUP_NAMES}
"""Who a row's `groups` means: there is one user of each name, and what he is a member of."""

COLLEAGUE, PERMITTED = "erin", "pat"
"""An editor who does what the user of a row did not do, and somebody in both groups who took no part in anything."""


@dataclass(frozen=True)
class Case:
    """A row of the file; `line` is where it stands, `old` its column ``from``."""

    line: int
    rule: str
    reviews: str
    preview: str
    old: str
    asked: str
    groups: str
    took_part: str
    code: int
    errno: int | None
    message: str
    status: str
    effect: str
    preview_after: str

    @property
    def combination(self) -> tuple[str, ...]:
        return (self.rule, self.reviews, self.preview, self.old, self.asked, self.groups, self.took_part)

    @property
    def user(self) -> str:
        return self.groups if self.groups in MEMBERS else "none"

    @property
    def of_permitted(self) -> tuple[str, ...]:
        """The combination of somebody in both groups who took no part."""
        groups = "both" if self.groups in MEMBERS else self.groups
        return (*self.combination[:5], groups, "*" if self.took_part == "*" else "no")


def read_cases() -> list[Case]:
    with CASES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [
        Case(line, *row[:7], int(row[7]), int(row[8]) if row[8] else None, *row[9:])  # type: ignore[call-arg]
        for line, row in enumerate(rows, start=2)
    ]


class Site:
    """S, and its store. checked: groups as kinto-remote-settings checks them; otherwise not at all."""

    def __init__(
        self, private_key: Path, *, reviews: str, preview: str, rule: str, checked: bool, database: str | None = None
    ) -> None:
        copies = ["/buckets/main-preview", "/buckets/main"] if preview == "on" else ["/buckets/main"]
        settings = signer_settings(private_key, database=database, resources=" -> ".join([BUCKET, *copies]))
        settings.pop("kinto.signer.group_check_enabled", None)
        if not checked:
            settings["kinto.signer.group_check_enabled"] = "false"
        settings |= {"kinto.signer.to_review_enabled": "true" if reviews == "on" else "false", "kinto.signer.four_eyes": rule}
        self.app = webtest_app(settings)
        self.store = PostgresStore(database) if database else MemoryStore(self.app.app.registry)
        self.ids = {user: self._id(user) for user in (*MEMBERS, COLLEAGUE, PERMITTED)}

    def _id(self, user: str) -> str:
        found: str = self.app.get("/", headers=authorization(user)).json["user"]["id"]
        return found

    def ask(self, user: str, asked: str, source: Mapping[str, Any] | None) -> Any:
        """The request of a row, and its answer, which may be a refusal. source: what is stored, None if there is nothing."""
        headers, options = authorization(user), {"expect_errors": True}
        if source is None:
            data = {} if asked == "(no status)" else {"status": asked}
            return self.app.put_json(SOURCE, {"data": data}, headers=headers, **options)
        if asked == "(removed by PUT)":
            kept = {name: value for name, value in source.items() if name not in ("status", "last_modified")}
            return self.app.put_json(SOURCE, {"data": kept}, headers=headers, **options)
        if asked == "(removed by merge patch)":
            headers["Content-Type"] = MERGE_PATCH
            return self.app.patch_json(SOURCE, {"data": {"status": None}}, headers=headers, **options)
        return self.app.patch_json(SOURCE, {"data": {"status": asked}}, headers=headers, **options)

    def go(self, user: str, asked: str) -> None:
        self.app.patch_json(SOURCE, {"data": {"status": asked}}, headers=authorization(user))

    def batch(self, user: str, *requests: tuple[str, str, Mapping[str, Any]]) -> None:
        body = [{"method": method, "path": SOURCE + path, "body": {"data": data}} for method, path, data in requests]
        answers = self.app.post_json("/batch", {"requests": body}, headers=authorization(user)).json["responses"]
        if any(answer["status"] >= 400 for answer in answers):
            raise RuntimeError(f"The beginning of a state was refused: {answers}")


@dataclass(frozen=True)
class States:
    """The states that rows start from, by their `from`, `took_part` and user (None where it is the same for all)."""

    by_key: Mapping[tuple[str, str, str | None], Stored]

    def of(self, case: Case) -> Stored:
        if case.old == "(new)":
            return self.by_key[case.old, "*" if case.groups in MEMBERS else "no groups", None]
        user = None if case.took_part in ("no", "*") else case.user
        return self.by_key[case.old, case.took_part, user]


def make_states(site: Site) -> States:
    """Have people do on `site` (memory) what leads to each state, everybody in both groups; then they are in their own."""
    members = {name: [site.ids[user] for user, groups in MEMBERS.items() if name in groups] for name in GROUP_NAMES}
    site.app.put_json(BUCKET, {"permissions": {"write": ["system.Authenticated"]}}, headers=authorization("admin"))
    bare = site.store.take()
    _set_groups(site, {name: [*found, site.ids[PERMITTED]] for name, found in members.items()})
    grouped = site.store.take()
    _set_groups(site, {name: list(site.ids.values()) for name in GROUP_NAMES})
    _publish_first(site)
    published = site.store.take()
    found: dict[tuple[str, str, str | None], Stored] = {}
    for took_part, user in [("no", None), *((part, user) for part in list(CYCLES)[1:] for user in MEMBERS)]:
        site.store.put(published)
        for old, stored in _cycle(site, took_part, user or COLLEAGUE):
            found[old, took_part, user] = stored
        found |= {(old, took_part, user): stored for old, stored in _left_behind(found["work-in-progress", took_part, user])}
    found["none", "*", None] = _older_than_the_plugin(found["work-in-progress", "no", None])
    states = {key: _with_groups_of(grouped, stored) for key, stored in found.items()}
    return States(states | {("(new)", "*", None): grouped, ("(new)", "no groups", None): bare})


CYCLES: Mapping[str, tuple[str | None, list[str | None]]] = {
    "no": (COLLEAGUE, [COLLEAGUE]),
    "edited": (None, [COLLEAGUE]),
    "requested": (COLLEAGUE, [None]),
    "requested earlier": (COLLEAGUE, [None, COLLEAGUE]),
}
"""For each `took_part`: who edits, who requests the review, one after the other. None is the user of the row."""


def _cycle(site: Site, took_part: str, user: str) -> Iterator[tuple[str, Stored]]:
    editor, requesters = CYCLES[took_part]
    site.batch(
        editor or user,
        ("PATCH", "/records/changed", {"title": "new"}),
        ("DELETE", "/records/deleted", {}),
        ("PUT", "/records/created", {"title": "created"}),
        ("PATCH", "", {"displayFields": ["name"]}),
    )
    for requester in requesters:
        if requester != requesters[0]:
            site.go(PERMITTED, "work-in-progress")
        site.go(requester or user, "to-review")
    reviewed = site.store.take()
    yield "to-review", reviewed
    site.go(PERMITTED, "to-sign")
    yield "signed", site.store.take()
    site.store.put(reviewed)
    site.go(PERMITTED, "work-in-progress")
    site.batch(COLLEAGUE, ("PATCH", "/records/kept", {"title": "not in the preview yet"}))
    yield "work-in-progress", site.store.take()


def _publish_first(site: Site) -> None:
    site.batch(
        COLLEAGUE,
        ("PUT", "", {"displayFields": ["title"]}),
        *[("PUT", f"/records/{name}", {"title": name}) for name in ("changed", "deleted", "kept")],
    )
    site.go(COLLEAGUE, "to-review")
    site.go(PERMITTED, "to-sign")


def _set_groups(site: Site, members: Mapping[str, list[str]]) -> None:
    for name, found in members.items():
        site.app.put_json(f"{BUCKET}/groups/{name}", {"data": {"members": found}}, headers=authorization("admin"))


def _left_behind(pending: Stored) -> Iterator[tuple[str, Stored]]:
    """What the peers leave: a status that is none to stay in, or no status at all."""
    source = pending.get(BUCKET, "collection", "regions") or {}
    for status in ("to-sign", "to-resign", "to-rollback"):
        yield status, pending.having(BUCKET, "collection", {**source, "status": status})
    kept = {name: value for name, value in source.items() if name != "status"}
    yield "none but signed", pending.having(BUCKET, "collection", kept)


def _older_than_the_plugin(pending: Stored) -> Stored:
    """The source bucket as a Kinto without the plugin would have it: nothing of ours anywhere."""
    own = {key: text for key, text in pending.objects.items() if key[0].startswith(BUCKET) or key[2] == "main-workspace"}
    own = {key: text for key, text in own.items() if key[1] in ("bucket", "group", "collection", "record")}
    source = pending.get(BUCKET, "collection", "regions") or {}
    kept = {name: source[name] for name in ("id", "last_modified", "displayFields")}
    own[BUCKET, "collection", "regions"] = text_of(kept)
    timestamps = {key: time for key, time in pending.timestamps.items() if key[0].startswith(BUCKET) or key[0] == ""}
    return Stored(own, timestamps, {key: held for key, held in pending.permissions.items() if _is_own(key)})


def _is_own(permission: str) -> bool:
    return permission.startswith(("user:", f"permission:{BUCKET}"))


def _with_groups_of(grouped: Stored, stored: Stored) -> Stored:
    groups = {key: text for key, text in grouped.objects.items() if key[1] == "group"}
    others = {key: held for key, held in stored.permissions.items() if not key.startswith("user:")}
    users = {key: held for key, held in grouped.permissions.items() if key.startswith("user:")}
    return replace(stored, objects={**stored.objects, **groups}, permissions={**others, **users})
