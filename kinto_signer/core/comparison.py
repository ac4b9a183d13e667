"""Two complete states of one collection: record by record, what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinto_signer.core.canonical import Record, same_content
from kinto_signer.core.changeset import Changeset, by_record_id
from kinto_signer.core.published import PUBLISHED

MOST_NAMED = 5


@dataclass(frozen=True)
class Comparison:
    """How the second of two states differs from the first; false if it does not.

    missing, extra, different: ids of live records, sorted; ``different`` in content or in ``last_modified``, which is signed
    too. attributes: names. timestamps: the two signed ones, integer milliseconds.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]
    attributes: tuple[str, ...]
    timestamps: tuple[int, int]

    def __bool__(self) -> bool:
        same_time = self.timestamps[0] == self.timestamps[1]
        return bool(self.missing or self.extra or self.different or self.attributes) or not same_time

    def __str__(self) -> str:
        """``2 records missing (a, b), 1 extra (c), 1 different (d); attributes hash, sort; signed 1790 there and 1788 here``."""
        records = (("missing", self.missing), ("extra", self.extra), ("different", self.different))
        parts = [f"{len(ids)} {what} ({named(ids)})" for what, ids in records if ids]
        said = [f"records: {', '.join(parts)}"] if parts else ["the same records"]
        if self.attributes:
            said.append(f"other attributes: {', '.join(self.attributes)}")
        if self.timestamps[0] != self.timestamps[1]:
            said.append(f"signed_timestamp {self.timestamps[1]} there, {self.timestamps[0]} here")
        return "; ".join(said)


def compare(here: Changeset, there: Changeset) -> Comparison:
    """Compare two complete states of the same collection. Tombstones do not count: nothing signs them."""
    ours, theirs = by_record_id(here.records), by_record_id(there.records)
    return Comparison(
        tuple(sorted(ours.keys() - theirs.keys())),
        tuple(sorted(theirs.keys() - ours.keys())),
        tuple(sorted(name for name in ours.keys() & theirs.keys() if not _same(ours[name], theirs[name]))),
        tuple(name for name in PUBLISHED if not _same_value(name, here.metadata, there.metadata)),
        (here.timestamp, there.timestamp),
    )


def content_differs(one: Sequence[Record], other: Sequence[Record]) -> tuple[str, ...]:
    """Ids of the live records that do not say the same in both, whatever their timestamps; sorted."""
    ours, theirs = by_record_id(one), by_record_id(other)
    alone = ours.keys() ^ theirs.keys()
    return tuple(sorted(alone | {name for name in ours.keys() & theirs.keys() if not same_content(ours[name], theirs[name])}))


def named(ids: Sequence[str]) -> str:
    """The first few of them."""
    return ", ".join(ids[:MOST_NAMED]) + (", …" if len(ids) > MOST_NAMED else "")


def _same(one: Record, other: Record) -> bool:
    return one["last_modified"] == other["last_modified"] and same_content(one, other)


def _same_value(name: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    if (name in here) != (name in there):
        return False
    return same_content({"value": here.get(name)}, {"value": there.get(name)})
