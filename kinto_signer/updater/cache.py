"""SqliteRepository: the reader's copy on disk.

Every read is checked against digests of every byte that is served, in the same transaction; Verify then checks the signature.
One transaction per collection, rollback journal, a new connection for each operation: several processes and threads may use
one cache, and a program reads while an update runs. Tombstones are not kept: whoever asks for a difference gets everything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import EMPTY, Changeset, is_tombstone
from kinto_signer.core.freshness import Remembered, remembered
from kinto_signer.core.statement import peek
from kinto_signer.core.trust import Trust
from kinto_signer.errors import (
    ConfigurationError,
    ConflictError,
    CorruptCacheError,
    KintoSignerError,
    NewerFormatError,
    StorageError,
)
from kinto_signer.updater import kept_policy
from kinto_signer.updater.files import new_file, sync_directory
from kinto_signer.updater.highest import Marks, read_marks, write_marks
from kinto_signer.updater.history import History
from kinto_signer.updater.kept_policy import KeptPolicy
from kinto_signer.updater.sqlite import connect, file_header

logger = logging.getLogger(__name__)

FORMAT = 2
READABLE = (1, FORMAT)
"""1 had keys only, and no other policies."""
NO_DIGEST = b""
SCHEMA = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE about (digest BLOB NOT NULL);
CREATE TABLE collection (
    name TEXT NOT NULL PRIMARY KEY, timestamp INTEGER NOT NULL, highest INTEGER NOT NULL,
    metadata BLOB NOT NULL, keys BLOB NOT NULL, records_digest BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE record (
    collection TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (collection, id)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Held:
    """A row of the catalogue. keys: the policy under which it was stored, see `kept_policy`."""

    timestamp: int = 0
    highest: int = 0
    metadata: bytes = b"{}"
    keys: bytes = b"[]"
    records_digest: bytes = b""

    def row(self) -> tuple[int, int, bytes, bytes, bytes]:
        return self.timestamp, self.highest, self.metadata, self.keys, self.records_digest


class SqliteRepository:
    """Collections in one SQLite file in a directory of their own.

    trust: the policy whose verification stands behind what is applied; None for reading only. used: chain files by x5u that
    this verification took. A directory without the file is an empty repository; `apply` makes it.
    """

    atomic = True

    def __init__(self, directory: Path, trust: Trust | None = None, used: Mapping[str, bytes] | None = None) -> None:
        self.directory = directory
        self.path = directory / "collections.sqlite"
        self.marks_path = directory / "highest.json"
        self.history = History(directory / "statements.json")
        self.trust = trust
        self.used = {} if used is None else used

    # --- reading ----------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The collections that are held."""
        return sorted(name for name, held in self.catalogue().items() if held.timestamp)

    def timestamp(self, name: str) -> int:
        return self.catalogue().get(name, Held()).timestamp

    def highest(self, name: str) -> int:
        return max(self.catalogue().get(name, Held()).highest, self._marks().highest.get(name, 0))

    def remembered(self, name: str) -> Remembered:
        """The newest publication statement that was accepted, also of a collection whose records were dropped since."""
        held = remembered(peek(json.loads(self.catalogue().get(name, Held()).metadata)))
        return max(held, self.history.remembered(name), key=lambda known: known.serial)

    def policy(self, name: str) -> KeptPolicy:
        """The policy under which the collection was stored, and the chains that this took."""
        return kept_policy.load(self.catalogue().get(name, Held()).keys, where=f"{self.path}: {name}")

    def changeset(self, name: str, since: int = 0) -> Changeset:
        with self._reading() as connection:
            held = self._read_catalogue(connection).get(name, Held()) if connection else Held()
            if connection is None or not held.timestamp:
                return EMPTY
            metadata = json.loads(held.metadata)
            if since == held.timestamp:
                return Changeset(held.timestamp, (), metadata, since)
            rows = _rows(connection, name)
        if _digest_rows(rows) != held.records_digest:
            raise self._corrupt(f"the records of {name} are not those that were stored")
        return Changeset(held.timestamp, [json.loads(body) for _, body in rows], metadata)

    def catalogue(self) -> Mapping[str, Held]:
        """What is held, by name; with what only its highest timestamp is left of."""
        with self._reading() as connection:
            return self._read_catalogue(connection) if connection else {}

    # --- writing ----------------------------------------------------------------------------------------------------

    def apply(self, name: str, changeset: Changeset) -> None:
        """Store a changeset that was verified. Raises ConflictError if another process stored something else meanwhile."""
        if self.trust is None:
            raise ConfigurationError(f"{self.directory}: opened for reading only; to write, the trusted keys are needed.")
        keys = kept_policy.dump(self.trust, kept_policy.chains_of(changeset.metadata, self.used))
        highest = max(self.highest(name), changeset.timestamp)
        new = Held(changeset.timestamp, highest, _dump(changeset.metadata), keys)
        with self._writing() as connection:
            self._store(connection, name, changeset, new)
        self._write_marks({name: highest})
        self.history.remember(name, peek(changeset.metadata))

    def _store(self, connection: sqlite3.Connection, name: str, changeset: Changeset, new: Held) -> None:
        catalogue = dict(self._read_catalogue(connection))
        held = catalogue.get(name, Held())
        if changeset.timestamp < held.highest or (changeset.since and changeset.since != held.timestamp):
            raise ConflictError(f"{name}: another process updated the cache meanwhile. Its state was kept; run it again.")
        nothing_travelled = changeset.since == changeset.timestamp and not changeset.changes
        if nothing_travelled and new == replace(held, records_digest=b""):
            return
        if not nothing_travelled:
            _write_records(connection, name, changeset)
        catalogue[name] = replace(new, records_digest=_digest_rows(_rows(connection, name)))
        _write_catalogue(connection, catalogue)

    def wipe(self, name: str) -> None:
        """Drop the records and attributes; the highest verified timestamp stays."""
        highest = self.highest(name)
        with self._writing() as connection:
            catalogue = dict(self._read_catalogue(connection))
            connection.execute("DELETE FROM record WHERE collection = ?", (name,))
            catalogue[name] = Held(highest=highest)
            _write_catalogue(connection, catalogue)
        self._write_marks({name: highest})

    def forget(self, name: str) -> None:
        """Drop everything about the collection: any older state that is properly signed will be accepted next."""
        with self._writing() as connection:
            catalogue = dict(self._read_catalogue(connection))
            connection.execute("DELETE FROM record WHERE collection = ?", (name,))
            catalogue.pop(name, None)
            _write_catalogue(connection, catalogue)
        self._write_marks({name: 0})
        self.history.forget(name)

    # --- damage -----------------------------------------------------------------------------------------------------

    def examine(self) -> None:
        """Look for damage that reading need not meet, before something is written. Raises CorruptCacheError."""
        with self._reading() as connection:
            if connection is None:
                return
            self._read_catalogue(connection)
            found = connection.execute("PRAGMA integrity_check(1)").fetchall()
        if found != [(b"ok",)]:
            raise self._corrupt(f"SQLite finds {found[0][0]!r}")

    def move_aside(self, stamp: str) -> Path:
        """Rename the damaged file (one is kept); what can be read of its highest timestamps goes to the second copy."""
        with contextlib.suppress(KintoSignerError):
            self._write_marks({name: held.highest for name, held in self.catalogue().items()})
        for old in self.directory.glob(f"{self.path.name}.corrupt-*"):
            old.unlink(missing_ok=True)
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for suffix in ("-journal", "-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        sync_directory(self.directory)
        return aside

    def _corrupt(self, why: str) -> CorruptCacheError:
        return CorruptCacheError(
            f"{self.path}: damaged ({why}). Nothing of it is used; `kinto-updater gather-changes` puts it aside and fetches "
            "everything again."
        )

    # --- the second copy of the highest timestamps ------------------------------------------------------------------

    def _marks(self) -> Marks:
        try:
            return read_marks(self.marks_path)
        except CorruptCacheError as error:
            logger.warning("%s It is written again at the next update.", error.message)
            return Marks()

    def _write_marks(self, changed: Mapping[str, int]) -> None:
        """The cache is committed already, and this is a copy: an error is no more than a warning."""
        held = self._marks()
        highest = {name: mark for name, mark in {**held.highest, **changed}.items() if mark}
        marks = Marks(highest, file_header(self.path))
        try:
            if marks != held:
                write_marks(self.marks_path, marks)
        except StorageError as error:
            logger.warning("%s", error.message)

    # --- SQLite -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        if not self.path.exists():
            yield None
            return
        with connect(self.path, self._corrupt) as connection:
            connection.execute("BEGIN")
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            self._create()
        with connect(self.path, self._corrupt) as connection:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def _create(self) -> None:
        """Make an empty database elsewhere and move it here, so that an empty or half-made file is always damage."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with new_file(self.path) as temporary:
                with connect(temporary, self._corrupt) as connection:
                    connection.executescript(SCHEMA)
                    _write_catalogue(connection, {name: Held(highest=mark) for name, mark in self._marks().highest.items()})
                _move_into_place(temporary, self.path)
            sync_directory(self.directory)
        except OSError as error:
            raise StorageError(f"{self.directory}: cannot be written ({error.strerror}). Nothing was changed.") from error

    def _read_catalogue(self, connection: sqlite3.Connection) -> Mapping[str, Held]:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT and file_header(self.path) != self._marks().header:  # else nobody wrote it: damage
            raise NewerFormatError(
                f"{self.path}: format {version}, written by a newer kinto-updater; this one knows {FORMAT}. "
                "Nothing was changed; upgrade this program."
            )
        if version not in READABLE:
            raise self._corrupt(f"its format is {version}")
        stored = connection.execute("SELECT digest FROM about").fetchall()
        rows = connection.execute("SELECT name, timestamp, highest, metadata, keys, records_digest FROM collection").fetchall()
        if stored != [(_digest_catalogue(rows),)]:
            raise self._corrupt("its catalogue is not the one that was stored")
        return {name.decode("utf-8"): Held(*rest) for name, *rest in rows}


def _move_into_place(temporary: Path, path: Path) -> None:
    """Without replacing what another process has put there meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        temporary.replace(path)


def _write_catalogue(connection: sqlite3.Connection, catalogue: Mapping[str, Held]) -> None:
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    rows = [(name, *held.row()) for name, held in catalogue.items()]
    connection.execute("DELETE FROM collection")
    connection.executemany("INSERT INTO collection VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.execute("DELETE FROM about")
    digest = _digest_catalogue([(name.encode("utf-8"), *rest) for name, *rest in rows])
    connection.execute("INSERT INTO about VALUES (?)", (digest,))


def _write_records(connection: sqlite3.Connection, name: str, changeset: Changeset) -> None:
    if changeset.since == 0:
        connection.execute("DELETE FROM record WHERE collection = ?", (name,))
    gone = [(name, change["id"]) for change in changeset.changes if is_tombstone(change)]
    connection.executemany("DELETE FROM record WHERE collection = ? AND id = ?", gone)
    live = ((name, change["id"], _dump(change)) for change in changeset.changes if not is_tombstone(change))
    connection.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", live)


def _rows(connection: sqlite3.Connection, name: str) -> list[tuple[bytes, bytes]]:
    return connection.execute("SELECT id, body FROM record WHERE collection = ? ORDER BY id", (name,)).fetchall()


def _digest_rows(rows: Iterable[tuple[bytes, bytes]]) -> bytes:
    return _digest(part for row in rows for part in row)


def _digest_catalogue(rows: Iterable[tuple[Any, ...]]) -> bytes:
    return _digest(repr(row).encode("ascii") for row in sorted(rows, key=repr))


def _digest(parts: Iterable[object]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        if not isinstance(part, bytes):  # damage changes types too
            return NO_DIGEST
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def _dump(value: Mapping[str, Any] | Record) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
