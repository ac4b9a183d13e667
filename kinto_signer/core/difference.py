"""What would be published: the live records and the copied attributes of a source, against those of one of its copies.

Timestamps are no content (an old edit that is approved today is a difference), nor are tombstones or the record that carries a
signed timestamp where no other does.
"""

from __future__ import annotations

import hashlib
import heapq
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

from kinto_signer.core.canonical import Record, format_hash, plain_json, same_content, without_timestamp
from kinto_signer.core.changeset import TIMESTAMP_MARKER, by_record_id, is_tombstone, tombstone


class Missing(Enum):
    """What stands for an attribute or a field that is not there, which is something else than ``null``."""

    MISSING = "missing"


MISSING = Missing.MISSING


class ReadLater(Sequence[Record]):
    """Records, sorted by id, of which only the ids are known before somebody looks at them."""

    ids: Sequence[str]

    @abstractmethod
    def only(self, ids: Collection[str]) -> tuple[Record, ...]:
        """Those of them with these ids."""

    @property
    @abstractmethod
    def contents(self) -> Iterator[tuple[str, bytes, int]]:
        """Of each: its id, `plain_json` of it without its timestamp, and the timestamp (ms)."""


@dataclass(frozen=True)
class Difference:
    """What readers would see change; all three kinds of records sorted by id.

    created: as they are in the source, which may be too many to have all of them at once. updated: (before, after). deleted: as
    they were in the copy. attributes: by name, (before, after), each MISSING where the attribute is not there.
    """

    created: Sequence[Record] = ()
    updated: tuple[tuple[Record, Record], ...] = ()
    deleted: tuple[Record, ...] = ()
    attributes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of records that differ."""
        return len(self.created) + len(self.updated) + len(self.deleted)

    @property
    def empty(self) -> bool:
        return not self.count and not self.attributes

    @property
    def ids(self) -> set[str]:
        """The ids of the records that differ."""
        created = self.created.ids if isinstance(self.created, ReadLater) else (record["id"] for record in self.created)
        return {*created, *(record["id"] for record in self.deleted), *(after["id"] for _, after in self.updated)}

    @property
    def size_bytes(self) -> int:
        """What each reader downloads once it is published: bytes of canonical JSON, records and tombstones, nothing around them.

        Timestamps count with those they have now; the new ones have as many digits.
        """
        return self._measured[0]

    @property
    def digest(self) -> str:
        """Of the changes of records, as ``sha384-`` and standard base64: see `reviewed_digest`."""
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[int, str]:
        """Size and digest, in one pass: `created` may be read for it."""
        if isinstance(self.created, ReadLater):
            created = (
                _Line(name, b"", text, len(text) + len(_dated(timestamp))) for name, text, timestamp in self.created.contents
            )
        else:
            created = (_line(None, record) for record in self.created)
        others = (_line(before, after) for before, after in self.updated), (_line(record, None) for record in self.deleted)
        size, digest = 0, hashlib.sha384()
        for line in heapq.merge(created, *others):
            size += line.size_bytes
            digest.update(line.before + b" -> " + line.after + b"\n")
        return size, format_hash(digest.digest())

    def only(self, ids: Collection[str]) -> Difference:
        """The part of it that is about the records `ids`, without the attributes."""
        created = self.created
        return Difference(
            created.only(ids) if isinstance(created, ReadLater) else tuple(one for one in created if one["id"] in ids),
            tuple(pair for pair in self.updated if pair[1]["id"] in ids),
            tuple(record for record in self.deleted if record["id"] in ids),
        )


class _Line(NamedTuple):
    """One record that differs: its content before and after, b"" where it is not there; what readers download of it."""

    id: str
    before: bytes
    after: bytes
    size_bytes: int


def _line(before: Record | None, after: Record | None) -> _Line:
    old, new = (plain_json(without_timestamp(record)) if record else b"" for record in (before, after))
    if after is not None:
        return _Line(after["id"], old, new, len(new) + (len(_dated(after["last_modified"])) if "last_modified" in after else 0))
    gone = before or {}
    return _Line(gone["id"], old, new, len(plain_json(tombstone(gone["id"], gone.get("last_modified", 0)))))


def _dated(timestamp: int) -> str:
    return f'"last_modified":{timestamp},'


def difference(
    source: Iterable[Record],
    against: Iterable[Record],
    source_attributes: Mapping[str, Any],
    against_attributes: Mapping[str, Any],
    copied: Sequence[str],
) -> Difference:
    """What publishing `source` makes of the copy `against`.

    source, against: every record, in any order, tombstones or not. copied: the names of the attributes that are published
    beside the records; one that the source does not have is removed from the copy.
    """
    after, before = _live(source), _live(against)
    both = sorted(after.keys() & before.keys())
    return Difference(
        tuple(after[name] for name in sorted(after.keys() - before.keys())),
        tuple((before[name], after[name]) for name in both if not same_content(before[name], after[name])),
        tuple(before[name] for name in sorted(before.keys() - after.keys())),
        dict(_changed_attributes(source_attributes, against_attributes, copied)),
    )


def reviewed_digest(found: Difference, attributes: Mapping[str, Any], published: Mapping[str, Any], copied: Sequence[str]) -> str:
    """What a reviewer was shown, as ``sha384-`` and standard base64: the same only for the same changes of the same state.

    found: the changes. attributes: of the source; those that `copied` names are published. published: the attributes of the
    signed copy that the changes are against, empty where there is none.

    SHA-384 over the ASCII text ``{"attributes":{…},"changes":"sha384-…","published":…}``, compact, every object's keys sorted by
    code point, floats as Python writes them. It covers

    * ``changes``, the SHA-384 of a line ``BEFORE -> AFTER`` for each record that would be created, updated or deleted, sorted by
      id: as it was and will be, without ``last_modified``, and nothing where it is not there;
    * those of the source's `attributes` that are published and that are there: a missing one is not one that is ``null``;
    * the ``hash`` of the published state, which stands for all its records; ``null`` if it has none.

    It does not cover the timestamps of the source, its other attributes (status, comments, tracking fields), permissions, or
    attached files (but their ``hash`` in the record). Its cost follows the change.
    """
    shown = {name: attributes[name] for name in copied if name in attributes}
    said = {"attributes": shown, "changes": found.digest, "published": published.get("hash")}
    return format_hash(hashlib.sha384(plain_json(said)).digest())


def _live(records: Iterable[Record]) -> dict[str, Record]:
    return by_record_id(record for record in records if not is_tombstone(record) and record["id"] != TIMESTAMP_MARKER)


def _changed_attributes(
    source: Mapping[str, Any], against: Mapping[str, Any], copied: Sequence[str]
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name in copied:
        before, after = against.get(name, MISSING), source.get(name, MISSING)
        if not same_value(before, after):
            yield name, (before, after)


def same_value(one: Any, other: Any) -> bool:
    """Whether two JSON values, or MISSING, are the same; ``1``, ``1.0`` and ``true`` are three."""
    if one is MISSING or other is MISSING:
        return one is other
    return same_content({"value": one}, {"value": other})
