"""What is refused before Kinto's views see it: also on a storage that cannot undo, and inside batches.

Below a guarded collection only its records may be written, where the storage can undo it. Whatever else a plugin offers there
(attachments, which stay on disk after a refusal) is refused, as is the deletion of what holds a guarded collection.
"""

from __future__ import annotations

from typing import Any

from pyramid.events import ContextFound

from kinto_signer.authority.guard import Guard
from kinto_signer.errors import GuardRefusedError
from kinto_signer.plugin.target import RECORDS, Kind, Target, made_id, written

PUBLISHING = "post-changeset"


def includeme(config: Any) -> None:
    config.add_subscriber(on_context_found, ContextFound)


def on_context_found(event: Any) -> None:
    """Raises GuardRefusedError for what is not let in."""
    request = event.request
    target = written(request)
    if target is None or target.route == PUBLISHING:
        return
    why = _objection(request, request.registry.guard, target)
    if why:
        raise GuardRefusedError(f"{request.method} {request.path_info}: {why} Nothing was stored.")


def _objection(request: Any, guard: Guard, target: Target) -> str | None:
    match target.kind:
        case Kind.BUCKETS | Kind.BUCKET:
            return _on_buckets(guard, target)
        case Kind.COLLECTIONS:
            return _on_collections(request, guard, target) if guard.guarding.guards_in(target.bucket) else None
        case Kind.COLLECTION:
            return _on_collection(request, guard, target) if guard.guards(target.bucket, target.collection) else None
        case Kind.BELOW:
            return _below_collection(request, guard, target) if guard.guards(target.bucket, target.collection) else None


def _on_buckets(guard: Guard, target: Target) -> str | None:
    if target.method != "DELETE":
        return None
    if target.kind is Kind.BUCKETS:
        return "there are guarded collections among these buckets; delete the other buckets one by one."
    if guard.guarding.guards_in(target.bucket):
        return f"the bucket {target.bucket!r} holds collections that are guarded (kinto.authority.resources)."
    return None


def _below_collection(request: Any, guard: Guard, target: Target) -> str | None:
    if target.route not in RECORDS:
        return f"{target.name} is guarded, and changes by a publication of its signer only."
    if not guard.states.repository.atomic:
        return (
            f"{target.name} is guarded, and this storage (memory) cannot undo what does not verify: only a whole "
            "publication is accepted (POST …/changeset)."
        )
    if target.method == "DELETE" and "attachments" in request.registry.api_capabilities:
        return (
            f"{target.name} is guarded, and kinto-attachment would remove files before it is known whether what is left "
            "verifies: only a whole publication is accepted (POST …/changeset)."
        )
    return None


def _on_collection(request: Any, guard: Guard, target: Target) -> str | None:
    if target.method == "DELETE":
        return f"{target.name} is guarded (kinto.authority.resources) and is not deleted here."
    if guard.states.repository.atomic and _is_signed_anew(request, guard, target.name):
        return None  # part of a publication by batch: the state it leads to is verified
    return f"attributes and permissions of {target.name} are guarded: they change by a publication of its signer only."


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


def _on_collections(request: Any, guard: Guard, target: Target) -> str | None:
    if target.method == "DELETE":
        return f"there are guarded collections in {target.bucket!r}; delete the others one by one."
    if guard.guards(target.bucket, made_id(request) or "-"):  # where none is given Kinto makes one
        return f"collections of {target.bucket!r} that are guarded are made by a publication of their signer only."
    return None
