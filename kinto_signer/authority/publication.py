"""A posted changeset: verified, and its whole list of changes prepared, before the first write; all of it or nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kinto_signer.authority.guard import REFUSED, Guard
from kinto_signer.authority.stored import Held, remembered_of
from kinto_signer.core.acceptance import (
    Accepted,
    Effective,
    Posted,
    attributes_digest,
    check_first,
    effective,
    published_attributes,
    refuse_replay,
    refuse_time,
)
from kinto_signer.core.canonical import Digests, Record, canonical_parsed
from kinto_signer.core.changeset import is_tombstone
from kinto_signer.core.form import Form
from kinto_signer.core.freshness import refuse_older, remembered
from kinto_signer.core.problems import find_problem
from kinto_signer.core.statement import Signed, check_statement
from kinto_signer.core.trust import check_content
from kinto_signer.errors import BadAnswerError, GuardRefusedError, OutdatedBaseError, StorageError, UnsignableValue
from kinto_signer.plugin import purged
from kinto_signer.plugin.bulk import apply_in_bulk
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.kept import StoredForm
from kinto_signer.plugin.storage import collection_uri

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """What A holds after a posted changeset, and what was done for it.

    before: the collection's attributes, None if it was made. changes: None if nothing had to be written. old: the records that
    were replaced or removed, by id.
    """

    timestamp: int
    hash: str
    attributes: Mapping[str, Any]
    before: Mapping[str, Any] | None
    changes: Effective | None
    old: Mapping[str, Record]


class Publication:
    """One posted changeset on its way into the storage, in the current transaction."""

    def __init__(self, guard: Guard, name: str, posted: Posted) -> None:
        self.guard = guard
        self.name = name
        self.posted = posted
        self.made_bucket = False
        self._states = guard.states
        self._uri = collection_uri(name)
        self._trust = guard.trust(name)

    def carry_out(self) -> Published:
        """Store it. The caller keeps readers out on memory.

        Raises OutdatedBaseError if A holds another state than `base`, ConflictError if somebody else publishes, GuardRefusedError
        for what no key signed or what is old, StoredStateError if what A holds was altered behind its back.
        """
        name, posted = self.name, self.posted
        self._states.lock(name, self.guard.guarding.lock_timeout_s)
        held = self._states.held(name)
        if posted.base != held.timestamp:
            raise OutdatedBaseError(
                f"{name}: this publication builds on {posted.base or 'nothing'}, and the state of "
                f"{held.timestamp or 'nothing'} is held here. Nothing was stored.",
                timestamp=held.timestamp,
                hash_=(held.attributes or {}).get("hash"),
            )
        refuse_time(name, posted.timestamp, now_ms(), self.guard.guarding.tolerance_ms)
        before, after = self._forms(held)
        content = after.digests(posted.timestamp)
        attributes, stated = self._verified(held, content, len(after))
        if before.form.digests(posted.timestamp) == content and self._is_held_already(held, attributes):
            return Published(posted.timestamp, content.hash, held.attributes or {}, held.attributes, None, {})
        old, changes = self._changes(held, before.form, after)
        stored = self._write(changes, attributes)
        self._refuse_other_content(changes, before, after)
        newest = remembered(stated)
        accepted = Accepted(
            posted.timestamp, content.hash, attributes_digest(attributes), posted.timestamp, newest.serial, newest.digest
        )
        with self.guard.watch.off():
            self._states.accept(name, accepted)
        return Published(posted.timestamp, content.hash, stored, held.attributes, changes, old)

    # --- verified before anything is written -------------------------------------------------------------------------------

    def _forms(self, held: Held) -> tuple[StoredForm, Form]:
        """The records as they are stored, and as they are to be, with the digests of both.

        What was kept of them proves itself: from the first block on that changes, its bytes have to lead to the digest that they
        had, whose hash is the stored one. Else everything is read.
        """
        before = self._before(held)
        chunks = {change["id"]: None if is_tombstone(change) else self._form(change) for change in self.posted.changes}
        after = self._after(before.form, chunks)
        with ThreadPoolExecutor(1) as beside:  # both hash, which is done outside Python's lock
            proven = beside.submit(_proven, before, held.timestamp, after)
            after.digests(self.posted.timestamp)
            sound = proven.result()
        if not sound:
            logger.error("%s: what is kept of it in memory is not what is stored. Everything is read again.", self.name)
            before = self._before(held, anew=True)
            after = self._after(before.form, chunks)
        return before, after

    def _before(self, held: Held, *, anew: bool = False) -> StoredForm:
        if held.attributes is None:
            return StoredForm()
        try:
            return self._states.form(self.name, held, anew=anew)
        except BadAnswerError:
            if self.posted.complete:
                return StoredForm()
            self.guard.refuse_if_damaged(self.name)
            raise

    def _after(self, before: Form, chunks: Mapping[str, bytes | None]) -> Form:
        if not self.posted.complete:
            return before.changed(chunks) if chunks else before
        return Form().changed({record_id: chunk for record_id, chunk in chunks.items() if chunk is not None})

    def _form(self, record: Record) -> bytes:
        try:
            form = canonical_parsed(record)
        except UnsignableValue as error:
            raise GuardRefusedError(f"{self.name}: {error.message}. Nothing was stored.", reason="bad-answer") from error
        if b"\\u0000" in form:
            problem = find_problem(record, allow_floats=True)
            if problem and "U+0000" in problem.why:
                raise GuardRefusedError(
                    f"{self.name}: record {record['id']!r}, {problem.path}: {problem.why}. Nothing was stored.",
                    reason="bad-answer",
                )
        return form

    def _verified(self, held: Held, content: Digests, records: int) -> tuple[dict[str, Any], Signed | None]:
        """The attributes to be stored, and their statement, if content and attributes may be accepted."""
        posted, name = self.posted, self.name
        bucket, _, collection = name.partition("/")
        try:
            check_content(
                name, {"bucket": bucket, "id": collection, **posted.metadata}, content, self._trust, timestamp=posted.timestamp
            )
            check_first(name, posted.metadata, content.signed, self._trust)
            attributes = published_attributes(name, posted, content.hash)
            refuse_replay(name, posted.timestamp, content.hash, attributes_digest(attributes), held.accepted)
            stated = check_statement(
                name, attributes, self._trust, timestamp=posted.timestamp, content_hash=content.hash, records=records
            )
            refuse_older(name, stated, remembered_of(held.accepted))
            self.guard.refuse_untimely(name, posted.timestamp, stated)
        except REFUSED as error:
            if not posted.complete:
                self.guard.refuse_if_damaged(name)
            said = error.message.removesuffix(" Nothing was stored.")
            raise GuardRefusedError(f"{said} Nothing was stored.", reason=error.reason) from error
        return attributes, stated

    def _changes(self, held: Held, before: Form, after: Form) -> tuple[dict[str, Record], Effective]:
        named = {change["id"] for change in self.posted.changes}
        gone = set(before.ids).difference(after.ids, named) if self.posted.complete else set()
        old = {record_id: json.loads(chunk) for record_id in named | gone if (chunk := before.chunk(record_id)) is not None}
        return old, effective(self.posted, old, gone, held.etag)

    def _is_held_already(self, held: Held, attributes: Mapping[str, Any]) -> bool:
        """Whether the very same was published before, and is stored unharmed."""
        shown = {key: value for key, value in (held.attributes or {}).items() if key not in ("id", "last_modified")}
        return held.timestamp == self.posted.timestamp == held.etag and shown == attributes and held.accepted is not None

    # --- written ------------------------------------------------------------------------------------------------------------

    def _write(self, changes: Effective, attributes: Mapping[str, Any]) -> dict[str, Any]:
        posted, repository = self.posted, self._states.repository
        with self.guard.watch.off():
            self.made_bucket = repository.ensure_bucket(self.name.partition("/")[0])
            apply_in_bulk(repository.storage, self._uri, changes.changes, complete=posted.complete, timestamp=posted.timestamp)
            if changes.gone:
                purged.note(repository.storage, self._uri, posted.timestamp)
            return repository.set_attributes(self.name, attributes)

    def _refuse_other_content(self, changes: Effective, before: StoredForm, after: Form) -> None:
        """What counts is what was stored: it is read back and has to be what was verified."""
        storage, kept = self._states.storage, self._states.kept
        try:
            written = None if self.posted.complete else {change["id"] for change in changes.changes}
            same = kept.reread(storage, self._uri, before, after, written)
        except UnsignableValue as error:
            raise StorageError(
                f"{self.name}: the storage changed what was written to it: {error.message}. Nothing was kept."
            ) from error
        etag = self._states.repository.etag(self.name)
        if not same or etag != self.posted.timestamp:
            raise StorageError(
                f"{self.name}: the storage holds something else than what was written to it (its timestamp is {etag}). Nothing "
                "was kept."
            )


def _proven(before: StoredForm, timestamp: int, after: Form) -> bool:
    """Whether `before` is right from the first block on that `after` has not."""
    if before.made_of is None:
        return True
    return before.form.proven(timestamp, before.form.digests(timestamp), after) is not None
