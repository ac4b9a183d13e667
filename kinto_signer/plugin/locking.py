"""Locks on PostgreSQL that keep other transactions out until this one ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy
from kinto.core.storage.exceptions import BackendError

from kinto_signer.errors import ConflictError

OBJECT_OF_COLLECTION = "SELECT 1 FROM objects WHERE resource_name = 'collection' AND parent_id = :bucket AND id = :id FOR UPDATE"
"""The row of a collection; whoever writes to that row waits too."""
URI = "SELECT pg_advisory_xact_lock(hashtextextended(:uri, 0))"
"""For what need not be there yet; only those wait who ask for this lock."""

# One round trip. The savepoint keeps the transaction usable where somebody else has the lock.
_WITHIN = """
SAVEPOINT kinto_signer_lock;
SET LOCAL lock_timeout = {timeout_ms};
{statement};
SET LOCAL lock_timeout = 0;
RELEASE SAVEPOINT kinto_signer_lock
"""
_UNDO = sqlalchemy.text("ROLLBACK TO SAVEPOINT kinto_signer_lock")


def lock(storage: Any, statement: str, values: Mapping[str, str], timeout_s: float, busy: ConflictError) -> None:
    """Take a lock with one of the statements above. Raises `busy` if somebody else keeps it longer than `timeout_s`."""
    try:
        with storage.client.connect() as session:
            text = sqlalchemy.text(_WITHIN.format(timeout_ms=int(timeout_s * 1000), statement=statement))
            try:
                session.execute(text, values)
            except sqlalchemy.exc.OperationalError:
                session.execute(_UNDO)
                raise
    except BackendError as error:
        if "lock timeout" not in str(error.original).lower():
            raise
        raise busy from error
