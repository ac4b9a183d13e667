"""What PostgreSQL is kept from while it runs one statement, where it knows less of the rows than we do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import sqlalchemy

_OFF = {way: sqlalchemy.text(f"SET LOCAL enable_{way} = off") for way in ("nestloop", "seqscan")}
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
