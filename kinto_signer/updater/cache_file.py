"""CacheFile: the file in which the reader's copy lies, its transactions, and what is done where it is damaged.

Rollback journal, a new connection for each operation: several processes and threads may use one cache, and a program reads while
an update runs. The highest verified timestamps are kept a second time beside it, see `highest`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from kinto_signer.errors import CorruptCacheError, KintoSignerError, NewerFormatError, StorageError
from kinto_signer.updater import rows
from kinto_signer.updater.catalogue import FORMAT, READABLE, SCHEMA, Held, read_rows, write
from kinto_signer.updater.files import new_file, sync_directory
from kinto_signer.updater.highest import Marks, read_marks, write_marks
from kinto_signer.updater.left import Left, is_as_left, is_due, stamp
from kinto_signer.updater.sqlite import connect, file_header

logger = logging.getLogger(__name__)


class CacheFile:
    """One SQLite file in a directory of its own; what is in its tables is the business of `catalogue` and `rows`.

    Whatever opens it raises CorruptCacheError for damage, NewerFormatError, BusyError, StorageError.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "collections.sqlite"
        self.marks_path = directory / "highest.json"

    def catalogue(self) -> Mapping[str, Held]:
        """What is held, by name; with what only its highest timestamp is left of."""
        with self.reading() as connection:
            return self.catalogue_in(connection) if connection else {}

    def highest(self, name: str) -> int:
        """The highest verified timestamp of a collection, milliseconds, that either copy knows; 0 if none does."""
        return max(self.catalogue().get(name, Held()).highest, self._marks().highest.get(name, 0))

    # --- transactions -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A transaction that sees one state; None if there is no file."""
        if not self.path.exists():
            yield None
            return
        with connect(self.path, self.corrupt) as connection:
            connection.execute("BEGIN")
            yield connection

    @contextlib.contextmanager
    def writing(self, highest: Mapping[str, int]) -> Iterator[sqlite3.Connection]:
        """A transaction, in a new file if there is none, and afterwards the second copy with these timestamps; 0 drops one."""
        if self.path.exists():
            left = self._marks().left
            left = left if is_as_left(self.path, left) else None
        else:
            self._create()
            left = stamp(self.path, int(time.time()))
        with connect(self.path, self.corrupt) as connection:
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
                with connect(temporary, self.corrupt) as connection:
                    connection.executescript(SCHEMA)
                    write(connection, {name: Held(highest=mark) for name, mark in self._marks().highest.items()})
                _move_into_place(temporary, self.path)
            sync_directory(self.directory)
        except OSError as error:
            raise StorageError(f"{self.directory}: cannot be written ({error.strerror}). Nothing was changed.") from error

    def catalogue_in(self, connection: sqlite3.Connection) -> Mapping[str, Held]:
        """The same as `catalogue`, in a transaction that is open."""
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT and file_header(self.path) != self._marks().header:  # else nobody wrote it: damage
            raise NewerFormatError(
                f"{self.path}: format {version}, written by a newer kinto-updater; this one knows {FORMAT}. "
                "Nothing was changed; upgrade this program."
            )
        if version not in READABLE:
            raise self.corrupt(f"its format is {version}")
        found = read_rows(connection)
        if found is None:
            raise self.corrupt("its catalogue is not the one that was stored")
        return {name.decode("utf-8"): Held(*rest) for name, *rest in found}

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
        with self.reading() as connection:
            if connection is None:
                return
            catalogue = self.catalogue_in(connection)
            found = connection.execute("PRAGMA integrity_check(1)").fetchall()
            if found != [(b"ok",)]:
                raise self.corrupt(f"SQLite finds {found[0][0]!r}")
            for name, held in catalogue.items():
                if held.timestamp:
                    with self.records_of(name):
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

    def corrupt(self, why: str) -> CorruptCacheError:
        """What to raise for damage, and what to do about it."""
        return CorruptCacheError(
            f"{self.path}: damaged ({why}). Nothing of it is used; `kinto-updater gather-changes --examine` puts it aside and "
            "fetches everything again."
        )

    @contextlib.contextmanager
    def records_of(self, name: str) -> Iterator[None]:
        """Around what reads the records of a collection with `rows`: raises CorruptCacheError where they are others."""
        try:
            yield
        except rows.OtherRecords as error:
            raise self.corrupt(f"the records of {name} are not those that were stored") from error

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


def _move_into_place(temporary: Path, path: Path) -> None:
    """Without replacing what another process has put there meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        temporary.replace(path)
