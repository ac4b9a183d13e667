"""The Changeset: what moves between repositories, and what can be computed from it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from kinto_signer.core.canonical import Digests, Record, digests, same_content
from kinto_signer.core.packed import Packed, item_of
from kinto_signer.core.packed import is_tombstone as is_tombstone
from kinto_signer.errors import BadAnswerError

TIMESTAMP_MARKER = "kinto-signer-timestamp"
"""Id of the tombstone that carries the signed timestamp where no record or other tombstone does (decision 2)."""


@dataclass(frozen=True)
class Changeset:
    """A state of a collection, or the difference between two of its states.

    timestamp: the *signed* timestamp, integer milliseconds.
    changes: live records and tombstones (``{"id", "last_modified", "deleted": True}``), each id once.
    metadata: the collection's attributes, ``signature`` and ``signatures`` among them.
    since: the signed timestamp that a difference starts from; 0 for a complete state.
    """

    timestamp: int
    changes: Sequence[Record] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    since: int = 0

    @property
    def records(self) -> list[Record]:
        """The live records among the changes."""
        return [change for change in self.changes if not is_tombstone(change)]

    @property
    def tombstones(self) -> list[Record]:
        return [change for change in self.changes if is_tombstone(change)]

    @property
    def count(self) -> int:
        """How many live records there are."""
        return self.changes.live if isinstance(self.changes, Packed) else len(self.records)

    def digests(self) -> Digests:
        """Digests of the canonical form of the live records. Raises UnsignableValue."""
        if isinstance(self.changes, Packed):
            return self.changes.digests(self.timestamp)
        return digests(self.records, self.timestamp)


EMPTY = Changeset(timestamp=0)


class State(Protocol):
    """What verification looks at of a complete state, such as a complete Changeset."""

    @property
    def timestamp(self) -> int: ...

    @property
    def metadata(self) -> Mapping[str, Any]: ...

    @property
    def count(self) -> int: ...

    def digests(self) -> Digests: ...


@dataclass(frozen=True)
class Content:
    """What is known of a complete state's records without looking at them. count: of the live ones."""

    digests: Digests
    count: int


@dataclass(frozen=True)
class Summary:
    """A complete state without its records. look: finds what is known of them, when it is asked for the first time."""

    timestamp: int
    metadata: Mapping[str, Any]
    look: Callable[[], Content]

    @cached_property
    def _content(self) -> Content:
        return self.look()

    @property
    def count(self) -> int:
        return self._content.count

    def digests(self) -> Digests:
        return self._content.digests


@dataclass(frozen=True)
class Difference:
    """What has to happen to records in one place so that they say what those of another place say."""

    created: list[Record]
    updated: list[Record]
    deleted: list[Record]
    """The records as they are where they are to be deleted."""

    def __bool__(self) -> bool:
        return bool(self.created or self.updated or self.deleted)


def tombstone(record_id: str, timestamp: int) -> Record:
    return {"id": record_id, "last_modified": timestamp, "deleted": True}


def merge(base: Changeset, changeset: Changeset) -> Changeset:
    """The complete state that results when `changeset` is applied to the complete state `base`.

    A changeset with ``since == 0`` is complete and replaces everything. Tombstones are kept.
    """
    if changeset.since == 0:
        return changeset
    by_id = by_record_id(base.changes)
    by_id.update(by_record_id(changeset.changes))
    return Changeset(changeset.timestamp, list(by_id.values()), changeset.metadata)


def diff(wanted: Iterable[Record], held: Iterable[Record]) -> Difference:
    """What makes `held` say what `wanted` says. Timestamps do not count: an old edit approved now is a difference."""
    missing = by_record_id(held)
    created, updated = [], []
    for record in wanted:
        there = missing.pop(record["id"], None)
        if there is None:
            created.append(record)
        elif not same_content(record, there):
            updated.append(record)
    return Difference(created, updated, list(missing.values()))


def by_record_id(changes: Iterable[Record]) -> dict[str, Record]:
    return {change["id"]: change for change in changes}


def latest(changes: Iterable[Mapping[str, Any]]) -> int:
    """The greatest ``last_modified`` among records and tombstones; 0 if there is none."""
    return max((change["last_modified"] for change in changes), default=0)


def validate(name: str, changes: Sequence[Any]) -> Sequence[Record]:
    """`changes` as received from elsewhere, if they have the shape of records and tombstones.

    Raises BadAnswerError for what is no object, has no string ``id``, no integer ``last_modified``, an odd ``deleted``, or
    comes twice.
    """
    seen: set[str] = set()
    for change in changes:
        _validate(name, change, seen)
        seen.add(change["id"])
    return changes


class Packing:
    """Collects what is received from elsewhere, validated and packed one by one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._items: dict[str, bytes | Record] = {}

    def __len__(self) -> int:
        return len(self._items)

    def append(self, change: Any) -> None:
        """One more record or tombstone. Raises what `validate` raises."""
        _validate(self.name, change, self._items)
        self._items[change["id"]] = item_of(change)

    def packed(self) -> Packed:
        """What was collected so far."""
        return Packed(list(self._items), list(self._items.values()))


def _validate(name: str, change: Any, seen: Container[str]) -> None:
    if not isinstance(change, dict):
        raise BadAnswerError(f"{name}: a record that is no JSON object was received. The local copy was kept.")
    record_id, modified = change.get("id"), change.get("last_modified")
    if not isinstance(record_id, str) or not record_id:
        raise BadAnswerError(f"{name}: a record without a proper id was received: {record_id!r}. The local copy was kept.")
    if not isinstance(modified, int) or isinstance(modified, bool) or modified < 0:
        raise BadAnswerError(
            f"{name}: record {record_id!r} has the last_modified {modified!r}, which is no timestamp. The local copy was kept."
        )
    if change.get("deleted", True) is not True:
        raise BadAnswerError(f"{name}: record {record_id!r} has an odd `deleted`. The local copy was kept.")
    if record_id in seen:
        raise BadAnswerError(f"{name}: record {record_id!r} was received twice. The local copy was kept.")
