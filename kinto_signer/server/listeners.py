"""Subscribers: edits move the source to `work-in-progress`, a requested status is decided by the rules and carried out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from kinto.core.events import ACTIONS, ResourceChanged

from kinto_signer.core.changeset import latest
from kinto_signer.core.workflow import Effect, Status, changed_by_hand, decide, parse_status
from kinto_signer.errors import ConflictError, WorkflowError
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.server.publisher import Published, Publisher
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
    config.add_subscriber(on_collections_deleted, ResourceChanged, for_resources=("collection",), for_actions=(ACTIONS.DELETE,))
    config.add_subscriber(on_buckets_deleted, ResourceChanged, for_resources=("bucket",), for_actions=(ACTIONS.DELETE,))


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
    attributes = repository.attributes(name)
    if attributes is not None:
        repository.set_attributes(name, {**attributes, **_edited(event)})


def on_collections_written(event: Any) -> None:
    """Decide and carry out each requested change of status, and sign new collections at once."""
    request, bucket = event.request, event.payload["bucket_id"]
    for collection, changes in _by_collection(event.impacted_objects):
        resource = request.registry.signing.resources.of_source(bucket, collection)
        if resource is None:
            continue
        lock(request, resource.source.name)
        _carry_out(event, resource, changes)


def on_collections_deleted(event: Any) -> None:
    """Publish the empty state of a source that was deleted, and remove the records that Kinto would leave behind."""
    request, bucket = event.request, event.payload["bucket_id"]
    repository = StorageRepository(request.registry.storage)
    for collection, _ in _by_collection(event.impacted_objects):
        resource = request.registry.signing.resources.of_source(bucket, collection)
        if resource is None:
            continue
        if repository.attributes(resource.source.name) is not None:
            raise ConflictError(
                f"{resource.source.name} was deleted in this batch and is there again: made anew, or its deletion was undone. "
                "Kinto would remove its records all the same. Nothing was changed; delete it in a request of its own."
            )
        repository.wipe_below(collection_uri(resource.source.name))
        if repository.attributes(resource.destination.name) is not None:
            Publisher(request.registry, _user(event)).publish(resource, [])


def on_buckets_deleted(event: Any) -> None:
    """Refuse to delete a bucket of sources as a whole: its collections are deleted one by one, each with its publication."""
    resources = event.request.registry.signing.resources
    for change in event.impacted_objects:
        if resources.has_source_in(change["old"]["id"]):
            raise WorkflowError(
                f"The bucket {change['old']['id']!r} holds collections that are signed. Nothing was deleted; delete the "
                "collections first.",
                forbidden=True,
            )


def _carry_out(event: Any, resource: Resource, changes: list[dict[str, Any]]) -> None:
    """Follow the changes of one collection in a request; the effects happen once, on the final state."""
    repository = StorageRepository(event.request.registry.storage)
    publisher = Publisher(event.request.registry, _user(event))
    stored = repository.attributes(resource.source.name)
    if stored is None:
        return
    created = "old" not in changes[0]
    updates: dict[str, Any] = {}
    effects: list[Effect] = []
    for change in changes:
        old, new = change.get("old") or {}, change["new"]
        _refuse_owned(old, new, created="old" not in change)
        _follow(event, updates, effects, old, new)
    if created and Effect.PUBLISH not in effects:
        published = publisher.publish(resource)
        updates = {"status": Status.SIGNED.value, **_signed(event, published), **updates}
    elif Effect.PUBLISH in effects:
        published = publisher.publish(resource, repository.records(resource.source.name))
        updates |= _signed(event, published)
    elif Effect.REFRESH in effects:
        published = publisher.refresh(resource)
        updates |= _signed(event, published)
    if updates:
        repository.set_attributes(resource.source.name, {**stored, **updates})


def _follow(event: Any, updates: dict[str, Any], effects: list[Effect], old: dict[str, Any], new: dict[str, Any]) -> None:
    """Note in `updates` and `effects` what one change of the collection's object leads to."""
    was, asked = parse_status(updates.get("status", old.get("status"))), parse_status(new.get("status"))
    if was is asked and asked in (Status.NONE, Status.WORK_IN_PROGRESS, Status.TO_REVIEW, Status.SIGNED):
        if old and _content(old) != _content(new):
            updates |= _edited(event)
        return
    rule = decide(was, asked)
    effects.append(rule.effect)
    becomes = was if rule.becomes is None else rule.becomes
    updates["status"] = becomes.value
    if rule.effect is Effect.REQUEST_REVIEW:
        updates |= {"last_review_request_by": _user(event), "last_review_request_date": _now()}


def _refuse_owned(old: dict[str, Any], new: dict[str, Any], *, created: bool) -> None:
    field = changed_by_hand({} if created else old, new)
    if field:
        raise WorkflowError(f"The field {field!r} is kept by the signer and cannot be set, changed or removed by hand.")


_NOT_CONTENT = ("last_modified", "status", "last_editor_comment", "last_reviewer_comment")


def _content(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key not in _NOT_CONTENT}


def _edited(event: Any) -> dict[str, str]:
    return {"status": Status.WORK_IN_PROGRESS.value, "last_edit_by": _user(event), "last_edit_date": _now()}


def _signed(event: Any, published: Published) -> dict[str, str]:
    return {"last_signature_by": _user(event), "last_signature_date": _now(), "hash": published.hash}


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


def _by_collection(changes: Iterable[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for change in changes:
        grouped.setdefault((change.get("old") or change["new"])["id"], []).append(change)
    return list(grouped.items())


def _user(event: Any) -> str:
    return str(event.payload.get("user_id") or event.request.prefixed_userid)


def _now() -> str:
    return datetime.now(UTC).isoformat()
