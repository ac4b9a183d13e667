"""What is stored of a guarded collection, whether it verifies, and what was accepted for it last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kinto.core.storage.exceptions import ObjectNotFoundError, ReadonlyError
from kinto.core.storage.postgresql.client import PostgreSQLClient
from sqlalchemy.orm import scoped_session, sessionmaker

from kinto_signer.core.acceptance import Accepted, attributes_digest, check_first, refuse_replay
from kinto_signer.core.freshness import Remembered, refuse_older, remembered
from kinto_signer.core.statement import Signed, check_statement
from kinto_signer.core.trust import Trust, check_content
from kinto_signer.errors import (
    BadAnswerError,
    ConflictError,
    GuardRefusedError,
    KintoSignerError,
    StoredStateError,
    UnsignableValue,
)
from kinto_signer.plugin import locking
from kinto_signer.plugin.kept import KeptForms, StoredForm
from kinto_signer.plugin.resources import Place
from kinto_signer.plugin.storage import NOTES, StorageRepository, collection_uri, notes_uri

ID = "accepted"


@dataclass(frozen=True)
class Held:
    """A guarded collection as it is stored.

    attributes: the collection's own; None if there is no such collection. timestamp: the signed one, 0 if nothing is signed.
    etag: of the list of records; 0 if there is no collection.
    """

    attributes: Mapping[str, Any] | None
    timestamp: int
    etag: int
    accepted: Accepted | None

    def says(self, found: StoredForm) -> bool:
        """Whether these are the records whose hash is published with the signed timestamp."""
        expected = (self.attributes or {}).get("hash")
        if expected is None and self.accepted is not None and self.accepted.timestamp == self.timestamp:
            expected = self.accepted.hash
        return bool(found.form.digests(self.timestamp).hash == expected)


class StoredStates:
    """Guarded collections in a storage; each method works in the current transaction."""

    def __init__(self, storage: Any, kept: KeptForms) -> None:
        self.storage = storage
        self.repository = StorageRepository(storage)
        self.kept = kept

    def lock(self, name: str, timeout_s: float) -> None:
        """Keep other writers of the collection out until the transaction ends; before anything of it is read.

        Raises ConflictError if somebody else keeps it longer than `timeout_s`. On memory the process's lock does this.
        """
        if not self.repository.atomic:
            return
        busy = ConflictError(f"{name}: another publication did not end within {timeout_s:g} s. Nothing was stored; try again.")
        locking.lock(self.storage, locking.URI, {"uri": collection_uri(name)}, timeout_s, busy)

    def held(self, name: str) -> Held:
        attributes = self.repository.attributes(name)
        if attributes is None:
            return Held(None, 0, 0, self.accepted(name))
        try:
            etag = self.repository.etag(name)
        except ReadonlyError:  # nobody wrote or read there yet
            etag = 0
        return Held(attributes, self.repository.timestamp(name) if etag else 0, etag, self.accepted(name))

    def accepted(self, name: str) -> Accepted | None:
        try:
            found = self.storage.get(NOTES, notes_uri(collection_uri(name)), ID)
        except ObjectNotFoundError:
            return None
        return Accepted(
            found["timestamp"],
            found["hash"],
            found["attributes"],
            found["etag"],
            found.get("serial", 0),
            found.get("statement", ""),
        )

    def accept(self, name: str, accepted: Accepted) -> None:
        """Remember it, also for the time after the collection was deleted."""
        self.storage.update(NOTES, notes_uri(collection_uri(name)), ID, {"name": name, **accepted.as_json()})

    def form(self, name: str, held: Held, *, anew: bool = False) -> StoredForm:
        """The records of a collection in their canonical form. Raises BadAnswerError for what has none.

        anew: without what is kept. That is not used either where it may be the reason why it is not what was published: nothing
        is refused, or said to be damaged, because of something in this process's memory.
        """
        uri, accepted = collection_uri(name), held.accepted
        try:
            found = self.kept.read(self.storage, uri, anew=anew)
            if not held.says(found) and not (accepted and found.proven(accepted.timestamp, accepted.hash)):
                found = self.kept.read(self.storage, uri, anew=True)
            if held.says(found):
                self.kept.keep(uri, found)
            return found
        except UnsignableValue as error:
            raise BadAnswerError(f"{name}: {error.message}") from error

    def verify(self, name: str, held: Held, trust: Trust, fresh: Callable[[Signed | None], None] | None = None) -> Accepted:
        """Verify what is stored against the keys and against what was accepted last; returns what may be accepted of it.

        fresh: raises what the time, and the rules for new publications, say against its statement.
        Raises a VerificationError or a GuardRefusedError that says which check failed.
        """
        attributes = held.attributes
        if attributes is None:
            raise GuardRefusedError(f"{name}: the collection is not there any more.", reason="rollback")
        shown = {**attributes, "bucket": name.partition("/")[0]}
        form = self.form(name, held).form
        content = form.digests(held.timestamp)
        check_content(name, shown, content, trust, timestamp=held.timestamp)
        check_first(name, shown, content.signed, trust)
        digest = attributes_digest(attributes)
        refuse_replay(name, held.timestamp, content.hash, digest, held.accepted)
        stated = check_statement(name, shown, trust, timestamp=held.timestamp, content_hash=content.hash, records=len(form))
        refuse_older(name, stated, remembered_of(held.accepted))
        if fresh is not None:
            fresh(stated)
        expected = held.accepted.etag if held.accepted and held.accepted.timestamp == held.timestamp else held.timestamp
        if held.accepted and held.etag != expected:
            raise GuardRefusedError(
                f"{name}: the list of records has the timestamp {held.etag}, and {held.timestamp} was signed: something was "
                "written there besides.",
                reason="refused",
            )
        newest = remembered(stated)
        return Accepted(held.timestamp, content.hash, digest, held.etag, newest.serial, newest.digest)

    def names(self, places: Iterable[Place]) -> list[str]:
        """The guarded collections that there are, or that something was accepted for, as ``bucket/collection``."""
        found: dict[str, None] = {}
        for place in places:
            there = [f"{place.bucket}/{collection}" for collection in self.repository.collections(place.bucket)]
            remembered = self.storage.list_all(NOTES, notes_uri(collection_uri(f"{place.bucket}/*")))
            known = [*there, *(entry["name"] for entry in remembered if entry["id"] == ID)]
            found |= dict.fromkeys(name for name in known if place.collection is None or name == place.name)
        return list(found)


def remembered_of(accepted: Accepted | None) -> Remembered:
    return accepted.remembered if accepted else Remembered()


def committed(storage: Any) -> Any:
    """The same storage, on PostgreSQL, seen by somebody outside the current transaction.

    It only reads: a write could wait for the transaction that asks, for ever.
    """
    sessions = scoped_session(sessionmaker(bind=storage.client.session_factory.get_bind()))
    client = PostgreSQLClient(sessions, commit_manually=True, invalidate=lambda session: None)
    return type(storage)(client=client, max_fetch_size=storage._max_fetch_size, readonly=True)


def as_stored_state_error(name: str, error: KintoSignerError) -> StoredStateError:
    """What is wrong with what is stored, for whoever wanted to write."""
    return StoredStateError(
        f"{name}: what is stored here is not what was accepted: {error.message} It was altered behind this server's back. "
        "Nothing was stored. `kinto-signer push` on the signer publishes the signed state again.",
        reason=error.reason,
    )
