"""All authorities of one collection during one publication: look at each, push to one after the other, remember how it went.

One that is required fails the publication, and S is undone; any other is left out, with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from kinto_signer.core.ahead import Signed, beyond, differing
from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import EMPTY
from kinto_signer.core.plan import Held
from kinto_signer.core.trust import Trust
from kinto_signer.errors import AheadError, ConfigurationError, ConflictError, KintoSignerError, StorageError
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.authority import Authority
from kinto_signer.server.changeset_authority import ChangesetAuthority
from kinto_signer.server.connection import Connection
from kinto_signer.server.journal import Entry, Journal
from kinto_signer.server.own import PUBLISHED_TO, Own, Seen
from kinto_signer.server.root import read_root
from kinto_signer.server.signing import AuthoritySettings, Signing

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Source(Protocol):
    """What is to be published: every live record, read where somebody asks for them, and how many these are."""

    @property
    def records(self) -> Sequence[Record]: ...

    @property
    def count(self) -> int: ...


class Target(Protocol):
    """One authority during one publication of one collection, whatever it offers."""

    connection: Connection

    def look(self, own: Own, *, whole: bool = False) -> Seen: ...

    def refuse_too_many(self, writes: Sequence[Record]) -> None: ...

    def push(
        self, writes: Sequence[Record], attributes: Mapping[str, Any], before: Seen, attempts: Sequence[Signed] = ()
    ) -> None: ...

    def read_back(self, writes: Sequence[Record], attributes: Mapping[str, Any], before: Seen) -> None: ...

    def refresh(self, attributes: Mapping[str, Any]) -> None: ...


def open_authority(
    settings: AuthoritySettings, name: str, trust: Trust, instance: str, copied: Sequence[str]
) -> Authority | ChangesetAuthority:
    """The authority as what it says it can do lets it be used. Raises what reaching it raises."""
    connection = Connection(settings)
    root = read_root(connection, instance)
    if root.takes_changesets(name):
        return ChangesetAuthority(connection, name, trust, root)
    return Authority(connection, name, trust, root, copied)


@dataclass
class Part:
    """An authority's part in a publication. took: whether it has it, read back."""

    settings: AuthoritySettings
    target: Target
    seen: Seen
    writes: Sequence[Record] = field(default=(), repr=False)
    took: bool = False


class Authorities:
    """The authorities of the signed collection of `resource`, for one publication in the current transaction."""

    def __init__(self, registry: Any, resource: Resource) -> None:
        self.signing: Signing = registry.signing
        self.journal: Journal = registry.signer_journal
        self.repository = StorageRepository(registry.storage)
        self.resource = resource
        self.name = resource.destination.name
        self.settings = self.signing.authorities(resource)
        self._copied = self.signing.copied_attributes(resource)
        self.parts: list[Part] = []

    @property
    def held(self) -> list[Held]:
        return [part.seen.held for part in self.parts]

    def are_like(self, own: Own) -> bool:
        """Whether all of them hold what S does, of which a part was looked at."""
        return all(part.seen.held is own.part for part in self.parts)

    def look_at_everything(self, own: Own) -> None:
        for part in self.parts:
            part.seen = part.seen.whole(own)

    @property
    def sent(self) -> int:
        return sum(len(part.writes) for part in self.parts if part.took)

    @property
    def to(self) -> str:
        return ",".join(part.settings.url for part in self.parts if part.took) or "nowhere else"

    # --- before anything is written ----------------------------------------------------------------------------------

    def look(self, own: Own, source: Source) -> None:
        """Look at every authority; nothing was written on S yet, so that one on S's own database shows.

        source: what is to be published. Raises AheadError where that would lose what an authority alone has, also of one that is
        not required; ConfigurationError for one that is this server; ConflictError if publishing nothing would remove what an
        earlier life of this signer published; and whatever is wrong with a required one.
        """
        for settings in self.settings:
            part = self._tried(settings, partial(self._look, settings, own, source), always=(AheadError, ConfigurationError))
            if part is not None:
                self.parts.append(part)

    def _look(self, settings: AuthoritySettings, own: Own, source: Source) -> Part:
        target = open_authority(settings, self.name, self.signing.trust(self.resource), self.signing.instance, self._copied)
        seen = target.look(own)
        self._refuse_own_database(settings, own, seen)
        if seen.state.count and own.timestamp == 0 and not source.count:
            raise ConflictError(
                f"{self.name}: the authority holds {seen.state.count} records that this signer published, and nothing was "
                "ever published from here. Nothing was done: it would remove them all. Take them over first: "
                "`kinto-signer bootstrap --ini FILE`."
            )
        self._refuse_loss(settings, own, seen, source)
        return Part(settings, target, seen)

    def _refuse_own_database(self, settings: AuthoritySettings, own: Own, seen: Seen) -> None:
        after = self.repository.attributes(self.name)
        unpublished = own.attributes is None or PUBLISHED_TO not in own.attributes
        if PUBLISHED_TO in seen.state.metadata or (unpublished and after and after == dict(seen.state.metadata)):
            raise ConfigurationError(
                f"{settings.line('url')} = {settings.url} is a server on this server's own database. Name the server that "
                "readers use, or remove the line to let them read here. Nothing was published."
            )

    def _refuse_loss(self, settings: AuthoritySettings, own: Own, seen: Seen, source: Source) -> None:
        """Raise AheadError if the authority has what S does not know, and publishing `source` over it would lose some of that."""
        if not is_ahead(own, seen, self.journal.entry(self.name, settings.label)):
            return
        ours, theirs = (own.held.records if own.timestamp else []), seen.signed
        found = beyond(seen.state.records, ours, source.records)
        origin = self.repository.attributes(self.resource.source.name) or {}
        attributes = differing(self._copied, seen.state.metadata, own.attributes or {}, origin)
        if found.loses_nothing and not attributes:
            logger.warning(
                "%s: %s holds the state of %s, which this signer published after the %s that is known here: an unfinished "
                "publication, or S was restored from a back-up. All that it has is in the source, and it is replaced.",
                self.name,
                settings.url,
                theirs.timestamp,
                own.timestamp,
            )
            return
        named = self.resource.source.name
        mend = f"Take it over first, pending edits are kept: `kinto-signer adopt {named}`."
        if not seen.sound:
            mend = "It is unfinished and cannot be taken over: docs/recovery.rst says what to do."
        raise AheadError(
            f"{self.name}: {settings.url} holds the state of {theirs.timestamp}, which this signer signed; here the last one is "
            f"{own.timestamp}. It has {found} that are not here{_and(attributes)}. Was S restored from an older back-up? "
            f"Nothing was published: it would be lost. {mend}"
        )

    def have_other(self, attributes: Mapping[str, Any]) -> bool:
        """Whether one of them shows other copied attributes than these, which takes a new timestamp."""
        return any(
            not part.seen.held.fresh and other_attributes(part.seen.state.metadata, attributes, self._copied)
            for part in self.parts
        )

    def plan(self, writes: Sequence[Sequence[Record]]) -> None:
        """Note what each authority is to be given. Raises if it is more than a required one takes."""
        for part, planned in zip(list(self.parts), writes, strict=True):
            part.writes = planned
            if self._tried(part.settings, partial(_fits, part)) is None:
                self.parts.remove(part)

    # --- in the before-commit hook -----------------------------------------------------------------------------------

    def push(self, attributes: Mapping[str, Any], lap: Callable[[str], None]) -> None:
        """Push to one after the other. The first required one that fails ends it: S is undone and the others wait.

        lap: called after each step with its name.
        """
        attempt = Signed(attributes["signed_timestamp"], attributes["hash"])
        for number, part in enumerate(self.parts):
            if number:
                part.target.connection.resume()
            known = self.journal.entry(self.name, part.settings.label).attempts
            self.journal.change(self.name, part.settings.label, lambda entry: entry.tried(attempt))
            part.took = self._tried(part.settings, partial(_give, part, attributes, known, lap)) or False

    def refresh(self, attributes: Mapping[str, Any]) -> None:
        """Replace the signature on one after the other."""
        for settings in self.settings:
            part = self._tried(settings, partial(self._refresh, settings, attributes))
            if part is not None:
                self.parts.append(part)

    def _refresh(self, settings: AuthoritySettings, attributes: Mapping[str, Any]) -> Part:
        target = open_authority(settings, self.name, self.signing.trust(self.resource), self.signing.instance, self._copied)
        target.refresh(attributes)
        return Part(settings, target, Seen(Held(0), EMPTY, sound=True), took=True)

    # --- after S has committed, or not -------------------------------------------------------------------------------

    def committed(self, timestamp: int) -> None:
        """Remember who has it. What cannot be written down now is known by S's own copy too."""
        for part in self.parts:
            if part.took:
                try:
                    self.journal.change(self.name, part.settings.label, lambda entry: entry.succeeded(timestamp, now()))
                except StorageError as error:
                    logger.error("%s: %s", self.name, error)

    def _tried(
        self, settings: AuthoritySettings, work: Callable[[], T], always: tuple[type[KintoSignerError], ...] = ()
    ) -> T | None:
        """What `work` returns; None if it failed and the authority is not required. Failures are remembered.

        always: what is raised of any authority.
        """
        try:
            return work()
        except KintoSignerError as error:
            remember_failure(self.journal, self.name, settings, error)
            if settings.required or isinstance(error, always):
                raise
            logger.warning(
                "left out %s on %s (%s, not required) reason=%s: %s",
                self.name,
                settings.url,
                settings.label,
                error.reason,
                error.message,
            )
            return None


def other_attributes(theirs: Mapping[str, Any], wanted: Mapping[str, Any], names: Sequence[str]) -> bool:
    return any(theirs.get(name) != wanted.get(name) or (name in theirs) != (name in wanted) for name in names)


def is_ahead(own: Own, seen: Seen, entry: Entry) -> bool:
    """Whether an authority holds a signed state that S neither holds, nor knows to have sent, nor knows to be older."""
    if seen.held.fresh or (seen.sound and seen.signed == own.signed):
        return False
    tried = {attempt.timestamp for attempt in entry.attempts} if not seen.sound else set()
    if seen.signed in entry.attempts or seen.signed.timestamp in tried:
        return False
    known = own.timestamp if entry.known is None else min(entry.known, own.timestamp)
    return seen.signed.timestamp > known


def remember_failure(journal: Journal, name: str, settings: AuthoritySettings, error: KintoSignerError) -> None:
    """Write the failure down, unless that fails too: the failure itself is what has to be heard."""
    try:
        journal.change(name, settings.label, lambda entry: entry.failed(error, now()))
    except StorageError as unusable:
        logger.error("%s: %s", name, unusable)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _fits(part: Part) -> bool:
    part.target.refuse_too_many(part.writes)
    return True


def _give(part: Part, attributes: Mapping[str, Any], attempts: Sequence[Signed], lap: Callable[[str], None]) -> bool:
    part.target.push(part.writes, attributes, part.seen, attempts)
    lap("push")
    part.target.read_back(part.writes, attributes, part.seen)
    lap("read back")
    return True


def _and(attributes: Sequence[str]) -> str:
    return f", nor the attributes {', '.join(attributes)}" if attributes else ""
