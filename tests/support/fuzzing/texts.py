"""Mutations of bytes, and JSON written in one of the many ways in which it may be written."""

import json
import random
from typing import Any

INTERESTING = [
    b"",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\\u0000",
    b"\\ud800",
    b"NaN",
    b"1e999",
    b"-",
]
INTERESTING += [
    b"0",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b",",
    b":",
    b"\\",
    b" ",
    b"\r\n",
    b"\xe2\x80\xa8",
    b"null",
    b"true",
    b"1.0",
    b"[" * 300,
    b"[" * 9000 + b"]" * 9000,
]
WHITE = (" ", "\n", "\t", "\r\n", "")


def flip(rng: random.Random, text: bytes, *, low: int = 0, high: int | None = None) -> bytes:
    """One bit, somewhere from `low` to `high`."""
    if not text:
        return text
    at = rng.randrange(low, high or len(text))
    return text[:at] + bytes([text[at] ^ 1 << rng.randrange(8)]) + text[at + 1 :]


def mutate_bytes(rng: random.Random, text: bytes, other: bytes) -> tuple[str, bytes]:
    """One edit of the bytes; other: to splice with."""
    at, length = rng.randrange(len(text) + 1), rng.choice((1, 1, 2, 7, 40))
    what = rng.choice(
        ("flip", "flip", "flip", "digit", "digit", "letter", "letter", "insert", "delete", "double", "cut", "splice", "white")
    )
    if what == "flip":
        return what, flip(rng, text)
    if what in ("digit", "letter"):
        return what, _another_character(rng, text, what)
    if what == "insert":
        return what, text[:at] + rng.choice(INTERESTING) + text[at:]
    if what == "delete":
        return what, text[:at] + text[at + length :]
    if what == "double":
        return what, text[: at + length] + text[at:]
    if what == "cut":
        return what, text[:at]
    if what == "white":
        return what, text[:at] + rng.choice(WHITE).encode() + text[at:]
    return what, text[:at] + other[rng.randrange(len(other)) :]


def _another_character(rng: random.Random, text: bytes, what: str) -> bytes:
    """A digit for a digit, a letter for a letter: what most often leaves proper JSON."""
    alphabet = b"0123456789" if what == "digit" else b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for _ in range(200):
        at = rng.randrange(len(text))
        if text[at] in alphabet:
            return text[:at] + bytes([rng.choice(alphabet)]) + text[at + 1 :]
    return text


# --- writing JSON -----------------------------------------------------------------------------------------------------------


class Writer:
    """Writes the same value in different ways: white space, order of keys, escapes. double: one key twice, somewhere."""

    def __init__(self, rng: random.Random, *, double: bool = False) -> None:
        self.rng = rng
        self.spaced = rng.random() < 0.2
        self.shuffled = rng.random() < 0.3
        self.escaped = rng.choice((0.0,) * 10 + (0.02, 0.02, 1.0))
        self.ascii = rng.random() < 0.4
        self.double = double

    def write(self, value: Any) -> bytes:
        return self._value(value).encode("utf-8", "surrogatepass")

    def _value(self, value: Any) -> str:
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, (list, tuple)):
            return "[" + self._space() + (self._space() + "," + self._space()).join(map(self._value, value)) + self._space() + "]"
        if isinstance(value, str):
            return self._string(value)
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        return str(value) if isinstance(value, int) else self._float(value)

    def _object(self, value: dict[str, Any]) -> str:
        pairs = list(value.items())
        if self.shuffled:
            self.rng.shuffle(pairs)
        if self.double and pairs and self.rng.random() < 0.3:
            self.double = False
            key, said = self.rng.choice(pairs)
            pairs.insert(self.rng.randrange(len(pairs) + 1), (key, self.rng.choice((said, None, 0, "x"))))
        written = [self._string(key) + self._space() + ":" + self._space() + self._value(said) for key, said in pairs]
        return "{" + self._space() + (self._space() + "," + self._space()).join(written) + self._space() + "}"

    def _string(self, text: str) -> str:
        if not self.escaped:
            return json.dumps(text, ensure_ascii=self.ascii)
        return '"' + "".join(self._character(character) for character in text) + '"'

    def _character(self, character: str) -> str:
        if character in '"\\' or character < " ":
            return self._escape(character)
        if (self.ascii and character > "~") or self.rng.random() < self.escaped:
            return self._escape(character)
        return character

    def _escape(self, character: str) -> str:
        short = {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\r": "\\r"}
        if character in short and self.rng.random() < 0.5:
            return short[character]
        units = character.encode("utf-16-be", "surrogatepass")
        form = "\\u%04X" if self.rng.random() < 0.3 else "\\u%04x"
        return "".join(form % int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))

    def _float(self, value: float) -> str:
        text = repr(value)
        if value != value or value in (float("inf"), float("-inf")):
            return self.rng.choice(("NaN", "Infinity", "-Infinity", "1e999"))
        return text.upper() if self.rng.random() < 0.2 else text

    def _space(self) -> str:
        return self.rng.choice((" ", "", "\n", "\t")) if self.spaced else ""
