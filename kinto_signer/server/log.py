"""``GET /buckets/{bucket_id}/collections/{collection_id}/log``: what was done in the workflow of a source, newest first.

``?_limit=`` (50, at most 500) and ``?_before=`` (milliseconds) page through it; ``Next-Page`` is the address of what is older.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from kinto.core import Service
from kinto.core.authorization import DYNAMIC
from kinto.core.errors import ERRORS, http_error, raise_invalid
from pyramid.httpexceptions import HTTPNotFound

from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.actions import recorded
from kinto_signer.server.permission import ReadingRecords

LIMIT, MOST = 50, 500

log = Service(
    name="signer-log",
    description="What was done in the workflow of a source",
    path="/buckets/{bucket_id}/collections/{collection_id}/log",
    factory=ReadingRecords,
    cors_headers=("Next-Page",),
)


@log.get(permission=DYNAMIC, tags=["Signer"], operation_id="get_signer_log")
def get_log(request: Any) -> dict[str, Any]:
    """``{"data": [entry, …]}``, see `server.actions.Action`."""
    bucket, collection = request.matchdict["bucket_id"], request.matchdict["collection_id"]
    resource = request.registry.signing.resources.of_source(bucket, collection)
    name = f"{bucket}/{collection}"
    if resource is None or StorageRepository(request.registry.storage).attributes(name) is None:
        details = {"id": collection, "resource_name": "collection"}
        raise http_error(HTTPNotFound(), errno=ERRORS.INVALID_RESOURCE_ID, details=details)
    limit, before = _number(request, "_limit", LIMIT, MOST), _number(request, "_before", None, 2**63 - 1)
    entries = recorded(request.registry, name, limit=limit or LIMIT, before=before)
    if len(entries) == limit:
        query = urlencode({"_limit": limit, "_before": entries[-1]["last_modified"]})
        request.response.headers["Next-Page"] = f"{request.path_url}?{query}"
    return {"data": entries}


def _number(request: Any, name: str, default: int | None, most: int) -> int | None:
    text = request.GET.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:20]) <= most:
        raise_invalid(request, location="querystring", name=name, description=f"{name} has to be a number from 1 to {most}")
    return int(text)
