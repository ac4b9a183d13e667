"""The live records of a collection as PostgreSQL has them, piece by piece, with nothing cut off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy

from kinto_signer.core.canonical import Record
from kinto_signer.core.stored_json import StoredJson

PIECE = 2000

_ROWS = sqlalchemy.text("""
SELECT id, as_epoch(last_modified), data::text
  FROM objects WHERE parent_id = :uri AND resource_name = 'record' AND NOT deleted
""")
_TIMESTAMPS = sqlalchemy.text(_ROWS.text.replace(", data::text", ""))
_SORTED = sqlalchemy.text(f"{_ROWS.text} ORDER BY id")
_SOME = sqlalchemy.text(f"{_ROWS.text} AND id = ANY(:ids)")


def rows(session: Any, uri: str, ids: Iterable[str]) -> Iterator[Record]:
    """The live ones among these, in the order of ids by code point; those that are not there are left out."""
    wanted = sorted(ids)
    for at in range(0, len(wanted), PIECE):
        found = _parsed(session.execute(_SOME, {"uri": uri, "ids": wanted[at : at + PIECE]}))
        yield from sorted((record for record, _ in found), key=lambda record: record["id"])


def all_rows(session: Any, uri: str, *, in_order: bool = False, ahead: bool = False) -> Iterator[tuple[Record, bool]]:
    """Every live record, without holding all of them, and whether it is plain (`StoredJson.parse`).

    in_order: of ids, by code point, which takes a little longer. ahead: another thread waits for the next piece while this one
    looks at what is there; nobody may use the session before the end.

    One statement, and not page after page: for those PostgreSQL may choose to sort everything each time.
    """
    streaming = {"stream_results": True, "max_row_buffer": PIECE}
    found = session.execute(_SORTED if in_order else _ROWS, {"uri": uri}, execution_options=streaming)
    yield from _parsed(_fetched_ahead(found.partitions(PIECE)) if ahead else found)


def _fetched_ahead(pieces: Iterator[Sequence[Sequence[Any]]]) -> Iterator[Sequence[Any]]:
    with ThreadPoolExecutor(1) as other:
        fetching = other.submit(next, pieces, None)
        while (piece := fetching.result()) is not None:
            fetching = other.submit(next, pieces, None)
            yield from piece


def _parsed(found: Iterable[Sequence[Any]]) -> Iterator[tuple[Record, bool]]:
    parse = StoredJson().parse
    for record_id, last_modified, text in found:
        record, plain = parse(text)
        record["id"], record["last_modified"] = record_id, last_modified
        yield record, plain


def timestamps(session: Any, uri: str) -> dict[str, int]:
    """Of every live record, by id."""
    return dict(map(tuple, session.execute(_TIMESTAMPS, {"uri": uri})))
