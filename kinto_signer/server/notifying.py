"""Tells others what happened in the workflow: events, mails, the webhook, metrics; only of requests that go through.

What happens in a request is collected, and told in two hooks that the first action of its transaction registers: one before the
commit, when every other part of it has succeeded and nothing was sent to an authority yet, and one after it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import transaction
from kinto.core.events import ACTIONS

from kinto_signer import events
from kinto_signer.core.workflow import Effect
from kinto_signer.plugin import metrics
from kinto_signer.plugin.resources import Resource
from kinto_signer.server import ages, history, mailing
from kinto_signer.server.actions import Action
from kinto_signer.server.webhook import Message, Webhook, WebhookSettings


def includeme(config: Any) -> None:
    config.registry.signer_webhook = Webhook()
    config.include(mailing)


@dataclass(frozen=True)
class _Happened:
    """An action, Kinto's event and the change of the source's object that asked for it, and when that was.

    at: seconds of the monotonic clock.
    """

    event: Any
    action: Action
    change: Mapping[str, Any]
    at: float


@dataclass
class _Told:
    """What one transaction will tell."""

    actions: list[_Happened] = field(default_factory=list)
    seen: ages.Ages | None = None


def on_action(event: Any, action: Action, change: Mapping[str, Any]) -> None:
    """Remember an action of the workflow until its request has gone through.

    event: Kinto's ResourceChanged. change: ``{"old", "new"}``, the one write of the source's object that asked for it, which may
    be announced by a later event of the same batch.
    """
    current = transaction.get()
    try:
        told: _Told = current.data(_Told)
    except KeyError:
        told = _Told()
        current.set_data(_Told, told)
        current.addBeforeCommitHook(_before_commit, (event.request.registry, told))
        current.addAfterCommitHook(_after_commit, (event.request.registry, told))
    told.actions.append(_Happened(event, action, change, time.monotonic()))


def _before_commit(registry: Any, told: _Told) -> None:
    """The storage can be read and written here; what a subscriber raises undoes the request."""
    for happened in told.actions:
        if happened.action.effect is Effect.REFRESH:
            history.forget_refresh(happened.event.request, happened.action.resource.source, happened.change)
        review = _review_event(happened)
        if review is not None:
            registry.notify(review)
    told.seen = ages.look(registry)


def _after_commit(success: bool, registry: Any, told: _Told) -> None:
    if not success:
        return
    for happened in told.actions:
        action = happened.action
        metrics.acted(registry, action.effect.value, time.monotonic() - happened.at)
        if action.effect is Effect.PUBLISH:
            metrics.approved(registry, action.resource.destination, action.count)
        if action.effect is not Effect.REFRESH:
            _post(registry, happened)
    if told.seen is not None:
        ages.report(registry, told.seen)


def _review_event(happened: _Happened) -> events.ReviewEvent | None:
    """The event that the peers have for an action; None where they have none."""
    action, common = happened.action, _common(happened)
    count, size = action.count, action.size_bytes
    if action.effect is Effect.REQUEST_REVIEW:
        return events.ReviewRequested(comment=action.comment, changes_count=count, changes_size_bytes=size, **common)
    if action.effect is Effect.DECLINE:
        return events.ReviewRejected(comment=action.comment, **common)
    if action.effect is Effect.PUBLISH:
        return events.ReviewApproved(changes_count=count, changes_size_bytes=size, **common)
    if action.effect is Effect.ROLLBACK:
        return events.ReviewCanceled(changes_count=count, **common)
    return None


def _common(happened: _Happened) -> dict[str, Any]:
    """What all events have. Kinto's own event may be about several collections of a batch, and names the first."""
    event, source = happened.event, happened.action.resource.source
    written = (ACTIONS.UPDATE if "old" in happened.change else ACTIONS.CREATE).value
    return {
        "request": event.request,
        "payload": {**event.payload, "uri": source.uri, "collection_id": source.collection, "action": written},
        "impacted_objects": [dict(happened.change)],
        "resource": _resource(happened.action.resource),
        "original_event": event,
    }


def _resource(resource: Resource) -> dict[str, dict[str, str | None]]:
    places = {"source": resource.source, "preview": resource.preview, "destination": resource.destination}
    return {name: {"bucket": place.bucket, "collection": place.collection} for name, place in places.items() if place}


def _post(registry: Any, happened: _Happened) -> None:
    action, source = happened.action, happened.action.resource.source
    to = WebhookSettings.of(registry.signing.settings, action.resource)
    if to is None:
        return
    content = {
        "bucket": source.bucket,
        "collection": source.collection,
        **action.as_json(),
        "diff": f"{happened.event.request.route_url('hello').rstrip('/')}{source.uri}/diff",
    }
    registry.signer_webhook.send(Message.of(to, content))
