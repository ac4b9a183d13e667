"""One publication: source -> signed destination on S, and, before S commits, to the authority (design, section 5)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import transaction

from kinto_signer.core.canonical import Digests, Record, signed_bytes
from kinto_signer.core.changeset import is_tombstone
from kinto_signer.core.mass_deletion import refuse_mass_deletion
from kinto_signer.core.plan import Plan
from kinto_signer.core.statement import check_statement
from kinto_signer.core.trust import check
from kinto_signer.errors import SigningError
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.resources import Place, Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.authorities import Authorities, other_attributes
from kinto_signer.server.compared import Compared
from kinto_signer.server.kept_states import KeptState, recorded
from kinto_signer.server.own import Own
from kinto_signer.server.places import create_place
from kinto_signer.server.signed_attributes import SignedAttributes
from kinto_signer.server.signing import Signing
from kinto_signer.server.stored import Copy, Stored, read_stored
from kinto_signer.server.writing import make_plan, refuse_values, write
from kinto_signer.signers import Signature

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """What was signed, for the tracking fields and the log. created, updated, deleted: against S's own signed copy."""

    timestamp: int
    hash: str
    created: int = 0
    updated: int = 0
    deleted: int = 0
    refs: str = "-"
    """What the signers call the signatures in their own logs."""
    copy: Copy | None = field(default=None, repr=False)


class Publisher:
    """Publishes in the current transaction. user: who asked."""

    def __init__(self, registry: Any, user: str) -> None:
        self.signing: Signing = registry.signing
        self.repository = StorageRepository(registry.storage)
        self.registry = registry
        self.user = user
        self._attributes = SignedAttributes(self.signing, self.repository)
        self._clock = Clock()

    def compare(self, resource: Resource, origin: Place | None = None, beside: Copy | None = None) -> Compared:
        """`origin` (None: the source) and the destination, for a publication."""
        like, saved = (beside.compared, beside.saved) if beside else (None, None)
        trust = self.signing.trust(resource)
        return Compared(self.registry, origin or resource.source, resource.destination, trust, like, saved)

    def publish(
        self,
        resource: Resource,
        origin: Place | None = None,
        *,
        compared: Compared | None = None,
        beside: Copy | None = None,
        allow_mass_deletion: bool = False,
        renew: bool = False,
    ) -> Published:
        """Sign the records of `origin` (None: of the source) as the destination's content; the push happens before commit.

        compared: the two, if they were compared already. beside: another copy of `origin` that this request has to do with.
        allow_mass_deletion: whatever the setting says. renew: sign a new timestamp even if nothing differs.
        Raises MassDeletionError, UnsignableValue, SigningError, a VerificationError about what A holds, or what reaching A
        raises; the transaction must then be undone.
        """
        name, origin = resource.destination.name, origin or resource.source
        own = Own(self.repository, name, self.signing.copied_attributes(resource))
        authorities = Authorities(self.registry, resource)
        compared = compared or self.compare(resource, origin, beside)
        if not allow_mass_deletion:
            self._refuse_mass_deletion(resource, own, compared)
        self._look(resource, own, authorities, compared)
        if origin == resource.destination and self.repository.count(name):
            check(name, self.repository.changeset(name), self.signing.trust(resource))
        copied = self.repository.attributes(resource.source.name) or {}
        newest = self.repository.etag(resource.source.name) if origin == resource.source and copied else 0
        renew = renew or self._has_to_be_renewed(resource, own, authorities, copied, newest)
        planned = make_plan(own, authorities, compared, beside, max(now_ms(), newest), renew=renew)
        refuse_values(name, planned, compared, allow_floats=self.signing.allow_floats(resource))
        authorities.plan(planned.authorities)
        write(self.registry.storage, name, planned, compared, beside)
        self._clock.lap("write")
        content = self._stored(resource, planned, compared, beside)
        if planned.timestamp == own.timestamp and content.digests.hash != own.published.get("hash", content.digests.hash):
            logger.warning("%s: altered behind S's back. No two contents have one timestamp: it gets a new one.", name)
            return self.publish(
                resource, origin, compared=compared, beside=beside, allow_mass_deletion=allow_mass_deletion, renew=True
            )
        return self._sign(resource, authorities, compared, planned, content)

    def _look(self, resource: Resource, own: Own, authorities: Authorities, compared: Compared) -> None:
        """At what is held here and there."""
        if compared.partly and own.attributes is not None:
            own.look_at(compared.copy_part)
        authorities.look(own, compared)
        create_place(self.registry, resource.destination, resource)
        if compared.partly and own.part is None:  # not before: an authority on S's own database would wait for us
            own.look_at(compared.copy_part)
        self._clock.lap("look")

    def _sign(
        self, resource: Resource, authorities: Authorities, compared: Compared, planned: Plan, content: Stored
    ) -> Published:
        """Sign what is stored now; it is pushed before the commit."""
        signed = content.digests, self._signatures(resource, content.digests, content.signed_bytes)
        others = [part.seen.state.metadata for part in authorities.parts]
        attributes = self._attributes.publish(resource, planned.timestamp, *signed, resource.source, content.count, others)
        self._clock.lap("sign")
        if authorities.settings:
            _after_other_hooks(self._push, authorities, attributes)
        published = replace(_summary(planned, compared.copy_part, *signed), copy=Copy(compared, planned, content))
        transaction.get().addAfterCommitHook(self._done, (authorities, published, content.kept))
        return published

    def _refuse_mass_deletion(self, resource: Resource, own: Own, compared: Compared) -> None:
        """Of previews nobody's readers lose anything."""
        percent = self.signing.workflow(resource).mass_deletion_percent
        if not percent or resource.local or own.attributes is None:
            return
        deleted = {record["id"] for record in compared.copy_part} - {record["id"] for record in compared.source_part}
        if deleted:
            published = self.repository.count(own.name)
            refuse_mass_deletion(resource.source.name, published=published, deleted=len(deleted), percent=percent)

    def _has_to_be_renewed(
        self, resource: Resource, own: Own, authorities: Authorities, source: Mapping[str, Any], newest: int
    ) -> bool:
        """Whether a new timestamp has to be signed even if no record differs.

        Where other attributes are published. And where the source is newer: kinto-admin counts as pending what is newer in the
        source than in its copies, also an edit that was taken back.
        """
        names = self.signing.copied_attributes(resource)
        other = own.timestamp > 0 and other_attributes(own.attributes or {}, source, names)
        return other or authorities.have_other(source) or 0 < own.timestamp < newest

    def refresh(self, resource: Resource) -> Published:
        """Sign the digest of the last publication again (decision 8); no record is read, altered ones are not blessed."""
        name = resource.destination.name
        attributes = self.repository.attributes(name) or {}
        content, timestamp = self._recorded(resource, attributes)
        count = self._count(resource, attributes, content, timestamp)
        signatures = self._signatures(resource, content, lambda: signed_bytes(self.repository.records(name), timestamp))
        # The source's attributes may hold edits that nobody approved.
        refreshed = self._attributes.publish(resource, timestamp, content, signatures, resource.destination, count)
        authorities = Authorities(self.registry, resource)
        _after_other_hooks(authorities.refresh, refreshed)
        published = Published(timestamp, content.hash, refs=_refs(signatures))
        transaction.get().addAfterCommitHook(self._done, (authorities, published))
        return published

    def _recorded(self, resource: Resource, attributes: Mapping[str, Any]) -> tuple[Digests, int]:
        """The digest that the last publication signed, verified under the signature that is there."""
        name, trust = resource.destination.name, self.signing.trust(resource)
        found = recorded(name, attributes, trust)
        if found is not None:
            return found[1], found[0]
        state = self.repository.changeset(name)
        check(name, state, trust)
        return state.digests(), state.timestamp

    def _count(self, resource: Resource, attributes: Mapping[str, Any], content: Digests, timestamp: int) -> int:
        """How many records the last publication has, as its own statement says, which has to be right about the attributes too.

        Where there is none yet the records are read and verified.
        """
        name, trust = resource.destination.name, self.signing.trust(resource)
        found = check_statement(name, attributes, trust, timestamp=timestamp, content_hash=content.hash, records=None)
        if found is not None or self.signing.statement(resource) is None:
            return found.statement.records if found else 0
        state = self.repository.changeset(name)
        check(name, state, trust)
        return len(state.records)

    def _stored(self, resource: Resource, planned: Plan, compared: Compared, beside: Copy | None) -> Stored:
        """The destination as it reads now: what is signed is what was stored, not what was meant."""
        floats = self.signing.allow_floats(resource)
        stored = read_stored(self.registry, resource.destination, planned, compared, allow_floats=floats, beside=beside)
        if stored is None:
            name = resource.destination.name
            raise SigningError(f"{name}: the storage holds something else than what was written to it. Nothing was signed.")
        return stored

    def _signatures(self, resource: Resource, content: Digests, signed_bytes: Callable[[], bytes]) -> Sequence[Signature]:
        """The signatures of all signers, each verified. signed_bytes: called where a signer makes the digest itself only."""
        return self.signing.signer(resource).sign(content.signed, signed_bytes)

    def _push(self, authorities: Authorities, attributes: Mapping[str, Any]) -> None:
        """The before-commit hook: nothing is written to S here, and whatever it raises undoes S's transaction."""
        self._clock.lap("other plugins")
        authorities.push(attributes, self._clock.lap)

    def _done(self, success: bool, authorities: Authorities, published: Published, kept: KeptState | None = None) -> None:
        """The after-commit hook."""
        if not success:
            return
        if kept is not None:
            self.registry.signer_kept_states.keep(authorities.name, kept)
        authorities.committed(published.timestamp)
        logger.info(
            "published %s signed_timestamp=%s hash=%s created=%s updated=%s deleted=%s sent=%s to=%s by=%s refs=%s seconds=%s",
            authorities.name,
            published.timestamp,
            published.hash,
            published.created,
            published.updated,
            published.deleted,
            authorities.sent,
            authorities.to,
            self.user,
            published.refs,
            self._clock,
        )


def _after_other_hooks(hook: Callable[..., None], *args: Any) -> None:
    """Register a before-commit hook that runs after those that others have registered, and whatever they refuse."""

    def register() -> None:
        transaction.get().addBeforeCommitHook(hook, args)

    transaction.get().addBeforeCommitHook(register)


class Clock:
    """Seconds per step, for the log line of a publication."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        now = time.monotonic()
        self._laps[step] = self._laps.get(step, 0.0) + now - self._last
        self._last = now

    def __str__(self) -> str:
        return ",".join(f"{step.replace(' ', '_')}:{seconds:.3f}" for step, seconds in self._laps.items())


def _refs(signatures: Iterable[Signature]) -> str:
    return ",".join(f"{made.signer_id}:{made.ref}" for made in signatures if made.ref) or "-"


def _summary(planned: Plan, before: Iterable[Record], content: Digests, signatures: Iterable[Signature]) -> Published:
    known = {record["id"] for record in before}
    live = [change for change in planned.destination if not is_tombstone(change)]
    updated = sum(change["id"] in known for change in live)
    deleted = sum(change["id"] in known for change in planned.destination if is_tombstone(change))
    return Published(planned.timestamp, content.hash, len(live) - updated, updated, deleted, _refs(signatures))
