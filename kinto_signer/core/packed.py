"""Records as their canonical forms: a fraction of the memory of dictionaries, and hashed as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from kinto_signer.core.canonical import Digests, Record, canonical_parsed, digests_of_chunks
from kinto_signer.errors import ConfigurationError, CorruptCacheError, UnsignableValue


def is_tombstone(change: Mapping[str, Any]) -> bool:
    return change.get("deleted") is True


class Packed(Sequence[Record]):
    """Records and tombstones that never change. Each is decoded anew whenever it is asked for.

    ids: of each, no two the same. items: the canonical form of a live record; a tombstone, or a record without a canonical form,
    as it is. A form that is not the record of its id is a CorruptCacheError where it is decoded.
    """

    def __init__(self, ids: Sequence[str], items: Sequence[bytes | Record]) -> None:
        self._ids = ids
        self._items = items
        self._digests: dict[int, Digests] = {}

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return list(map(_decoded, self._ids[index], self._items[index]))
        return _decoded(self._ids[index], self._items[index])

    def __iter__(self) -> Iterator[Record]:
        return map(_decoded, self._ids, self._items)

    def __len__(self) -> int:
        return len(self._ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Packed({len(self)} records and tombstones)"

    @property
    def live(self) -> int:
        """How many are no tombstones."""
        return sum(item.__class__ is bytes or not is_tombstone(item) for item in self._items)  # type: ignore[arg-type]

    def forms(self) -> Iterator[tuple[str, bytes | None]]:
        """See `forms`."""
        return zip(self._ids, map(_form, self._items), strict=True)

    def digests(self, timestamp: int) -> Digests:
        """Of the live records with the signed `timestamp`; remembered. Raises UnsignableValue."""
        if timestamp not in self._digests:
            self._digests[timestamp] = digests_of_chunks(live_forms(self), timestamp)
        return self._digests[timestamp]


def forms(changes: Iterable[Record]) -> Iterator[tuple[str, bytes | None]]:
    """The id and the canonical form of each record; None for a tombstone. Raises UnsignableValue."""
    if isinstance(changes, Packed):
        return changes.forms()
    return ((change["id"], _form(change)) for change in changes)


def live_forms(changes: Iterable[Record]) -> Iterator[bytes]:
    """The canonical forms of the live records by id: what is signed. Raises UnsignableValue."""
    return (form for _, form in sorted(forms(changes)) if form is not None)


def item_of(change: Record) -> bytes | Record:
    """How `Packed` keeps a record or a tombstone that came from a JSON parser."""
    if is_tombstone(change):
        return change
    try:
        return canonical_parsed(change)
    except (UnsignableValue, ConfigurationError):  # said where the digests are asked for
        return change


def _form(item: bytes | Record) -> bytes | None:
    if isinstance(item, bytes):
        return item
    return None if is_tombstone(item) else canonical_parsed(item)


def _decoded(record_id: str, item: bytes | Record) -> Record:
    if not isinstance(item, bytes):
        return item
    try:
        record = json.loads(item)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or record.get("id") != record_id:
        raise CorruptCacheError(f"What is held as the record {record_id!r} is not this record. It is not used.")
    return record
