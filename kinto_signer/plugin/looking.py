"""A storage as it is committed at one moment, for commands that only look; and what is said about a storage in general."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from kinto.core.storage.exceptions import BackendError
from kinto.core.storage.postgresql.client import PostgreSQLClient
from sqlalchemy.orm import sessionmaker

from kinto_signer.core.findings import Finding, failed, fine, misconfigured, warned
from kinto_signer.errors import UnreachableError
from kinto_signer.plugin.loading import first_line

STORAGE = "storage"
"""Where findings about a server's own storage are."""


@contextmanager
def looking(storage: Any) -> Iterator[Any]:
    """The same storage in a transaction of its own, in which every statement sees the same moment, and which is undone.

    Undone, because reading the timestamp of an empty list starts its clock. On memory the storage itself.
    """
    if not hasattr(storage, "client"):
        yield storage
        return
    session = sessionmaker(bind=storage.client.session_factory.get_bind())()
    client = PostgreSQLClient(lambda: session, commit_manually=False, invalidate=lambda session: None)
    try:
        with client.connect(readonly=True):
            session.execute(sqlalchemy.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        yield type(storage)(client=client, max_fetch_size=storage._max_fetch_size)
    finally:
        session.rollback()
        session.close()


def usable(storage: Any, ini: str) -> tuple[Finding, bool]:
    """What is to be said about a storage, and whether a command can read in it what the server has."""
    if not hasattr(storage, "client"):
        message = (
            "kinto.storage_backend is in memory: everything is gone when the server ends, and no command sees what it holds; "
            "give the server's URL to check that. Use PostgreSQL."
        )
        return warned("settings", "memory", message), False
    try:
        with looking(storage) as seen:
            version = seen.get_installed_version()
    except BackendError as error:
        late = UnreachableError(f"kinto.storage_url: the database cannot be used: {first_line(error.original)}.")
        return failed("settings", late), False
    if version is None:
        message = f"kinto.storage_url: the database has no tables yet. Run `kinto migrate --ini {ini}`."
        return misconfigured("settings", "no-tables", message), False
    return fine("settings", "kinto.storage_url: PostgreSQL answers and has Kinto's tables"), True
