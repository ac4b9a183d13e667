"""When each collection changed last: records, attributes and signature, without reading any of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy

from kinto_signer.plugin.resources import Place
from kinto_signer.plugin.storage import StorageRepository

Latest = tuple[str, str, int, bool]
"""Bucket, collection, integer milliseconds, and whether the collection was deleted then."""

_STATEMENT = sqlalchemy.text("""
SELECT collections.parent_id, collections.id,
       as_epoch(greatest(collections.last_modified, records.last_modified, timestamps.last_modified)), collections.deleted
  FROM objects AS collections
  LEFT JOIN LATERAL (
    SELECT last_modified FROM objects
     WHERE resource_name = 'record' AND parent_id = collections.parent_id || '/collections/' || collections.id
     ORDER BY last_modified DESC
     LIMIT 1
  ) AS records ON TRUE
  LEFT JOIN timestamps
    ON timestamps.resource_name = 'record'
   AND timestamps.parent_id = collections.parent_id || '/collections/' || collections.id
 WHERE collections.resource_name = 'collection' AND collections.parent_id = ANY(:buckets)
""")


def latest_changes(storage: Any, places: Sequence[Place]) -> Iterator[Latest]:
    """Of every collection in the buckets of `places`; on memory storage hold `exclusive` meanwhile."""
    buckets = list(dict.fromkeys(f"/buckets/{place.bucket}" for place in places))
    rows = _from_postgresql(storage, buckets) if StorageRepository(storage).atomic else _from_memory(storage, buckets)
    for bucket_uri, collection, timestamp, deleted in rows:
        yield bucket_uri.removeprefix("/buckets/"), collection, timestamp, deleted


def _from_postgresql(storage: Any, buckets: list[str]) -> Iterator[Latest]:
    with storage.client.connect(readonly=True) as session:
        rows: list[Latest] = session.execute(_STATEMENT, {"buckets": buckets}).fetchall()
    yield from rows


def _from_memory(storage: Any, buckets: list[str]) -> Iterator[Latest]:
    records = storage.all_resources_timestamps("record")
    for bucket in buckets:
        for found in storage.list_all("collection", bucket, include_deleted=True):
            clock = records.get(f"{bucket}/collections/{found['id']}", 0)
            yield bucket, found["id"], max(found["last_modified"], clock), bool(found.get("deleted"))
