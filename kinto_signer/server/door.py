"""What is refused before Kinto's views see it: writes by hand to what the signer alone writes, and careless deletions.

Before the view, since other plugins act in it, or right behind it, on what no rollback brings back: kinto-attachment deletes
files.
"""

from __future__ import annotations

from typing import Any

from kinto.core.authorization import DYNAMIC
from pyramid.events import ContextFound

from kinto_signer.errors import WorkflowError
from kinto_signer.plugin.matching import reached
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.plugin.target import RECORDS, Kind, Target, made_id, written
from kinto_signer.server import deleting
from kinto_signer.server.values import lock

ANY = "-"
"""Stands for a collection whose id Kinto will make."""


def includeme(config: Any) -> None:
    config.add_subscriber(on_context_found, ContextFound)


def on_context_found(event: Any) -> None:
    """Raises WorkflowError (403) for what is not let in. Who may not write there anyway gets Kinto's own answer."""
    request = event.request
    target = written(request)
    if target is None:
        return
    why = _objection(request, target)
    if why and not _kinto_refuses(request, target):
        raise WorkflowError(why, forbidden=True)


def _kinto_refuses(request: Any, target: Target) -> bool:
    """Whether the person may not write there at all; of other plugins' views nobody knows whom they let in."""
    kintos = target.kind is not Kind.BELOW or target.route in RECORDS
    return kintos and not request.has_permission(DYNAMIC, request.context)


def _objection(request: Any, target: Target) -> str | None:
    match target.kind:
        case Kind.BUCKETS:
            return _on_buckets(request, reached(request, target)) if target.method == "DELETE" else None
        case Kind.BUCKET:
            return _on_buckets(request, [target.bucket]) if target.method == "DELETE" else None
        case Kind.COLLECTIONS:
            return _on_collections(request, target)
        case Kind.COLLECTION:
            return _on_collection(request, target)
        case Kind.BELOW:
            copied = request.registry.signing.resources.of_copy(target.bucket, target.collection)
            return _in_use(target.bucket, target.collection, copied) if copied else None


def _on_buckets(request: Any, buckets: list[str]) -> str | None:
    resources = request.registry.signing.resources
    held = [bucket for bucket in buckets if resources.has_place_in(bucket)]
    if not held:
        return None
    return (
        f"The bucket {held[0]!r} stands in kinto.signer.resources: what it holds is signed, or was signed, here. Nothing was "
        "deleted. Delete source collections one by one; a bucket once it is no longer named there."
    )


def _on_collections(request: Any, target: Target) -> str | None:
    resources = request.registry.signing.resources
    if not resources.has_place_in(target.bucket):
        return None
    if target.method != "DELETE":
        collection = made_id(request) or ANY
        copied = resources.of_copy(target.bucket, collection)
        return _in_use(target.bucket, collection, copied) if copied else None
    objections = (_on_deletion(request, target.bucket, collection) for collection in reached(request, target))
    return next(filter(None, objections), None)


def _on_collection(request: Any, target: Target) -> str | None:
    if target.method == "DELETE":
        return _on_deletion(request, target.bucket, target.collection)
    copied = request.registry.signing.resources.of_copy(target.bucket, target.collection)
    if copied is None:
        return None
    if _is_about_permissions(request) and StorageRepository(request.registry.storage).attributes(target.name) is not None:
        lock(request, copied.source.name)  # Kinto writes the attributes back as it reads them: not in a publication's way
        return None
    return _in_use(target.bucket, target.collection, copied)


def _on_deletion(request: Any, bucket: str, collection: str) -> str | None:
    resources = request.registry.signing.resources
    copied, resource = resources.of_copy(bucket, collection), resources.of_source(bucket, collection)
    if copied:
        return _in_use(bucket, collection, copied)
    return deleting.objection(request, resource) if resource else None


def _in_use(bucket: str, collection: str, copied: Resource) -> str:
    kind = "destination" if copied.destination.covers(bucket, collection) else "preview"
    if collection == ANY:
        return (
            f"Collection is in use. Every collection of {bucket!r} is the {kind} of one of {copied.source.bucket!r} and is made "
            "by the signer. Nothing was stored; make the source collection."
        )
    return (
        f"Collection is in use. {bucket}/{collection} is the {kind} of {copied.source.name} and is written by the signer only. "
        f"Nothing was stored; change {copied.source.name}, or only the permissions here."
    )


def _is_about_permissions(request: Any) -> bool:
    """Whether a PATCH, or a PUT without `data` (which Kinto leaves as they are), changes nothing else."""
    try:
        body = request.json_body
    except ValueError:
        return False
    if isinstance(body, list):
        operations = [operation for operation in body if isinstance(operation, dict)]
        pointers = [str(operation[key]) for operation in operations for key in ("path", "from") if key in operation]
        return bool(pointers) and all(pointer.split("/")[1:2] == ["permissions"] for pointer in pointers)
    return isinstance(body, dict) and body.keys() == {"permissions"}
