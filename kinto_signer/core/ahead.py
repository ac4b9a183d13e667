"""What an authority holds beyond S's own signed copy, and whether publishing the source over it would lose any of that.

An authority is ahead where a publication reached it and S did not commit, and where S was restored from an older back-up. In the
first case everything it has beyond S is still in S's source; in the second what was approved since the back-up is nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinto_signer.core.canonical import Record, same_content
from kinto_signer.core.changeset import Difference, by_record_id, diff

MOST_NAMED = 5


@dataclass(frozen=True)
class Signed:
    """A signed state, by what tells it from any other: its timestamp (integer milliseconds) and its hash."""

    timestamp: int
    hash: str


@dataclass(frozen=True)
class Beyond:
    """What an authority has that S's signed copy has not.

    lost: ids of the records that the source says otherwise. attributes: names of the attributes it says otherwise.
    """

    difference: Difference
    lost: tuple[str, ...]
    attributes: tuple[str, ...] = ()

    @property
    def loses_nothing(self) -> bool:
        return not self.lost and not self.attributes

    def __str__(self) -> str:
        return describe(self.difference)


def beyond(theirs: Sequence[Record], ours: Sequence[Record], source: Sequence[Record]) -> Beyond:
    """Compare the live records of an authority, of S's signed copy and of S's source, by content."""
    found, wanted = diff(theirs, ours), by_record_id(source)
    lost = [record["id"] for record in (*found.created, *found.updated) if not _same(wanted.get(record["id"]), record)]
    lost += [record["id"] for record in found.deleted if record["id"] in wanted]
    return Beyond(found, tuple(lost))


def differing(
    names: Iterable[str], theirs: Mapping[str, Any], ours: Mapping[str, Any], source: Mapping[str, Any]
) -> tuple[str, ...]:
    """The attributes among `names` that an authority has otherwise than S's signed copy, and the source otherwise than both."""
    return tuple(name for name in names if theirs.get(name) != ours.get(name) and source.get(name) != theirs.get(name))


def describe(difference: Difference) -> str:
    """Counts, and the first few ids: ``2 records created (a, b), 0 updated, 1 deleted (c)``."""
    parts = (("records created", difference.created), ("updated", difference.updated), ("deleted", difference.deleted))
    return ", ".join(f"{len(records)} {what}{_named(records)}" for what, records in parts)


def _named(records: Sequence[Record]) -> str:
    if not records:
        return ""
    ids = [str(record["id"]) for record in records[:MOST_NAMED]]
    return f" ({', '.join(ids)}{', …' if len(records) > MOST_NAMED else ''})"


def _same(one: Record | None, other: Record) -> bool:
    return one is not None and same_content(one, other)


@dataclass(frozen=True)
class Adoption:
    """What S's source becomes when S takes over an authority's state.

    records: the authority's, with the edits that were pending on top. pending: those edits, against the authority's state.
    taken: what the authority had beyond S's signed copy. conflicts: ids that were edited here and changed there; ours stay.
    """

    records: list[Record]
    pending: Difference
    taken: Difference
    conflicts: tuple[str, ...]


def adopt(theirs: Sequence[Record], ours: Sequence[Record], source: Sequence[Record]) -> Adoption:
    """Put the edits of `source` since the signed copy `ours` on top of the authority's records `theirs`."""
    edits, taken = diff(source, ours), diff(theirs, ours)
    result = by_record_id(theirs)
    result.update(by_record_id([*edits.created, *edits.updated]))
    for record in edits.deleted:
        result.pop(record["id"], None)
    records = list(result.values())
    pending = diff(records, theirs)
    left = {record["id"] for record in (*pending.created, *pending.updated, *pending.deleted)}
    changed = {record["id"] for record in (*taken.created, *taken.updated, *taken.deleted)}
    return Adoption(records, pending, taken, tuple(sorted(left & changed)))
