"""The events of one request about one source, looked at together.

Kinto sends an event for each kind of object and action, in the order in which a batch began with them, when everything is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import transaction

from kinto_signer.plugin.resources import Place
from kinto_signer.plugin.storage import collection_uri

Change = Mapping[str, Any]
"""One of an event's impacted objects: ``{"old", "new"}``, without ``old`` where it was created."""

_OPEN = "kinto_signer.server.batches"


@dataclass
class Batch:
    """What was learnt of one source. edited: records were written, and whoever follows the collection's changes will say so.

    seen: (kind of object, action) of events that were looked at before they arrived.
    """

    edited: bool = False
    seen: set[tuple[str, str]] = field(default_factory=set)


def leave_to_the_collection(event: Any, source: Place) -> bool:
    """Whether an event of records needs nothing more: the collection's own event is still to come, or has seen this one."""
    batch = _batch(source)
    key = ("record", event.payload["action"])
    if key in batch.seen:
        batch.seen.remove(key)
        return True
    batch.edited = any(True for _ in _own_changes_to_come(event.request, source))
    return batch.edited


def changes_of(event: Any, source: Place) -> tuple[list[Change], bool]:
    """All changes of the source's own object in the request, once, and whether records were written in it.

    No changes where an earlier event has given them.
    """
    batch = _batch(source)
    key = ("collection", event.payload["action"])
    if key in batch.seen:
        batch.seen.remove(key)
        return [], False
    changes = [change for change in event.impacted_objects if change["new"]["id"] == source.collection]
    for action, change in _own_changes_to_come(event.request, source):
        batch.seen.add(("collection", action))
        changes.append(change)
    for action, _ in _to_come(event.request, "record", collection_uri(source.name)):
        batch.seen.add(("record", action))
        batch.edited = True
    return changes, batch.edited


def _own_changes_to_come(request: Any, source: Place) -> Iterator[tuple[str, Change]]:
    for action, impacted in _to_come(request, "collection", f"/buckets/{source.bucket}"):
        for change in impacted:
            if change["new"]["id"] == source.collection:
                yield action, change


def _to_come(request: Any, kind: str, parent: str) -> Iterator[tuple[str, list[Change]]]:
    """(action, impacted objects) of the events that were not sent yet."""
    waiting = dict(request.bound_data["resource_events"].event_dict)
    for (_, found, found_parent, action), (_, impacted, _) in waiting.items():
        if (found, found_parent) == (kind, parent) and action.value != "read":
            yield action.value, impacted


def _batch(source: Place) -> Batch:
    current = transaction.get()
    try:
        batches: dict[Place, Batch] = current.data(_OPEN)
    except KeyError:
        batches = {}
        current.set_data(_OPEN, batches)
    return batches.setdefault(source, Batch())
