"""gather-changes: bring the cache up to date with a server, or with files, collection by collection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from kinto_signer.core.changeset import EMPTY, Changeset
from kinto_signer.core.freshness import refuse_untimely
from kinto_signer.core.repository import MemoryRepository, Source, Synchronizer, Verify
from kinto_signer.core.statement import check_published
from kinto_signer.core.trust import Trust
from kinto_signer.errors import CorruptCacheError, KintoSignerError, NotFoundError, TryLaterError, VerificationError
from kinto_signer.remote import RemoteRepository
from kinto_signer.transport import Deadline, Limits, Session
from kinto_signer.transport.chains import ChainFetcher
from kinto_signer.updater.cache import SqliteRepository
from kinto_signer.updater.chain_sources import at_hand
from kinto_signer.updater.file_source import open_source
from kinto_signer.updater.files import exclusive, remove_leftovers
from kinto_signer.updater.reading import open_for_update
from kinto_signer.updater.saved import path_of, save
from kinto_signer.updater.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of one collection.

    timestamp: of what is held afterwards, integer milliseconds, 0 if nothing is. before: of what was held. changes: how
    many records and tombstones travelled. key: the fingerprint of the key that signed it. file: where it came from, if it was
    no server; the name is empty if the file could not be read so far.
    """

    name: str
    timestamp: int = 0
    before: int = 0
    records: int = 0
    changes: int = 0
    key: str = ""
    json: Path | None = None
    error: KintoSignerError | None = None
    file: Path | None = None

    @property
    def status(self) -> str:
        if self.error is not None:
            return "failed"
        return "unchanged" if self.timestamp == self.before else "updated"


class Gathering:
    """One run: one server or some files, one deadline, one cache. After an error with a collection the others go on.

    examine: look at the whole cache first, also if nobody seems to have touched it.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        on_bytes: Callable[[int], None] | None = None,
        examine: bool = False,
    ) -> None:
        self.settings = settings
        self.examine = examine
        self.clock = clock
        self.deadline = Deadline(settings.deadline_s)
        self.source: Source = MemoryRepository()
        if settings.server:
            limits = Limits(max_size_bytes=settings.max_size_bytes)
            session = Session(settings.server, settings.credentials, deadline=self.deadline, limits=limits, on_bytes=on_bytes)
            self.source = _Existing(RemoteRepository(session))
        self.fetcher = ChainFetcher(settings.x5u_hosts, lambda: self.deadline)
        self.lock = settings.cache / "update.lock"
        self._examined = False

    def run(self, progress: Callable[[str], None] = lambda name: None) -> list[Outcome]:
        """Update every configured collection; errors are in the outcomes. progress: called with each name before it."""
        outcomes = []
        for name in self.settings.collections:
            progress(name)
            outcomes.append(self._outcome(name, self.source))
        return outcomes

    def run_files(self, files: Iterable[Path], progress: Callable[[str], None] = lambda name: None) -> list[Outcome]:
        """The same from files, one after the other. No network is used but for chains, from hosts that were named for them."""
        outcomes = []
        for path in files:
            progress(str(path))
            try:
                name, source = open_source(path, self.settings.collections, self.settings.max_size_bytes)
                outcomes.append(replace(self._outcome(name, source), file=path))
            except KintoSignerError as error:
                outcomes.append(Outcome("", error=error, file=path))
        return outcomes

    def _outcome(self, name: str, source: Source) -> Outcome:
        before = 0
        try:
            trust = self.settings.trust_for(name)
            with exclusive(self.lock, self._remaining):
                repository = self._sound_repository()
                before, kept = repository.timestamp(name), repository.policy(name)
                trust, chains = at_hand(trust, self.clock, kept.chains, self.fetcher)
                verify = open_for_update(self.settings.cache, trust, self._now_ms, chains.used, self.settings.rules(name))
                applied = self._sync(name, source, verify, repository, trust)
                return self._describe(name, before, applied, repository, trust)
        except KintoSignerError as error:
            logger.debug("%s", name, exc_info=True)
            return Outcome(name, timestamp=before, before=before, error=error)

    def _sound_repository(self) -> SqliteRepository:
        """The cache, put aside first if it is damaged. Call it with the lock held."""
        repository = SqliteRepository(self.settings.cache)
        if self._examined:
            return repository
        remove_leftovers(repository.file.path)
        remove_leftovers(repository.file.marks_path)
        remove_leftovers(repository.history.path)
        self._examined = True
        try:
            repository.file.look_after(in_full=self.examine)
        except CorruptCacheError as error:
            self._put_aside(repository, error)
        return repository

    def _sync(self, name: str, source: Source, verify: Verify, repository: SqliteRepository, trust: Trust) -> Changeset:
        synchronizer = Synchronizer(source, verify)
        try:
            return synchronizer.sync(name)
        except CorruptCacheError as error:
            self._put_aside(repository, error)
            return synchronizer.sync(name)
        except TryLaterError as error:
            self._refuse_untimely_copy(name, repository, trust, error)
            raise

    def _refuse_untimely_copy(self, name: str, repository: SqliteRepository, trust: Trust, why: TryLaterError) -> None:
        """Say that what is held is too old, where nothing newer can be had: to be cut off is a way of being held back."""
        state = repository.summary(name)
        if not state.timestamp:
            return
        _, found = check_published(name, state, trust)
        try:
            refuse_untimely(name, found, state.timestamp, self.settings.rules(name), self._now_ms())
        except VerificationError as error:
            error.args = (f"{error.message} That is about the local copy; nothing newer could be had: {why.message}",)
            raise error from why

    def _put_aside(self, repository: SqliteRepository, error: CorruptCacheError) -> None:
        stamp = datetime.fromtimestamp(self.clock(), UTC).strftime("%Y%m%dT%H%M%SZ")
        aside = repository.file.move_aside(stamp)
        kept = "kept" if repository.file.marks_path.exists() else "LOST: an older state would not be recognised this time"
        logger.error(
            "%s [%s] It was moved to %s and everything is fetched again; the highest verified timestamps are %s.",
            error.message,
            error.reason,
            aside,
            kept,
        )

    def _describe(self, name: str, before: int, applied: Changeset, repository: SqliteRepository, trust: Trust) -> Outcome:
        state = repository.summary(name)
        key, _ = check_published(name, state, trust)
        logger.info("%s: verified at %d with the key %s", name, state.timestamp, key.fingerprint)
        path = None
        if self.settings.json is not None:
            whole = repository.changeset(name)
            check_published(name, whole, trust)
            remove_leftovers(path_of(self.settings.json, name))
            path = save(self.settings.json, name, whole, repository.policy(name).chains)
        return Outcome(name, state.timestamp, before, state.count, len(applied.changes), key.fingerprint, path)

    def _remaining(self) -> float:
        return self.deadline.remaining()

    def _now_ms(self) -> int:
        return int(self.clock() * 1000)


class _Existing:
    """Says that a collection is not there, where an empty changeset would only say that nothing is signed."""

    def __init__(self, inner: Source) -> None:
        self.inner = inner

    def changeset(self, name: str, since: int = 0) -> Changeset:
        changeset = self.inner.changeset(name, since)
        if changeset == EMPTY and not since:
            raise NotFoundError(f"{name}: the server has no such collection. Nothing was changed; look at its name.")
        return changeset
