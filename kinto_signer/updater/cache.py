"""SqliteRepository: the reader's copy on disk.

Every read is checked against digests of every byte that is served, in the same transaction; Verify then checks the signature.
The digests are those that are signed. One transaction per collection. Tombstones are not kept: whoever asks for a difference gets
everything.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import EMPTY, Changeset, Content, State, Summary
from kinto_signer.core.freshness import Remembered, remembered
from kinto_signer.core.statement import peek
from kinto_signer.core.trust import Trust
from kinto_signer.errors import ConfigurationError, ConflictError
from kinto_signer.updater import kept_policy, rows
from kinto_signer.updater.cache_file import CacheFile
from kinto_signer.updater.catalogue import Held, note, write
from kinto_signer.updater.history import History
from kinto_signer.updater.kept_policy import KeptPolicy


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
        self.file = CacheFile(directory)
        self.history = History(directory / "statements.json")
        self.trust = trust
        self.used = {} if used is None else used
        self._found: _Found | None = None

    # --- reading ----------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The collections that are held."""
        return sorted(name for name, held in self.file.catalogue().items() if held.timestamp)

    def timestamp(self, name: str) -> int:
        return self.file.catalogue().get(name, Held()).timestamp

    def highest(self, name: str) -> int:
        return self.file.highest(name)

    def remembered(self, name: str) -> Remembered:
        """The newest publication statement that was accepted, also of a collection whose records were dropped since."""
        held = remembered(peek(json.loads(self.file.catalogue().get(name, Held()).metadata)))
        return max(held, self.history.remembered(name), key=lambda known: known.serial)

    def policy(self, name: str) -> KeptPolicy:
        """The policy under which the collection was stored, and the chains that this took."""
        return kept_policy.load(self.file.catalogue().get(name, Held()).keys, where=f"{self.file.path}: {name}")

    def changeset(self, name: str, since: int = 0) -> Changeset:
        with self.file.reading() as connection:
            held = self.file.catalogue_in(connection).get(name, Held()) if connection else Held()
            if connection is None or not held.timestamp:
                return EMPTY
            metadata = json.loads(held.metadata)
            if since == held.timestamp:
                return Changeset(held.timestamp, (), metadata, since)
            with self.file.records_of(name):
                return Changeset(held.timestamp, rows.read(connection, name, held), metadata)

    def summary(self, name: str, changeset: Changeset | None = None) -> State:
        """See `core.repository.Summarising`. Records are read, and not parsed, where some of them would change."""
        if changeset is not None and changeset.since == 0:
            return changeset
        held = self.file.catalogue().get(name, Held())
        if changeset is None:
            changeset = Changeset(held.timestamp, (), json.loads(held.metadata), held.timestamp)
        wanted = changeset
        return Summary(wanted.timestamp, wanted.metadata, lambda: self._content(name, wanted))

    def _content(self, name: str, changeset: Changeset) -> Content:
        with self.file.reading() as connection:
            held = self.file.catalogue_in(connection).get(name, Held()) if connection else Held()
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
        with self.file.records_of(name):
            return rows.content_after(connection, name, held, changeset.changes, changeset.timestamp)

    # --- writing ----------------------------------------------------------------------------------------------------

    def apply(self, name: str, changeset: Changeset) -> None:
        """Store a changeset that was verified. Raises ConflictError if another process stored something else meanwhile."""
        if self.trust is None:
            raise ConfigurationError(f"{self.file.directory}: opened for reading only; to write, the trusted keys are needed.")
        keys = kept_policy.dump(self.trust, kept_policy.chains_of(changeset.metadata, self.used))
        highest = max(self.highest(name), changeset.timestamp)
        new = Held(changeset.timestamp, highest, _dump(changeset.metadata), keys)
        with self.file.writing({name: highest}) as connection:
            self._store(connection, name, changeset, new)
        self.history.remember(name, peek(changeset.metadata))

    def _store(self, connection: sqlite3.Connection, name: str, changeset: Changeset, new: Held) -> None:
        catalogue = dict(self.file.catalogue_in(connection))
        held = catalogue.get(name, Held())
        if changeset.timestamp < held.highest or (changeset.since and changeset.since != held.timestamp):
            raise self._conflict(name)
        if changeset.since == changeset.timestamp and not changeset.changes:
            noted = held.records_digest
        else:
            noted = note(self._content_after(connection, name, held, changeset))
            with self.file.records_of(name):
                rows.write(connection, name, held, changeset.changes, complete=changeset.since == 0)
        new = replace(new, records_digest=noted)
        if new != held or connection.total_changes:
            catalogue[name] = new
            write(connection, catalogue)

    def wipe(self, name: str) -> None:
        """Drop the records and attributes; the highest verified timestamp stays."""
        highest = self.highest(name)
        with self.file.writing({name: highest}) as connection:
            catalogue = dict(self.file.catalogue_in(connection))
            connection.execute("DELETE FROM record WHERE collection = ?", (name,))
            catalogue[name] = Held(highest=highest)
            write(connection, catalogue)

    def forget(self, name: str) -> None:
        """Drop everything about the collection: any older state that is properly signed will be accepted next."""
        with self.file.writing({name: 0}) as connection:
            catalogue = dict(self.file.catalogue_in(connection))
            connection.execute("DELETE FROM record WHERE collection = ?", (name,))
            catalogue.pop(name, None)
            write(connection, catalogue)
        self.history.forget(name)

    def _conflict(self, name: str) -> ConflictError:
        return ConflictError(f"{name}: another process updated the cache meanwhile. Its state was kept; run it again.")


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
