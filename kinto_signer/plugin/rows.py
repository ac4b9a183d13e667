"""The live records of a collection as PostgreSQL has them, piece by piece, with nothing cut off."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy

from kinto_signer.core.canonical import Record

PIECE = 2000

_ROWS = sqlalchemy.text("""
SELECT id, as_epoch(last_modified), data::text
  FROM objects WHERE parent_id = :uri AND resource_name = 'record' AND NOT deleted
""")
_SOME = sqlalchemy.text(f"{_ROWS.text} AND id = ANY(:ids)")


def rows(session: Any, uri: str, ids: Iterable[str]) -> Iterator[Record]:
    """The live ones among these, in the order of ids by code point; those that are not there are left out."""
    wanted = sorted(ids)
    for at in range(0, len(wanted), PIECE):
        found = _records(session.execute(_SOME, {"uri": uri, "ids": wanted[at : at + PIECE]}))
        yield from sorted(found, key=lambda record: record["id"])


def all_rows(session: Any, uri: str) -> Iterator[Record]:
    """Every live record, in any order, without holding all of them."""
    streaming = {"stream_results": True, "max_row_buffer": PIECE}
    yield from _records(session.execute(_ROWS, {"uri": uri}, execution_options=streaming))


def _records(found: Iterable[Sequence[Any]]) -> Iterator[Record]:
    for record_id, last_modified, text in found:
        record: Record = json.loads(text)
        record["id"], record["last_modified"] = record_id, last_modified
        yield record
