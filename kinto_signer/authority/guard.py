"""The guard: whatever was written to a guarded collection, the state is verified once, before the request is committed."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import sqlalchemy

from kinto_signer.authority.settings import Guarding
from kinto_signer.authority.stored import StoredStates, as_stored_state_error, committed
from kinto_signer.authority.watch import Watch
from kinto_signer.core.acceptance import Accepted, refuse_time
from kinto_signer.core.freshness import refuse_untimely
from kinto_signer.core.statement import Signed
from kinto_signer.errors import (
    ExpiredError,
    GuardRefusedError,
    KintoSignerError,
    NotYetValidError,
    TryLaterError,
    VerificationError,
)
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.kept import KeptForms
from kinto_signer.plugin.storage import collection_uri

logger = logging.getLogger(__name__)

REFUSED = (VerificationError, GuardRefusedError)
OUT_OF_TIME = (ExpiredError, NotYetValidError)
"""What is stored is what was accepted, and its certificate's time is over: no damage, and the refresh that mends it is let in."""

_DEAD = """
SELECT id, last_modified FROM objects
 WHERE parent_id = :uri AND resource_name = 'record' AND deleted AND id = ANY(:ids)
"""
_LIVE = """
SELECT id FROM objects WHERE parent_id = :uri AND resource_name = 'record' AND NOT deleted AND id = ANY(:ids)
"""


class Guard:
    """Watches one server's storage. Publications (`authority.publication`) verify what they write themselves."""

    def __init__(self, registry: Any, guarding: Guarding) -> None:
        self.guarding = guarding
        self.registry = registry
        self.kept = KeptForms()
        self.states = StoredStates(registry.storage, self.kept)
        self.watch = Watch(registry.storage, self)

    # --- what the watch asks and tells -------------------------------------------------------------------------------------

    def guards(self, bucket: str, collection: str) -> bool:
        return self.guarding.guards(bucket, collection)

    def names(self) -> list[str]:
        return self.states.names(self.guarding.places)

    def before_write(self, name: str) -> None:
        if not self.states.repository.atomic:
            raise GuardRefusedError(f"{name} is guarded, and nothing can be undone on this storage (memory). Nothing was stored.")
        self.states.lock(name, self.guarding.lock_timeout_s)

    def verify(self, name: str, ids: set[str]) -> None:
        """Refuse what an ordinary write led to, unless it verifies. Raises GuardRefusedError or StoredStateError."""
        held = self.states.held(name)
        try:
            found = self.states.verify(name, held, self.trust(name), partial(self.refuse_untimely, name, held.timestamp))
            refuse_time(name, found.timestamp, now_ms(), self.guarding.tolerance_ms)
            self._refuse_tombstones(name, ids, renewed=held.accepted is None or found.timestamp > held.accepted.timestamp)
        except REFUSED as error:
            self.refuse_if_damaged(name)
            raise GuardRefusedError(
                f"{name} is guarded: {error.message} What no trusted key signed is not kept; nothing was stored.",
                reason=error.reason,
            ) from error
        with self.watch.off():
            self.states.accept(name, found)

    def _refuse_tombstones(self, name: str, ids: set[str], *, renewed: bool) -> None:
        """Nothing signs tombstones: there are none but of records that were alive, and only with a new publication."""
        if not ids:
            return
        values = {"uri": collection_uri(name), "ids": list(ids)}
        with self.registry.storage.client.connect(readonly=True) as session:
            dead = set(map(tuple, session.execute(sqlalchemy.text(_DEAD), values)))
        with committed(self.registry.storage).client.connect(readonly=True) as session:
            dead -= set(map(tuple, session.execute(sqlalchemy.text(_DEAD), values)))
            alive = {row[0] for row in session.execute(sqlalchemy.text(_LIVE), values)} if renewed else set()
        for record_id, _ in dead:
            if record_id not in alive:
                raise GuardRefusedError(f"the tombstone of {record_id!r} belongs to nothing that was published.")

    # --- for everybody ------------------------------------------------------------------------------------------------------

    def refuse_untimely(self, name: str, timestamp: int, stated: Signed | None) -> None:
        """What the rules for new publications say against a statement, or against there being none; raises it."""
        bucket, _, collection = name.partition("/")
        refuse_untimely(name, stated, timestamp, self.guarding.rules(bucket, collection), now_ms())

    def trust(self, name: str) -> Any:
        bucket, _, collection = name.partition("/")
        return self.guarding.trust(bucket, collection)

    def refuse_if_damaged(self, name: str) -> None:
        """Raises StoredStateError if what was committed last does not verify: then that is the reason for any refusal."""
        if not self.states.repository.atomic:
            return  # what is stored is what is being written
        states = StoredStates(committed(self.registry.storage), self.kept)
        held = states.held(name)
        if held.attributes is None:
            return
        try:
            states.verify(name, held, self.trust(name))
        except OUT_OF_TIME:
            return
        except REFUSED as error:
            logger.error("%s: what is stored does not verify [%s]: %s", name, error.reason, error.message)
            raise as_stored_state_error(name, error) from error

    def check_stored(self, name: str) -> Accepted | KintoSignerError:
        """What is stored of a collection, if it is what was accepted; else what is wrong with it."""
        try:
            return self.states.verify(name, self.states.held(name), self.trust(name))
        except (*REFUSED, TryLaterError) as error:
            return error
