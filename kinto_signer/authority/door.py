"""What is refused before Kinto's views see it: also on a storage that cannot undo, and inside batches.

Below a guarded collection only its records may be written, where the storage can undo it. Whatever else a plugin offers there
(attachments, which stay on disk after a refusal) is refused, as is the deletion of what holds a guarded collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyramid.events import ContextFound

from kinto_signer.authority.guard import Guard
from kinto_signer.errors import GuardRefusedError
from kinto_signer.plugin.rollback import SAFE_METHODS

PUBLISHING = "post-changeset"
RECORDS = ("record-object", "record-plural")


def includeme(config: Any) -> None:
    config.add_subscriber(on_context_found, ContextFound)


def on_context_found(event: Any) -> None:
    """Raises GuardRefusedError for what is not let in."""
    request = event.request
    route = getattr(request.matched_route, "name", None)
    if request.method in SAFE_METHODS or route in (None, PUBLISHING):
        return
    guard: Guard = request.registry.guard
    why = _objection(request, guard, route, request.matchdict or {})
    if why:
        raise GuardRefusedError(f"{request.method} {request.path_info}: {why} Nothing was stored.")


def _objection(request: Any, guard: Guard, route: str, ids: Mapping[str, str]) -> str | None:
    if "bucket_id" not in ids:
        return _on_buckets(request, guard, route, ids)
    bucket = ids["bucket_id"]
    if "collection_id" in ids:
        return _below_collection(request, guard, route, bucket, ids["collection_id"])
    if route == "collection-object":
        return _on_collection(request, guard, bucket, ids["id"])
    if route == "collection-plural" and guard.guarding.guards_in(bucket):
        return _on_collections(request, guard, bucket)
    return None


def _on_buckets(request: Any, guard: Guard, route: str, ids: Mapping[str, str]) -> str | None:
    if request.method != "DELETE":
        return None
    if route == "bucket-object" and guard.guarding.guards_in(ids["id"]):
        return f"the bucket {ids['id']!r} holds collections that are guarded (kinto.authority.resources)."
    if route == "bucket-plural":
        return "there are guarded collections among these buckets; delete the other buckets one by one."
    return None


def _below_collection(request: Any, guard: Guard, route: str, bucket: str, collection: str) -> str | None:
    if not guard.guards(bucket, collection):
        return None
    if route not in RECORDS:
        return f"{bucket}/{collection} is guarded, and changes by a publication of its signer only."
    if not guard.states.repository.atomic:
        return (
            f"{bucket}/{collection} is guarded, and this storage (memory) cannot undo what does not verify: only a whole "
            "publication is accepted (POST …/changeset)."
        )
    if request.method == "DELETE" and "attachments" in request.registry.api_capabilities:
        return (
            f"{bucket}/{collection} is guarded, and kinto-attachment would remove files before it is known whether what is left "
            "verifies: only a whole publication is accepted (POST …/changeset)."
        )
    return None


def _on_collection(request: Any, guard: Guard, bucket: str, collection: str) -> str | None:
    if not guard.guards(bucket, collection):
        return None
    if request.method == "DELETE":
        return f"{bucket}/{collection} is guarded (kinto.authority.resources) and is not deleted here."
    if guard.states.repository.atomic and _is_signed_anew(request, guard, f"{bucket}/{collection}"):
        return None  # part of a publication by batch: the state it leads to is verified
    return f"attributes and permissions of {bucket}/{collection} are guarded: they change by a publication of its signer only."


def _is_signed_anew(request: Any, guard: Guard, name: str) -> bool:
    """Whether a request writes attributes, nothing but attributes, and a signature that is not there yet."""
    try:
        body = request.json_body
    except ValueError:
        return False
    if not isinstance(body, dict) or body.keys() - {"data"} or not isinstance(body.get("data"), dict):
        return False
    stored, sent = guard.states.repository.attributes(name) or {}, body["data"]
    return any(sent.get(field) and sent[field] != stored.get(field) for field in ("signature", "signatures"))


def _on_collections(request: Any, guard: Guard, bucket: str) -> str | None:
    if request.method == "DELETE":
        return f"there are guarded collections in {bucket!r}; delete the others one by one."
    try:
        data = request.json_body["data"]
        collection = data["id"]
    except (ValueError, KeyError, TypeError):
        collection = "-"  # Kinto makes an id
    if guard.guards(bucket, str(collection)):
        return f"collections of {bucket!r} that are guarded are made by a publication of their signer only."
    return None
