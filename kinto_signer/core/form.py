"""The canonical form of a whole collection, kept from one publication to the next.

The form is cut into blocks of records in the order of their ids, and the state of both hashes in front of each block is kept.
After a change only the blocks from the first one that changed on are hashed. What is kept proves itself: it has to give the
digest that was signed.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

from kinto_signer.core.canonical import SIGNATURE_PREFIX, Digests, format_hash

BLOCK = 512
"""Records in a block that is made anew; one that grows beyond twice as many is cut in two."""

_HEAD = b'{"data":['


@dataclass(frozen=True)
class Block:
    """Neighbours in the order of ids: their ids, and the canonical form of each. Never empty."""

    ids: tuple[str, ...]
    chunks: tuple[bytes, ...]

    @cached_property
    def size_bytes(self) -> int:
        return sum(map(len, self.chunks))


@dataclass(frozen=True)
class _Mark:
    """The states of the two hashes in front of a block. They are copied before they go on. count: of the records so far."""

    signed: Any
    plain: Any
    count: int = 0

    def says(self, other: _Mark) -> bool:
        """Whether both are the same states."""
        ours, theirs = (self.signed, self.plain), (other.signed, other.plain)
        return all(one.digest() == another.digest() for one, another in zip(ours, theirs, strict=True))


class Form:
    """The canonical forms of all live records of one collection. It never changes: `changed` makes another one.

    blocks: in the order of ids, as another form had them.
    """

    def __init__(self, blocks: Sequence[Block] = ()) -> None:
        self.blocks: tuple[Block, ...] = tuple(blocks)
        self._firsts = [block.ids[0] for block in self.blocks]
        self._marks = [_start()]
        self._since = 0
        """The first of the marks that is right if the digests are; those in front of it were taken over unseen."""

    @classmethod
    def of(cls, chunks: Iterable[tuple[str, bytes]]) -> Form:
        """Of (id, canonical form) of each live record, in the order of ids (by code point)."""
        remaining, blocks = iter(chunks), []
        while some := list(islice(remaining, BLOCK)):
            blocks.append(_block(some))
        return cls(blocks)

    def __len__(self) -> int:
        return sum(len(block.ids) for block in self.blocks)

    def __contains__(self, record_id: str) -> bool:
        return self.chunk(record_id) is not None

    @property
    def ids(self) -> Iterator[str]:
        """In order."""
        for block in self.blocks:
            yield from block.ids

    def chunk(self, record_id: str) -> bytes | None:
        """The canonical form of one record; None if it is not there."""
        number = bisect_right(self._firsts, record_id) - 1
        if number < 0:
            return None
        block = self.blocks[number]
        at = bisect_left(block.ids, record_id)
        return block.chunks[at] if at < len(block.ids) and block.ids[at] == record_id else None

    @property
    def holds_together(self) -> bool:
        """Whether the blocks are in order, and have as many records as were hashed; their bytes are not looked at.

        Who asks for a record of a form that does not gets any answer.
        """
        in_order = all(one.ids[-1] < other.ids[0] for one, other in pairwise(self.blocks))
        return in_order and (len(self._marks) <= len(self.blocks) or self._marks[-1].count == len(self))

    @property
    def size_bytes(self) -> int:
        return sum(block.size_bytes for block in self.blocks)

    def changed(self, changes: Mapping[str, bytes | None]) -> Form:
        """Another form, in which these records have these canonical forms; None for those that are gone.

        The blocks that nothing changed are the same objects, and what was hashed before the first change is not hashed again.
        """
        by_block: dict[int, dict[str, bytes | None]] = {}
        for record_id, chunk in changes.items():
            number = max(bisect_right(self._firsts, record_id) - 1, 0)
            by_block.setdefault(number, {})[record_id] = chunk
        blocks: list[Block] = []
        for number, block in enumerate(self.blocks):
            blocks += _changed_block(block, by_block.pop(number)) if number in by_block else (block,)
        for left in by_block.values():  # there was no block yet
            blocks += _cut({record_id: chunk for record_id, chunk in left.items() if chunk is not None})
        other = Form(blocks)
        other._take(self._marks[: 1 + _same_blocks(self.blocks, other.blocks)])
        return other

    def _take(self, marks: list[_Mark]) -> None:
        self._marks, self._since = marks, len(marks) - 1

    def digests(self, timestamp: int) -> Digests:
        """The digests of the collection with the signed `timestamp`, integer milliseconds."""
        for number in range(len(self._marks) - 1, len(self.blocks)):
            self._marks.append(_after(self._marks[number], self.blocks[number], first=number == 0))
        end = self._marks[-1]
        signed, plain = end.signed.copy(), end.plain.copy()
        signed.update(_tail(timestamp))
        plain.update(_tail(timestamp))
        return Digests(signed.digest(), format_hash(plain.digest()))

    def proven(self, timestamp: int, expected: Digests, other: Form, like: Form | None = None) -> Form | None:
        """This form hashed anew, if it leads to the digests signed with `timestamp`; None if it does not.

        Hashed is from the first block on in which `other` differs, a form made of this one by `changed`. What both hashes were in
        front of that block is proven with the rest: it is all that the digests of `other` take from there.
        like: a form that was proven; what it hashed of the same blocks is not hashed again.
        """
        again = Form(self.blocks)
        again._take(self._marks[: 1 + _same_blocks(self.blocks, other.blocks)])
        if like is not None and like._since <= again._since:
            same = _same_blocks(self.blocks, like.blocks)
            if again._since < same and like._marks[again._since].says(again._marks[-1]):
                again._marks += like._marks[again._since + 1 : same + 1]
        return again if again.digests(timestamp) == expected else None

    def sharing(self, other: Form | None) -> Form:
        """The same form: blocks that `other` has too, at the same place, are held once; its first ones are not hashed again.

        other: one whose digests were made, and are right.
        """
        if other is None:
            return self
        shared = Form(
            [theirs if ours == theirs else ours for ours, theirs in zip(self.blocks, other.blocks, strict=False)]
            + list(self.blocks[len(other.blocks) :])
        )
        shared._marks, shared._since = self._marks, self._since
        same = _same_blocks(shared.blocks, other.blocks)
        if len(shared._marks) <= same < len(other._marks) and other._since <= same:
            shared._marks, shared._since = other._marks[: same + 1], other._since
        return shared

    def signed_bytes(self, timestamp: int) -> bytes:
        """All that a signature covers, without the prefix."""
        return b"".join((_HEAD, b",".join(chunk for block in self.blocks for chunk in block.chunks), _tail(timestamp)))


def _tail(timestamp: int) -> bytes:
    return f'],"last_modified":"{timestamp}"}}'.encode("ascii")


def _start() -> _Mark:
    signed, plain = hashlib.sha384(SIGNATURE_PREFIX), hashlib.sha384()
    signed.update(_HEAD)
    plain.update(_HEAD)
    return _Mark(signed, plain)


def _after(mark: _Mark, block: Block, *, first: bool) -> _Mark:
    body = b",".join(block.chunks) if first else b"," + b",".join(block.chunks)
    signed, plain = mark.signed.copy(), mark.plain.copy()
    signed.update(body)
    plain.update(body)
    return _Mark(signed, plain, mark.count + len(block.ids))


def _block(items: Iterable[tuple[str, bytes]]) -> Block:
    ids, chunks = zip(*items, strict=True)
    return Block(ids, chunks)


def _changed_block(block: Block, changes: Mapping[str, bytes | None]) -> list[Block]:
    found: dict[str, bytes] = dict(zip(block.ids, block.chunks, strict=True))
    if all(found.get(record_id) == chunk for record_id, chunk in changes.items()):
        return [block]
    for record_id, chunk in changes.items():
        if chunk is None:
            found.pop(record_id, None)
        else:
            found[record_id] = chunk
    return _cut(found)


def _cut(chunks: Mapping[str, bytes]) -> list[Block]:
    items = sorted(chunks.items())
    size = len(items) if len(items) <= 2 * BLOCK else BLOCK
    return [_block(items[at : at + size]) for at in range(0, len(items), size)] if items else []


def _same_blocks(one: Sequence[Block], other: Sequence[Block]) -> int:
    """How many blocks at the beginning are the same objects."""
    return next(
        (n for n, (ours, theirs) in enumerate(zip(one, other, strict=False)) if ours is not theirs), min(len(one), len(other))
    )
