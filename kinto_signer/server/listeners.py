"""Subscribers: edits move the source to `work-in-progress`, a requested status is decided by the rules and carried out."""

from __future__ import annotations

from typing import Any

from kinto.core.events import ACTIONS, ResourceChanged

from kinto_signer.core.changeset import latest
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.server import batches, discarding
from kinto_signer.server.signoff import SignOff, edited
from kinto_signer.server.values import lock

WRITES = (ACTIONS.CREATE, ACTIONS.UPDATE, ACTIONS.DELETE)


def includeme(config: Any) -> None:
    config.add_subscriber(on_records_changed, ResourceChanged, for_resources=("record",), for_actions=WRITES)
    config.add_subscriber(
        on_collections_written,
        ResourceChanged,
        for_resources=("collection",),
        for_actions=(ACTIONS.CREATE, ACTIONS.UPDATE),
    )


def on_records_changed(event: Any) -> None:
    """Mark the source as edited; finish a deletion of all records that Kinto cut off."""
    request, payload = event.request, event.payload
    resource = request.registry.signing.resources.of_source(payload["bucket_id"], payload["collection_id"])
    if resource is None:
        return
    name = resource.source.name
    lock(request, name)
    repository = StorageRepository(request.registry.storage)
    if event.payload["action"] == ACTIONS.DELETE.value:
        _finish_deletion(event, repository, name)
    if batches.leave_to_the_collection(event, resource.source):
        return
    attributes = repository.attributes(name)
    if attributes is not None:
        repository.set_attributes(name, {**attributes, **edited(event, attributes)})


def on_collections_written(event: Any) -> None:
    """Decide and carry out each requested change of status, and sign new collections at once."""
    request, bucket = event.request, event.payload["bucket_id"]
    repository = StorageRepository(request.registry.storage)
    for collection in dict.fromkeys(change["new"]["id"] for change in event.impacted_objects):
        resource = request.registry.signing.resources.of_source(bucket, collection)
        if resource is None:
            continue
        lock(request, resource.source.name)
        changes, records_too = batches.changes_of(event, resource.source)
        if discarding.announced(event, resource, changes, edited=records_too):
            continue
        if changes and repository.attributes(resource.source.name) is not None:
            SignOff(event, resource, edited=records_too).run(changes)


def _finish_deletion(event: Any, repository: StorageRepository, name: str) -> None:
    """Where Kinto stopped in the middle of deleting all records, delete the others too; not what was written afterwards."""
    deleted = event.impacted_objects
    if len(deleted) >= int(event.request.registry.settings["storage_max_fetch_size"]) and _asks_for_all(event.request, name):
        repository.delete_records(name, before=latest(change["new"] for change in deleted))


def _asks_for_all(request: Any, name: str) -> bool:
    """Whether the request, or one in its batch, deletes the whole list of the collection `name`."""
    everything = f"{collection_uri(name)}/records"
    whole = getattr(request, "parent", None)
    if whole is None:
        return request.method == "DELETE" and request.path_info.endswith(everything) and not request.GET
    parts = [{**(whole.json_body.get("defaults") or {}), **part} for part in whole.json_body["requests"]]
    return any(part.get("method") == "DELETE" and part["path"] in (everything, f"/v1{everything}") for part in parts)
