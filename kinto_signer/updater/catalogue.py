"""What the cache's file notes of each collection: the tables, and the digests that tell what was stored from what is there."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kinto_signer.core.canonical import Digests, format_hash, parse_hash
from kinto_signer.core.changeset import Content

FORMAT = 3
READABLE = (1, 2, FORMAT)
"""1 had keys only, and no other policies. 1 and 2 had other texts of the records, and a digest of their own over them."""
NO_DIGEST = b""
SIGNED_BYTES = HASH_BYTES = 48
COUNT_BYTES = 8
SCHEMA = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE about (digest BLOB NOT NULL);
CREATE TABLE collection (
    name TEXT NOT NULL PRIMARY KEY, timestamp INTEGER NOT NULL, highest INTEGER NOT NULL,
    metadata BLOB NOT NULL, keys BLOB NOT NULL, records_digest BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE record (
    collection TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (collection, id)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Held:
    """A row of the catalogue. keys: the policy under which it was stored, see `kept_policy`.

    records_digest: what `note` makes; as long as a SHA-256 where an older program wrote it, and the records are its texts.
    """

    timestamp: int = 0
    highest: int = 0
    metadata: bytes = b"{}"
    keys: bytes = b"[]"
    records_digest: bytes = b""

    def row(self) -> tuple[int, int, bytes, bytes, bytes]:
        return self.timestamp, self.highest, self.metadata, self.keys, self.records_digest

    @property
    def content(self) -> Content | None:
        """What is noted of the records; None where an older program wrote them, or there are none."""
        noted = self.records_digest
        if len(noted) != SIGNED_BYTES + HASH_BYTES + COUNT_BYTES:
            return None
        signed, plain, count = noted[:SIGNED_BYTES], noted[SIGNED_BYTES:-COUNT_BYTES], noted[-COUNT_BYTES:]
        return Content(Digests(signed, format_hash(plain)), int.from_bytes(count, "big"))


def note(content: Content) -> bytes:
    """For the column ``records_digest``."""
    plain = parse_hash(content.digests.hash) or b""
    return content.digests.signed + plain + content.count.to_bytes(COUNT_BYTES, "big")


def read_rows(connection: sqlite3.Connection) -> list[tuple[Any, ...]] | None:
    """The rows of the catalogue, if they are those that were stored."""
    stored = connection.execute("SELECT digest FROM about").fetchall()
    rows = connection.execute("SELECT name, timestamp, highest, metadata, keys, records_digest FROM collection").fetchall()
    return rows if stored == [(_digest_catalogue(rows),)] else None


def write(connection: sqlite3.Connection, catalogue: Mapping[str, Held]) -> None:
    """Replace the catalogue."""
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    rows = [(name, *held.row()) for name, held in catalogue.items()]
    connection.execute("DELETE FROM collection")
    connection.executemany("INSERT INTO collection VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.execute("DELETE FROM about")
    digest = _digest_catalogue([(name.encode("utf-8"), *rest) for name, *rest in rows])
    connection.execute("INSERT INTO about VALUES (?)", (digest,))


def _digest_catalogue(rows: Iterable[tuple[Any, ...]]) -> bytes:
    return digest_parts(repr(row).encode("ascii") for row in sorted(rows, key=repr))


def digest_parts(parts: Iterable[object]) -> bytes:
    """SHA-256 over byte strings, each with its length; `NO_DIGEST` if something else is among them."""
    digest = hashlib.sha256()
    for part in parts:
        if not isinstance(part, bytes):  # damage changes types too
            return NO_DIGEST
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
