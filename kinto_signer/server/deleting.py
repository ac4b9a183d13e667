"""Deleting a source: who may, and that its readers get a signed empty state, in which every record is a tombstone."""

from __future__ import annotations

from typing import Any

from kinto.core.events import ACTIONS, ResourceChanged

from kinto_signer.core.workflow import REVIEWERS, Effect
from kinto_signer.errors import ConflictError
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.server import actions, groups, notifying, restoring
from kinto_signer.server.actions import Action
from kinto_signer.server.publisher import Publisher
from kinto_signer.server.signoff import now, user_of
from kinto_signer.server.values import lock

CONFIRM = "confirm"
"""Of the query: the id of the collection that a reviewer deletes although it is published."""


def includeme(config: Any) -> None:
    config.add_subscriber(on_collections_deleted, ResourceChanged, for_resources=("collection",), for_actions=(ACTIONS.DELETE,))


def objection(request: Any, resource: Resource) -> str | None:
    """Why a request may not delete this source; None if it may. Takes the collection's lock: what is seen stays so."""
    source, destination = resource.source, resource.destination
    lock(request, source.name)
    repository = StorageRepository(request.registry.storage)
    published = repository.count(destination.name)
    if not published or not repository.timestamp(destination.name) or repository.attributes(source.name) is None:
        return None
    found = groups.groups_of(request.registry.signing.settings, resource)
    reviewers, holds = found.names[REVIEWERS], f"{destination.name}, which readers have, holds {_counted(published)}"
    confirmed = request.GET.get(CONFIRM) == source.collection
    if confirmed and groups.is_member(request, resource, REVIEWERS):
        return None
    if confirmed:
        return f"Not in {reviewers} group: only its members may delete {source.name} while {holds}. Nothing was deleted."
    who = f"a member of {reviewers}" if found.checked else "whoever may write it"
    return (
        f"Collection is in use. {holds}. Nothing was deleted. Either delete the records of {source.name}, have that published, "
        f"and delete the empty collection; or {who} deletes everything at once: "
        f"`DELETE {source.uri}?{CONFIRM}={source.collection}`."
    )


def _counted(records: int) -> str:
    return f"{records} record{'' if records == 1 else 's'}"


def on_collections_deleted(event: Any) -> None:
    """Publish the empty state of a source that was deleted, and remove what Kinto would leave behind."""
    request, bucket = event.request, event.payload["bucket_id"]
    repository = StorageRepository(request.registry.storage)
    for collection in dict.fromkeys(change["old"]["id"] for change in event.impacted_objects):
        resource = request.registry.signing.resources.of_source(bucket, collection)
        if resource is None:
            continue
        if repository.attributes(resource.source.name) is not None:
            raise ConflictError(
                f"{resource.source.name} was deleted in this batch and is there again: made anew, or its deletion was undone. "
                "Kinto would remove its records all the same. Nothing was changed; delete it in a request of its own."
            )
        repository.wipe_below(collection_uri(resource.source.name))
        _publish_empty(event, resource)
        groups.remove_groups(request.registry, resource)


def _publish_empty(event: Any, resource: Resource) -> None:
    """Sign an empty destination and preview, where there is one; what was deleted so is written down."""
    registry = event.request.registry
    repository, publisher = StorageRepository(registry.storage), Publisher(registry, user_of(event))
    gone = restoring.pending(registry, resource)
    action = Action(Effect.DELETE, resource, publisher.user, now(), deleted=len(gone.deleted), size_bytes=gone.size_bytes)
    actions.record(registry, action)
    change = next(change for change in event.impacted_objects if change["old"]["id"] == resource.source.collection)
    notifying.on_action(event, action, change)
    for copied in (resource, resource.as_preview):
        if copied and repository.attributes(copied.destination.name) is not None:
            publisher.publish(copied, allow_mass_deletion=True)
