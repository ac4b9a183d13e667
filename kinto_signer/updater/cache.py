"""SqliteRepository: the reader's copy on disk.

Every read is checked against digests of every byte that is served, in the same transaction; Verify then checks the signature.
The digests are those that are signed. One transaction per collection, rollback journal, a new connection for each operation:
several processes and threads may use one cache, and a program reads while an update runs. Tombstones are not kept: whoever asks
for a difference gets everything.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import EMPTY, Changeset, Content, State, Summary
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
from kinto_signer.updater import kept_policy, rows
from kinto_signer.updater.catalogue import FORMAT, READABLE, SCHEMA, Held, note, read_rows, write
from kinto_signer.updater.files import new_file, sync_directory
from kinto_signer.updater.highest import Marks, read_marks, write_marks
from kinto_signer.updater.history import History
from kinto_signer.updater.kept_policy import KeptPolicy
from kinto_signer.updater.left import Left, is_as_left, is_due, stamp
from kinto_signer.updater.sqlite import connect, file_header

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Found:
    """What was found out about a state before it is stored. held: the catalogue's row of what it starts from."""

    held: Held
    changes: Sequence[Record]
    timestamp: int
    content: Content

    def is_of(self, held: Held, changeset: Changeset) -> bool:
        """Whether it is about this changeset, on top of what is held now."""
        return self.changes is changeset.changes and self.timestamp == changeset.timestamp and self.held == held


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
        self._found: _Found | None = None

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
            with self._records_of(name):
                return Changeset(held.timestamp, rows.read(connection, name, held), metadata)

    def summary(self, name: str, changeset: Changeset | None = None) -> State:
        """See `core.repository.Summarising`. Records are read, and not parsed, where some of them would change."""
        if changeset is not None and changeset.since == 0:
            return changeset
        held = self.catalogue().get(name, Held())
        if changeset is None:
            changeset = Changeset(held.timestamp, (), json.loads(held.metadata), held.timestamp)
        wanted = changeset
        return Summary(wanted.timestamp, wanted.metadata, lambda: self._content(name, wanted))

    def _content(self, name: str, changeset: Changeset) -> Content:
        with self._reading() as connection:
            held = self._read_catalogue(connection).get(name, Held()) if connection else Held()
            if connection is None or held.timestamp != changeset.since:
                raise self._conflict(name)
            content = self._content_after(connection, name, held, changeset)
        self._found = _Found(held, changeset.changes, changeset.timestamp, content)
        return content

    def _content_after(self, connection: sqlite3.Connection, name: str, held: Held, changeset: Changeset) -> Content:
        if changeset.since == 0:
            return Content(changeset.digests(), changeset.count)
        if held.content is not None and changeset.since == changeset.timestamp and not changeset.changes:
            return held.content
        found = self._found
        if found and found.is_of(held, changeset):
            return found.content
        with self._records_of(name):
            return rows.content_after(connection, name, held, changeset.changes, changeset.timestamp)

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
        with self._writing({name: highest}) as connection:
            self._store(connection, name, changeset, new)
        self.history.remember(name, peek(changeset.metadata))

    def _store(self, connection: sqlite3.Connection, name: str, changeset: Changeset, new: Held) -> None:
        catalogue = dict(self._read_catalogue(connection))
        held = catalogue.get(name, Held())
        if changeset.timestamp < held.highest or (changeset.since and changeset.since != held.timestamp):
            raise self._conflict(name)
        if changeset.since == changeset.timestamp and not changeset.changes:
            noted = held.records_digest
        else:
            noted = note(self._content_after(connection, name, held, changeset))
            with self._records_of(name):
                rows.write(connection, name, held, changeset.changes, complete=changeset.since == 0)
        new = replace(new, records_digest=noted)
        if new != held or connection.total_changes:
            catalogue[name] = new
            write(connection, catalogue)

    def wipe(self, name: str) -> None:
        """Drop the records and attributes; the highest verified timestamp stays."""
        highest = self.highest(name)
        with self._writing({name: highest}) as connection:
            catalogue = dict(self._read_catalogue(connection))
            connection.execute("DELETE FROM record WHERE collection = ?", (name,))
            catalogue[name] = Held(highest=highest)
            write(connection, catalogue)

    def forget(self, name: str) -> None:
        """Drop everything about the collection: any older state that is properly signed will be accepted next."""
        with self._writing({name: 0}) as connection:
            catalogue = dict(self._read_catalogue(connection))
            connection.execute("DELETE FROM record WHERE collection = ?", (name,))
            catalogue.pop(name, None)
            write(connection, catalogue)
        self.history.forget(name)

    # --- damage -----------------------------------------------------------------------------------------------------

    def look_after(self, *, in_full: bool = False) -> None:
        """Look for damage before something is written. Raises CorruptCacheError.

        A file that is as it was left, and was examined in full within a day, is not examined in full unless it is asked for.
        """
        marks = self._marks()
        if not in_full and marks.left and is_as_left(self.path, marks.left) and not is_due(marks.left, time.time()):
            self.catalogue()
        elif self.path.exists():
            self.examine()
            self._write_marks({}, stamp(self.path, int(time.time())))

    def examine(self) -> None:
        """Look for damage everywhere, also where reading need not meet it. Raises CorruptCacheError."""
        with self._reading() as connection:
            if connection is None:
                return
            catalogue = self._read_catalogue(connection)
            found = connection.execute("PRAGMA integrity_check(1)").fetchall()
            if found != [(b"ok",)]:
                raise self._corrupt(f"SQLite finds {found[0][0]!r}")
            for name, held in catalogue.items():
                if held.timestamp:
                    with self._records_of(name):
                        rows.examine(connection, name, held)

    def move_aside(self, stamp: str) -> Path:
        """Rename the damaged file (one is kept); what can be read of its highest timestamps goes to the second copy."""
        with contextlib.suppress(KintoSignerError):
            self._write_marks({name: held.highest for name, held in self.catalogue().items()}, None)
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
            f"{self.path}: damaged ({why}). Nothing of it is used; `kinto-updater gather-changes --examine` puts it aside and "
            "fetches everything again."
        )

    @contextlib.contextmanager
    def _records_of(self, name: str) -> Iterator[None]:
        try:
            yield
        except rows.OtherRecords as error:
            raise self._corrupt(f"the records of {name} are not those that were stored") from error

    def _conflict(self, name: str) -> ConflictError:
        return ConflictError(f"{name}: another process updated the cache meanwhile. Its state was kept; run it again.")

    # --- the second copy of the highest timestamps ------------------------------------------------------------------

    def _marks(self) -> Marks:
        try:
            return read_marks(self.marks_path)
        except CorruptCacheError as error:
            logger.warning("%s It is written again at the next update.", error.message)
            return Marks()

    def _write_marks(self, changed: Mapping[str, int], left: Left | None) -> None:
        """The cache is committed already, and this is a copy: an error is no more than a warning."""
        held = self._marks()
        highest = {name: mark for name, mark in {**held.highest, **changed}.items() if mark}
        marks = Marks(highest, file_header(self.path), left)
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
    def _writing(self, highest: Mapping[str, int]) -> Iterator[sqlite3.Connection]:
        """A transaction, and afterwards the second copy with these timestamps."""
        if self.path.exists():
            left = self._marks().left
            left = left if is_as_left(self.path, left) else None
        else:
            self._create()
            left = stamp(self.path, int(time.time()))
        with connect(self.path, self._corrupt) as connection:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
            wrote = connection.total_changes
        if wrote and left:
            left = stamp(self.path, left.examined)
        self._write_marks(highest, left)

    def _create(self) -> None:
        """Make an empty database elsewhere and move it here, so that an empty or half-made file is always damage."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with new_file(self.path) as temporary:
                with connect(temporary, self._corrupt) as connection:
                    connection.executescript(SCHEMA)
                    write(connection, {name: Held(highest=mark) for name, mark in self._marks().highest.items()})
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
        found = read_rows(connection)
        if found is None:
            raise self._corrupt("its catalogue is not the one that was stored")
        return {name.decode("utf-8"): Held(*rest) for name, *rest in found}


def _move_into_place(temporary: Path, path: Path) -> None:
    """Without replacing what another process has put there meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        temporary.replace(path)


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
