"""`adopt`: S takes over an authority's state that it signed and no longer has, and keeps the edits that are pending here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import transaction

from kinto_signer.core.ahead import Adoption, adopt
from kinto_signer.core.canonical import Record, without_timestamp
from kinto_signer.core.changeset import TIMESTAMP_MARKER, Changeset, by_record_id, diff, latest, tombstone
from kinto_signer.core.plan import is_exactly
from kinto_signer.core.trust import check
from kinto_signer.core.workflow import Status
from kinto_signer.errors import ConfigurationError, ConflictError, KintoSignerError, StorageError
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.server.own import PUBLISHED_TO, Own
from kinto_signer.server.places import create_place
from kinto_signer.server.pushing import choose
from kinto_signer.server.signing import AuthoritySettings
from kinto_signer.server.taking_over import Furthest, furthest, remote

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adopted:
    """What was taken over, from which authority, and what is pending on top. status: of the source afterwards."""

    name: str
    authority: AuthoritySettings
    timestamp: int
    adoption: Adoption
    status: str
    problems: tuple[tuple[str, KintoSignerError], ...]


def take_over(registry: Any, resource: Resource, label: str | None = None) -> Adopted:
    """Make the authority's verified state S's signed copy, and S's source, with pending edits on top.

    label: of the authority; None for the one that is furthest ahead. Part of the current transaction, under the source's lock.
    Raises ConflictError where no authority is ahead, ConfigurationError, and what reading and verifying the authority raises.
    """
    repository, name = StorageRepository(registry.storage), resource.destination.name
    authorities = registry.signing.authorities(resource)
    copied = registry.signing.copied_attributes(resource)
    own = Own(repository, name, copied)
    trust = registry.signing.trust(resource)
    best = furthest(choose(authorities, label), name, trust)
    _refuse_what_is_not_ahead(own, best)
    ours = own.held.records if own.timestamp else []
    adoption = adopt(best.state.records, ours, repository.records(resource.source.name))
    create_place(registry, resource.destination, resource)
    create_place(registry, resource.source, resource)
    _replace_destination(repository, own, best, [authority.url for authority in authorities])
    check(name, repository.changeset(name), trust)
    if repository.etag(name) != best.state.timestamp:
        raise StorageError(f"{name}: the storage gave other timestamps than the signed ones. Nothing was taken over.")
    status = _replace_source(repository, resource, own, best.state, adoption, copied)
    transaction.get().addAfterCommitHook(_remember, (registry, name, [a.label for a in authorities], best.state.timestamp))
    return Adopted(resource.source.name, best.authority, best.state.timestamp, adoption, status, best.problems)


def _refuse_what_is_not_ahead(own: Own, best: Furthest) -> None:
    theirs = best.state.timestamp
    if PUBLISHED_TO in best.state.metadata:
        raise ConfigurationError(f"{best.authority.url} is a server on this server's own database. Nothing was taken over.")
    if theirs == own.timestamp:
        raise ConflictError(
            f"{own.name}: {best.authority.url} holds the state of {theirs}, as this server does. Nothing to take over."
        )
    if theirs < own.timestamp:
        raise ConflictError(
            f"{own.name}: {best.authority.url} holds the state of {theirs}, older than the {own.timestamp} that was signed here. "
            "Nothing was taken over; `kinto-signer push` brings the authority up to date."
        )


def _replace_destination(repository: StorageRepository, own: Own, best: Furthest, urls: Sequence[str]) -> None:
    """The authority's state with its timestamps, so that differences, the ETag and the signature are the same here."""
    held, state = by_record_id(repository.records(own.name)), best.state
    gone = held.keys() - {record["id"] for record in state.records}
    graves = list(_graves(gone, own, best, [*state.records, *own.held.changes]))
    writes = [record for record in state.records if not is_exactly(held.get(record["id"]), record)] + graves
    if latest([*state.records, *graves]) < state.timestamp:
        writes.append(tombstone(TIMESTAMP_MARKER, state.timestamp))
    repository.write(own.name, writes)
    repository.set_attributes(own.name, {**state.metadata, "signed_timestamp": state.timestamp, PUBLISHED_TO: " ".join(urls)})


def _graves(gone: Iterable[str], own: Own, best: Furthest, known: Sequence[Record]) -> Iterator[Record]:
    """A tombstone for each id, the authority's where it still has one, else one between the two states."""
    newer = remote(best.authority).changeset(own.name, own.timestamp) if own.timestamp else Changeset(0)
    theirs = {grave["id"]: grave for grave in newer.tombstones if grave["last_modified"] > own.timestamp}
    used = {best.state.timestamp, *(change["last_modified"] for change in (*known, *newer.changes))}
    free = (timestamp for timestamp in count(own.timestamp + 1) if timestamp not in used)
    for record_id in sorted(gone):
        grave = theirs.get(record_id)
        yield tombstone(record_id, grave["last_modified"] if grave else next(free))


def _replace_source(
    repository: StorageRepository,
    resource: Resource,
    own: Own,
    state: Changeset,
    adoption: Adoption,
    copied: Sequence[str],
) -> str:
    """Write what the source becomes, as edits of now; returns its status."""
    name = resource.source.name
    changes = diff(adoption.records, repository.records(name))
    for record in (*changes.created, *changes.updated):
        repository.storage.update("record", collection_uri(name), record["id"], without_timestamp(record))
    for record in changes.deleted:
        repository.storage.delete("record", collection_uri(name), record["id"])
    stored, before = repository.attributes(name) or {}, own.attributes or {}
    untouched = [key for key in copied if stored.get(key) == before.get(key)]
    kept = {key: value for key, value in stored.items() if key not in untouched}
    taken = {key: state.metadata[key] for key in untouched if key in state.metadata}
    edited = any((kept | taken).get(key) != state.metadata.get(key) for key in copied)
    status = Status.WORK_IN_PROGRESS if adoption.pending or edited else Status.SIGNED
    repository.set_attributes(name, {**kept, **taken, **_hash(state.metadata), "status": status.value})
    return status.value


def _hash(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"hash": metadata["hash"]} if "hash" in metadata else {}


def _remember(success: bool, registry: Any, name: str, labels: Sequence[str], timestamp: int) -> None:
    """After the commit: what the authorities held up to there is known here again."""
    if not success:
        return
    logger.info("adopted %s signed_timestamp=%s", name, timestamp)
    for label in labels:
        try:
            registry.signer_journal.change(name, label, lambda entry: entry.adopted(timestamp))
        except StorageError as error:
            logger.error("%s: %s", name, error)
