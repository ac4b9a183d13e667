"""StorageRepository: Kinto's storage as a Repository. Reads everything, however much Kinto itself would cut off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import sqlalchemy
from kinto.core.storage import Filter, Sort
from kinto.core.storage.exceptions import ObjectNotFoundError
from kinto.core.utils import COMPARISON

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import EMPTY, TIMESTAMP_MARKER, Changeset, by_record_id, is_tombstone
from kinto_signer.core.plan import Held, is_exactly
from kinto_signer.errors import LockedError
from kinto_signer.plugin import locking

PAGE = 2000
HIGHEST = "highest_timestamp"
"""Attribute of a collection that was wiped: the greatest timestamp that was ever applied to it."""

NOTES = "kinto-signer"
"""Resource of what the plugins remember beside a collection. It is stored outside ``/buckets``, and outlives the collection."""


def notes_uri(uri: str) -> str:
    """The parent under which notes about the collection with that URI are stored."""
    return f"/{NOTES}{uri}"


def collection_uri(name: str) -> str:
    bucket, _, collection = name.partition("/")
    return f"/buckets/{bucket}/collections/{collection}"


class StorageRepository:
    """Collections in Kinto's storage, named ``bucket/collection``; part of the request's transaction."""

    def __init__(self, storage: Any) -> None:
        self.storage = storage

    @property
    def atomic(self) -> bool:
        """True on PostgreSQL; Kinto's memory storage cannot roll back."""
        return hasattr(self.storage, "client")

    # --- reading ---------------------------------------------------------------------------------------------------

    def attributes(self, name: str) -> dict[str, Any] | None:
        """The collection's own object; None if there is no such collection."""
        bucket, _, collection = name.partition("/")
        try:
            found: dict[str, Any] = self.storage.get("collection", f"/buckets/{bucket}", collection)
        except ObjectNotFoundError:
            return None
        return found

    def etag(self, name: str) -> int:
        """The timestamp of the list of records; starts the clock of an empty list, as reading it does."""
        return int(self.storage.resource_timestamp("record", collection_uri(name)))

    def records(self, name: str, *, with_tombstones: bool = False) -> list[Record]:
        """Every record, page by page in the order of ids: `storage_max_fetch_size` cuts nothing off."""
        return list(self._all("record", collection_uri(name), with_tombstones))

    def count(self, name: str) -> int:
        """The number of live records."""
        return int(self.storage.count_all("record", collection_uri(name)))

    def newest(self, name: str) -> int:
        """The greatest timestamp of a record or a tombstone; 0 if there is none. Unlike `etag` it starts no clock."""
        found = self.storage.list_all(
            "record", collection_uri(name), sorting=[Sort("last_modified", -1)], limit=1, include_deleted=True
        )
        return int(found[0]["last_modified"]) if found else 0

    def collections(self, bucket: str) -> list[str]:
        """The ids of the bucket's collections."""
        return [collection["id"] for collection in self.collections_attributes(bucket)]

    def collections_attributes(self, bucket: str) -> Iterator[dict[str, Any]]:
        """The objects of the bucket's collections, in the order of their ids."""
        return self._all("collection", f"/buckets/{bucket}", False)

    def matching(self, kind: str, uri: str, filters: list[Filter]) -> Iterator[Record]:
        """The objects of a kind below `uri` that pass Kinto's filters."""
        return self._all(kind, uri, False, filters)

    def _all(self, kind: str, uri: str, with_tombstones: bool, filters: list[Filter] | None = None) -> Iterator[Record]:
        rules: list[list[Filter]] | None = None
        while True:
            page = self.storage.list_all(
                kind,
                uri,
                filters=filters,
                sorting=[Sort("id", 1)],
                pagination_rules=rules,
                limit=PAGE,
                include_deleted=with_tombstones,
            )
            yield from page
            if not page:
                return
            rules = [[Filter("id", page[-1]["id"], COMPARISON.GT)]]

    def held(self, name: str) -> Held:
        """What the collection holds, for planning a publication to it."""
        changes = self.records(name, with_tombstones=True)
        return Held(self.etag(name), changes, fresh=not changes and self.timestamp(name) == 0)

    def timestamp(self, name: str) -> int:
        """The attribute ``signed_timestamp``; for a state that a peer signed, the ETag; 0 if nothing was signed."""
        attributes = self.attributes(name)
        if attributes is None or not (attributes.get("signature") or attributes.get("signatures")):
            return 0
        signed = attributes.get("signed_timestamp")
        return signed if isinstance(signed, int) else self.etag(name)

    def highest(self, name: str) -> int:
        return max(self.timestamp(name), int((self.attributes(name) or {}).get(HIGHEST, 0)))

    def changeset(self, name: str, since: int = 0) -> Changeset:
        attributes = self.attributes(name)
        if attributes is None or HIGHEST in attributes:
            return EMPTY
        records = self.records(name, with_tombstones=since > 0)
        changes = [record for record in records if record["last_modified"] > since] if since else records
        bucket = name.partition("/")[0]
        return Changeset(self.timestamp(name), changes, {**attributes, "bucket": bucket}, since)

    # --- writing ---------------------------------------------------------------------------------------------------

    def lock(self, name: str, timeout_s: float) -> None:
        """Keep other writers of the collection out until the transaction ends. Nothing to do on memory storage.

        Raises LockedError if somebody else keeps it longer than `timeout_s`.
        """
        if not self.atomic:
            return
        bucket, _, collection = name.partition("/")
        busy = LockedError(
            f"{name} is being published or edited by another request, which did not end within {timeout_s:g} s. "
            "Nothing was changed; try again."
        )
        values = {"bucket": f"/buckets/{bucket}", "id": collection}
        locking.lock(self.storage, locking.OBJECT_OF_COLLECTION, values, timeout_s, busy)

    def lock_everything(self) -> None:
        """Keep the other workers' start-up out until the transaction ends. Nothing to do on memory storage."""
        if self.atomic:
            with self.storage.client.connect() as session:
                session.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtext('kinto-signer start-up'))"))

    def write(self, name: str, changes: list[Record]) -> None:
        """Write records and tombstones with exactly their timestamps, in increasing order."""
        for change in sorted(changes, key=lambda change: change["last_modified"]):
            if is_tombstone(change):
                self._bury(collection_uri(name), change)
            else:
                self.storage.update("record", collection_uri(name), change["id"], change)

    def _bury(self, uri: str, grave: Record) -> None:
        if grave["id"] == TIMESTAMP_MARKER:
            self.storage.update("record", uri, grave["id"], {"last_modified": grave["last_modified"] - 1})
        with suppress(ObjectNotFoundError):
            self.storage.delete("record", uri, grave["id"], last_modified=grave["last_modified"])

    def set_attributes(self, name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the collection's object, which has to exist or not as the storage has it; returns what is stored."""
        bucket, _, collection = name.partition("/")
        kept = {key: value for key, value in attributes.items() if key not in ("last_modified", "bucket")}
        stored: dict[str, Any] = self.storage.update("collection", f"/buckets/{bucket}", collection, kept)
        return stored

    def bucket(self, bucket: str) -> dict[str, Any] | None:
        """The bucket's own object; None if there is no such bucket."""
        try:
            found: dict[str, Any] = self.storage.get("bucket", "", bucket)
        except ObjectNotFoundError:
            return None
        return found

    def has_bucket(self, bucket: str) -> bool:
        return self.bucket(bucket) is not None

    def ensure_bucket(self, bucket: str) -> bool:
        """Make the bucket if it is not there; returns whether it was made."""
        if self.has_bucket(bucket):
            return False
        self.storage.create("bucket", "", {"id": bucket})
        return True

    def apply(self, name: str, changeset: Changeset) -> None:
        held = by_record_id(self.records(name))
        # Kinto moves a timestamp that is written a second time: what is there already is not written again.
        changes = [change for change in changeset.changes if not is_exactly(held.get(change["id"]), change)]
        if changeset.since == 0:
            gone = held.keys() - {change["id"] for change in changeset.changes}
            changes += [{**held[record_id], "deleted": True} for record_id in gone]
        self.write(name, changes)
        self.set_attributes(name, {**changeset.metadata, "signed_timestamp": changeset.timestamp})

    def wipe(self, name: str) -> None:
        """Remove records and attributes, remembering the highest timestamp."""
        highest = self.highest(name)
        self.wipe_below(collection_uri(name))
        self.set_attributes(name, {HIGHEST: highest})

    def delete_records(self, name: str, *, before: int) -> None:
        """Turn every record that was written before the timestamp `before` into a tombstone."""
        older = [Filter("last_modified", before, COMPARISON.LT)]
        while self.storage.delete_all("record", collection_uri(name), filters=older):
            pass

    def wipe_below(self, parent_id: str) -> None:
        """Remove everything below, and every trace of it: Kinto alone stops at `storage_max_fetch_size`."""
        while self.storage.delete_all(None, parent_id, with_deleted=False):
            pass
        self.storage.purge_deleted(None, parent_id)
