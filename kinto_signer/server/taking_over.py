"""What authorities hold, read as a reader does and verified with the signer's own keys, so that S may take it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kinto_signer.core.changeset import EMPTY, TIMESTAMP_MARKER, Changeset, latest, tombstone
from kinto_signer.core.trust import Trust, check
from kinto_signer.errors import CredentialsError, KintoSignerError, NotFoundError
from kinto_signer.plugin.resources import Resource
from kinto_signer.remote import RemoteRepository
from kinto_signer.server.signing import AuthoritySettings
from kinto_signer.transport import Deadline, Limits, Session


@dataclass(frozen=True)
class Furthest:
    """The newest verified state, where it is, and why others could not be looked at."""

    authority: AuthoritySettings
    state: Changeset
    problems: tuple[tuple[str, KintoSignerError], ...] = ()


def furthest(authorities: Sequence[AuthoritySettings], name: str, trust: Trust) -> Furthest:
    """The newest state of the collection `name` that verifies.

    Raises what is wrong with the first authority if none has one, NotFoundError if none has the collection.
    """
    found: list[tuple[AuthoritySettings, Changeset]] = []
    problems: list[tuple[str, KintoSignerError]] = []
    for authority in authorities:
        try:
            state = remote(authority).changeset(name)
            if state != EMPTY:
                check(name, state, trust)
                found.append((authority, state))
        except KintoSignerError as error:
            problems.append((authority.label, error))
    if not found:
        raise problems[0][1] if problems else NotFoundError(f"{' and '.join(a.url for a in authorities)} does not have {name}.")
    best, state = max(found, key=lambda one: one[1].timestamp)
    return Furthest(best, state, tuple(problems))


def collections(resource: Resource, authority: AuthoritySettings) -> list[Resource]:
    """The collections of a configured resource that the authority has."""
    if resource.destination.collection is not None:
        return [resource]
    repository = remote(authority)
    repository.capabilities()
    try:
        found = repository.collections(resource.destination.bucket)
    except CredentialsError:  # the credentials are good: this is how Kinto answers for a bucket that is not there
        return []
    return [resource.concrete(collection) for collection in found]


def with_marker(state: Changeset) -> Changeset:
    """The state with something that carries its timestamp, so that the destination's ETag is the signed one here too."""
    records = [record for record in state.records if record["id"] != TIMESTAMP_MARKER]
    if latest(records) < state.timestamp:
        records = [*records, tombstone(TIMESTAMP_MARKER, state.timestamp)]
    return Changeset(state.timestamp, records, state.metadata)


def remote(authority: AuthoritySettings) -> RemoteRepository:
    limits = Limits(max_size_bytes=Limits.max_collection_bytes)
    return RemoteRepository(Session(authority.url, authority.auth, deadline=Deadline(authority.timeout_s), limits=limits))
