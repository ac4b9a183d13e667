"""How PostgreSQL is to run a statement, where it knows less of the rows than we do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import sqlalchemy

_OFF = {way: sqlalchemy.text(f"SET LOCAL enable_{way} = off") for way in ("nestloop", "seqscan")}
_ROOM = sqlalchemy.text("""
SELECT set_config('work_mem', GREATEST(pg_size_bytes(current_setting('work_mem')), 64 * 1024 * 1024) / 1024 || 'kB', true)
""")
_AS_BEFORE = sqlalchemy.text("SET LOCAL work_mem TO DEFAULT")
_ON = {way: sqlalchemy.text(f"SET LOCAL enable_{way} = on") for way in _OFF}


@contextmanager
def without(session: Any, way: Literal["nestloop", "seqscan"]) -> Iterator[None]:
    """Within the block. An error undoes the transaction, and this with it.

    nestloop: without statistics, as after much was written, PostgreSQL may take one, which takes ten times as long. seqscan: once
    it has statistics it would rather read the whole table than one collection's rows by their index.
    """
    session.execute(_OFF[way])
    yield
    session.execute(_ON[way])


@contextmanager
def with_room(session: Any) -> Iterator[None]:
    """Within the block, where whole collections are sorted or joined: 64 MiB for a sort, and twice that for a hash table.

    With PostgreSQL's 4 MB they go through files, which takes twice as long. What is set to more is left alone.
    """
    session.execute(_ROOM)
    yield
    session.execute(_AS_BEFORE)
