"""The canonical form of a collection as it is stored, kept in the process from one publication to the next.

It is used again only for the very versions of the rows it was made from: PostgreSQL gives each version a transaction (`xmin`)
and a place (`ctid`), also where somebody writes behind Kinto's back. The transactions of most rows are older than the moment at
which they were read; of those that were written about then or later the version is remembered. So what comes out is what is
stored now, and a process that keeps nothing computes the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import sqlalchemy
import transaction

from kinto_signer.core.canonical import Digests, canonical_if_known, canonical_parsed
from kinto_signer.core.form import Form
from kinto_signer.plugin.last_kept import LastKept
from kinto_signer.plugin.planner import without
from kinto_signer.plugin.touched import Moment, can_tell, moment

OVERHEAD_BYTES = 200
"""What Python needs around the canonical form of each record, and around each version that is remembered."""

MAX_KEPT_BYTES = 256 * 2**20
FEW = 1000

_LOOK = sqlalchemy.text("""
SELECT count(*) FILTER (WHERE NOT deleted),
       COALESCE(array_agg(id) FILTER (WHERE touched), '{}'),
       COALESCE(array_agg(CASE WHEN NOT deleted THEN xmin::text || ctid::text END) FILTER (WHERE touched), '{}'),
       COALESCE(array_agg(age(xmin) <= age(CAST(CAST(:now AS xid8) AS xid))) FILTER (WHERE touched), '{}')
  FROM (
    SELECT id, deleted, xmin, ctid, age(xmin) <= (SELECT age(CAST(CAST(:then AS xid8) AS xid))) AS touched
      FROM objects WHERE parent_id = :uri AND resource_name = 'record'
  ) AS rows
""")
_ROWS = """
SELECT id, CASE WHEN age(xmin) <= age(CAST(CAST(:since AS xid8) AS xid)) THEN xmin::text || ctid::text END,
       (EXTRACT(EPOCH FROM last_modified) * 1000)::bigint, data::text
  FROM objects WHERE parent_id = :uri AND resource_name = 'record' AND NOT deleted
"""


@dataclass(frozen=True)
class StoredForm:
    """A collection's live records, and how to find out whether the rows are still those that they were read from.

    since: rows whose transaction is older were all there then; None on memory, and for nothing at all. recent: the version of
    each row that is not as old. own: whether it was read beside writes of the same transaction. made_of: what was kept, if not
    everything was read for it. seal: the digests that the form gave when it was kept, with the timestamp 0.
    """

    form: Form = field(default_factory=Form)
    since: Moment | None = None
    recent: Mapping[str, str] = field(default_factory=dict)
    own: bool = False
    made_of: Form | None = None
    seal: Digests | None = None

    def proven(self, timestamp: int, expected_hash: str) -> bool:
        """Whether it is right whatever is in this process's memory: everything was read, or what was kept leads to that hash.

        Of what was kept the bytes are hashed again from the first block on that has changed since.
        """
        if self.made_of is None:
            return True
        known = self.made_of.digests(timestamp)
        return known.hash == expected_hash and self.made_of.proven(timestamp, known, self.form) is not None


class KeptForms:
    """What this process knows of each collection. One object serves all threads; what it hands out is never changed."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._kept: LastKept[StoredForm] = LastKept(max_bytes)

    def read(self, storage: Any, uri: str, *, anew: bool = False) -> StoredForm:
        """The live records below `uri` as they are in the current transaction; `keep` it if it is right. Raises UnsignableValue.

        anew: without what is kept.
        """
        if not hasattr(storage, "client"):
            return StoredForm(_form({record["id"]: canonical_parsed(record) for record in storage.list_all("record", uri)}))
        kept = None if anew else self._kept.get(uri)  # before the moment: it must not be of a later one
        with storage.client.connect(readonly=True) as session:
            now = moment(session)
            found = _since(session, uri, kept, now) if kept is not None else None
            if found is None:
                chunks, versions = _fetch(session, uri, None, now)
                found = StoredForm(_form(chunks), now, versions, now.own is not None)
        return found

    def reread(self, storage: Any, uri: str, before: StoredForm, after: Form, written: Collection[str] | None = None) -> bool:
        """Whether what is stored now is `after`, whose bytes are kept then. Raises UnsignableValue.

        before: as it was read before the write. written: ids of all that was written since, so that only they are looked at; all
        rows are where it is None, or nothing was read before.
        """
        if not hasattr(storage, "client"):
            return self.read(storage, uri).form.digests(0) == after.digests(0)
        with storage.client.connect(readonly=True) as session:
            now = moment(session)
            if written is None or before.since is None:
                since, wanted, recent, expected = now, None, {}, dict(_chunks(after))
            else:
                since, wanted = before.since, frozenset(written)
                recent = {record_id: version for record_id, version in before.recent.items() if record_id not in wanted}
                expected = {record_id: chunk for record_id in wanted if (chunk := after.chunk(record_id)) is not None}
            chunks, versions = _fetch(session, uri, wanted, since, expected)
        if chunks != expected:
            return False
        self.keep(uri, StoredForm(after, since, recent | versions, now.own is not None))
        return True

    def keep(self, uri: str, found: StoredForm) -> None:
        """What was read beside writes of its own counts once they are committed."""
        if found.since is None:
            return
        seal = found.form.digests(0)  # now, and not by two threads at once: what they share is complete
        found = replace(found, made_of=None, seal=seal)
        if found.own:
            transaction.get().addAfterCommitHook(self._committed, (uri, found))
        else:
            self._committed(True, uri, found)

    def _committed(self, success: bool, uri: str, found: StoredForm) -> None:
        if success:
            size = found.form.size_bytes + OVERHEAD_BYTES * (len(found.form) + len(found.recent))
            self._kept.keep(uri, found, size)

    def forget(self) -> None:
        """Drop everything: the next use computes it again."""
        self._kept.forget()


def _since(session: Any, uri: str, kept: StoredForm, now: Moment) -> StoredForm | None:
    """`kept` with what was written since; None where nobody can tell."""
    if kept.since is None or kept.form.digests(0) != kept.seal or not kept.form.holds_together:
        return None
    if not can_tell(session, kept.since):
        return None
    values = {"uri": uri, "then": kept.since.oldest, "now": now.oldest}
    with without(session, "seqscan"):
        live, ids, versions, lately = session.execute(_LOOK, values).one()
    if not kept.recent.keys() <= set(ids):
        return None
    there_before = len(kept.recent) + sum(1 for record_id in ids if record_id not in kept.recent and record_id in kept.form)
    if live - sum(version is not None for version in versions) != len(kept.form) - there_before:
        return None  # something was removed without a trace
    recent: dict[str, str] = {}
    other: set[str] = set()
    for record_id, version, late in zip(ids, versions, lately, strict=True):
        if version is None:
            other.update({record_id} if record_id in kept.form else ())
        elif kept.recent.get(record_id) != version:
            other.add(record_id)
        elif late:
            recent[record_id] = version
    if not other:
        return StoredForm(kept.form, now, recent, now.own is not None, made_of=kept.form)
    chunks, fetched = _fetch(session, uri, other, now)
    form = kept.form.changed({**dict.fromkeys(other), **chunks})
    return StoredForm(form, now, recent | fetched, now.own is not None, made_of=kept.form)


def _fetch(
    session: Any,
    uri: str,
    wanted: Collection[str] | None,
    since: Moment,
    expected: Mapping[str, bytes] = MappingProxyType({}),
) -> tuple[dict[str, bytes], dict[str, str]]:
    """The canonical forms of the live rows among `wanted`, or of all, and the versions of those that were written since then.

    expected: the forms that the rows should have by now; what is stored decides, but comparing is faster than making them anew.
    """
    statement = _ROWS
    values: dict[str, Any] = {"uri": uri, "since": since.oldest}
    if wanted is not None and len(wanted) <= FEW:
        statement, values["ids"] = f"{_ROWS} AND id = ANY(:ids)", list(wanted)
    chunks: dict[str, bytes] = {}
    versions: dict[str, str] = {}
    rows = session.execute(sqlalchemy.text(statement), values)
    while some := rows.fetchmany(5000):
        for record_id, version, last_modified, text in some:
            if wanted is None or record_id in wanted:
                record = json.loads(text)
                record["id"], record["last_modified"] = record_id, last_modified
                chunks[record_id] = canonical_if_known(record, expected.get(record_id))
                if version is not None:
                    versions[record_id] = version
    return chunks, versions


def _chunks(form: Form) -> Iterator[tuple[str, bytes]]:
    for block in form.blocks:
        yield from zip(block.ids, block.chunks, strict=True)


def _form(chunks: Mapping[str, bytes]) -> Form:
    return Form.of((record_id, chunks[record_id]) for record_id in sorted(chunks))
