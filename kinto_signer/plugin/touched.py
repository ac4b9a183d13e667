"""Which rows were written since a moment, whoever did it: each version of a row has the number of its transaction.

No list is kept by those who write, and none can be incomplete: SQL behind Kinto's back shows as well. A row that was removed
without a trace is no row any more: who counts the others notices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy

from kinto_signer.plugin.planner import without

# After a crash the postmaster may go on, without the last transactions (synchronous_commit = off), and gives their numbers away
# again; its statistics begin anew then.
_IDENTITY = """
SELECT concat_ws('@', oid, pg_postmaster_start_time(), (SELECT stats_reset FROM pg_stat_bgwriter))
  FROM pg_database WHERE datname = current_database()
"""
_NOW = sqlalchemy.text(f"""
SELECT pg_snapshot_xmin(pg_current_snapshot())::text, pg_current_xact_id_if_assigned()::xid::text, ({_IDENTITY})
""")
_KNOWN = sqlalchemy.text(f"""
SELECT ({_IDENTITY}) = :server
       AND pg_snapshot_xmax(pg_current_snapshot())::text::numeric - CAST(:oldest AS numeric) BETWEEN 0 AND :half_a_turn
""")
HALF_A_TURN = 2**31 - 2**24
"""Transactions after which PostgreSQL cannot tell older from newer rows by their numbers, less those that may come meanwhile."""
# xid is a ring; age() is how far back a number lies on it. What looks newer than it is, after half a turn, is looked at again.
# Asked once of each row: whether it was touched; what is to be known of those that were is put in front of their ids.
_TOUCHED = """
SELECT array_agg(CASE WHEN deleted THEN '-' ELSE '+' END || id) FILTER (WHERE {touched}), count(*) FILTER (WHERE NOT deleted)
  FROM objects WHERE parent_id = :uri AND resource_name = 'record'
"""
_SINCE = "age(xmin) <= (SELECT age(CAST(CAST(:oldest AS xid8) AS xid)))"
_BY_OTHERS = " AND xmin <> CAST(:own AS xid)"


@dataclass(frozen=True)
class Moment:
    """A moment within a transaction.

    oldest: the number of the oldest transaction that was open then, which never comes again: those before it were all visible.
    own: as rows have it, of the transaction itself; None while it has not written anything. server: which database that was, of
    which start of PostgreSQL, also after a crash: the numbers of another one, also of one that was put in its place, say nothing.
    """

    oldest: str
    own: str | None
    server: str


def moment(session: Any) -> Moment:
    """Now. Take it before what is to be remembered is read."""
    return Moment(*session.execute(_NOW).one())


def can_tell(session: Any, since: Moment) -> bool:
    """Whether `touched` knows what was written since: it is the same server, and not too long ago."""
    values = {"server": since.server, "oldest": since.oldest, "half_a_turn": HALF_A_TURN}
    return bool(session.execute(_KNOWN, values).scalar())


@dataclass(frozen=True)
class Touched:
    """ids: of the records and tombstones that were written at or after a moment, and of some that were just before. live: how
    many records there are; untouched: how many of them are not among `ids`.
    """

    ids: frozenset[str]
    live: int
    untouched: int


def touched(session: Any, uri: str, since: Moment, *, but_own: bool = False) -> Touched:
    """What was written below `uri` since that moment.

    but_own: leave out what that transaction itself wrote, whenever it did.
    """
    others = but_own and since.own is not None
    statement = _TOUCHED.format(touched=_SINCE + (_BY_OTHERS if others else ""))
    values = {"uri": uri, "oldest": since.oldest} | ({"own": since.own} if others else {})
    with without(session, "seqscan"):
        marked, live = session.execute(sqlalchemy.text(statement), values).one()
    found = marked or []
    ids = frozenset(one[1:] for one in found)
    return Touched(ids, int(live), int(live) - sum(one[0] == "+" for one in found))
