"""The records in the cache's file: each in its canonical form, so that those of a collection, by id, are what is signed.

SQLite's order of texts is the one of their UTF-8 bytes, which is the one of code points.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kinto_signer.core.canonical import BLOCK, Record, canonical_parsed, digests_of_chunks
from kinto_signer.core.changeset import Content
from kinto_signer.core.packed import Packed, forms
from kinto_signer.updater.catalogue import Held, digest_parts

SELECT = "SELECT id, body FROM record WHERE collection = ? ORDER BY id"

Row = tuple[bytes, bytes]


class OtherRecords(Exception):
    """The records are not those that were stored."""


def read(connection: sqlite3.Connection, name: str, held: Held) -> Sequence[Record]:
    """The records by id. Raises OtherRecords."""
    rows: list[Row] = connection.execute(SELECT, (name,)).fetchall()
    if held.content is None:
        if _digest_texts(rows) != held.records_digest:
            raise OtherRecords
        return [json.loads(body) for _, body in rows]
    packed = Packed([record_id.decode("utf-8") for record_id, _ in rows], [_proper(body) for _, body in rows])
    if Content(packed.digests(held.timestamp), len(packed)) != held.content:
        raise OtherRecords
    return packed


def content_after(connection: sqlite3.Connection, name: str, held: Held, changes: Iterable[Record], timestamp: int) -> Content:
    """What can be said of the records that are held, with these changes, at the signed `timestamp`. Raises OtherRecords.

    No record that is held is parsed, unless an older program wrote it.
    """
    count = 0

    def chunks() -> Iterator[bytes]:
        nonlocal count
        for block in _merged(_blocks(connection, name, held), changes):
            count += len(block)
            yield from block

    try:
        digests = digests_of_chunks(chunks(), timestamp)
    except TypeError as error:  # damage changes types too
        raise OtherRecords from error
    return Content(digests, count)


def examine(connection: sqlite3.Connection, name: str, held: Held) -> None:
    """Raises OtherRecords if the records are not those that were stored."""
    if held.content is None:
        read(connection, name, held)
    elif content_after(connection, name, held, (), held.timestamp) != held.content:
        raise OtherRecords


def write(connection: sqlite3.Connection, name: str, held: Held, changes: Iterable[Record], *, complete: bool) -> None:
    """Store the changes in place of everything that is held, or on top of it. Writes the rows that change, and no others.

    The first time after an older program it writes all. Raises OtherRecords.
    """
    if complete:
        connection.execute("DELETE FROM record WHERE collection = ?", (name,))
    elif held.timestamp and held.content is None:
        again = [(canonical_parsed(record), name, record["id"]) for record in read(connection, name, held)]
        connection.executemany("UPDATE record SET body = ? WHERE collection = ? AND id = ?", again)
    gone, live = [], []
    for record_id, form in sorted(forms(changes)):  # in their order the tree only grows at its end
        if form is None:
            gone.append((name, record_id))
        else:
            live.append((name, record_id, form))
    connection.executemany("DELETE FROM record WHERE collection = ? AND id = ?", gone)
    connection.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", live)


def _blocks(connection: sqlite3.Connection, name: str, held: Held) -> Iterator[list[Row]]:
    """The rows by id, in the canonical form. Raises OtherRecords."""
    if held.timestamp and held.content is None:
        yield [(record["id"].encode("utf-8"), canonical_parsed(record)) for record in read(connection, name, held)]
        return
    cursor = connection.execute(SELECT, (name,))
    while rows := cursor.fetchmany(BLOCK):
        yield rows


def _merged(blocks: Iterable[list[Row]], changes: Iterable[Record]) -> Iterator[list[bytes]]:
    """The canonical forms of what is held, by id, as it is after the changes."""
    due = sorted(((record_id.encode("utf-8"), form) for record_id, form in forms(changes)), reverse=True)  # the next one is last
    for rows in blocks:
        until = rows[-1][0] if rows else b""
        if not due or due[-1][0] > until:
            yield [form for _, form in rows]
            continue
        found: dict[bytes, bytes | None] = dict(rows)
        while due and due[-1][0] <= until:
            record_id, changed = due.pop()
            found[record_id] = changed
        yield [form for _, form in sorted(found.items()) if form is not None]
    yield [form for _, form in reversed(due) if form is not None]


def _digest_texts(rows: Iterable[Row]) -> bytes:
    return digest_parts(part for row in rows for part in row)


def _proper(body: Any) -> bytes:
    if not isinstance(body, bytes):
        raise OtherRecords
    return body
