"""A Pyramid plugin that writes through Kinto's storage itself, at every moment that Kinto offers.

``POST /v1/hostile/{moment}`` writes at that moment of its own request; a write to the bucket ``trigger`` sets off the
subscribers.
"""

from contextlib import suppress
from typing import Any

import transaction
from kinto.core.events import ACTIONS, AfterResourceChanged, ResourceChanged
from pyramid.events import NewRequest, NewResponse
from pyramid.security import NO_PERMISSION_REQUIRED

from kinto_signer.errors import KintoSignerError

COLLECTION = "/buckets/main/collections/regions"
RECORD = "record-0000"


def forge(request: Any) -> None:
    request.registry.storage.update("record", COLLECTION, RECORD, {"text": "forged"})


def forge_in_a_transaction_of_its_own(request: Any) -> None:
    """Where the request's own is over."""
    with suppress(KintoSignerError), transaction.manager:
        forge(request)
    transaction.abort()


def in_a_view(request: Any) -> dict[str, Any]:
    forge(request)
    return {}


def at_commit(request: Any) -> dict[str, Any]:
    transaction.get().addBeforeCommitHook(forge, args=(request,))
    return {}


def through_a_resource(request: Any) -> dict[str, Any]:
    """With an event of another collection, as a plugin that copies things does."""
    forge(request)
    other = {"id": "r1", "last_modified": 1}
    request.notify_resource_event(
        parent_id="/buckets/free/collections/things",
        timestamp=1,
        data=other,
        action=ACTIONS.UPDATE,
        old=other,
        resource_name="record",
        resource_data={"bucket_id": "free", "collection_id": "things", "record_id": "r1"},
    )
    return {}


def cascade(request: Any) -> dict[str, Any]:
    request.registry.storage.delete_all(None, f"{COLLECTION}*")
    return {}


def on_change(event: Any) -> None:
    if event.payload["bucket_id"] == "trigger":
        forge(event.request)


def before_commit_of_a_change(event: Any) -> None:
    if event.payload["bucket_id"] == "trigger-hook":
        transaction.get().addBeforeCommitHook(forge, args=(event.request,))


def after_change(event: Any) -> None:
    if event.payload["bucket_id"] == "trigger-after":
        forge_in_a_transaction_of_its_own(event.request)


def on_request(event: Any) -> None:
    if event.request.headers.get("X-Hostile") == "request":
        forge(event.request)


def on_response(event: Any) -> None:
    if event.request.headers.get("X-Hostile") == "response":
        forge_in_a_transaction_of_its_own(event.request)


VIEWS = {
    "view": in_a_view,
    "commit": at_commit,
    "resource": through_a_resource,
    "cascade": cascade,
}


def includeme(config: Any) -> None:
    for moment, view in VIEWS.items():
        config.add_route(f"hostile-{moment}", f"/hostile/{moment}")
        config.add_view(view, route_name=f"hostile-{moment}", renderer="json", permission=NO_PERMISSION_REQUIRED)
    config.add_subscriber(on_change, ResourceChanged)
    config.add_subscriber(before_commit_of_a_change, ResourceChanged)
    config.add_subscriber(after_change, AfterResourceChanged)
    config.add_subscriber(on_request, NewRequest)
    config.add_subscriber(on_response, NewResponse)
