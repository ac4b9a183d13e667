"""`push`: bring an authority that is new, behind or damaged up to date from S's signed copy. Nothing is signed again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kinto_signer.core.ahead import describe
from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import Changeset, by_record_id, diff, is_tombstone, merge
from kinto_signer.core.plan import is_exactly
from kinto_signer.core.published import CARRIED, PUBLICATION
from kinto_signer.core.trust import check
from kinto_signer.errors import (
    AheadError,
    ConfigurationError,
    ConflictError,
    KintoSignerError,
    StorageError,
)
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.authorities import now, open_authority, remember_failure
from kinto_signer.server.authority import Authority
from kinto_signer.server.changeset_authority import ChangesetAuthority
from kinto_signer.server.own import NOTHING_SEEN, Own, Seen
from kinto_signer.server.signing import AuthoritySettings

logger = logging.getLogger(__name__)

DAMAGED = ("hash-mismatch", "bad-signature", "unsigned")
"""Why a state that is not ahead may be replaced by one that this signer signed: it is nobody's."""


@dataclass(frozen=True)
class Pushed:
    """What became of one collection on one authority."""

    name: str
    label: str
    url: str
    what: str
    error: KintoSignerError | None = None


def push(registry: Any, resource: Resource, label: str | None = None) -> list[Pushed]:
    """Bring the authorities of one collection, or the one called `label`, up to date. One that fails does not stop the others.

    Raises ConfigurationError for a label that is not configured, ConflictError if nothing was signed here, and a
    VerificationError if S's own copy does not verify.
    """
    own = Own(StorageRepository(registry.storage), resource.destination.name, registry.signing.copied_attributes(resource))
    chosen = choose(registry.signing.authorities(resource), label)
    if own.timestamp == 0:
        raise ConflictError(f"{own.name}: nothing was signed here yet. Nothing was pushed; set the status to `to-sign` instead.")
    check(own.name, own.state, registry.signing.trust(resource))
    return [_one(registry, resource, settings, own) for settings in chosen]


def choose(authorities: Sequence[AuthoritySettings], label: str | None) -> Sequence[AuthoritySettings]:
    """Those that are called `label`; all of them for None. Raises ConfigurationError."""
    if not authorities:
        raise ConfigurationError("No authority is configured for this collection: readers come to this server.")
    chosen = [authority for authority in authorities if label in (None, authority.label)]
    if not chosen:
        known = ", ".join(authority.label for authority in authorities)
        raise ConfigurationError(f"No authority of this collection is called {label!r}. Known: {known}.")
    return chosen


def _one(registry: Any, resource: Resource, settings: AuthoritySettings, own: Own) -> Pushed:
    try:
        signing = registry.signing
        copied = signing.copied_attributes(resource)
        target = open_authority(settings, own.name, signing.trust(resource), signing.instance, copied)
        what = _by_changeset(target, own) if isinstance(target, ChangesetAuthority) else _by_batch(target, own)
    except KintoSignerError as error:
        remember_failure(registry.signer_journal, own.name, settings, error)
        logger.warning("push of %s to %s failed reason=%s: %s", own.name, settings.url, error.reason, error.message)
        return Pushed(own.name, settings.label, settings.url, "", error)
    try:
        registry.signer_journal.change(own.name, settings.label, lambda entry: entry.succeeded(own.timestamp, now()))
    except StorageError as error:
        logger.error("%s: %s", own.name, error)
    logger.info("pushed %s signed_timestamp=%s to=%s: %s", own.name, own.timestamp, settings.url, what)
    return Pushed(own.name, settings.label, settings.url, what)


def _by_changeset(target: ChangesetAuthority, own: Own) -> str:
    claimed = 0
    try:
        seen: Seen | None = target.look(own, whole=True)
    except KintoSignerError as error:
        if error.reason not in DAMAGED:
            raise
        claimed, seen = target.claimed(), None
        _refuse_ahead(target.connection.url, own, claimed)
    if seen is None:
        target.complete(claimed, own.held.changes, own.published)
        target.read_back(own.held.changes, own.published, NOTHING_SEEN)
        return f"it did not verify; replaced as a whole, {len(own.held.records)} records"
    if seen.signed == own.signed and not seen.held.fresh:
        return _refreshed(target, own, seen)
    _refuse_ahead(target.connection.url, own, seen.signed.timestamp)
    before = f"it had the state of {seen.signed.timestamp}" if seen.signed.timestamp else "it had nothing"
    if seen.held.fresh:
        target.push(own.held.changes, own.published, seen)
        target.read_back(own.held.changes, own.published, seen)
        return f"{before}; {len(own.held.records)} records sent"
    writes = _missing(own, seen)
    if _differences_do(own, seen, writes):
        target.push(writes, own.published, seen)
        target.read_back(writes, own.published, seen)
    else:
        target.complete(seen.state.timestamp, own.held.changes, own.published)
        target.read_back(own.held.changes, own.published, NOTHING_SEEN)
    return f"{before}; {describe(diff(own.held.records, seen.state.records))}"


def _by_batch(target: Authority, own: Own) -> str:
    """Through a plain Kinto, which keeps no timestamp older than the one that a record has."""
    seen = target.look_at_anything(own)
    _refuse_ahead(target.connection.url, own, seen.signed.timestamp)
    if seen.sound and not seen.held.fresh and seen.signed == own.signed:
        return _refreshed(target, own, seen) + _about_etag(own, seen.held.etag)
    writes = _missing(own, seen)
    _refuse_what_kinto_cannot(target.connection.url, own, seen, writes)
    target.refuse_too_many(writes)
    target.push(writes, own.published, seen)
    etag = target.verify_back(own.timestamp, Seen(seen.held, seen.state, sound=False), own.published)
    before = f"it had the state of {seen.signed.timestamp}" if seen.signed.timestamp else "it had nothing"
    return f"{before}; {describe(diff(own.held.records, seen.state.records))}{_about_etag(own, etag)}"


def _refuse_what_kinto_cannot(url: str, own: Own, seen: Seen, writes: Sequence[Record]) -> None:
    there, known = by_record_id(seen.state.records), {change["id"] for change in own.held.changes}
    newer = [name for name, change in by_record_id(writes).items() if change["last_modified"] <= _modified(there.get(name))]
    left = [*newer, *(name for name in there if name not in known)]
    if left:
        raise ConflictError(
            f"{url} holds {len(left)} records of {own.name} that are newer there or that are not known here "
            f"({', '.join(left[:5])}); a plain Kinto does not take an older timestamp back. Nothing was pushed. Set the status "
            "to `to-sign`, or, if that is refused, delete the collection there first."
        )


def _modified(record: Record | None) -> int:
    return int(record["last_modified"]) if record else -1


def _refreshed(target: Authority | ChangesetAuthority, own: Own, seen: Seen) -> str:
    """Bring a signature up to date that was made again since; the records are what they should be."""
    if all(seen.state.metadata.get(name) == own.published.get(name) for name in ("signatures", PUBLICATION, CARRIED)):
        return "up to date"
    target.refresh(own.published)
    return "the newer signature over the same content sent"


def _refuse_ahead(url: str, own: Own, theirs: int) -> None:
    if theirs > own.timestamp:
        raise AheadError(
            f"{url} holds the state of {theirs} of {own.name}, newer than the {own.timestamp} that was signed here. Nothing was "
            "pushed: it would lose what is there. Set the status to `to-sign`, which says whether it has to be taken over first."
        )


def _missing(own: Own, seen: Seen) -> list[Record]:
    """What S's signed copy has otherwise than the authority, with the timestamps that are signed, in their order."""
    there = by_record_id(seen.state.records)
    writes = [
        change
        for change in own.held.changes
        if (change["id"] in there if is_tombstone(change) else not is_exactly(there.get(change["id"]), change))
    ]
    return sorted(writes, key=lambda change: change["last_modified"])


def _differences_do(own: Own, seen: Seen, writes: Sequence[Record]) -> bool:
    """Whether `writes` make S's state of the authority's, and readers who ask for what is newer than that get all of them."""
    since = seen.state.timestamp
    if any(change["last_modified"] <= since for change in writes):
        return False
    result = merge(seen.state, Changeset(own.timestamp, writes, own.published, since=since))
    ours, theirs = by_record_id(own.held.records), by_record_id(result.records)
    carried = any(change["last_modified"] == own.timestamp for change in result.changes)
    return carried and ours.keys() == theirs.keys() and all(is_exactly(theirs[name], record) for name, record in ours.items())


def _about_etag(own: Own, etag: int) -> str:
    if etag == own.timestamp:
        return ""
    return (
        f"; its ETag is {etag} and not the signed {own.timestamp}, which a plain Kinto cannot be given: clients that verify "
        "against the ETag refuse it until the next publication"
    )
