"""Taking back the pending changes of single records. A discard is an action on the source, as a change of status is.

It is carried out where it is asked for, and told to others with the source's own event, when the whole request is known: beside
other changes of the same source in a batch it would be judged on something else than what is there in the end.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import transaction
from kinto.core.events import ACTIONS

from kinto_signer.core import workflow
from kinto_signer.core.canonical import Record
from kinto_signer.core.difference import Difference, reviewed_digest
from kinto_signer.core.workflow import CONTRIBUTORS, Effect, Status
from kinto_signer.errors import WorkflowError
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server import actions, notifying, restoring
from kinto_signer.server.actions import Action
from kinto_signer.server.batches import Change
from kinto_signer.server.publisher import Publisher
from kinto_signer.server.signoff import now, user_who_asks

_DONE = "kinto_signer.server.discarding"


def discard(request: Any, resource: Resource, ids: Collection[str]) -> Record:
    """Take the pending changes of the records `ids` back, all of them or none; returns the source's object afterwards.

    In the current transaction, under the source's lock. Where nothing is pending any more the source is ``signed`` again, and its
    preview as the destination; else it is ``work-in-progress``. Raises what `restoring.restore` raises.
    """
    registry, name = request.registry, resource.source.name
    repository, user = StorageRepository(registry.storage), user_who_asks(request)
    before = repository.attributes(name) or {}
    published = repository.attributes(resource.destination.name) or {}
    found = restoring.restore(registry, resource, ids)
    digest = reviewed_digest(found, before, published, registry.signing.copied_attributes(resource))
    action = _action(resource, user, found.only(ids), digest, before.get("last_review_request_by"))
    nothing_left = found.ids == set(ids) and not found.attributes
    after = repository.set_attributes(
        name,
        {
            **before,
            "status": (Status.SIGNED if nothing_left else Status.WORK_IN_PROGRESS).value,
            "last_edit_by": user,
            "last_edit_date": action.date,
            CONTRIBUTORS: [] if nothing_left else workflow.contributors(before, user),
        },
    )
    preview = resource.as_preview
    if nothing_left and preview:
        Publisher(registry, user).publish(preview)
    _done().setdefault(name, []).append(action)
    request.notify_resource_event(
        parent_id=f"/buckets/{resource.source.bucket}",
        timestamp=after["last_modified"],
        data=after,
        action=ACTIONS.UPDATE,
        old=before,
        resource_name="collection",
    )
    return after


def announced(event: Any, resource: Resource, changes: Sequence[Change], *, edited: bool) -> bool:
    """Whether the change of the source in this request was a discard; if so, it is written down and told to others.

    changes: all that the request does to the source's own object. edited: whether it writes records too.
    Raises WorkflowError where it does anything else to the same source.
    """
    done = _done().pop(resource.source.name, [])
    if not done:
        return False
    if len(changes) > 1 or edited:
        raise WorkflowError(
            f"{resource.source.name}: a discard in one request with other changes would be of something else than what is there "
            "in the end. Nothing was changed; ask for it, with all `ids`, in a request of its own."
        )
    actions.record(event.request.registry, done[0])
    notifying.on_action(event, done[0], changes[0])
    return True


def _action(resource: Resource, user: str, taken_back: Difference, digest: str, requested_by: str | None) -> Action:
    return Action(
        Effect.DISCARD,
        resource,
        user,
        now(),
        created=len(taken_back.created),
        updated=len(taken_back.updated),
        deleted=len(taken_back.deleted),
        size_bytes=taken_back.size_bytes,
        digest=digest,
        requested_by=requested_by,
    )


def _done() -> dict[str, list[Action]]:
    """By the source's name, what was discarded in this transaction and not told yet."""
    current = transaction.get()
    try:
        found: dict[str, list[Action]] = current.data(_DONE)
    except KeyError:
        found = {}
        current.set_data(_DONE, found)
    return found
