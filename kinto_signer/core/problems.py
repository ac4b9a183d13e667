"""Values that do not survive every hop between an editor and a reader, and where they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 64
"""Nesting allowed in a record or a collection attribute; canonicaljson-rs crashes beyond about 10,000 levels."""

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every reader keeps exactly (JavaScript's numbers are doubles)."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Problem:
    """Why a value is refused, and where: a JSON path such as ``$.details[2].price``."""

    path: str
    why: str


def find_problem(value: Any, *, allow_floats: bool = False, path: str = "$") -> Problem | None:
    """The first value, in document order, that would not reach every reader unchanged; None if all do.

    Refused: floats (unless allowed: their spelling changes from store to store), integers beyond 2^53 - 1, U+0000
    (PostgreSQL cannot store it), lone surrogates (no UTF-8), nesting deeper than MAX_DEPTH.
    """
    if _is_plain(value):
        return None
    return next(_problems(value, _write_problem if allow_floats else _write_problem_no_floats, path), None)


def find_record_problem(record: Mapping[str, Any], *, allow_floats: bool = False) -> Problem | None:
    """`find_problem` of a live record, of which the field ``deleted`` is refused too: it is what makes a tombstone."""
    if "deleted" in record:
        return Problem("$.deleted", "readers take a record with this field for a deleted one, or refuse it")
    return find_problem(record, allow_floats=allow_floats)


def _is_plain(value: Any) -> bool:
    """Whether nothing in the value needs a closer look, in a fifth of its time: every record of every publication passes here."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            kind = item.__class__
            if kind is dict:
                below.extend(item)
                below.extend(item.values())
            elif kind is list:
                below.extend(item)
            elif not (_is_plain_text(item) if kind is str else _is_plain_scalar(item)):
                return False
        if not below:
            return True
        level = below
    return False


def _is_plain_text(text: str) -> bool:
    return "\x00" not in text and (text.isascii() or _SURROGATE.search(text) is None)


def _is_plain_scalar(item: Any) -> bool:
    return item is None or item is True or item is False or (item.__class__ is int and abs(item) <= MAX_SAFE_INTEGER)


def find_uncanonical(value: Any) -> Problem | None:
    """The first value that has no canonical form, such as NaN, a lone surrogate, or an integer beyond 64 bits."""
    return next(_problems(value, _canonical_problem, "$"), None)


def find_malformed(value: Any) -> Problem | None:
    """The first lone surrogate or too deep nesting: what makes some JSON parsers refuse the text as a whole."""
    return next(_problems(value, _surrogate_problem, "$"), None)


def _problems(value: Any, scalar: Callable[[Any], str | None], path: str) -> Iterator[Problem]:
    """Walk `value` in document order without recursion; `scalar` says what is wrong with one leaf or key."""
    stack: list[tuple[str, Any, int]] = [(path, value, 0)]
    while stack:
        where, item, depth = stack.pop()
        if isinstance(item, (dict, list)):
            if depth >= MAX_DEPTH:
                yield Problem(where, f"nested deeper than {MAX_DEPTH} levels")
                continue
            if isinstance(item, dict):
                for key in item:
                    why = scalar(key) if isinstance(key, str) else "a key that is no string"
                    if why:
                        yield Problem(where, f"key {key!r}: {why}")
                stack.extend((path_step(where, key), child, depth + 1) for key, child in reversed(item.items()))
            else:
                stack.extend((f"{where}[{i}]", item[i], depth + 1) for i in range(len(item) - 1, -1, -1))
            continue
        why = scalar(item)
        if why:
            yield Problem(where, why)


def path_step(path: str, key: Any) -> str:
    """The JSON path of what stands under `key` in the object at `path`: ``$.name``, or ``$['odd name']``."""
    return f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f"{path}[{key!r}]"


def _surrogate_problem(item: Any) -> str | None:
    lone = isinstance(item, str) and _SURROGATE.search(item)
    return "a lone surrogate, which no UTF-8 text can hold" if lone else None


def _canonical_problem(item: Any) -> str | None:
    if isinstance(item, str):
        return _surrogate_problem(item)
    if isinstance(item, float):
        return None if item - item == 0 else "NaN and infinities are not JSON"
    if isinstance(item, int):
        return None if -(2**63) <= item < 2**64 else f"the integer {item} does not fit 64 bits"
    return None if item is None else f"a value of type {type(item).__name__} is not JSON"


def _write_problem(item: Any) -> str | None:
    if isinstance(item, str) and "\x00" in item:
        return "contains the character U+0000, which cannot be stored"
    if isinstance(item, int) and not isinstance(item, bool) and abs(item) > MAX_SAFE_INTEGER:
        return f"the integer {item} is beyond 2^53 - 1 and would change on the way (tip: use a string)"
    return _canonical_problem(item)


def _write_problem_no_floats(item: Any) -> str | None:
    if isinstance(item, float):
        return f"field contains float value (tip: use integer or string), {item!r}"
    return _write_problem(item)
