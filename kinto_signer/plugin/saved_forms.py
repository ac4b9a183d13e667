"""Canonical forms in a table of their own beside Kinto's, for processes that keep nothing yet: a block of records is one row.

Written in the transaction of each publication: what was not committed is not there. Nothing that is read here is believed: it has
to give the digest that was signed (`core.form`). Where the table cannot be made, everything works without.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from psycopg2.extras import execute_values

from kinto_signer.core.form import Block, Form
from kinto_signer.plugin.touched import Moment

_CREATE = (
    """
    CREATE UNLOGGED TABLE IF NOT EXISTS kinto_signer_forms (
        uri text COLLATE "C" PRIMARY KEY, version text NOT NULL, source text NOT NULL, signed_timestamp bigint NOT NULL,
        oldest text NOT NULL, own text, server text NOT NULL
    )
    """,
    """
    CREATE UNLOGGED TABLE IF NOT EXISTS kinto_signer_blocks (
        uri text COLLATE "C", first_id text COLLATE "C", ids text NOT NULL, forms text NOT NULL, written text NOT NULL,
        PRIMARY KEY (uri, first_id)
    )
    """,
    # They are read whole and at once: unpacking them would take longer than reading.
    "ALTER TABLE kinto_signer_blocks ALTER ids SET STORAGE EXTERNAL, ALTER forms SET STORAGE EXTERNAL",
)
_USABLE = sqlalchemy.text("""
SELECT count(*) = 8
  FROM unnest(ARRAY['kinto_signer_forms', 'kinto_signer_blocks']) AS name,
       unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
 WHERE has_table_privilege(to_regclass(name), privilege)
""")
_VERSION = sqlalchemy.text("SELECT version FROM kinto_signer_forms WHERE uri = :uri")
_HEAD = sqlalchemy.text("SELECT version, source, signed_timestamp, oldest, own, server FROM kinto_signer_forms WHERE uri = :uri")
# Two rows that were `written` at once, one for each of two collections, are the same.
_BLOCKS = sqlalchemy.text("""
SELECT block.first_id, CASE WHEN same.uri IS NULL THEN block.ids END, CASE WHEN same.uri IS NULL THEN block.forms END
  FROM kinto_signer_blocks block
  LEFT JOIN kinto_signer_blocks same
    ON same.uri = :other AND same.first_id = block.first_id AND same.written = block.written
 WHERE block.uri = :uri
 ORDER BY block.first_id
""")
_SET_HEAD = sqlalchemy.text("""
INSERT INTO kinto_signer_forms VALUES (:uri, :version, :source, :timestamp, :oldest, :own, :server)
    ON CONFLICT (uri) DO UPDATE
   SET version = :version, source = :source, signed_timestamp = :timestamp, oldest = :oldest, own = :own, server = :server
""")
_SET_BLOCKS = """
INSERT INTO kinto_signer_blocks VALUES %s
    ON CONFLICT (uri, first_id) DO UPDATE SET ids = EXCLUDED.ids, forms = EXCLUDED.forms, written = EXCLUDED.written
"""
_COPY_BLOCKS = sqlalchemy.text("""
INSERT INTO kinto_signer_blocks
SELECT :uri, first_id, ids, forms, written FROM kinto_signer_blocks WHERE uri = :other AND first_id = ANY(:firsts)
    ON CONFLICT (uri, first_id) DO UPDATE SET ids = EXCLUDED.ids, forms = EXCLUDED.forms, written = EXCLUDED.written
""")
_DELETE_ALL = sqlalchemy.text("DELETE FROM kinto_signer_blocks WHERE uri = :uri")
_DELETE_SOME = sqlalchemy.text("DELETE FROM kinto_signer_blocks WHERE uri = :uri AND first_id = ANY(:firsts)")
_NONCE = 32
_NUMBER = re.compile("[0-9]{1,19}")


@dataclass(frozen=True)
class SavedForm:
    """version: of what is in the table, another one after each publication. source: the place that had the same content."""

    version: str
    source: str
    timestamp: int
    since: Moment
    form: Form


def create(storage: Any) -> None:
    """Make the tables where they are missing. Raises Kinto's BackendError where that is not allowed.

    Those that are there are left alone: to alter one is to wait for whoever reads it, such as a back-up.
    """
    with storage.client.connect() as session:
        for statement in () if usable(session) else _CREATE:
            session.execute(sqlalchemy.text(statement))


def usable(session: Any) -> bool:
    """Whether the tables are there, and ours to write."""
    return bool(session.execute(_USABLE).scalar())


def version(session: Any, uri: str) -> str | None:
    """Which version of the collection's form is in the table; None if there is none."""
    found: str | None = session.execute(_VERSION, {"uri": uri}).scalar()
    return found


@dataclass(frozen=True)
class Saved:
    """Which form of another collection is in the table now. What both have is neither read nor written twice."""

    uri: str
    form: Form


def load(session: Any, uri: str, beside: Saved | None = None) -> SavedForm | None:
    """What the last publication left there; None where there is nothing, or nothing that makes sense."""
    head = session.execute(_HEAD, {"uri": uri}).one_or_none()
    if head is None or not _is_number(head.oldest, 2**63) or not _is_number(head.own or "0", 2**32):
        return None
    since = Moment(head.oldest, head.own, head.server)
    if head.version != _sealed(head.version[:_NONCE], uri, head.source, head.signed_timestamp, since):
        return None
    known = _by_first(beside.form if beside else Form())
    blocks: list[Block] = []
    for first, ids, forms in session.execute(_BLOCKS, {"uri": uri, "other": beside.uri if beside else ""}):
        block = known.get(first) if ids is None else _block(ids, forms)
        if block is None or len(block.ids) != len(block.chunks) or (blocks and blocks[-1].ids[-1] >= block.ids[0]):
            return None
        blocks.append(block)
    return SavedForm(head.version, head.source, head.signed_timestamp, since, Form(blocks))


def _block(ids: str, forms: str) -> Block:
    return Block(tuple(ids.split("\n")), tuple(forms.encode("ascii", "replace").split(b"\n")))


def _by_first(form: Form) -> dict[str, Block]:
    return {block.ids[0]: block for block in form.blocks}


def _sealed(nonce: str, uri: str, source: str, timestamp: int, since: Moment) -> str:
    """A version: by its end one sees that none of these was altered. An older moment would hide nothing, a newer one might.

    It is no secret: who can write here on purpose can write to the source as well.
    """
    said = "\n".join((nonce, uri, source, str(timestamp), since.oldest, since.own or "", since.server))
    return nonce + hashlib.sha256(said.encode()).hexdigest()


def _is_number(text: str, end: int) -> bool:
    return _NUMBER.fullmatch(text) is not None and int(text) < end


def save(
    session: Any,
    uri: str,
    source: str,
    timestamp: int,
    since: Moment,
    form: Form,
    before: tuple[str, Form] | None,
    beside: Saved | None = None,
) -> str:
    """Write what is to be kept of a publication; returns its version.

    before: the version that is in the table, if it is, and its form: then only the blocks that are others are written.
    beside: what was saved of another collection in this transaction.
    """
    made = _sealed(secrets.token_hex(_NONCE // 2), uri, source, timestamp, since)
    if before is not None and before[0] == version(session, uri):
        known = _by_first(before[1])
        gone = list(known.keys() - _by_first(form).keys())
        if gone:
            session.execute(_DELETE_SOME, {"uri": uri, "firsts": gone})
    else:
        known = {}
        session.execute(_DELETE_ALL, {"uri": uri})
    others = [block for block in form.blocks if block != known.get(block.ids[0])]
    there = _by_first(beside.form) if beside and others else {}
    same = {block.ids[0] for block in others if block == there.get(block.ids[0])}
    if beside and same:
        session.execute(_COPY_BLOCKS, {"uri": uri, "other": beside.uri, "firsts": list(same)})
    _write(session, uri, made[:_NONCE], [block for block in others if block.ids[0] not in same])
    values = {"uri": uri, "version": made, "source": source, "timestamp": timestamp}
    session.execute(_SET_HEAD, values | {"oldest": since.oldest, "own": since.own, "server": since.server})
    return made


def _write(session: Any, uri: str, written: str, blocks: Iterable[Block]) -> None:
    rows = ((uri, block.ids[0], "\n".join(block.ids), b"\n".join(block.chunks).decode("ascii"), written) for block in blocks)
    with session.connection().connection.cursor() as cursor:
        execute_values(cursor, _SET_BLOCKS, rows, page_size=20)
