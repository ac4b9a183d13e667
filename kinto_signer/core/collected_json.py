"""A large JSON object whose long lists are taken value by value, so that they never exist as a whole.

As strict as `strict_json`: UTF-8, no NaN and no infinities, no duplicate keys, no lone surrogates, no deep nesting.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

from kinto_signer.core.problems import MAX_DEPTH
from kinto_signer.core.strict_json import (
    ENVELOPE_DEPTH,
    SURROGATE_ESCAPE,
    finite_float,
    no_constant,
    no_duplicates,
    parse_json,
    proper,
    refuse_depth,
    refuse_surrogates,
)

WINDOW_BYTES = 2**18
"""How much is decoded at once; more where one value is longer."""

_GOES_ON = ("", ".", "e", "E")
"""What may follow the beginning of a number."""

_WHITE = re.compile(r"[ \t\n\r]*")


class Collector(Protocol):
    """Takes the values of a list, such as another list."""

    def append(self, value: Any, /) -> object: ...


def parse_collecting(
    body: bytes,
    members: Mapping[str, Collector],
    *,
    where: str = "the answer",
    max_depth: int = MAX_DEPTH + ENVELOPE_DEPTH,
) -> Any:
    """`parse_json`, where the values of the lists under these keys of the outermost object go to collectors.

    A collector stands in the result instead of its list. What collectors raise, BadAnswerError for what is no proper JSON; some
    values may have been collected by then.
    """
    window = _Window(body, max_depth)
    with proper(where):
        try:
            if window.peek() == "{":
                return window.object(members)
        except UnicodeDecodeError:
            body.decode("utf-8")  # which names the right byte
            raise
    return parse_json(body, where=where, max_depth=max_depth)


class _Window:
    """The part of a text that is decoded just now, and the place in it. Every method leaves the place behind what it took."""

    def __init__(self, body: bytes, max_depth: int) -> None:
        self._body = body
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._taken = 0
        self._max_depth = max_depth
        self._text = ""
        self._at = 0
        self._escapes = False
        self._scan = json.JSONDecoder(
            object_pairs_hook=no_duplicates, parse_constant=no_constant, parse_float=finite_float
        ).raw_decode

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            found = _WHITE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def object(self, members: Mapping[str, Collector]) -> dict[str, Any]:
        """The outermost object, which is all of the text."""
        content: dict[str, Any] = {}
        self._take("{")
        closed = self.peek() == "}" and bool(self._take("}"))
        while not closed:
            if self.peek() != '"':
                raise self._unexpected("a key")
            key = self._value(0)
            if key in content:
                raise ValueError(f"the key {key[:80]!r} comes twice in one object")
            self._take(":")
            if self.peek() == "[" and key in members:
                content[key] = self._list(members[key])
            else:
                content[key] = self._value(1)
            closed = self._take(",}") == "}"
        if self.peek():
            raise self._unexpected("the end")
        return content

    def _list(self, collector: Collector) -> Collector:
        self._take("[")
        closed = self.peek() == "]" and bool(self._take("]"))
        while not closed:
            self.peek()
            collector.append(self._value(2))
            closed = self._take(",]") == "]"
        return collector

    def _take(self, wanted: str) -> str:
        found = self.peek()
        if not found or found not in wanted:
            raise self._unexpected(" or ".join(repr(one) for one in wanted))
        self._at += 1
        return found

    def _value(self, depth: int) -> Any:
        """The value that begins here, inside `depth` others. A failure in a part of the text may be that it is a part."""
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except ValueError:
                if not self._more():
                    raise
                continue
            if self._text[end : end + 1] in _GOES_ON and self._more():
                continue
            self._refuse(value, end, self._max_depth - depth)
            self._at = end
            return value

    def _refuse(self, value: Any, end: int, max_depth: int) -> None:
        if self._text.count("{", self._at, end) + self._text.count("[", self._at, end) > max_depth:
            refuse_depth(value, max_depth)
        if self._escapes:
            refuse_surrogates(value)

    def _more(self) -> bool:
        """Decode more, and forget what was taken."""
        if self._taken >= len(self._body):
            return False
        size = max(WINDOW_BYTES, len(self._text) - self._at)  # so that a long value is not tried too often
        piece = self._body[self._taken : self._taken + size]
        self._taken += size
        self._text = self._text[self._at :] + self._decoder.decode(piece, final=self._taken >= len(self._body))
        self._at = 0
        self._escapes = SURROGATE_ESCAPE.search(self._text) is not None
        return True

    def _unexpected(self, wanted: str) -> ValueError:
        return ValueError(f"{wanted} is missing before {self._text[self._at : self._at + 40]!r}")
