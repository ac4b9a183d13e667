"""``/buckets/monitor/collections/changes/records`` and ``…/changeset``: what changed where, in one small answer.

There is no such collection: the entries are made from those that ``kinto.changes.resources`` names. Everybody may read them.

An entry's ``last_modified`` is the greatest of the timestamps of the collection's records and of its attributes, because a
refreshed signature changes the attributes alone, and a client behind a cache has to notice it. It may therefore be greater than
the changeset's ``timestamp``. That is harmless: clients compare it with what they had before, and send it as ``_expected``, which
only makes the address of the changeset a new one; what they verify and keep is the changeset's own timestamp.

``_expected`` older than ``_since`` is a 204: the client knows more than what it was told of. ``_expected=0`` tells of nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from kinto.core import Service
from pyramid.httpexceptions import HTTPNoContent
from pyramid.security import NO_PERMISSION_REQUIRED

from kinto_signer.changes import caching, query
from kinto_signer.changes.latest import latest_changes
from kinto_signer.changes.query import Query
from kinto_signer.core.repository import DAY_MS
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.exclusive import exclusive

PATH = "/buckets/monitor/collections/changes"
FIELDS = ("id", "bucket", "collection", "host", "last_modified")

Entry = dict[str, Any]

_CORS_HEADERS = ("ETag", "Last-Modified", "Cache-Control", "Expires", "Total-Records")
monitor_records = Service("monitor-records", f"{PATH}/records", "What changed where", cors_headers=_CORS_HEADERS)
monitor_changeset = Service("monitor-changeset", f"{PATH}/changeset", "What changed where", cors_headers=_CORS_HEADERS)


@monitor_records.get(permission=NO_PERMISSION_REQUIRED, tags=["Changes"], operation_id="get_monitor_records")
def get_records(request: Any) -> Any:
    """An entry for each collection, newest first, as a list of records."""
    asked = query.parse(request, expected_is_mandatory=False)
    if _knows_more(request, asked):
        return _no_content(request)
    entries, timestamp = _entries(request)
    if request.headers.get("If-None-Match") == f'"{timestamp}"':
        entries = []  # a 304 would turn a batch into an error
    entries = _chosen(request, asked, entries)
    _set_headers(request, asked, timestamp)
    request.response.headers["Total-Records"] = str(len(entries))
    return {"data": entries[: asked.limit]}


@monitor_changeset.get(permission=NO_PERMISSION_REQUIRED, tags=["Changes"], operation_id="get_monitor_changeset")
def get_changeset(request: Any) -> Any:
    """The same entries in the form of a changeset."""
    asked = query.parse(request, expected_is_mandatory=True)
    if _knows_more(request, asked):
        return _no_content(request)
    entries, timestamp = _entries(request)
    _set_headers(request, asked, timestamp)
    return {"metadata": {"bucket": "monitor"}, "timestamp": timestamp, "changes": _chosen(request, asked, entries)[: asked.limit]}


def _knows_more(request: Any, asked: Query) -> bool:
    """Whether the client has seen more than what it expects. Raises what leads it to another address."""
    if asked.expected is not None:
        if request.GET["_expected"] != asked.expected:
            raise query.redirect(request, _expected=asked.expected)
        expected = query.timestamp(request, "_expected")
        if expected and asked.since is not None and expected < asked.since:
            return True
    settings = request.registry.changes
    if asked.since is not None and settings.since_max_age_days is not None:
        oldest = now_ms() - settings.since_max_age_days * DAY_MS
        if asked.since < oldest:
            answer = query.redirect(request, _since=None)
            if settings.redirect_ttl_seconds >= 0:
                answer.cache_expires(seconds=settings.redirect_ttl_seconds)
            raise answer
    return False


def _no_content(request: Any) -> Any:
    if not hasattr(request, "parent"):
        return HTTPNoContent()
    request.response.status_code = 204
    request.response.json = {}  # Kinto's batch makes a 500 of an answer without any JSON
    return request.response


def _entries(request: Any) -> tuple[list[Entry], int]:
    """All entries, newest first, and the timestamp of the list."""
    settings = request.registry.changes
    host = settings.http_host or request.host
    with exclusive(request.registry):
        found = [one for one in latest_changes(request.registry.storage, settings.resources) if settings.lists(*one[:2])]
    entries = [
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"//{host}/buckets/{bucket}/collections/{collection}")),
            "bucket": bucket,
            "collection": collection,
            "host": host,
            "last_modified": timestamp,
        }
        for bucket, collection, timestamp, deleted in found
        if not deleted
    ]
    entries.sort(key=lambda entry: (-entry["last_modified"], entry["bucket"], entry["collection"]))
    # Of deleted ones too: the timestamp of the list never goes back.
    return entries, max((timestamp for _, _, timestamp, _ in found), default=0)


def _chosen(request: Any, asked: Query, entries: Sequence[Entry]) -> list[Entry]:
    """Those that were asked for, in the order that was asked for."""
    chosen = [entry for entry in entries if entry["last_modified"] > (asked.since or 0)]
    for field in ("id", "bucket", "collection", "host"):
        if field in request.GET:
            chosen = [entry for entry in chosen if entry[field] == request.GET[field]]
    for written in reversed([part for part in request.GET.get("_sort", "").split(",") if part]):
        field = written.lstrip("+-")
        if field not in FIELDS:
            raise query.invalid(request, "_sort", f"Unknown sort field '{field}'")
        chosen.sort(key=lambda entry: entry[field], reverse=written.startswith("-"))
    return chosen


def _set_headers(request: Any, asked: Query, timestamp: int) -> None:
    response = request.response
    response.last_modified = timestamp / 1000
    response.headers["ETag"] = f'"{timestamp}"'
    caching.set_cache_headers(response, request.registry.settings, "monitor", "changes", asked.expected)
