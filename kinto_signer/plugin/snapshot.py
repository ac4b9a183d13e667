"""One committed publication of a collection, read at once: attributes, timestamp, records, tombstones.

On PostgreSQL it is ONE statement. Each statement of Kinto's transaction sees what was committed when that statement began, so
two of them may see two publications (435 of 4,837 answers were mixed that way, none of 6,568 this way). On memory the caller
holds the lock of `plugin.exclusive`. PostgreSQL writes the JSON of each record, and nobody here parses it: 100,000 records take a
quarter of the time of Kinto's own list, and `storage_max_fetch_size` cuts nothing off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from kinto.core.storage import Filter, Sort
from kinto.core.storage.exceptions import ReadonlyError
from kinto.core.utils import COMPARISON

from kinto_signer.plugin import purged
from kinto_signer.plugin.storage import NOTES, PAGE, StorageRepository, collection_uri, notes_uri

_AS_JSON = "(data || jsonb_build_object('id', id, 'last_modified', as_epoch(last_modified)))::text"

_STATEMENT = """
SELECT 'collection' AS kind, as_epoch(last_modified) AS stamp, {as_json} AS body
  FROM objects
 WHERE resource_name = 'collection' AND parent_id = :bucket_uri AND id = :collection AND NOT deleted
UNION ALL
SELECT 'etag', as_epoch(max(last_modified)), NULL
  FROM (
    SELECT max(last_modified) AS last_modified FROM objects WHERE resource_name = 'record' AND parent_id = :uri
    UNION ALL
    SELECT last_modified FROM timestamps WHERE resource_name = 'record' AND parent_id = :uri
  ) AS clocks
UNION ALL
SELECT 'purged', (data->>'before')::bigint, NULL
  FROM objects
 WHERE resource_name = '{purged_resource}' AND parent_id = :purged_parent AND id = '{purged_id}'
UNION ALL
(
  SELECT 'change', as_epoch(last_modified), {as_json}
    FROM objects
   WHERE resource_name = 'record' AND parent_id = :uri AND {which}
   ORDER BY last_modified DESC
   LIMIT :limit
)
"""


def _statement(which: str) -> Any:
    return sqlalchemy.text(_STATEMENT.format(as_json=_AS_JSON, which=which, purged_resource=NOTES, purged_id=purged.ID))


_ALL = _statement("NOT deleted")
_SINCE = _statement("last_modified > from_epoch(:since)")


@dataclass(frozen=True)
class Snapshot:
    """A collection as it was at one moment.

    attributes: the collection's object, with ``id`` and ``last_modified``. etag: the timestamp of its records, integer
    milliseconds. changes: records (and tombstones, for a difference) as JSON in UTF-8, newest first. purged_before: differences
    that start from an earlier timestamp are incomplete (see `plugin.purged`).
    """

    attributes: Mapping[str, Any]
    etag: int
    changes: list[bytes]
    purged_before: int = 0

    @property
    def timestamp(self) -> int:
        """The signed timestamp; for a state that a peer signed, or nobody, the timestamp of the records."""
        signed = self.attributes.get("signed_timestamp")
        if isinstance(signed, int) and not isinstance(signed, bool) and signed > 0:
            return signed
        return self.etag

    @property
    def last_modified(self) -> int:
        """When anything of it changed last: records, attributes or the signature."""
        return max(self.etag, self.timestamp, int(self.attributes["last_modified"]))

    def as_json(self, bucket: str) -> bytes:
        """The changeset: ``{"metadata": …, "timestamp": …, "changes": […]}``, UTF-8."""
        metadata = json.dumps({**self.attributes, "bucket": bucket}, ensure_ascii=False)
        head = f'{{"metadata": {metadata}, "timestamp": {self.timestamp}, "changes": ['
        return b"".join((head.encode(), b",".join(self.changes), b"]}"))


def snapshot(storage: Any, name: str, since: int | None = None, limit: int | None = None) -> Snapshot | None:
    """The collection `name` (``bucket/collection``) as it is now; None if there is no such collection.

    since: integer milliseconds; only records and tombstones after it. None: every record, no tombstones. limit: at most that
    many, the newest. On memory storage hold `exclusive` meanwhile.
    """
    if StorageRepository(storage).atomic:
        return _in_one_statement(storage, name, since, limit)
    return _from_memory(storage, name, since, limit)


def _in_one_statement(storage: Any, name: str, since: int | None, limit: int | None) -> Snapshot | None:
    bucket, _, collection = name.partition("/")
    uri = collection_uri(name)
    values: dict[str, Any] = {"bucket_uri": f"/buckets/{bucket}", "collection": collection, "uri": uri}
    values |= {"purged_parent": notes_uri(uri), "limit": limit}
    if since is not None:
        values["since"] = since
    with storage.client.connect(readonly=True) as session:
        heads: dict[str, tuple[Any, Any]] = {}
        changes: list[tuple[int, bytes]] = []
        for rows in session.execute(_ALL if since is None else _SINCE, values).partitions(PAGE):
            heads |= {kind: (stamp, body) for kind, stamp, body in rows if kind != "change"}
            # As bytes at once: texts with other than Latin letters take two to four times as much memory.
            changes += [(stamp, body.encode()) for kind, stamp, body in rows if kind == "change"]
    if "collection" not in heads:
        return None
    changes.sort(key=lambda change: change[0], reverse=True)  # they are; UNION ALL only does not promise it
    attributes = json.loads(heads["collection"][1])
    etag = heads["etag"][0] or _start_clock(storage, uri, attributes)
    return Snapshot(attributes, etag, [body for _, body in changes], heads.get("purged", (0, None))[0])


def _from_memory(storage: Any, name: str, since: int | None, limit: int | None) -> Snapshot | None:
    attributes = StorageRepository(storage).attributes(name)
    if attributes is None:
        return None
    uri = collection_uri(name)
    changes = storage.list_all(
        "record",
        uri,
        filters=None if since is None else [Filter("last_modified", since, COMPARISON.GT)],
        sorting=[Sort("last_modified", -1)],
        limit=limit,
        include_deleted=since is not None,
    )
    texts = [json.dumps(change, ensure_ascii=False).encode() for change in changes]
    return Snapshot(attributes, _start_clock(storage, uri, attributes), texts, purged.before(storage, uri))


def _start_clock(storage: Any, uri: str, attributes: Mapping[str, Any]) -> int:
    """The timestamp of a list of records; reading starts it, as Kinto does, where nobody wrote or read before."""
    try:
        return int(storage.resource_timestamp("record", uri))
    except ReadonlyError:
        return int(attributes["last_modified"])
