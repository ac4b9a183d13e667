"""The canonical form of JSON values and of a collection: the exact bytes that a signature covers.

The form is the one of Mozilla's canonicaljson-rs (decision 1): keys sorted by code point, no white space, everything outside
printable ASCII as lower-case ``\\uXXXX``. For values without floats the standard library writes the same bytes; floats go
through canonicaljson-rs itself (extra ``[floats]``).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from kinto_signer.core.problems import MAX_DEPTH, find_uncanonical
from kinto_signer.errors import ConfigurationError, UnsignableValue

Record = dict[str, Any]

SIGNATURE_PREFIX = b"Content-Signature:\x00"
"""Put in front of the canonical form before it is signed (Autograph, Content-Signature)."""

BLOCK = 512
"""Records whose canonical forms are put together before they are hashed."""


@dataclass(frozen=True)
class Digests:
    """What one pass over the canonical form of a collection yields."""

    signed: bytes
    """SHA-384 over the prefix and the canonical form: the 48 bytes that are signed."""
    hash: str
    """``sha384-`` and base64 of the SHA-384 over the canonical form alone: the published attribute ``hash``."""


def canonical_json(value: Any) -> str:
    """`value` in its canonical form, as ASCII text.

    Raises UnsignableValue for what has none: NaN, infinities, lone surrogates, integers beyond 64 bits, other types than
    JSON's, nesting deeper than MAX_DEPTH. Raises ConfigurationError for floats without the extra ``[floats]``.
    """
    problem = find_uncanonical(value)
    if problem:
        raise UnsignableValue(problem.why, path=problem.path)
    return _with_floats(value) if _has_float(value) else _dumps(value)


def canonical_parsed(record: Mapping[str, Any], *, plain: bool = False) -> bytes:
    """`canonical_json` of a record that came from a JSON parser, in a quarter of the time.

    The standard library's text is the canonical form already where there are no floats, no large integers, no surrogates and no
    deep nesting; where there may be, `canonical_json` decides. Raises what it raises, with the record's id.
    plain: the parser saw that there is nothing of that (`core.stored_json`).
    """
    if plain:
        return plain_json(record)
    try:
        text = _dumps(record)
    except (ValueError, TypeError, RecursionError):  # NaN, no JSON, or nested too deep
        return _canonical_record(record)
    if "\\ud" in text or text.count("{") + text.count("[") > MAX_DEPTH or _has_odd_number(record):
        return _canonical_record(record)
    return text.encode("ascii")


def canonical_if_known(record: Mapping[str, Any], known: bytes | None) -> bytes:
    """`canonical_parsed` of a record that came from a JSON parser, of which this form is expected.

    The standard library's text of two records is the same only if the records are, and where it is a canonical form nothing else
    needs to be looked at: `known` itself is returned, and not another copy of it.
    """
    if known is not None:
        try:
            if _dumps(record).encode("ascii") == known:
                return known
        except (ValueError, TypeError, RecursionError):
            pass  # `canonical_parsed` says what is wrong
    return canonical_parsed(record)


def canonical_chunks(records: Iterable[Mapping[str, Any]], timestamp: int) -> Iterator[bytes]:
    """The canonical form of a collection, piece by piece.

    ``{"data": [live records by id], "last_modified": "<timestamp>"}``; ids sort by code point.

    records: live records, in any order. timestamp: integer milliseconds, written as a *string*.
    Raises UnsignableValue that names the record and the JSON path.
    """
    return _around((_canonical_record(record) for record in sorted(records, key=_record_id)), timestamp)


def digests_of_chunks(chunks: Iterable[bytes], timestamp: int) -> Digests:
    """The digests of the collection whose records have the canonical forms `chunks`, given in the order of their ids."""
    return _digests(_around(chunks, timestamp))


def _canonical_record(record: Mapping[str, Any]) -> bytes:
    try:
        return canonical_json(record).encode("ascii")
    except UnsignableValue as error:
        raise UnsignableValue(error.why, path=error.path, record=str(record.get("id"))) from error


def _around(chunks: Iterable[bytes], timestamp: int) -> Iterator[bytes]:
    """The canonical form of a collection around those of its records; thousands of small pieces are put together first."""
    yield b'{"data":['
    remaining = iter(chunks)
    separator = b""
    while block := list(islice(remaining, BLOCK)):
        yield separator + b",".join(block)
        separator = b","
    yield f'],"last_modified":"{timestamp}"}}'.encode("ascii")


def signed_bytes(records: Iterable[Mapping[str, Any]], timestamp: int) -> bytes:
    """The exact bytes a signature covers, without the prefix; see `canonical_chunks`."""
    return b"".join(canonical_chunks(records, timestamp))


def digests(records: Iterable[Mapping[str, Any]], timestamp: int) -> Digests:
    """The digests of a collection's canonical form, computed without holding it as a whole."""
    return _digests(canonical_chunks(records, timestamp))


def _digests(form: Iterable[bytes]) -> Digests:
    signed, plain = hashlib.sha384(SIGNATURE_PREFIX), hashlib.sha384()
    for chunk in form:
        signed.update(chunk)
        plain.update(chunk)
    return Digests(signed.digest(), format_hash(plain.digest()))


def format_hash(digest: bytes) -> str:
    """A SHA-384 digest as it stands in ``hash``: ``sha384-`` and standard base64."""
    return "sha384-" + base64.b64encode(digest).decode("ascii")


def parse_hash(text: object) -> bytes | None:
    """The 48 bytes of a text written by `format_hash`; None if it is anything else."""
    if not isinstance(text, str) or not text.startswith("sha384-"):
        return None
    try:
        digest = base64.b64decode(text[7:], validate=True)
    except ValueError:
        return None
    return digest if len(digest) == 48 else None


def without_timestamp(record: Mapping[str, Any]) -> Record:
    """The content of a record: everything but ``last_modified``."""
    return {key: value for key, value in record.items() if key != "last_modified"}


def same_content(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records say the same but for their timestamps (``1``, ``1.0`` and ``true`` are three things)."""
    ours, theirs = without_timestamp(one), without_timestamp(other)
    return ours == theirs and _dumps(ours) == _dumps(theirs)


def plain_json(value: Any) -> bytes:
    """The standard library's text of a stored value: the canonical form, but for the spelling of floats.

    It needs no extra for floats and refuses no integer, so that what can be stored can be shown, counted and digested, also
    where it cannot be signed. ``1``, ``1.0`` and ``true`` are three texts.
    """
    return _dumps(value).encode("ascii")


def _has_float(value: Any) -> bool:
    return _has_number(value, largest=None)


def _has_odd_number(value: Any) -> bool:
    """Whether the value holds a float, or an integer that may not fit 64 bits."""
    return _has_number(value, largest=2**63 - 1)


def _has_number(value: Any, largest: int | None) -> bool:
    """Whether there is a float, or an integer beyond `largest`. Every record of every publication passes here."""
    stack = [value]
    while stack:
        item = stack.pop()
        kind = item.__class__
        if kind is str:
            continue
        if kind is dict:
            stack.extend(item.values())
        elif kind is list:
            stack.extend(item)
        elif isinstance(item, float) or (kind is int and largest is not None and not -largest <= item <= largest):
            return True
    return False


# Made once: `json.dumps` makes another encoder for each value that is written in any other way than its own. What contains itself
# is nested too deep.
_dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, check_circular=False).encode


def _with_floats(value: Any) -> str:
    try:
        import canonicaljson
    except ImportError as error:
        raise ConfigurationError(
            "The collection contains floats, whose canonical form needs canonicaljson-rs: install `kinto-signer[floats]`."
        ) from error
    return str(canonicaljson.dumps(value))


def _record_id(record: Mapping[str, Any]) -> str:
    identifier = record.get("id")
    if not isinstance(identifier, str):
        raise UnsignableValue(f"a record whose id is not a string: {identifier!r}", path="$.id")
    return identifier
