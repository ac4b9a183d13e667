"""The signed copy as it is stored after a publication was written, and before it is signed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from kinto_signer.core.canonical import SIGNATURE_PREFIX, Digests, Record, canonical_parsed, digests, signed_bytes
from kinto_signer.core.changeset import diff, is_tombstone
from kinto_signer.core.form import Form
from kinto_signer.core.plan import Plan
from kinto_signer.core.problems import find_record_problem
from kinto_signer.errors import UnsignableValue
from kinto_signer.plugin.comparing import differing, not_the_same
from kinto_signer.plugin.resources import Place
from kinto_signer.plugin.saved_forms import Saved, save
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.plugin.touched import Moment
from kinto_signer.server.compared import Compared
from kinto_signer.server.copied_form import copied_form
from kinto_signer.server.kept_states import ALTERED, CHECKED_EVERY, MANY, KeptState, read_form, stored_chunks

logger = logging.getLogger(__name__)

LOOKED_AT_AGAIN = 500
"""Records and tombstones that a publication wrote, and the next one reads once more: another plugin may have altered some in the
same transaction, after they were signed. Where there are more that shows when everything is read (`CHECKED_EVERY`)."""


@dataclass
class Stored:
    """count: of live records. signed_bytes: makes all that is signed. kept: what is to be kept once this was committed.

    Take `kept` after `signed_bytes`, which may find that it was altered. proven: the form that was kept of the state before, if
    it was hashed anew and is what was signed.
    """

    count: int
    digests: Digests
    signed_bytes: Callable[[], bytes]
    kept: KeptState | None = None
    proven: Form | None = None


@dataclass(frozen=True)
class Copy:
    """What one request knows of a copy of the source when it publishes another one: read, planned and hashed once for both."""

    compared: Compared
    planned: Plan | None = None
    stored: Stored | None = None

    @property
    def form(self) -> Form | None:
        """What is stored there now."""
        return self.stored.kept.form if self.stored is not None and self.stored.kept is not None else None

    @property
    def saved(self) -> Saved | None:
        """What is in the table for other processes."""
        known = self.compared.kept if self.stored is None else self.stored.kept
        return Saved(collection_uri(self.compared.copy.name), known.form) if known and known.version is not None else None

    @property
    def proven(self) -> Form | None:
        """What was stored there before, if that was proven."""
        return None if self.stored is None else self.stored.proven

    def is_repeated_by(self, planned: Plan) -> bool:
        """Whether that writes what was written here: this copy's rows, into one where nothing was."""
        return self.planned is not None and planned.destination is self.planned.destination

    @property
    def dated(self) -> dict[str, Record]:
        """What was written there, by id."""
        written = self.planned.destination if self.planned else ()
        return {change["id"]: change for change in written if not is_tombstone(change)}


def read_stored(
    registry: Any, place: Place, planned: Plan, compared: Compared, *, allow_floats: bool, beside: Copy | None = None
) -> Stored | None:
    """What `place` holds now; None if that is not what was planned. Raises UnsignableValue, also for what was only copied.

    beside: another copy of the same source as it was just found; what was hashed of it is not hashed again.
    """
    repository = StorageRepository(registry.storage)
    if compared.since is None:
        return _in_memory(repository, place.name, planned)
    with registry.storage.client.connect() as session:
        form, proven = _as_planned(session, place.name, planned, compared, allow_floats, beside)
    if form is None or len(form) != compared.count:
        return None
    form = form.sharing(beside.form if beside else None)
    since = compared.since if len(planned.destination) > LOOKED_AT_AGAIN else replace(compared.since, own=None)
    with ThreadPoolExecutor(1) as others:  # hashing is done outside Python's lock
        hashing = others.submit(form.digests, planned.timestamp)
        version = _save(registry, place, form, planned, compared, since, beside)
        content = hashing.result()
    kept = KeptState(compared.source.name, form, planned.timestamp, content, since, version, _used(compared))
    stored = Stored(
        len(form), content, lambda: _signed_bytes(registry, place.name, stored, form, planned.timestamp), kept, proven
    )
    return stored


def _as_planned(
    session: Any, name: str, planned: Plan, compared: Compared, allow_floats: bool, beside: Copy | None
) -> tuple[Form | None, Form | None]:
    """The form of what is stored, None if that is not what was planned; and what was kept, if it proved itself."""
    form, proven = _like(session, name, compared, beside), None
    if form is not None and beside is not None and beside.is_repeated_by(planned):
        return form, None
    if form is None:
        if compared.created and differing(session, collection_uri(compared.source.name), collection_uri(name)):
            return None, None
        form = copied_form(session, name, planned, compared)
        if form is not None:
            return form, None
        form, proven = _form(session, name, planned, compared, allow_floats, beside)
    return (form, proven) if _is_as_planned(form, planned, compared) else (None, None)


def _signed_bytes(registry: Any, name: str, stored: Stored, form: Form, timestamp: int) -> bytes:
    """What stands in front of the first change is only known by its hash until here: where it is another, everything is read."""
    found = form.signed_bytes(timestamp)
    if hashlib.sha384(SIGNATURE_PREFIX + found).digest() == stored.digests.signed:
        return found
    logger.error(ALTERED, name)
    registry.signer_kept_states.forget()
    stored.kept = None
    with registry.storage.client.connect() as session:
        return read_form(session, name).signed_bytes(timestamp)


def _used(compared: Compared) -> int:
    return compared.kept.used + 1 if compared.kept is not None and compared.kept.used < CHECKED_EVERY else 0


def _save(
    registry: Any, place: Place, form: Form, planned: Plan, compared: Compared, since: Moment, beside: Copy | None
) -> str | None:
    """For other processes; returns the version in the table, if there is one."""
    before, uri = compared.kept, collection_uri(place.name)
    known = (before.version, before.form) if before is not None and before.version is not None else None
    with registry.storage.client.connect() as session:
        if not registry.signer_kept_states.saves_in(session):
            return None
        return save(session, uri, compared.source.name, planned.timestamp, since, form, known, beside.saved if beside else None)


def _like(session: Any, name: str, compared: Compared, beside: Copy | None) -> Form | None:
    """The form by that of the other copy, which was read a moment ago, where PostgreSQL finds the same rows but for a few.

    What is kept of the copy itself costs less.
    """
    if compared.kept is not None or beside is None or beside.form is None:
        return None
    apart = not_the_same(session, collection_uri(beside.compared.copy.name), collection_uri(name))
    if len(apart) > (0 if compared.created else MANY):  # of what was only copied nobody has looked at the values
        return None
    return beside.form.changed(stored_chunks(session, name, apart))


def _form(
    session: Any, name: str, planned: Plan, compared: Compared, allow_floats: bool, beside: Copy | None
) -> tuple[Form, Form | None]:
    """What is kept, with what was written since, if it proves itself; else everything as it is stored.

    The other one is what was kept, if it proved itself.
    """
    kept = compared.kept
    if kept is not None:
        like = beside.proven if beside else None
        old = kept.form.sharing(like)
        ids = {*compared.touched, *(change["id"] for change in planned.destination)}
        form = old.changed(stored_chunks(session, name, ids))
        with ThreadPoolExecutor(1) as others:  # both hash, which is done outside Python's lock
            proving = others.submit(old.proven, kept.timestamp, kept.digests, form, like)
            form = form.sharing(beside.form if beside else None)
            form.digests(planned.timestamp)
            proven = proving.result()
        if proven is not None and kept.used >= CHECKED_EVERY:
            again = read_form(session, name).digests(planned.timestamp)
            proven = proven if form.digests(planned.timestamp) == again else None
        if proven is not None:
            return form, proven
        logger.error(ALTERED, name)
    look = partial(_refuse_copied, compared.created, allow_floats) if compared.created else None
    return read_form(session, name, look), None


def _refuse_copied(created: Collection[str], allow_floats: bool, record: Record) -> None:
    """Nobody has looked at the values of what was copied without being read."""
    problem = find_record_problem(record, allow_floats=allow_floats) if record["id"] in created else None
    if problem:
        raise UnsignableValue(f"{problem.why}. Nothing was signed", path=problem.path, record=record["id"])


def _is_as_planned(form: Form, planned: Plan, compared: Compared) -> bool:
    for change in planned.destination:
        chunk = form.chunk(change["id"])
        if change["id"] in compared.created:
            if chunk is None or not _says(chunk, change["last_modified"]):
                return False
        elif chunk != (None if is_tombstone(change) else canonical_parsed(change)):
            return False
    return True


def _says(chunk: bytes, timestamp: int) -> bool:
    """Whether a record's canonical form has this timestamp; it may be what ends it."""
    said = f'"last_modified":{timestamp}'.encode()
    return chunk.endswith(said + b"}") or said + b"," in chunk


def _in_memory(repository: StorageRepository, name: str, planned: Plan) -> Stored | None:
    records = repository.records(name)
    meant = {record["id"]: record["last_modified"] for record in planned.records}
    found = {record["id"]: record["last_modified"] for record in records}
    if meant != found or diff(planned.records, records):
        return None
    return Stored(len(records), digests(records, planned.timestamp), lambda: signed_bytes(records, planned.timestamp))
