"""Records of a collection that are too many to have all of them at once: read when somebody asks, and all of them once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

from kinto_signer.core.canonical import Record, canonical_parsed, plain_json, without_timestamp
from kinto_signer.core.difference import ReadLater
from kinto_signer.core.redated import says_when_once, undated
from kinto_signer.plugin.rows import all_rows, rows


@dataclass(frozen=True)
class Texts:
    """What was read of each record: its timestamp, and its canonical form.

    contents: instead of the form, of a record that is not plain or says its timestamp twice, its content as `plain_json`.
    """

    timestamps: dict[str, int] = field(default_factory=dict)
    forms: dict[str, bytes] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)


class StoredRecords(ReadLater):
    """The live records below `uri` with these ids, read within the current transaction."""

    def __init__(self, storage: Any, uri: str, ids: Iterable[str]) -> None:
        self.ids = sorted(ids)
        self._storage, self._uri = storage, uri

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Record, ...]: ...
    def __getitem__(self, index: int | slice) -> Record | tuple[Record, ...]:
        return self.only(self.ids[index]) if isinstance(index, slice) else self.only([self.ids[index]])[0]

    def __iter__(self) -> Iterator[Record]:
        wanted = frozenset(self.ids)
        with self._storage.client.connect(readonly=True) as session:
            yield from (record for record, _ in all_rows(session, self._uri, in_order=True) if record["id"] in wanted)

    def only(self, ids: Collection[str]) -> tuple[Record, ...]:
        with self._storage.client.connect(readonly=True) as session:
            return tuple(rows(session, self._uri, set(self.ids).intersection(ids)))

    @cached_property
    def texts(self) -> Texts:
        """Of all of them, as bytes, which take a tenth of what the records do."""
        wanted, read = frozenset(self.ids), Texts()
        with self._storage.client.connect(readonly=True) as session:
            for record, plain in all_rows(session, self._uri, ahead=True):
                record_id, timestamp = record["id"], record["last_modified"]
                if record_id not in wanted:
                    continue
                read.timestamps[record_id] = timestamp
                form = canonical_parsed(record, plain=True) if plain else b""
                if says_when_once(form, timestamp):
                    read.forms[record_id] = form
                else:
                    read.contents[record_id] = plain_json(without_timestamp(record))
        return read

    @property
    def contents(self) -> Iterator[tuple[str, bytes, int]]:
        read = self.texts
        for record_id in self.ids:
            timestamp = read.timestamps.get(record_id)
            if timestamp is not None:
                form = read.forms.get(record_id)
                yield record_id, undated(form, timestamp) if form is not None else read.contents[record_id], timestamp
