"""JSON as the protocol promises it, and nothing more lenient.

The standard library alone takes NaN, infinities (also as ``1e999``), duplicate keys (of which it keeps the last) and lone
surrogates, and answers deep nesting with a RecursionError.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from kinto_signer.core.problems import MAX_DEPTH
from kinto_signer.errors import BadAnswerError

ENVELOPE_DEPTH = 4
"""Levels around a record or a collection's attributes, e.g. two in ``{"data": [record]}``."""

_CONTAINERS: frozenset[type[Any]] = frozenset((dict, list))
"""What a JSON parser makes, and no subclass of it; this is asked about every value of every publication."""

SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(body: bytes, *, where: str = "the answer", max_depth: int = MAX_DEPTH + ENVELOPE_DEPTH) -> Any:
    """The value of a JSON text in UTF-8.

    where: what the text is, for the message. Raises BadAnswerError for what is no JSON in UTF-8, for NaN and infinities,
    duplicate keys, lone surrogates, and nesting deeper than max_depth.
    """
    with proper(where):
        text = body.decode("utf-8")
        value = json.loads(text, object_pairs_hook=no_duplicates, parse_constant=no_constant, parse_float=finite_float)
        refuse_depth(value, max_depth)
        if SURROGATE_ESCAPE.search(text):
            refuse_surrogates(value)
    return value


@contextlib.contextmanager
def proper(where: str) -> Iterator[None]:
    """Make a BadAnswerError of what the parser, and the checks below, raise."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise BadAnswerError(f"{where} is not in UTF-8 (byte {error.start}). Nothing of it was used.") from error
    except RecursionError as error:
        raise BadAnswerError(f"{where} is nested too deeply. Nothing of it was used.") from error
    except ValueError as error:  # JSONDecodeError too; also integers of thousands of digits
        raise BadAnswerError(f"{where} is not proper JSON: {error}. Nothing of it was used.") from error


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. Raises ValueError for a key that comes twice."""
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {double[:80]!r} comes twice in one object")
    return value


def no_constant(name: str) -> Any:
    """For NaN and the infinities. Raises ValueError."""
    raise ValueError(f"{name} is not JSON")


def finite_float(text: str) -> float:
    """The number. Raises ValueError if it is too large for a double."""
    number = float(text)
    if number - number != 0:
        raise ValueError(f"the number {text[:80]} is beyond what a double can hold")
    return number


def refuse_depth(value: Any, max_depth: int) -> None:
    """Raises ValueError for nesting deeper than `max_depth`."""
    level: list[Any] = [value] if value.__class__ in _CONTAINERS else []
    for _ in range(max_depth):
        if not level:
            return
        level = [
            child
            for container in level
            for child in (container.values() if container.__class__ is dict else container)
            if child.__class__ in _CONTAINERS
        ]
    if level:
        raise ValueError(f"it is nested deeper than {max_depth} levels")


def refuse_surrogates(value: Any) -> None:
    """Raises ValueError for a lone surrogate in a text or a key."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if _SURROGATE.search(item):
                raise ValueError("a lone surrogate, which no UTF-8 text can hold")
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
