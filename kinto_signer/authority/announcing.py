"""A publication as events of Kinto: one for each kind of change, however many records."""

from __future__ import annotations

from typing import Any

from kinto.core.events import ACTIONS, EventCollector

from kinto_signer.authority.publication import Published
from kinto_signer.core.canonical import Record
from kinto_signer.plugin.storage import collection_uri


def announce(request: Any, name: str, published: Published) -> None:
    """Tell the other plugins what a publication changed. One call with N objects: N calls would take quadratic time."""
    bucket, _, collection = name.partition("/")
    changes = published.changes
    if changes is None:
        return
    request._attachment_auto_save = True  # kinto-attachment would refuse attributes of attachments that it did not store itself
    uri, ids = collection_uri(name), {"bucket_id": bucket, "collection_id": collection}
    old = published.old
    _add(request, "record", uri, published.timestamp, ACTIONS.CREATE, ids, [{"new": new} for new in changes.created])
    _add(request, "record", uri, published.timestamp, ACTIONS.UPDATE, ids, [_pair(new, old) for new in changes.updated])
    _add(request, "record", uri, published.timestamp, ACTIONS.DELETE, ids, [_pair(new, old) for new in changes.deleted])
    if published.before is None:
        impacted, action = [{"new": dict(published.attributes)}], ACTIONS.CREATE
    else:
        impacted, action = [{"new": dict(published.attributes), "old": dict(published.before)}], ACTIONS.UPDATE
    _add(request, "collection", f"/buckets/{bucket}", published.timestamp, action, ids, impacted)


def _pair(new: Record, old: Any) -> dict[str, Any]:
    return {"new": new, "old": old[new["id"]]}


def _add(
    request: Any, kind: str, parent: str, timestamp: int, action: ACTIONS, ids: dict[str, str], impacted: list[dict[str, Any]]
) -> None:
    if not impacted:
        return
    payload = {
        "timestamp": timestamp,
        "action": action.value,
        "uri": f"/buckets/{ids['bucket_id']}/collections/{ids['collection_id']}",
        "user_id": request.prefixed_userid,
        "resource_name": kind,
        **ids,
    }
    events = request.bound_data.setdefault("resource_events", EventCollector())
    events.add_event(kind, parent, action, payload, impacted, request)
