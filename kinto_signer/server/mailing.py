"""kinto-emailer: mails for the hooks that name an event of ours, whichever package they were written for.

Hooks are stored in collections and buckets and name a class by its dotted path, which kinto-emailer compares as text with the
path of the event's own class. What it is given here are the hooks as if all of them named ours. It has one place for the mails of
a request, where each event's replace those before; ours are sent beside them.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import transaction

from kinto_signer import events
from kinto_signer.plugin.storage import StorageRepository

logger = logging.getLogger(__name__)

EVENTS = (events.ReviewRequested, events.ReviewApproved, events.ReviewRejected, events.ReviewCanceled)
PEER = "kinto_remote_settings.signer.events"
HOOKS = "kinto-emailer"


def includeme(config: Any) -> None:
    """Listen to our events, if kinto-emailer is there."""
    try:
        import kinto_emailer
    except ImportError:
        return
    if not hasattr(kinto_emailer, "build_notification"):
        # Up to 2.1 it listens to our events itself.
        logger.warning("kinto-emailer is older than 3.0.4: hooks that name kinto_remote_settings.signer.events send no mail.")
        return
    for event in EVENTS:
        config.add_subscriber(on_review, event)


def on_review(event: events.ReviewEvent) -> None:
    """Make the mails while the storage can be read, and send them once the request is committed."""
    request = event.request
    if "emailer" not in request.registry.api_capabilities:
        return
    mails = [mail for hook in _hooks(event) for mail in _mails(event, hook)]
    if mails:
        transaction.get().addAfterCommitHook(_send, (request, mails))


def _hooks(event: events.ReviewEvent) -> list[dict[str, Any]]:
    """Those of the collection, else of its bucket, that name an event; kinto-emailer itself sends the mails of the others."""
    repository = StorageRepository(event.request.registry.storage)
    collection = event.impacted_objects[0]["new"]
    held = collection if HOOKS in collection else repository.bucket(event.payload["bucket_id"]) or {}
    return [hook for hook in held.get(HOOKS, {}).get("hooks", []) if "event" in hook]


def _mails(event: events.ReviewEvent, hook: dict[str, Any]) -> list[Any]:
    """What kinto-emailer makes of one hook. One that it cannot use costs its own mails, not the publication."""
    from kinto_emailer import context_from_event, get_messages

    change = event.impacted_objects[0]
    try:
        context = context_from_event(event)
        named = {**change["new"], HOOKS: {"hooks": [_as_ours(hook, context["event"])]}}
        context |= {"id": named["id"], "impacted_objects": [{**change, "new": named}]}
        return list(get_messages(event.request.registry.storage, context))
    except Exception:
        logger.exception("no mail about %s: the hook %r cannot be used", event.payload["uri"], hook.get("subject"))
        return []


def _as_ours(hook: dict[str, Any], ours: str) -> dict[str, Any]:
    """The hook; naming the class `ours` where it names, or its pattern matches, the same class of the peer."""
    wanted, theirs = hook["event"], f"{PEER}.{ours.rpartition('.')[2]}"
    named = re.match(wanted, theirs) if wanted.startswith("^") else wanted == theirs
    return {**hook, "event": ours} if named else hook


def _send(success: bool, request: Any, mails: list[Any]) -> None:
    """The after-commit hook."""
    from pyramid_mailer import get_mailer

    if not success:
        return
    mailer = get_mailer(request)
    send = mailer.send_to_queue if request.registry.settings.get("mail.queue_path") is not None else mailer.send_immediately
    for mail in mails:
        try:
            send(mail)
        except Exception:
            logger.exception("no mail to %s", mail.recipients)
