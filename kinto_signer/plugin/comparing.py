"""Which records of two collections do not say the same, found inside PostgreSQL: only those are read.

PostgreSQL compares how values are stored. What is stored in one way says one thing; what is stored in two ways may still be one
number (``1.0`` and ``1.00``), so that whoever reads the records compares them once more (`core.difference`).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy

# Without statistics, as after much was written, PostgreSQL may take a nested loop, which takes ten times as long.
_NO_LOOPS, _LOOPS = sqlalchemy.text("SET LOCAL enable_nestloop = off"), sqlalchemy.text("SET LOCAL enable_nestloop = on")
_DIFFERING = sqlalchemy.text("""
SELECT COALESCE(one.id, other.id)
  FROM (SELECT id, data FROM objects WHERE parent_id = :one AND resource_name = 'record' AND NOT deleted) AS one
  FULL JOIN (SELECT id, data FROM objects WHERE parent_id = :other AND resource_name = 'record' AND NOT deleted) AS other
    ON one.id = other.id
 WHERE one.id IS NULL OR other.id IS NULL OR NOT record_image_eq(ROW(one.data), ROW(other.data))
""")


def differing(session: Any, one: str, other: str) -> set[str]:
    """Ids of the live records that only one of the two URIs has, or that they have otherwise; timestamps do not count."""
    session.execute(_NO_LOOPS)
    found = set(session.execute(_DIFFERING, {"one": one, "other": other}).scalars())
    session.execute(_LOOPS)
    return found
