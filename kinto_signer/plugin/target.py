"""What of Kinto's tree a writing request is about, as far as its address says: known before the view, also inside batches."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from kinto_signer.plugin.rollback import SAFE_METHODS


class Kind(Enum):
    """Which level of the tree."""

    BUCKETS = "the list of buckets"
    BUCKET = "a bucket"
    COLLECTIONS = "the list of a bucket's collections"
    COLLECTION = "a collection"
    BELOW = "anything that a collection holds, or that a plugin offers there"


@dataclass(frozen=True)
class Target:
    """bucket, collection: ids; "" where the request is about a list of them. route: its name, as Kinto or a plugin gave it."""

    kind: Kind
    method: str
    route: str
    bucket: str = ""
    collection: str = ""

    @property
    def name(self) -> str:
        """``bucket/collection``, as repositories name collections."""
        return f"{self.bucket}/{self.collection}"


RECORDS = ("record-object", "record-plural")
"""Kinto's routes to the records of a collection."""

_BY_ROUTE = {
    "bucket-plural": Kind.BUCKETS,
    "bucket-object": Kind.BUCKET,
    "collection-plural": Kind.COLLECTIONS,
    "collection-object": Kind.COLLECTION,
}


def written(request: Any) -> Target | None:
    """What the request writes to; None if it only reads, or is about something else."""
    route = getattr(request.matched_route, "name", None)
    if request.method in SAFE_METHODS or route is None:
        return None
    ids = request.matchdict or {}
    if "bucket_id" in ids and "collection_id" in ids:
        return Target(Kind.BELOW, request.method, route, ids["bucket_id"], ids["collection_id"])
    kind = _BY_ROUTE.get(route)
    if kind is None:
        return None
    own = ids.get("id", "")
    if kind in (Kind.BUCKETS, Kind.BUCKET):
        return Target(kind, request.method, route, own)
    return Target(kind, request.method, route, ids["bucket_id"], own)


def made_id(request: Any) -> str | None:
    """The id that a POST to a list asks for; None where Kinto makes one."""
    try:
        found = request.json_body["data"]["id"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(found)
