"""Tells others what happened in the workflow: events, mails, the webhook, metrics; only of requests that go through.

What happens in a request is collected, and told in two hooks that the first action of its transaction registers: one before the
commit, when every other part of it has succeeded and nothing was sent to an authority yet, and one after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import transaction

from kinto_signer import events
from kinto_signer.core.workflow import Effect, Status
from kinto_signer.plugin import metrics
from kinto_signer.plugin.resources import Place, Resource
from kinto_signer.server import ages, history, mailing
from kinto_signer.server.webhook import Message, Webhook, WebhookSettings

if TYPE_CHECKING:
    from kinto_signer.server.actions import Action

ASKED = {
    Effect.REQUEST_REVIEW: Status.TO_REVIEW,
    Effect.DECLINE: Status.WORK_IN_PROGRESS,
    Effect.PUBLISH: Status.TO_SIGN,
    Effect.ROLLBACK: Status.TO_ROLLBACK,
    Effect.REFRESH: Status.TO_RESIGN,
}
"""The status that was asked for, by what it made happen."""


def includeme(config: Any) -> None:
    config.registry.signer_webhook = Webhook()
    config.include(mailing)


@dataclass
class _Told:
    """What one transaction will tell. actions: with the event that each came from."""

    actions: list[tuple[Any, Action]] = field(default_factory=list)
    seen: ages.Ages | None = None


def on_action(event: Any, action: Action) -> None:
    """Remember an action of the workflow. event: Kinto's ResourceChanged, in which it was asked for."""
    current = transaction.get()
    try:
        told: _Told = current.data(_Told)
    except KeyError:
        told = _Told()
        current.set_data(_Told, told)
        current.addBeforeCommitHook(_before_commit, (event.request.registry, told))
        current.addAfterCommitHook(_after_commit, (event.request.registry, told))
    told.actions.append((event, action))


def _before_commit(registry: Any, told: _Told) -> None:
    """The storage can be read and written here; what a subscriber raises undoes the request."""
    for event, action in told.actions:
        if action.effect is Effect.REFRESH:
            history.forget_refreshes(registry, action.resource.source, _changes(event, action.resource.source))
        review = _review_event(event, action)
        if review is not None:
            registry.notify(review)
    told.seen = ages.look(registry)


def _after_commit(success: bool, registry: Any, told: _Told) -> None:
    if not success:
        return
    for event, action in told.actions:
        if action.effect is Effect.PUBLISH:
            destination = action.resource.destination
            metrics.approved(registry, (destination.bucket, str(destination.collection)), _count(action))
        if action.effect is not Effect.REFRESH:
            _post(registry, event, action)
    if told.seen is not None:
        ages.report(registry, told.seen)


def _review_event(event: Any, action: Action) -> events.ReviewEvent | None:
    """The event that the peers have for an action; None where they have none."""
    count, size = _count(action), action.size_bytes
    common = _common(event, action)
    if action.effect is Effect.REQUEST_REVIEW:
        return events.ReviewRequested(comment=action.comment, changes_count=count, changes_size_bytes=size, **common)
    if action.effect is Effect.DECLINE:
        return events.ReviewRejected(comment=action.comment, **common)
    if action.effect is Effect.PUBLISH:
        return events.ReviewApproved(changes_count=count, changes_size_bytes=size, **common)
    if action.effect is Effect.ROLLBACK:
        return events.ReviewCanceled(changes_count=count, **common)
    return None


def _common(event: Any, action: Action) -> dict[str, Any]:
    """What all events have. Kinto's own event may be about several collections of a batch, and names the first."""
    source = action.resource.source
    asked = ASKED.get(action.effect)
    changes = _changes(event, source)
    fitting = [change for change in changes if asked and change["new"].get("status") == asked.value]
    return {
        "request": event.request,
        "payload": {**event.payload, "uri": source.uri, "collection_id": source.collection},
        "impacted_objects": (fitting or changes)[-1:],
        "resource": _resource(action.resource),
        "original_event": event,
    }


def _changes(event: Any, source: Place) -> list[dict[str, Any]]:
    return [change for change in event.impacted_objects if change["new"]["id"] == source.collection]


def _resource(resource: Resource) -> dict[str, dict[str, str | None]]:
    places = {"source": resource.source, "preview": resource.preview, "destination": resource.destination}
    return {name: {"bucket": place.bucket, "collection": place.collection} for name, place in places.items() if place}


def _count(action: Action) -> int:
    return action.created + action.updated + action.deleted


def _post(registry: Any, event: Any, action: Action) -> None:
    to = WebhookSettings.of(registry.signing.settings, action.resource)
    if to is None:
        return
    source = action.resource.source
    content = {
        "bucket": source.bucket,
        "collection": source.collection,
        **action.as_json(),
        "diff": f"{event.request.route_url('hello').rstrip('/')}{source.uri}/diff",
    }
    registry.signer_webhook.send(Message.of(to, content))
