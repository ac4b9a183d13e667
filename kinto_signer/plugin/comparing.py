"""Which records of two collections do not say the same, found inside PostgreSQL: only those are read.

PostgreSQL compares how values are stored. What is stored in one way says one thing; what is stored in two ways may still be one
number (``1.0`` and ``1.00``), so that whoever reads the records compares them once more (`core.difference`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy

from kinto_signer.plugin.planner import with_room, without

_JOINED = """
  FROM (SELECT id, data, last_modified FROM objects WHERE parent_id = :one AND resource_name = 'record' AND NOT deleted) one
  FULL JOIN (SELECT id, data, last_modified FROM objects
              WHERE parent_id = :other AND resource_name = 'record' AND NOT deleted) other
    ON one.id = other.id
 WHERE one.id IS NULL OR other.id IS NULL OR NOT record_image_eq(ROW(one.data), ROW(other.data))
"""
_DIFFERING = sqlalchemy.text(f"SELECT COALESCE(one.id, other.id), as_epoch(one.last_modified), other.id IS NOT NULL {_JOINED}")
_NOT_THE_SAME = sqlalchemy.text(f"SELECT COALESCE(one.id, other.id) {_JOINED} OR one.last_modified <> other.last_modified")


@dataclass(frozen=True)
class Differing:
    """Ids of live records.

    alone: those that the other place does not have, each with its timestamp. others: those that it alone has. both: those that
    both have, in two ways.
    """

    alone: dict[str, int]
    others: list[str]
    both: list[str]

    def __bool__(self) -> bool:
        return bool(self.alone or self.others or self.both)


def differing(session: Any, one: str, other: str) -> Differing:
    """How the live records below the URI `one` are other than those below `other`; timestamps do not count."""
    found = Differing({}, [], [])
    with without(session, "nestloop"), with_room(session):
        for record_id, timestamp, is_there in session.execute(_DIFFERING, {"one": one, "other": other}):
            if not is_there:
                found.alone[record_id] = timestamp
            else:
                (found.others if timestamp is None else found.both).append(record_id)
    return found


def not_the_same(session: Any, one: str, other: str) -> list[str]:
    """Ids of the live records that only one of both has, or that are not stored as the same, timestamp included."""
    with without(session, "nestloop"), with_room(session):
        return list(session.execute(_NOT_THE_SAME, {"one": one, "other": other}).scalars())
