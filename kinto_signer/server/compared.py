"""A source and one of its signed copies in the current transaction: what differs, and all of it where somebody asks for that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import TIMESTAMP_MARKER
from kinto_signer.core.difference import Difference, difference
from kinto_signer.plugin.comparing import differing
from kinto_signer.plugin.resources import Place
from kinto_signer.plugin.rows import StoredRecords, rows
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.plugin.touched import Moment, moment
from kinto_signer.server.kept_states import MANY, KeptState, KeptStates, touched_since


class Compared:
    """Looked at when it is made; whoever holds the source's lock makes it anew after writing.

    source_part, copy_part: the live records that differ in content, and maybe some that do not: all others say the same. created:
    the timestamps, by id, of more records of the source that the copy does not have: so many that they are not read.
    kept: what this process knows of the copy, if all that was written in either place since then is known: `touched`, their ids.
    since: before anything was read; None on memory storage, where both parts are whole.
    """

    def __init__(self, registry: Any, source: Place, copy: Place) -> None:
        self.source, self.copy = source, copy
        self.repository = StorageRepository(registry.storage)
        self.kept: KeptState | None = None
        self.touched: frozenset[str] = frozenset()
        self.created: dict[str, int] = {}
        self.since: Moment | None = None
        self.source_part: list[Record]
        self.copy_part: list[Record]
        if self.repository.atomic:
            self._read_what_differs(registry.storage, registry.signer_kept_states)
        else:
            self.source_part, self.copy_part = self.repository.records(source.name), self.repository.records(copy.name)

    def _read_what_differs(self, storage: Any, states: KeptStates) -> None:
        places = collection_uri(self.source.name), collection_uri(self.copy.name)
        with storage.client.connect() as session:
            self.since = moment(session)
            kept = states.get(self.copy.name)
            found = touched_since(session, kept, self.copy.name) if kept and kept.source == self.source.name else None
            if kept is not None and found is not None:
                self.kept, self.touched = kept, found.ids
                self.source_part, self.copy_part = found.source, found.copy
            else:
                apart = differing(session, *places)
                many = apart.alone if len(apart.alone) > MANY else {}
                self.created = {record_id: timestamp for record_id, timestamp in many.items() if record_id != TIMESTAMP_MARKER}
                self.source_part = list(rows(session, places[0], {*apart.both, *apart.alone} - self.created.keys()))
                self.copy_part = list(rows(session, places[1], (*apart.both, *apart.others)))

    @cached_property
    def records(self) -> list[Record]:
        """All live records of the source."""
        return self.source_part if self.since is None else self.repository.records(self.source.name)

    @property
    def empty(self) -> bool:
        """Whether the source has no record."""
        return not self.source_part and not self.created and not self.repository.count(self.source.name)

    def difference(self, copied: tuple[str, ...]) -> Difference:
        """What publishing the source would make of the copy. copied: the attributes that are published beside the records."""
        found = difference(
            self.source_part,
            self.copy_part,
            self.repository.attributes(self.source.name) or {},
            self.repository.attributes(self.copy.name) or {},
            copied,
        )
        return replace(found, created=self._stored([*self.created, *(r["id"] for r in found.created)])) if self.created else found

    @property
    def source_stubs(self) -> list[Record]:
        """`source_part`, and for each of `created` nothing but its id and timestamp."""
        stubs = [{"id": record_id, "last_modified": timestamp} for record_id, timestamp in self.created.items()]
        return [*self.source_part, *stubs]

    def read_created(self) -> None:
        """Have those that were only counted in `source_part` too, for whoever needs all of each."""
        self.source_part = [*self.source_part, *self._stored(self.created)]
        self.created = {}

    def _stored(self, ids: Iterable[str]) -> StoredRecords:
        return StoredRecords(self.repository.storage, collection_uri(self.source.name), ids)
