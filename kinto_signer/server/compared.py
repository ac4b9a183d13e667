"""A source and one of its signed copies in the current transaction: what differs, and all of it where somebody asks for that."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import TIMESTAMP_MARKER
from kinto_signer.core.difference import Difference, difference
from kinto_signer.core.trust import Trust
from kinto_signer.plugin.comparing import differing
from kinto_signer.plugin.resources import Place
from kinto_signer.plugin.rows import rows
from kinto_signer.plugin.saved_forms import Saved
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.plugin.stored_records import StoredRecords
from kinto_signer.plugin.touched import Moment, moment
from kinto_signer.server.kept_states import CHECKED_EVERY, MANY, KeptState, KeptStates, TouchedSince, loaded, touched_since

logger = logging.getLogger(__name__)


class Compared:
    """Looked at when it is made; whoever holds the source's lock makes it anew after writing.

    source_part, copy_part: the live records that differ in content, and maybe some that do not: all others say the same. created:
    the timestamps, by id, of more records of the source that the copy does not have: so many that they are not read.
    kept: what this process knows of the copy, if all that was written in either place since then is known: `touched`, their ids.
    since: before anything was read; None on memory storage, where both parts are whole. trust: to recognise what was saved of the
    copy for other processes; without it only what this one keeps is used. beside: another copy of the same source, compared
    before in this transaction; nobody wrote to the source since. saved: what is saved of that other one now.
    """

    def __init__(
        self,
        registry: Any,
        source: Place,
        copy: Place,
        trust: Trust | None = None,
        beside: Compared | None = None,
        saved: Saved | None = None,
    ) -> None:
        self.source, self.copy = source, copy
        self._registry, self._trust = registry, trust
        self.repository = StorageRepository(registry.storage)
        self.kept: KeptState | None = None
        self.touched: frozenset[str] = frozenset()
        self.created: dict[str, int] = {}
        self.since: Moment | None = None
        self._found: TouchedSince | None = None
        self._saved = saved
        self._beside = beside if beside is not None and beside.source == source else None
        self.source_part: list[Record]
        self.copy_part: list[Record]
        if self.repository.atomic:
            self._read_what_differs()
        else:
            self.source_part, self.copy_part = self.repository.records(source.name), self.repository.records(copy.name)

    def _read_what_differs(self) -> None:
        places = collection_uri(self.source.name), collection_uri(self.copy.name)
        with self._registry.storage.client.connect() as session:
            self.since = moment(session)
            kept = self._known(session)
            like = self._beside._found if self._beside is not None else None
            self._found = found = touched_since(session, kept, self.copy.name, like) if kept is not None else None
            if found is not None:
                self.kept, self.touched = kept, found.ids
                self.source_part, self.copy_part = found.source, found.copy
            lacking = self._lacks_all() if found is None else None
            if lacking is not None:
                self.created, self.source_part, self.copy_part = lacking.created, [], []
                self.since = lacking.since  # the source is known as it was then
                self.count = lacking.count
            elif found is None or (kept is not None and kept.used >= CHECKED_EVERY):
                apart = differing(session, *places)
                many = apart.alone if len(apart.alone) > MANY else {}
                self.created = {record_id: timestamp for record_id, timestamp in many.items() if record_id != TIMESTAMP_MARKER}
                self.source_part = list(rows(session, places[0], {*apart.both, *apart.alone} - self.created.keys()))
                self.copy_part = list(rows(session, places[1], (*apart.both, *apart.others)))
                if not self.touched.issuperset((*apart.alone, *apart.both, *apart.others)) and self.kept is not None:
                    logger.error("%s: not everything is known that was written since the last publication.", self.copy.name)
                    self.kept = None

    def _lacks_all(self) -> Compared | None:
        """The other copy, where nothing is in this one and nothing was in that one."""
        other = self._beside
        if other is None or not other.created or other.source_part or other.copy_part or len(other.created) != other.count:
            return None
        return other if self.repository.count(self.copy.name) == 0 else None

    def _known(self, session: Any) -> KeptState | None:
        states: KeptStates = self._registry.signer_kept_states
        known = states.get(self.copy.name)
        attributes = self.repository.attributes(self.copy.name)
        if self._trust is not None and attributes is not None and states.saves_in(session):
            known = loaded(session, self.copy.name, attributes, self._trust, states, self._saved)
        return known if known is not None and known.source == self.source.name else None

    @property
    def partly(self) -> bool:
        """Whether the parts are not everything."""
        return self.since is not None

    @cached_property
    def records(self) -> list[Record]:
        """All live records of the source."""
        return self.source_part if self.since is None else self.repository.records(self.source.name)

    @cached_property
    def count(self) -> int:
        """Of the source's live records."""
        return self.repository.count(self.source.name) if self._found is None else self._found.in_source.live

    def difference(self, copied: tuple[str, ...]) -> Difference:
        """What publishing the source would make of the copy. copied: the attributes that are published beside the records."""
        found = difference(
            self.source_part,
            self.copy_part,
            self.repository.attributes(self.source.name) or {},
            self.repository.attributes(self.copy.name) or {},
            copied,
        )
        if not self.created:
            return found
        besides = [record["id"] for record in found.created]
        return replace(found, created=self._stored([*self.created, *besides]) if besides else self.later)

    @property
    def source_stubs(self) -> list[Record]:
        """`source_part`, and for each of `created` nothing but its id and timestamp."""
        stubs = [{"id": record_id, "last_modified": timestamp} for record_id, timestamp in self.created.items()]
        return [*self.source_part, *stubs]

    def read_created(self) -> None:
        """Have those that were only counted in `source_part` too, for whoever needs all of each."""
        if self.created:
            self.source_part = [*self.source_part, *self.later]
            self.created = {}

    @cached_property
    def later(self) -> StoredRecords:
        """The records `created`."""
        if self._beside is not None and self._beside.created == self.created:
            return self._beside.later
        return self._stored(self.created)

    def _stored(self, ids: Iterable[str]) -> StoredRecords:
        return StoredRecords(self.repository.storage, collection_uri(self.source.name), ids)
