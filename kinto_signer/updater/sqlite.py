"""SQLite connections whose errors are ours."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from kinto_signer.errors import BusyError, KintoSignerError, StorageError

BUSY_TIMEOUT_S = 60
BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
DISK = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOLFS,
}
HEADER_BYTES = 100
USER_VERSION = slice(60, 64)


@contextlib.contextmanager
def connect(path: Path, corrupt: Callable[[str], KintoSignerError]) -> Iterator[sqlite3.Connection]:
    """A connection to an existing file, for one transaction; what is not committed is undone.

    Raises BusyError, StorageError, and `corrupt(why)` for whatever else SQLite finds wrong. Text comes as bytes.
    """
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
        )
        with contextlib.closing(connection):
            connection.text_factory = bytes
            connection.execute("PRAGMA trusted_schema = OFF")
            yield connection
    except sqlite3.Error as error:
        raise _translated(error, path, corrupt) from error
    except (MemoryError, OverflowError, UnicodeDecodeError) as error:  # lengths and texts of a damaged file
        raise corrupt(repr(error)) from error


def _translated(error: sqlite3.Error, path: Path, corrupt: Callable[[str], KintoSignerError]) -> KintoSignerError:
    extended = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    code = extended & 0xFF
    if code in BUSY:
        return BusyError(f"{path}: in use by another process for more than {BUSY_TIMEOUT_S} s. Nothing was changed.")
    # The header of a file can say that it must not be written, and a page can be cut off.
    lies = code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    if code in DISK and not lies and extended != sqlite3.SQLITE_IOERR_SHORT_READ:
        return StorageError(f"{path}: {error}. What was held before is still held; look at the disk and its permissions.")
    return corrupt(str(error))


def file_header(path: Path) -> str:
    """A digest of SQLite's header without the schema number: it changes with every transaction, whoever makes it.

    Tells a newer program's cache from one in which the schema number alone was damaged. Call it without an open connection
    where other threads may use the file: closing it drops the process's locks.
    """
    try:
        with path.open("rb") as stream:
            header = bytearray(stream.read(HEADER_BYTES))
    except OSError:
        return ""
    header[USER_VERSION] = b""
    return hashlib.sha256(header).hexdigest()
