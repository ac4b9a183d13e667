"""Ways to alter what is kept of a collection: in memory, and in S's table."""

import dataclasses
import hashlib
import sys
from collections.abc import Callable
from typing import Any

import sqlalchemy

from kinto_signer.core.canonical import Digests
from kinto_signer.core.form import Block, Form

EVERYWHERE = sys.maxsize
"""As the last block that is wrong: also what is made of it, whatever changes."""


Way = Callable[[Any, int], tuple[Any, int]]
"""Of what has a Form in it, and of a number that says where, makes another one; and says the last block that is wrong."""


def other_byte(text: bytes, number: int) -> bytes:
    """With another printable character at one place."""
    at = number % len(text)
    return text[:at] + bytes([(text[at] - 31) % 95 + 32]) + text[at + 1 :]


# --- in memory --------------------------------------------------------------------------------------------------------------


def _with_blocks(state: Any, blocks: list[Block]) -> Any:
    """With the hashes that were kept for the blocks that there were."""
    form = Form(blocks)
    form._marks = state.form._marks[: len(blocks) + 1]
    form._since = min(state.form._since, len(blocks))
    return dataclasses.replace(state, form=form)


def _block(state: Any, number: int) -> tuple[list[Block], int]:
    blocks = list(state.form.blocks)
    return blocks, number % len(blocks)


def byte(state: Any, number: int) -> tuple[Any, int]:
    blocks, at = _block(state, number)
    chunks, which = list(blocks[at].chunks), number % len(blocks[at].chunks)
    chunks[which] = other_byte(chunks[which], number)
    blocks[at] = Block(blocks[at].ids, tuple(chunks))
    return _with_blocks(state, blocks), at


def record_missing(state: Any, number: int) -> tuple[Any, int]:
    blocks, at = _block(state, number)
    blocks[at : at + 1] = [Block(blocks[at].ids[1:], blocks[at].chunks[1:])] if len(blocks[at].ids) > 1 else []
    return _with_blocks(state, blocks), at


def blocks_swapped(state: Any, number: int) -> tuple[Any, int]:
    """Or, where there is one block, two of its records."""
    blocks, at = _block(state, number)
    if len(blocks) > 1:
        at = max(at, 1)
        blocks[at - 1], blocks[at] = blocks[at], blocks[at - 1]
        return _with_blocks(state, blocks), at
    if len(blocks[0].ids) < 2:
        return byte(state, number)
    chunks = (*blocks[0].chunks[1::-1], *blocks[0].chunks[2:])
    return _with_blocks(state, [Block(blocks[0].ids, chunks)]), 0


def hash_states(state: Any, number: int) -> tuple[Any, int]:
    """None of them is right."""
    altered = _with_blocks(state, list(state.form.blocks))
    other = hashlib.sha384(b"something else")
    altered.form._marks = [dataclasses.replace(mark, signed=other, plain=other) for mark in altered.form._marks]
    return altered, EVERYWHERE


def digest(state: Any, number: int) -> tuple[Any, int]:
    altered = _with_blocks(state, list(state.form.blocks))
    return dataclasses.replace(altered, digests=Digests(hashlib.sha384(b"x").digest(), state.digests.hash)), EVERYWHERE


def timestamp(state: Any, number: int) -> tuple[Any, int]:
    altered = _with_blocks(state, list(state.form.blocks))
    return dataclasses.replace(altered, timestamp=state.timestamp + 1), EVERYWHERE


OF_A_FORM: tuple[Way, ...] = (byte, record_missing, blocks_swapped, hash_states)
IN_MEMORY: tuple[Way, ...] = (*OF_A_FORM, digest, timestamp)


def in_words(way: Way) -> str:
    return way.__name__.replace("_", " ")


# --- in the table: each is given the rows of a collection (first_id, ids, forms) -----------------------------------------------

_ROWS = sqlalchemy.text("SELECT first_id, ids, forms FROM kinto_signer_blocks WHERE uri = :uri ORDER BY first_id")
_SET_FORMS = "UPDATE kinto_signer_blocks SET forms = :forms, written = 'altered' WHERE uri = :uri AND first_id = :first_id"
_DELETE = "DELETE FROM kinto_signer_blocks WHERE uri = :uri AND first_id = :first_id"


def _byte_in_table(rows: Any, number: int) -> tuple[str, dict[str, str]]:
    row = rows[number % len(rows)]
    lines = row.forms.split("\n")
    lines[number % len(lines)] = other_byte(lines[number % len(lines)].encode(), number).decode()
    return _SET_FORMS, {"first_id": row.first_id, "forms": "\n".join(lines)}


def _block_missing_in_table(rows: Any, number: int) -> tuple[str, dict[str, str]]:
    return _DELETE, {"first_id": rows[number % len(rows)].first_id}


def _record_missing_in_table(rows: Any, number: int) -> tuple[str, dict[str, str]]:
    row = rows[number % len(rows)]
    if "\n" not in row.ids:
        return _block_missing_in_table(rows, number)
    return _SET_FORMS.replace("forms =", "ids = :ids, forms ="), {
        "first_id": row.first_id,
        "ids": row.ids.rpartition("\n")[0],
        "forms": row.forms.rpartition("\n")[0],
    }


def _block_of_a_neighbour(rows: Any, number: int) -> tuple[str, dict[str, str]]:
    if len(rows) < 2:
        return _byte_in_table(rows, number)
    at = number % len(rows)
    return _SET_FORMS, {"first_id": rows[at].first_id, "forms": rows[at - 1].forms}


def _cut_in_table(rows: Any, number: int) -> tuple[str, dict[str, str]]:
    row = rows[number % len(rows)]
    return _SET_FORMS, {"first_id": row.first_id, "forms": row.forms[: number % len(row.forms)]}


def _timestamp_in_table(rows: Any, number: int) -> tuple[str, dict[str, str]]:
    return "UPDATE kinto_signer_forms SET signed_timestamp = signed_timestamp + 1 WHERE uri = :uri", {}


IN_TABLE = {
    "byte": _byte_in_table,
    "record missing": _record_missing_in_table,
    "block missing": _block_missing_in_table,
    "block of a neighbour": _block_of_a_neighbour,
    "cut": _cut_in_table,
    "timestamp": _timestamp_in_table,
}


def alter_table(session: Any, uri: str, number: int) -> str | None:
    """Alter what the table holds of a collection, in the session's transaction. Returns how; None if it holds nothing."""
    rows = session.execute(_ROWS, {"uri": uri}).all()
    if not rows:
        return None
    way = list(IN_TABLE)[number % len(IN_TABLE)]
    statement, values = IN_TABLE[way](rows, number // len(IN_TABLE))
    session.execute(sqlalchemy.text(statement), {"uri": uri, **values})
    return way
