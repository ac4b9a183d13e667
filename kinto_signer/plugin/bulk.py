"""Many records at once, with exactly the timestamps they came with, on Kinto's own tables.

Kinto's interface writes one record at a time, and moves a timestamp that is the collection's newest. What is written here is
what Kinto would have written to an empty collection in the order of the timestamps; `tests/test_bulk.py` compares the rows.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from kinto.core.decorators import synchronized

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import is_tombstone
from kinto_signer.plugin.planner import with_room, without

PIECE = 2**18
"""Characters that are handed to PostgreSQL at once."""

_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_ESCAPED = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
"""What ends a field or a line of COPY's. Kinto takes ids that end with a line break."""

MANY = 1000
"""From here on, joins are not done row by row: fresh rows have no statistics that would tell PostgreSQL so."""

_STAGE = """
CREATE TEMPORARY TABLE kinto_signer_stage (
    id text COLLATE "C", epoch bigint, data jsonb, deleted boolean,
    at timestamp GENERATED ALWAYS AS (timestamp 'epoch' + epoch * interval '1 millisecond') STORED
) ON COMMIT DROP
"""
# For statements that join; without it PostgreSQL takes any temporary table for a small one.
_KNOW_STAGE = "ANALYZE kinto_signer_stage"
_COPY = "COPY kinto_signer_stage (id, epoch, data, deleted) FROM STDIN"

_NEWEST = """
SELECT as_epoch(GREATEST(stored, clock)), stored IS NULL
  FROM (SELECT MAX(last_modified) AS stored FROM objects WHERE parent_id = :uri AND resource_name = 'record') newest
  LEFT JOIN (SELECT last_modified AS clock FROM timestamps WHERE parent_id = :uri AND resource_name = 'record') list ON true
"""

_REMOVE_OTHERS = """
DELETE FROM objects o
 WHERE o.parent_id = :uri AND o.resource_name = 'record' AND NOT EXISTS (SELECT 1 FROM kinto_signer_stage s WHERE s.id = o.id)
   AND (NOT o.deleted OR o.last_modified > from_epoch(:at)
        OR EXISTS (SELECT 1 FROM kinto_signer_stage t WHERE t.at = o.last_modified))
"""

# Compared as they are stored: `=` takes 1.0 for 1, and a record that was altered so has another form.
_DROP_SAME = """
DELETE FROM kinto_signer_stage s USING objects o
 WHERE o.parent_id = :uri AND o.resource_name = 'record' AND o.id = s.id
   AND o.last_modified = s.at AND o.deleted = s.deleted AND record_image_eq(ROW(o.data), ROW(s.data))
"""

# A row that keeps the timestamp which another one is to have would be in its way: aside with it, a thousand years.
_STEP_ASIDE = """
UPDATE objects o
   SET last_modified = o.last_modified - interval '1000 years'
  FROM kinto_signer_stage s
 WHERE o.parent_id = :uri AND o.resource_name = 'record' AND o.id = s.id
   AND EXISTS (SELECT 1 FROM kinto_signer_stage t WHERE t.at = o.last_modified)
"""

# Kinto's trigger looks for the newest row before each row that is written. Newest first, that is the one that was written first;
# the other way round it would also walk through whatever a publication that was undone left above it, 100,000 times.
_INSERT = """
INSERT INTO objects (id, parent_id, resource_name, data, last_modified, deleted)
SELECT id, :uri, 'record', data, at, deleted FROM {rows} ORDER BY at DESC
"""
_OVER = """
    ON CONFLICT (id, parent_id, resource_name)
    DO UPDATE SET data = EXCLUDED.data, deleted = EXCLUDED.deleted, last_modified = EXCLUDED.last_modified
"""

# The live records of another collection, with their timestamps.
_AS_THERE = """(
    SELECT id, data, last_modified AS at, deleted
      FROM objects WHERE parent_id = :origin AND resource_name = 'record' AND NOT deleted
) AS there"""

# Where a record comes from another collection PostgreSQL fetches it there: it does not travel.
_STAGED = "kinto_signer_stage"
_COPIED = """(
    SELECT s.id, COALESCE(s.data, o.data) AS data, s.at, s.deleted
      FROM kinto_signer_stage s
      LEFT JOIN objects o
        ON s.data IS NULL AND o.id = s.id AND o.parent_id = :origin AND o.resource_name = 'record' AND NOT o.deleted
) AS copied"""

# Kinto's trigger moves the timestamp of a row that is written with the newest one; it does not look at this kind of update.
_COUNT_BUMPED = """
SELECT count(*) FROM objects o, kinto_signer_stage s
 WHERE o.parent_id = :uri AND o.resource_name = 'record' AND o.id = s.id AND o.last_modified <> s.at
"""
_BUMPED_ASIDE = """
UPDATE objects o SET last_modified = o.last_modified - interval '1000 years'
  FROM kinto_signer_stage s
 WHERE o.parent_id = :uri AND o.resource_name = 'record' AND o.id = s.id AND o.last_modified <> s.at
"""
_AS_SENT = """
UPDATE objects o SET last_modified = s.at
  FROM kinto_signer_stage s
 WHERE o.parent_id = :uri AND o.resource_name = 'record' AND o.id = s.id AND o.last_modified <> s.at
"""

# The clock of a list that was read while it was empty must not be ahead of what is signed.
_CLOCK = """
INSERT INTO timestamps (parent_id, resource_name, last_modified) VALUES (:uri, 'record', from_epoch(:at))
    ON CONFLICT (parent_id, resource_name) DO UPDATE SET last_modified = LEAST(timestamps.last_modified, EXCLUDED.last_modified)
"""


@dataclass(frozen=True)
class Copied:
    """ids: of the changes that are nothing but an id and a timestamp; their content is that of the records below `origin`."""

    origin: str
    ids: Collection[str]


def apply_in_bulk(
    storage: Any, uri: str, changes: Sequence[Record], *, complete: bool, timestamp: int, copied: Copied | None = None
) -> None:
    """Write records and tombstones below the collection's `uri`, in the current transaction.

    complete: live records that are not among the changes, and tombstones after the signed timestamp or with the timestamp of a
    change, are removed without a trace.
    timestamp: the signed one; the list's own clock is not left ahead of it.
    Ids, and timestamps, have to differ: Kinto's tables hold each once. The caller keeps other writers out.
    """
    ordered = sorted(changes, key=lambda change: change["last_modified"])
    if hasattr(storage, "client"):
        _apply_on_postgresql(storage, uri, ordered, complete, timestamp, copied)
    else:
        _apply_in_memory(storage, uri, ordered, complete, timestamp)


def copy_all(storage: Any, uri: str, origin: str, *, timestamp: int) -> None:
    """Write the live records below `origin` below `uri` as well, with their timestamps, in the current transaction.

    Only on PostgreSQL, and where all that is below `uri` is older. timestamp: as in `apply_in_bulk`.
    """
    with storage.client.connect() as session, with_room(session):
        for statement in (_INSERT.format(rows=_AS_THERE) + _OVER, _CLOCK):
            session.execute(sqlalchemy.text(statement), {"uri": uri, "origin": origin, "at": timestamp})


def _apply_on_postgresql(
    storage: Any, uri: str, changes: Sequence[Record], complete: bool, timestamp: int, copied: Copied | None
) -> None:
    with storage.client.connect() as session:
        values = {"uri": uri, "at": timestamp, "origin": copied.origin if copied else ""}

        def run(statement: str) -> Any:
            return session.execute(sqlalchemy.text(statement), values)

        newest, empty = run(_NEWEST).one()
        run("DROP TABLE IF EXISTS pg_temp.kinto_signer_stage")  # a second publication in one transaction
        run(_STAGE)
        with session.connection().connection.cursor() as cursor:
            cursor.copy_expert(_COPY, _Lines(changes, copied.ids if copied else ()), PIECE)
        with ExitStack() as planned:
            if len(changes) >= MANY:
                run(_KNOW_STAGE)
                planned.enter_context(without(session, "nestloop"))
                planned.enter_context(with_room(session))
            if complete:
                run(_REMOVE_OTHERS)
            in_order = not changes or changes[0]["last_modified"] > (newest or 0)
            if not in_order:
                run(_DROP_SAME)
                run(_STEP_ASIDE)
            run(_INSERT.format(rows=_COPIED if copied else _STAGED) + ("" if empty else _OVER))
            if not in_order and run(_COUNT_BUMPED).scalar():
                run(_BUMPED_ASIDE)
                run(_AS_SENT)
        run(_CLOCK)


@synchronized
def _apply_in_memory(storage: Any, uri: str, changes: Sequence[Record], complete: bool, timestamp: int) -> None:
    live = {} if complete else dict(storage._store[uri]["record"])
    taken = {change["last_modified"] for change in changes} if complete else set()
    dead = {
        key: grave
        for key, grave in storage._cemetery[uri]["record"].items()
        if grave["last_modified"] <= timestamp and grave["last_modified"] not in taken
    }
    for change in changes:
        copied = json.loads(json.dumps(change))
        here, elsewhere = (dead, live) if is_tombstone(change) else (live, dead)
        here[change["id"]] = copied
        elsewhere.pop(change["id"], None)
    storage._store[uri]["record"] = live
    storage._cemetery[uri]["record"] = dead
    storage._timestamps[uri]["record"] = timestamp


class _Lines:
    """The changes as a file in PostgreSQL's COPY format, made while it is read."""

    def __init__(self, changes: Iterable[Record], without_content: Collection[str]) -> None:
        self._lines = self._written(changes, without_content)
        self._rest = ""

    def read(self, size: int = -1) -> str:
        parts, length = [self._rest], len(self._rest)
        for line in self._lines:
            parts.append(line)
            length += len(line)
            if 0 <= size <= length:
                break
        text = "".join(parts)
        cut = len(text) if size < 0 else size
        self._rest = text[cut:]
        return text[:cut]

    @staticmethod
    def _written(changes: Iterable[Record], without_content: Collection[str]) -> Iterator[str]:
        for change in changes:
            head = f"{change['id'].translate(_ESCAPED)}\t{change['last_modified']}"
            if change["id"] in without_content:
                yield f"{head}\t\\N\tf\n"
                continue
            dead = is_tombstone(change)
            stored = {"deleted": True} if dead else {k: v for k, v in change.items() if k not in ("id", "last_modified")}
            data = _compact(stored).replace("\\", "\\\\")
            yield f"{head}\t{data}\t{'t' if dead else 'f'}\n"
