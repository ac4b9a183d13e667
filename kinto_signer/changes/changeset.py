"""``GET /buckets/{bucket_id}/collections/{collection_id}/changeset``: a collection with its signature, in one answer.

Every collection of the server is offered, to whoever may read its attributes. The answer is one committed publication:
``{"metadata": attributes, "timestamp": the signed timestamp, "changes": [newest first]}``; with ``_since`` only what changed
after it, tombstones included. Where tombstones that such a difference needs are gone (`plugin.purged`) the answer is a 307 to the
same address without ``_since``: the client has to start from scratch.

The ETag is the greatest of the signed timestamp, the timestamp of the records and that of the attributes, as in
``monitor/changes``: a refreshed signature is a new answer to caches.
"""

from __future__ import annotations

from typing import Any

from kinto.authorization import RouteFactory
from kinto.core import Service
from kinto.core.authorization import DYNAMIC
from kinto.core.errors import ERRORS, http_error
from kinto.views import raise_404_if_invalid_id
from pyramid.httpexceptions import HTTPNotFound

from kinto_signer.changes import caching, query
from kinto_signer.plugin.exclusive import exclusive
from kinto_signer.plugin.snapshot import Snapshot, snapshot


class ReadingAttributes(RouteFactory):
    """Asks for the permission to read the collection's attributes."""

    resource_name = "collection"
    required_permission = "read"

    def __init__(self, request: Any) -> None:
        super().__init__(request)
        bucket, collection = request.matchdict["bucket_id"], request.matchdict["collection_id"]
        raise_404_if_invalid_id(request, "bucket", bucket)
        raise_404_if_invalid_id(request, "collection", collection)
        self.permission_object_id = f"/buckets/{bucket}/collections/{collection}"


changeset = Service(
    name="changeset",
    description="A collection with its signature",
    path="/buckets/{bucket_id}/collections/{collection_id}/changeset",
    factory=ReadingAttributes,
    cors_headers=("ETag", "Last-Modified", "Cache-Control", "Expires"),
)


@changeset.get(permission=DYNAMIC, tags=["Changes"], operation_id="get_changeset")
def get_changeset(request: Any) -> Any:
    """Attributes, signed timestamp and records of a collection, all of one publication."""
    asked = query.parse(request, expected_is_mandatory=True)
    bucket, collection = request.matchdict["bucket_id"], request.matchdict["collection_id"]
    with exclusive(request.registry):
        found = snapshot(request.registry.storage, f"{bucket}/{collection}", asked.since, asked.limit)
    if found is None:
        details = {"id": collection, "resource_name": "collection"}
        raise http_error(HTTPNotFound(), errno=ERRORS.INVALID_RESOURCE_ID, details=details)
    if asked.since is not None and asked.since < found.purged_before:
        raise query.redirect(request, _since=None)
    caching.set_cache_headers(request.response, request.registry.settings, bucket, collection, asked.expected)
    return _answer(request.response, found, bucket)


def _answer(response: Any, found: Snapshot, bucket: str) -> Any:
    response.content_type = "application/json"
    response.body = found.as_json(bucket)
    response.last_modified = found.last_modified / 1000
    response.headers["ETag"] = f'"{found.last_modified}"'
    return response
