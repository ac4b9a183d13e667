"""How PostgreSQL is to run a statement, where it knows less of the rows than we do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import sqlalchemy

_OFF = sqlalchemy.text("SELECT current_setting(:name), set_config(:name, 'off', true)")
_ROOM = sqlalchemy.text("""
SELECT current_setting('work_mem'),
       set_config('work_mem', GREATEST(pg_size_bytes(current_setting('work_mem')), 64 * 1024 * 1024) / 1024 || 'kB', true)
""")
_AS_BEFORE = sqlalchemy.text("SELECT set_config(:name, :before, true)")


@contextmanager
def without(session: Any, way: Literal["nestloop", "seqscan"]) -> Iterator[None]:
    """Within the block. An error undoes the transaction, and this with it.

    nestloop: without statistics, as after much was written, PostgreSQL may take one, which takes ten times as long. seqscan: once
    it has statistics it would rather read the whole table than one collection's rows by their index.
    """
    name = f"enable_{way}"
    before = session.execute(_OFF, {"name": name}).one()[0]
    yield
    session.execute(_AS_BEFORE, {"name": name, "before": before})


@contextmanager
def with_room(session: Any) -> Iterator[None]:
    """Within the block, where whole collections are sorted or joined: 64 MiB for a sort, and twice that for a hash table.

    With PostgreSQL's 4 MB they go through files, which takes twice as long. What is set to more is left alone.
    """
    before = session.execute(_ROOM).one()[0]
    yield
    session.execute(_AS_BEFORE, {"name": "work_mem", "before": before})
