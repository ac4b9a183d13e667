"""The reader's cache, opened: nothing is served that does not verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import EMPTY, Changeset
from kinto_signer.core.freshness import Rules
from kinto_signer.core.repository import Verify
from kinto_signer.core.statement import Statement, check_published, peek
from kinto_signer.core.trust import PublicKey, Trust
from kinto_signer.errors import NotFoundError
from kinto_signer.updater.cache import SqliteRepository
from kinto_signer.updater.chain_sources import at_hand
from kinto_signer.updater.history import Log

Policies = Callable[[str], Trust]
"""The policy for a collection by its name."""


class Cache:
    """The verified copy of collections on this machine. Use `open_cache`.

    Every answer is one verified state, also while an update runs or has replaced it since the last call. Raises
    CorruptCacheError for a damaged file, NotFoundError for a collection that is not held, another VerificationError where
    a policy was given and does not trust what is held, or a certificate's time is over.
    """

    def __init__(self, repository: SqliteRepository, policies: Policies | None, now: Callable[[], float] = time.time) -> None:
        self._repository = repository
        self._policies = policies
        self._now = now

    @property
    def path(self) -> Path:
        return self._repository.path

    def names(self) -> list[str]:
        """The collections that are held, as ``bucket/collection``."""
        return self._repository.names()

    def records(self, name: str) -> list[Record]:
        """The records of ``bucket/collection``, by id."""
        return list(self.changeset(name).changes)

    def record(self, name: str, record_id: str) -> Record:
        """One record. Raises NotFoundError."""
        for record in self.changeset(name).changes:
            if record["id"] == record_id:
                return record
        raise NotFoundError(f"{name}: there is no record {record_id!r} in {self.path}.")

    def timestamp(self, name: str) -> int:
        """The signed timestamp of what is held, in milliseconds."""
        return self.changeset(name).timestamp

    def metadata(self, name: str) -> Mapping[str, Any]:
        """The collection's attributes as they were published, the signature among them."""
        return self.changeset(name).metadata

    def highest(self, name: str) -> int:
        """The highest timestamp that was ever verified here; an older state is refused."""
        return self._repository.highest(name)

    def changeset(self, name: str) -> Changeset:
        """The whole state, verified."""
        return self.verified(name)[0]

    def verified(self, name: str) -> tuple[Changeset, PublicKey]:
        """The whole state, and the key that signed it."""
        state = self._repository.changeset(name)
        kept = self._repository.policy(name)
        if state == EMPTY or kept.trust is None:
            held = ", ".join(self.names()) or "nothing"
            raise NotFoundError(f"{name} is not in {self.path}; there is: {held}. Run `kinto-updater gather-changes`.")
        trust = self._policies(name) if self._policies else kept.trust
        key, _ = check_published(name, state, at_hand(trust, self._now, kept.chains)[0])
        return state, key

    def statement(self, name: str) -> Statement | None:
        """What the publisher says of what is held: until when it may be used, for one. None if nothing is said."""
        found = peek(self.changeset(name).metadata)
        return found.statement if found else None

    def log(self, name: str) -> Log:
        """The publication statements that were accepted here, oldest first, for comparing with another reader."""
        return self._repository.history.log(name)

    def chains(self, name: str) -> Mapping[str, bytes]:
        """The certificate chains by ``x5u`` that led to the collection's signers and that it does not carry itself."""
        return self._repository.policy(name).chains

    def close(self) -> None:
        """Nothing stays open between two calls; this is for ``with``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_cache(
    path: str | Path,
    keys: Iterable[PublicKey] = (),
    *,
    policies: Policies | None = None,
    now: Callable[[], float] = time.time,
) -> Cache:
    """Open the directory that ``kinto-updater gather-changes --cache`` fills (or the SQLite file in it) for reading.

    keys: the trusted keys; or policies: what is trusted for each collection. Without either, what was trusted when the state was
    stored, which finds every damage but not somebody who may write the file. now: the time by which certificates are judged,
    epoch seconds. Raises NotFoundError if nothing is there.
    """
    trusted = tuple(keys)
    if trusted and policies is None:
        trust = Trust(trusted)
        policies = lambda _name: trust  # noqa: E731
    directory = Path(path)
    if directory.is_file():
        directory = directory.parent
    repository = SqliteRepository(directory)
    if not repository.path.exists():
        raise NotFoundError(f"There is no cache in {directory}. Run `kinto-updater gather-changes --cache {directory}`.")
    return Cache(repository, policies, now)


def open_for_update(
    directory: Path,
    trust: Trust,
    now_ms: Callable[[], int],
    used: Mapping[str, bytes] | None = None,
    rules: Rules | None = None,
) -> Verify:
    """The cache as the destination of an update: it takes nothing that does not verify. used: see `SqliteRepository`."""
    repository = SqliteRepository(directory, trust, used)
    return Verify(repository, trust, now_ms, rules, memory=repository)
