"""Bring a source back to what was published: all of it for a rollback, single records for a discard."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import count
from typing import Any

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import tombstone
from kinto_signer.core.difference import Difference
from kinto_signer.core.trust import check
from kinto_signer.errors import WorkflowError
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.compared import Compared


def pending(registry: Any, resource: Resource) -> Difference:
    """In what the source differs from its signed destination."""
    compared = Compared(registry, resource.source, resource.destination)
    return compared.difference(registry.signing.copied_attributes(resource))


def restore(registry: Any, resource: Resource, ids: Collection[str] | None = None) -> Difference:
    """Write the published content over what differs in the source; returns what differed.

    ids: only these records, no attributes; None for everything. What is restored gets a new timestamp, so that whoever follows
    the source sees it. Part of the current transaction, under the source's lock; the status is the caller's.
    Raises WorkflowError where nothing was ever published, or where a record of `ids` has no pending change; a VerificationError
    if the destination is not what was signed.
    """
    repository, name = StorageRepository(registry.storage), resource.destination.name
    refuse_unsigned(registry, resource)
    check(name, repository.changeset(name), registry.signing.trust(resource))
    found = pending(registry, resource)
    if ids is not None:
        _refuse_unchanged(found, ids, resource)
    repository.write(resource.source.name, _writes(repository, resource, found, ids))
    if ids is None and found.attributes:
        source = repository.attributes(resource.source.name) or {}
        published = repository.attributes(name) or {}
        repository.set_attributes(resource.source.name, _with(source, published, found.attributes))
    return found


def refuse_unsigned(registry: Any, resource: Resource) -> None:
    """Raise WorkflowError if the destination of `resource` was never signed."""
    if StorageRepository(registry.storage).timestamp(resource.destination.name) == 0:
        raise WorkflowError(
            f"Nothing of {resource.source.name} was ever published: nothing to renew, nothing to go back to. Nothing was changed."
        )


def _refuse_unchanged(found: Difference, ids: Collection[str], resource: Resource) -> None:
    unchanged = sorted(set(ids) - found.ids)
    if unchanged:
        raise WorkflowError(
            f"{resource.source.name}: no change of {', '.join(map(repr, unchanged[:10]))} is pending, so that none can be taken "
            "back. Nothing was changed."
        )


def _writes(repository: StorageRepository, resource: Resource, found: Difference, ids: Collection[str] | None) -> list[Record]:
    """Records and tombstones that undo the difference, each with a timestamp of its own above all that are there."""
    fresh = count(max(now_ms(), repository.etag(resource.source.name)) + 1)
    back = [*found.deleted, *(before for before, _ in found.updated)]
    writes = [{**record, "last_modified": next(fresh)} for record in back if ids is None or record["id"] in ids]
    gone = [record["id"] for record in found.created if ids is None or record["id"] in ids]
    return writes + [tombstone(record_id, next(fresh)) for record_id in gone]


def _with(source: Mapping[str, Any], published: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    kept = {name: value for name, value in source.items() if name not in names}
    return kept | {name: published[name] for name in names if name in published}
