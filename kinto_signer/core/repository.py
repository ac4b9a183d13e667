"""Repositories hold collections, middlewares change one thing about a repository, the synchronizer moves what changed.

Names of collections are ``bucket/collection``. Every role in the product is a wiring of these parts (design, section 3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

from kinto_signer.core.changeset import EMPTY, Changeset, State, merge
from kinto_signer.core.freshness import DAY_MS as DAY_MS
from kinto_signer.core.freshness import FUTURE_TOLERANCE_MS as FUTURE_TOLERANCE_MS
from kinto_signer.core.freshness import Remembered, Rules, covered, refuse_older, refuse_untimely, remembered
from kinto_signer.core.statement import Signed, check_published, peek
from kinto_signer.core.trust import Trust
from kinto_signer.errors import (
    BadAnswerError,
    BadSignatureError,
    HashMismatchError,
    NotYetValidError,
    RollbackError,
    SameTimestampError,
    VerificationError,
)


class Source(Protocol):
    """Where changesets come from."""

    def changeset(self, name: str, since: int = 0) -> Changeset:
        """What changed after the signed timestamp `since`, or everything, with ``since == 0`` in the answer.

        `EMPTY` if nothing is held.
        """
        ...


class Repository(Source, Protocol):
    """A place that holds collections.

    After an error in `apply` the repository is as before. Where `atomic` is False it may raise PartlyApplied instead, and
    applying the same changeset again completes it.
    """

    @property
    def atomic(self) -> bool: ...

    def timestamp(self, name: str) -> int:
        """The last signed timestamp held, integer milliseconds; 0 if nothing is held."""
        ...

    def highest(self, name: str) -> int:
        """The greatest timestamp ever applied here, which `wipe` does not forget; 0 if there was none."""
        ...

    def apply(self, name: str, changeset: Changeset) -> None:
        """Make `merge(held, changeset)` what is held. A complete changeset (``since == 0``) replaces everything."""
        ...

    def wipe(self, name: str) -> None:
        """Forget the collection's records and attributes."""
        ...


@runtime_checkable
class Summarising(Protocol):
    """A repository that can say what its states are without handing out their records."""

    def summary(self, name: str, changeset: Changeset | None = None) -> State:
        """What is held, or what would be held after `changeset`, whose ``since`` fits. Nothing is changed.

        Its digests are those of the records themselves; where nothing would change, they may be those that were noted when
        the records were stored.
        """
        ...


def summary(repository: Repository, name: str, changeset: Changeset | None = None) -> State:
    """The same of any repository."""
    if isinstance(repository, Summarising):
        return repository.summary(name, changeset)
    if changeset is None:
        return repository.changeset(name)
    return merge(repository.changeset(name) if changeset.since else EMPTY, changeset)


class Middleware:
    """A repository around a repository; subclasses change one thing."""

    def __init__(self, inner: Repository) -> None:
        self.inner = inner

    @property
    def atomic(self) -> bool:
        return self.inner.atomic

    def timestamp(self, name: str) -> int:
        return self.inner.timestamp(name)

    def highest(self, name: str) -> int:
        return self.inner.highest(name)

    def changeset(self, name: str, since: int = 0) -> Changeset:
        return self.inner.changeset(name, since)

    def apply(self, name: str, changeset: Changeset) -> None:
        self.inner.apply(name, changeset)

    def wipe(self, name: str) -> None:
        self.inner.wipe(name)


class Memory(Protocol):
    """Where a reader remembers the newest statement it accepted, longer than the state that it belonged to."""

    def remembered(self, name: str) -> Remembered: ...


class Verify(Middleware):
    """Refuse to store, and to hand out, a state that no trusted key signed; refuse to store an older one.

    now_ms: the clock, integer milliseconds; None where nothing is refused for its time. rules: about publication statements.
    memory: of the newest one; by default the state that is held. What a statement does not cover is not stored.
    """

    def __init__(
        self,
        inner: Repository,
        trust: Trust,
        now_ms: Callable[[], int] | None = None,
        rules: Rules | None = None,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(inner)
        self.trust = trust
        self.now_ms = now_ms
        self.rules = rules or Rules()
        self.memory = memory

    def changeset(self, name: str, since: int = 0) -> Changeset:
        state = self.inner.changeset(name)
        if state == EMPTY:
            return state
        check_published(name, state, self.trust)
        return state if since == 0 else self.inner.changeset(name, since)

    def apply(self, name: str, changeset: Changeset) -> None:
        held = self.inner.timestamp(name) if changeset.since else 0
        if changeset.since != held:
            raise BadAnswerError(
                f"{name}: a difference since {changeset.since} does not fit what is held here ({held}). The local copy was kept."
            )
        self._refuse_wrong_time(name, changeset.timestamp)
        state = summary(self.inner, name, changeset)
        _, found = check_published(name, state, self.trust)
        self._refuse_statement(name, found, state.timestamp)
        self._refuse_other_content(name, state)
        if found is not None:
            changeset = replace(changeset, metadata=covered(changeset.metadata, found.statement))
        self.inner.apply(name, changeset)

    def _refuse_statement(self, name: str, found: Signed | None, timestamp: int) -> None:
        before = self.memory.remembered(name) if self.memory else remembered(peek(self.inner.changeset(name).metadata))
        refuse_older(name, found, before)
        if self.now_ms is not None:
            refuse_untimely(name, found, timestamp, self.rules, self.now_ms())

    def _refuse_wrong_time(self, name: str, timestamp: int) -> None:
        highest = self.inner.highest(name)
        if timestamp < highest:
            raise RollbackError(name, highest, timestamp)
        if self.now_ms is not None and timestamp > self.now_ms() + FUTURE_TOLERANCE_MS:
            raise NotYetValidError(
                f"{name}: the state is dated {timestamp}, more than {FUTURE_TOLERANCE_MS // 3_600_000} hours after this "
                "machine's clock. The local copy was kept. Look at the clocks of the publisher and of this machine."
            )

    def _refuse_other_content(self, name: str, state: State) -> None:
        if self.inner.timestamp(name) != state.timestamp:
            return
        if summary(self.inner, name).digests().hash != state.digests().hash and self._is_published(name):
            raise SameTimestampError(
                f"{name}: another content is offered under the timestamp {state.timestamp} that is held here. "
                "The local copy was kept. Somebody signed two contents under one timestamp: ask the publisher."
            )

    def _is_published(self, name: str) -> bool:
        """Whether what is held verifies. Where it does not, somebody else wrote it, and it is no content to compare with."""
        held = self.inner.changeset(name)
        try:
            check_published(name, held, self.trust)
        except VerificationError:
            return False
        return True


class Synchronizer:
    """Bring `destination` up to date with `source`, moving what changed."""

    def __init__(self, source: Source, destination: Repository) -> None:
        self.source = source
        self.destination = destination

    def sync(self, name: str) -> Changeset:
        """Apply what changed since the last signed timestamp; returns the changeset that was applied.

        A difference that does not verify is asked for once more as a whole, since what is held may be what is wrong.
        Raises what the repositories raise; the destination is then as before.
        """
        changeset = self.source.changeset(name, self.destination.timestamp(name))
        try:
            self.destination.apply(name, changeset)
        except (BadSignatureError, HashMismatchError, SameTimestampError, BadAnswerError):
            if changeset.since == 0:
                raise
            changeset = self.source.changeset(name, 0)
            self.destination.apply(name, changeset)
        return changeset


class MemoryRepository:
    """Collections in a dictionary: for tests, and for programs that need no copy on disk."""

    atomic = True

    def __init__(self) -> None:
        self._held: dict[str, Changeset] = {}
        self._highest: dict[str, int] = {}

    def timestamp(self, name: str) -> int:
        return self._held.get(name, EMPTY).timestamp

    def highest(self, name: str) -> int:
        return self._highest.get(name, 0)

    def changeset(self, name: str, since: int = 0) -> Changeset:
        held = self._held.get(name, EMPTY)
        if since == 0:
            return held
        newer = [change for change in held.changes if change["last_modified"] > since]
        return Changeset(held.timestamp, newer, held.metadata, since)

    def apply(self, name: str, changeset: Changeset) -> None:
        self._held[name] = merge(self._held.get(name, EMPTY), changeset)
        self._highest[name] = max(self.highest(name), changeset.timestamp)

    def wipe(self, name: str) -> None:
        self._held.pop(name, None)
