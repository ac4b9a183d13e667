"""The reader's cache, opened: nothing is served that does not verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import EMPTY, Changeset
from kinto_signer.core.freshness import Rules, refuse_untimely
from kinto_signer.core.repository import Verify
from kinto_signer.core.statement import Signed, Statement, check_published, peek
from kinto_signer.core.trust import Chains, PublicKey, Trust
from kinto_signer.errors import ConfigurationError, NotFoundError
from kinto_signer.transport import Limits
from kinto_signer.updater.cache import SqliteRepository
from kinto_signer.updater.chain_sources import at_hand
from kinto_signer.updater.files import write_new
from kinto_signer.updater.history import Log
from kinto_signer.updater.kept_policy import chains_of
from kinto_signer.updater.saved import exported, load, parse

Policies = Callable[[str], Trust]
"""The policy for a collection by its name."""


@dataclass(frozen=True)
class _Verified:
    """chains: those beside what the state carries that verifying it took, or took before. trust: the policy, with all chains."""

    state: Changeset
    key: PublicKey
    stated: Signed | None
    trust: Trust
    chains: Mapping[str, bytes]


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
        return self._repository.file.path

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
        found = self._verified(name)
        return found.state, found.key

    def _verified(self, name: str) -> _Verified:
        state = self._repository.changeset(name)
        kept = self._repository.policy(name)
        if state == EMPTY or kept.trust is None:
            held = ", ".join(self.names()) or "nothing"
            raise NotFoundError(f"{name} is not in {self.path}; there is: {held}. Run `kinto-updater gather-changes`.")
        trust, sources = at_hand(self._policies(name) if self._policies else kept.trust, self._now, kept.chains)
        key, stated = check_published(name, state, trust)
        chains = chains_of(state.metadata, {**kept.chains, **sources.used})
        return _Verified(state, key, stated, trust, chains)

    def export(self, name: str, path: str | Path, rules: Rules | None = None) -> tuple[Changeset, PublicKey]:
        """Write what is held of a collection to a file that verifies elsewhere, without a network; replaces it as a whole.

        What is written is verified once more, with nothing beside the policy but what is in it. rules: of statements and age;
        what has expired is refused. Returns what `verified` does. Raises what that raises, ConfigurationError for a place where
        no file can be, StorageError.
        """
        found = self._verified(name)
        refuse_untimely(name, found.stated, found.state.timestamp, rules or Rules(), int(self._now() * 1000))
        content = exported(name, found.state, found.chains)
        check_published(name, parse(content, str(path))[1], replace(found.trust, chains=None))
        write_new(Path(path), content)
        return found.state, found.key

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
    policies = policies or _of_keys(keys)
    directory = Path(path)
    if directory.is_file():
        directory = directory.parent
    repository = SqliteRepository(directory)
    if not repository.file.path.exists():
        raise NotFoundError(f"There is no cache in {directory}. Run `kinto-updater gather-changes --cache {directory}`.")
    return Cache(repository, policies, now)


@dataclass(frozen=True)
class VerifiedFile:
    """The state in a file, which was verified when it was opened. name: as it was asked for, or as far as the file says it."""

    name: str
    changeset: Changeset
    key: PublicKey
    statement: Statement | None

    @property
    def records(self) -> list[Record]:
        return self.changeset.records

    @property
    def timestamp(self) -> int:
        """The signed timestamp, in milliseconds."""
        return self.changeset.timestamp


def open_file(
    path: str | Path,
    keys: Iterable[PublicKey] = (),
    *,
    policies: Policies | None = None,
    name: str | None = None,
    rules: Callable[[str], Rules] = lambda _name: Rules(),
    chains: Chains | None = None,
    now: Callable[[], float] = time.time,
    max_bytes: int = Limits.max_size_bytes,
) -> VerifiedFile:
    """Verify one saved file (``export``, ``--json``, an answer of ``/changeset``) by itself.

    keys, policies: as for `open_cache`, but one of them has to be given. name: the collection that it has to be about. rules: of
    statements and age; what has expired is refused. chains: more of them than are in the file. Nothing is remembered, so that an
    older file is as good as a newer one: ``gather-changes --from-file`` is for that. Raises ConfigurationError, TooLargeError,
    NewerFormatError, a VerificationError.
    """
    policies = policies or _of_keys(keys)
    if policies is None:
        raise ConfigurationError(f"{path}: no trusted key was given: a file does not say whom to trust.")
    said, state = load(Path(path), max_bytes)
    name = name or said
    key, stated = check_published(name, state, at_hand(policies(name), now, chains)[0])
    refuse_untimely(name, stated, state.timestamp, rules(name), int(now() * 1000))
    return VerifiedFile(name, state, key, stated.statement if stated else None)


def _of_keys(keys: Iterable[PublicKey]) -> Policies | None:
    trusted = tuple(keys)
    if not trusted:
        return None
    trust = Trust(trusted)
    return lambda _name: trust


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
