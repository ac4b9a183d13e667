"""The sign-off workflow as somebody would explain it, in a few lines that share nothing with the package.

It knows who edited since the last publication, what was approved last, and what each place has to hold.
"""

import copy
from dataclasses import dataclass, field

from tests.support.workflow import EDITOR, EDITOR_AND_REVIEWER, READER, REVIEWER

BOT = "robot"
EDITORS = {EDITOR, EDITOR_AND_REVIEWER, BOT}
REVIEWERS = {EDITOR_AND_REVIEWER, REVIEWER, BOT}
MAY_APPROVE_ALONE = {BOT}
PUBLISHED_ATTRIBUTES = ("displayFields", "sort")
TRANSIENT = ("to-sign", "to-resign", "to-rollback")


class RefusedError(Exception):
    """The workflow has to refuse this step."""


# --- the parts of a step, each a request of its own in a batch ----------------------------------------------------------------


@dataclass(frozen=True)
class Put:
    record: str
    value: str


@dataclass(frozen=True)
class Post:
    record: str
    value: str


@dataclass(frozen=True)
class Delete:
    record: str


@dataclass(frozen=True)
class DeleteAll:
    pass


@dataclass(frozen=True)
class Patch:
    """Of the source's own object. status: asked for with the attributes, or None.

    attributes: (name, value) pairs, None to remove one; in a batch, where Kinto knows no merge patch, it is stored as ``null``.
    """

    attributes: tuple[tuple[str, str | None], ...] = ()
    status: str | None = None


@dataclass(frozen=True)
class Discard:
    """Take the pending changes of these records back; in a request of its own."""

    records: frozenset[str]


# --- the model ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Content:
    """Records by id, and attributes."""

    records: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)

    def published(self):
        """A copy of what of it is published."""
        return Content(dict(self.records), {k: v for k, v in self.attributes.items() if k in PUBLISHED_ATTRIBUTES})


@dataclass
class Model:
    """A source and its copies. who: by tracking field without ``_by``; touched: those set by the last step."""

    reviews: bool
    contributors_rule: bool
    status: str = "signed"
    source: Content = field(default_factory=Content)
    destination: Content = field(default_factory=Content)
    preview: Content = field(default_factory=Content)
    contributors: set[str] = field(default_factory=set)
    who: dict[str, str] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    approval: dict | None = None
    log: list[tuple[str, str]] = field(default_factory=list)
    version: int = 0

    def after(self, user, parts):
        """The model after a step, which leaves this one as it is. Raises RefusedError."""
        read_only = all(isinstance(part, Post) and part.record in self.source.records for part in parts)
        _require(user != READER or read_only, "may not write")
        found = copy.deepcopy(self)
        found.touched = set()
        stored, asked, edited = self.status, [], False
        for part in parts:
            edited |= found._edit(part, keep_null=len(parts) > 1)
            if isinstance(part, Patch):
                found.version += 1
                if part.status not in (None, stored):
                    stored = part.status
                    asked.append(stored)
        # Whatever was edited in the request counts as edited before anything was asked for.
        for part in parts:
            if isinstance(part, Discard):
                found._discard(user, part.records)
        if edited:
            _require("to-rollback" not in asked, "it would undo the edits beside it")
            found.version += 1
            found.status = "work-in-progress"
            found._set("last_edit", user)
            found.contributors.add(user)
        for status in asked:
            found._ask(user, status)
        return found

    def _edit(self, part, keep_null):
        """Whether the part changes anything that could be published, or another attribute of the source."""
        records, before = self.source.records, Content(dict(self.source.records), dict(self.source.attributes))
        if isinstance(part, Put):
            records[part.record] = part.value
            return True  # also of the same value: somebody wrote it
        if isinstance(part, Post):
            records.setdefault(part.record, part.value)  # one that is there is answered as it is
        if isinstance(part, Delete):
            records.pop(part.record, None)
        if isinstance(part, DeleteAll):
            records.clear()
        if isinstance(part, Patch):
            for name, value in part.attributes:
                self.source.attributes.pop(name, None)
                if value is not None or keep_null:
                    self.source.attributes[name] = value
        return self.source != before

    def _ask(self, user, status):
        ask = {
            "to-review": self._request,
            "work-in-progress": self._work_on,
            "to-sign": self._approve,
            "to-resign": self._refresh,
            "to-rollback": self._roll_back,
            "signed": lambda _: _require(self.status == "signed", "only a publication does that"),
        }.get(status)
        _require(ask is not None, "nobody knows it")
        ask(user)

    def _request(self, user):
        _require(self.status != "signed", "nothing to review")
        if self.status == "to-review":
            return
        _require(user in EDITORS, "no editor")
        self.status = "to-review"
        self.preview = self.source.published()
        self.contributors.add(user)
        self._set("last_review_request", user)
        self.log.append(("request review", user))

    def _work_on(self, user):
        if self.status == "to-review":
            self._set("last_review", user)
            self.log.append(("decline", user))
        self.status = "work-in-progress"

    def _approve(self, user):
        _require(user in REVIEWERS, "no reviewer")
        excluded = False
        if self.reviews:
            _require(self.status != "work-in-progress", "no review was requested")
            if self.status == "to-review":
                excluded = self.who.get("last_review_request") == user
                excluded |= self.contributors_rule and user in self.contributors
                _require(not excluded or user in MAY_APPROVE_ALONE, "four eyes")
        if self.status == "to-review":
            self._set("last_review", user)
        before, after = self.destination.records, self.source.records
        self.approval = {
            "by": user,
            "alone": excluded,
            "created": len(after.keys() - before.keys()),
            "updated": sum(before[name] != after[name] for name in after.keys() & before.keys()),
            "deleted": len(before.keys() - after.keys()),
        }
        self.destination, self.preview = self.source.published(), self.source.published()
        self.status = "signed"
        self.contributors.clear()
        self._set("last_signature", user)
        self.log.append(("publish", user))

    def _refresh(self, user):
        self._set("last_signature", user)
        self.log.append(("refresh", user))

    def _roll_back(self, user):
        _require(self.status != "signed", "no work in progress")
        restored = self.destination.published()
        self.source.records.clear()
        self.source.records.update(restored.records)
        kept = {k: v for k, v in self.source.attributes.items() if k not in PUBLISHED_ATTRIBUTES}
        self.source = Content(self.source.records, kept | restored.attributes)
        self.preview = restored
        self.status = "signed"
        self.contributors.clear()
        self._set("last_edit", user)
        self.log.append(("rollback", user))

    def _discard(self, user, records):
        there, published = self.source.records, self.destination.records
        pending = {name for name in there.keys() | published.keys() if there.get(name) != published.get(name)}
        _require(records <= pending, "nothing of it is pending")
        for name in records:
            there.pop(name, None)
            if name in published:
                there[name] = published[name]
        self.version += 1
        self._set("last_edit", user)
        self.log.append(("discard", user))
        if self.source.published() == self.destination:
            self.status = "signed"
            self.contributors.clear()
            self.preview = self.destination.published()
        else:
            self.status = "work-in-progress"
            self.contributors.add(user)

    def _set(self, field_name, user):
        self.who[field_name] = user
        self.touched.add(field_name)


def _require(condition, why):
    if not condition:
        raise RefusedError(why)
