"""The canonical forms of a collection's records, kept in the process from one publication to the next.

A form is used again only for the very version of the row that it was made from: PostgreSQL gives each version a transaction
(`xmin`) and a place (`ctid`), also where somebody writes behind Kinto's back. So what comes out is what is stored now, and a
process that keeps nothing computes the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import sqlalchemy

from kinto_signer.core.canonical import canonical_if_known, canonical_parsed
from kinto_signer.plugin.last_kept import LastKept

OVERHEAD_BYTES = 250
"""What Python needs around each kept form."""

MAX_KEPT_BYTES = 256 * 2**20
FEW = 1000

_VERSIONS = """
SELECT id, xmin::text || ctid::text FROM objects WHERE parent_id = :uri AND resource_name = 'record' AND NOT deleted
"""
_ROWS = """
SELECT id, xmin::text || ctid::text, (EXTRACT(EPOCH FROM last_modified) * 1000)::bigint, data::text
  FROM objects WHERE parent_id = :uri AND resource_name = 'record' AND NOT deleted
"""


@dataclass(frozen=True)
class Forms:
    """The canonical form of each live record of a collection, and the version of the row that it was made from, by id."""

    chunks: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def without(self, ids: Iterable[str]) -> Forms:
        chunks, versions = dict(self.chunks), dict(self.versions)
        for record_id in ids:
            chunks.pop(record_id, None)
            versions.pop(record_id, None)
        return Forms(chunks, versions)


class KeptForms:
    """What this process knows of each collection. One object serves all threads; what it hands out is never changed."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._kept: LastKept[Forms] = LastKept(max_bytes)

    def read(self, storage: Any, uri: str) -> Forms:
        """The forms of the live records below `uri` as they are in the current transaction. Raises UnsignableValue."""
        if not hasattr(storage, "client"):
            return Forms({record["id"]: canonical_parsed(record) for record in storage.list_all("record", uri)})
        kept = self._kept.get(uri) or Forms()
        with storage.client.connect(readonly=True) as session:
            result = session.execute(sqlalchemy.text(_VERSIONS), {"uri": uri})
            stored = dict(result.cursor.fetchall())  # the driver's own tuples: in half the time
            result.close()
            if stored == kept.versions:
                return kept
            other = {key for key, version in kept.versions.items() if stored.get(key) != version}
            found = kept.without(other)
            self._fetch(session, uri, stored.keys() - found.versions.keys(), found)
        self._keep(uri, found)
        return found

    def reread(
        self, storage: Any, uri: str, forms: Forms, changed: Collection[str] | None, expected: Mapping[str, bytes] | None = None
    ) -> Forms:
        """`forms` with the rows `changed` as they are stored now: after a write, without looking at all the others again.

        changed: their ids; None: all rows, and nothing of `forms`. expected: the forms that the rows should have by now; what is
        stored decides, but comparing is faster than making them anew, and where they are the same there is one copy of them.
        """
        if not hasattr(storage, "client"):
            return self.read(storage, uri)
        found = Forms() if changed is None else forms.without(changed)
        with storage.client.connect(readonly=True) as session:
            self._fetch(session, uri, changed, found, expected or {})
        self._keep(uri, found)
        return found

    def forget(self) -> None:
        """Drop everything: the next use computes it again."""
        self._kept.forget()

    def _fetch(
        self,
        session: Any,
        uri: str,
        wanted: Collection[str] | None,
        found: Forms,
        expected: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Add the live rows among `wanted`, or all of them, to `found`."""
        statement, parameters = _ROWS, {"uri": uri}
        if wanted is not None and len(wanted) <= FEW:
            statement, parameters = f"{_ROWS} AND id = ANY(:ids)", {"uri": uri, "ids": list(wanted)}  # type: ignore[dict-item]
        rows = session.execute(sqlalchemy.text(statement), parameters)
        while some := rows.fetchmany(5000):
            for record_id, version, last_modified, text in some:
                if wanted is None or record_id in wanted:
                    record = json.loads(text)
                    record["id"], record["last_modified"] = record_id, last_modified
                    found.chunks[record_id] = canonical_if_known(record, expected.get(record_id))
                    found.versions[record_id] = version

    def _keep(self, uri: str, forms: Forms) -> None:
        self._kept.keep(uri, forms, sum(map(len, forms.chunks.values())) + OVERHEAD_BYTES * len(forms.chunks))
