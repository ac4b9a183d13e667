"""Looking for secrets in what was said: as they are, and in every form in which a careless program shows them."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

from cryptography.hazmat.primitives.asymmetric import ec

_BETWEEN = re.compile(rb"\\r|\\n|[\s:]")
"""What stands between the lines of PEM and the bytes of a hexadecimal dump, also in a repr."""


class Search:
    """The secrets by name, and what was said, by whom. Needs secrets of eight bytes or more."""

    def __init__(self) -> None:
        self.forms: dict[str, list[bytes]] = {}
        self.said: list[tuple[str, bytes]] = []

    def secret(self, name: str, value: str | bytes) -> None:
        raw = value.encode() if isinstance(value, str) else value
        if len(raw) < 8:
            raise ValueError(f"{name} is too short to be looked for.")
        self.forms[name] = list(dict.fromkeys(forms(raw)))

    def private_key(self, name: str, key: ec.EllipticCurvePrivateKey) -> None:
        """Its number; in PEM or DER the number's bytes are found."""
        number = key.private_numbers().private_value
        self.secret(name, number.to_bytes(48, "big"))
        self.forms[name] += [str(number).encode(), b"%x" % number]

    def hear(self, who: str, what: str | bytes) -> None:
        self.said.append((who, what.encode("utf-8", "surrogateescape") if isinstance(what, str) else what))

    def hear_process(self, who: str, pid: int, *files: str) -> None:
        """What everybody, or the user, reads of a process: ``cmdline``, ``environ``."""
        for file in files:
            self.hear(f"{file} of {who}", Path(f"/proc/{pid}/{file}").read_bytes())

    def found(self) -> set[tuple[str, str]]:
        """Which secret was said by whom."""
        return {(name, who) for who, what in self.said for name in self._in(what)}

    def _in(self, what: bytes) -> Iterator[str]:
        lower = what.lower()
        texts = (what, lower, _BETWEEN.sub(b"", what), _BETWEEN.sub(b"", lower))
        for name, known in self.forms.items():
            if any(form in text for form in known for text in texts):
                yield name


def forms(raw: bytes) -> Iterator[bytes]:
    """The ways to write some bytes that are looked for."""
    yield raw
    yield raw[::-1]
    yield raw.hex().encode()
    yield repr(raw)[2:-1].encode()
    yield from base64_forms(raw)
    yield quote(raw, safe="").encode()
    yield quote_plus(raw).encode()
    text = raw.decode("utf-8", "replace")
    if "\ufffd" not in text:
        yield repr(text)[1:-1].encode()
        yield json.dumps(text)[1:-1].encode()
        yield from base64_forms(quote(text).encode())


def base64_forms(raw: bytes) -> Iterator[bytes]:
    """Base64, both alphabets, wherever in a longer text the bytes begin (``user:password`` of a header, a number in DER)."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw)
        # The first and the last letters depend on the neighbours too.
        start, end = (0, 2, 3)[before], len(text) - (4 if (before + len(raw)) % 3 else 0)
        yield text[start:end]
        yield text[start:end].translate(bytes.maketrans(b"+/", b"-_"))
