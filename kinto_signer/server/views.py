"""``/signer/status``, ``push``, ``refresh`` and ``adopt``, for those whom ``kinto.signer.status_principals`` names."""

from __future__ import annotations

from typing import Any

from kinto.core import Service
from pyramid.security import NO_PERMISSION_REQUIRED

from kinto_signer.errors import KintoSignerError, NotFoundError, WorkflowError, worst_exit_code
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.resources import Resource
from kinto_signer.server import renewing
from kinto_signer.server.adopting import Adopted, take_over
from kinto_signer.server.pushing import Pushed, choose, push
from kinto_signer.server.status import left_over, sources, status
from kinto_signer.server.values import lock
from kinto_signer.validities import iso

status_service = Service(name="signer-status", path="/signer/status", description="What S and its authorities hold")
push_service = Service(name="signer-push", path="/signer/push", description="Bring authorities up to date from S")
refresh_service = Service(name="signer-refresh", path="/signer/refresh", description="Sign again what deleted sources left")
adopt_service = Service(name="signer-adopt", path="/signer/adopt", description="Take an authority's state over into S")


@status_service.get(permission=NO_PERMISSION_REQUIRED, tags=["Signer"], operation_id="get_signer_status")
def get_status(request: Any) -> dict[str, Any]:
    """``?collection=BUCKET/COLLECTION``: one source; without it all of them. ``now``: this machine's clock.

    Sources that were deleted are among them, as long as readers have their signed empty state.
    """
    _refuse_strangers(request)
    silent: dict[str, str] = {}
    name = request.GET.get("collection")
    left = [resource for resource in left_over(request.registry) if name in (None, resource.source.name)]
    chosen = left if left and name else [*_chosen(request, name), *left]
    return {"data": [status(request.registry, resource, silent) for resource in chosen], "now": iso(now_ms())}


@push_service.post(permission=NO_PERMISSION_REQUIRED, tags=["Signer"], operation_id="post_signer_push")
def post_push(request: Any) -> dict[str, Any]:
    """``{"collection": …, "to": label}``, both optional. The answer is 200 if each collection was tried; see ``error``."""
    _refuse_strangers(request)
    asked = _body(request, "collection", "to")
    chosen, label = _chosen(request, asked["collection"]), asked["to"]
    if asked["collection"] is None:
        done = [one for resource in _having(request, chosen, label) for one in _push_one_of_many(request, resource, label)]
    else:
        done = _push(request, chosen[0], label)
    code = worst_exit_code(one.error.exit_code for one in done if one.error)
    return {"data": [_pushed(one) for one in done], "exit_code": code}


@refresh_service.post(permission=NO_PERMISSION_REQUIRED, tags=["Signer"], operation_id="post_signer_refresh")
def post_refresh(request: Any) -> dict[str, Any]:
    """``{"collection": …}``: sign again what readers have of a source that was deleted; of any other `to-resign` does that."""
    _refuse_strangers(request)
    name = _body(request, "collection")["collection"]
    resource = next((one for one in left_over(request.registry) if one.source.name == name), None)
    if resource is None:
        raise NotFoundError(
            f"{str(name)[:200]!r} is no source that was deleted, of which readers have a signed state. Nothing was done. What a "
            "source that is there has published is signed again by its status `to-resign`."
        )
    renewing.renew(request, resource)
    return {"data": {"source": resource.source.name, "destination": resource.destination.name}}


@adopt_service.post(permission=NO_PERMISSION_REQUIRED, tags=["Signer"], operation_id="post_signer_adopt")
def post_adopt(request: Any) -> dict[str, Any]:
    """``{"collection": …, "authority": label}``; the label is optional."""
    _refuse_strangers(request)
    asked = _body(request, "collection", "authority")
    if asked["collection"] is None:
        raise WorkflowError("Name the `collection` to take over, as the source's `bucket/collection`. Nothing was changed.")
    (resource,) = _chosen(request, asked["collection"], missing_too=True)
    lock(request, resource.source.name)
    return {"data": _adopted(take_over(request.registry, resource, asked["authority"]))}


def _push(request: Any, resource: Resource, label: str | None) -> list[Pushed]:
    lock(request, resource.source.name)
    return push(request.registry, resource, label)


def _push_one_of_many(request: Any, resource: Resource, label: str | None) -> list[Pushed]:
    """One that cannot be pushed anywhere does not stop the others."""
    try:
        return _push(request, resource, label)
    except KintoSignerError as error:
        return [Pushed(resource.destination.name, label or "", "", "", error)]


def _having(request: Any, resources: list[Resource], label: str | None) -> list[Resource]:
    """Those that are published to an authority (called `label`). Raises ConfigurationError if there are others only."""
    signing = request.registry.signing
    found = [one for one in resources if any(label in (None, authority.label) for authority in signing.authorities(one))]
    if resources and not found:
        choose(signing.authorities(resources[0]), label)
    return found


def _refuse_strangers(request: Any) -> None:
    if not request.registry.signing.status_principals.intersection(request.prefixed_principals):
        who = request.prefixed_userid or "nobody who is known"
        raise WorkflowError(
            f"You are {who}, whom kinto.signer.status_principals does not name. Nothing was done.", forbidden=True
        )


def _chosen(request: Any, name: str | None, *, missing_too: bool = False) -> list[Resource]:
    """The resource whose source is called `name`, or all. missing_too: also where the source is not there yet."""
    registry = request.registry
    if name is None:
        return list(sources(registry))
    bucket, _, collection = name.partition("/")
    resource = registry.signing.resources.of_source(bucket, collection) if collection and "/" not in collection else None
    there = resource is not None and any(found == resource for found in sources(registry))
    if resource is None or not (there or missing_too):
        raise NotFoundError(f"{name[:200]!r} is no source collection here. Write it as `bucket/collection`. Nothing was done.")
    return [resource]


def _body(request: Any, *names: str) -> dict[str, str | None]:
    """The named texts of the body, None where they are absent. Raises WorkflowError for another body."""
    try:
        body = request.json_body if request.body else {}
    except ValueError:
        body = None
    if not isinstance(body, dict) or not all(isinstance(body.get(name, ""), str) for name in names) or body.keys() - set(names):
        raise WorkflowError(f"The body has to be a JSON object with {' and '.join(names)}, which are texts. Nothing was done.")
    return {name: body.get(name) for name in names}


def _pushed(one: Pushed) -> dict[str, Any]:
    found: dict[str, Any] = {"destination": one.name, "label": one.label, "url": one.url}
    if one.error is None:
        return {**found, "what": one.what}
    return {**found, "error": {"reason": one.error.reason, "message": one.error.message, "exit_code": one.error.exit_code}}


def _adopted(done: Adopted) -> dict[str, Any]:
    def counted(difference: Any) -> dict[str, int]:
        return {name: len(getattr(difference, name)) for name in ("created", "updated", "deleted")}

    return {
        "source": done.name,
        "label": done.authority.label,
        "url": done.authority.url,
        "timestamp": done.timestamp,
        "records": len(done.adoption.records),
        "taken": counted(done.adoption.taken),
        "pending": counted(done.adoption.pending),
        "conflicts": list(done.adoption.conflicts),
        "status": done.status,
        "not_asked": [{"label": label, "reason": error.reason, "message": error.message} for label, error in done.problems],
    }
