"""DSSE envelopes: bytes of a stated type, and signatures over both.

What is signed is not the payload but its pre-authentication encoding (PAE), which also covers the type, so that a signature over
one kind of document is none over another. DSSE's signatures are in DER, those of Content-Signature are r and s: the same numbers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kinto_signer.core import signature
from kinto_signer.errors import BadAnswerError

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_SIGNATURES = 32


@dataclass(frozen=True)
class Envelope:
    """payload: the bytes that are signed together with their type. signatures: objects of a collection's ``signatures``."""

    payload_type: str
    payload: bytes
    signatures: tuple[Mapping[str, Any], ...]

    @property
    def digest(self) -> bytes:
        """The 48 bytes that are signed."""
        return digest(self.payload_type, self.payload)


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, version 1."""
    encoded = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(encoded), encoded, len(payload), payload)


def digest(payload_type: str, payload: bytes) -> bytes:
    """SHA-384 of the pre-authentication encoding."""
    return hashlib.sha384(pae(payload_type, payload)).digest()


def seal(payload_type: str, payload: bytes, signatures: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The envelope as JSON. signatures: for each the key's id, and the object that stands in a collection's ``signatures``.

    What finds a key (``x5u``, ``public_key``) goes along; like everything beside the payload it is not signed.
    """
    made = []
    for key_id, entry in signatures:
        hints = {name: entry[name] for name in ("x5u", "public_key") if entry.get(name)}
        made.append({"keyid": key_id, "sig": _encode(signature.decode(entry["signature"])), **hints})
    return {"payload": _encode(payload), "payloadType": payload_type, "signatures": made}


def unseal(where: str, value: object, payload_type: str) -> Envelope:
    """An envelope of that type, from JSON; nothing is verified. Unknown fields mean nothing, as DSSE has it.

    Raises BadAnswerError. Signatures of other kinds than P-384 are kept, as some that nobody can have made.
    """
    if not isinstance(value, Mapping):
        raise BadAnswerError(f"{where} is no object. Nothing was accepted.")
    if value.get("payloadType") != payload_type:
        raise BadAnswerError(
            f"{where} has the payloadType {str(value.get('payloadType'))[:80]!r} and not {payload_type}. Nothing was accepted."
        )
    payload, found = _decode(where, "payload", value.get("payload")), value.get("signatures")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise BadAnswerError(f"{where} has a payload of more than {MAX_PAYLOAD_BYTES} bytes. Nothing was accepted.")
    if not isinstance(found, list) or not 0 < len(found) <= MAX_SIGNATURES:
        raise BadAnswerError(f"{where} has no list of 1 to {MAX_SIGNATURES} signatures. Nothing was accepted.")
    return Envelope(payload_type, payload, tuple(_entry(where, each) for each in found))


def _entry(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not isinstance(value.get("keyid", ""), str):
        raise BadAnswerError(f"{where} has a signature that is no object with a `keyid`. Nothing was accepted.")
    der = _decode(where, "sig", value.get("sig"))
    try:
        wire: str | None = signature.encode(der)
    except (ValueError, OverflowError):
        wire = None
    hints = {name: value[name] for name in ("x5u", "public_key") if isinstance(value.get(name), str)}
    return {"mode": signature.MODE, "signature": wire, **hints}


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _decode(where: str, field: str, text: object) -> bytes:
    """Standard base64 in its one proper spelling: no other alphabet, no white space, no bits left over."""
    try:
        content = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        content = None
    if not content or _encode(content) != text:
        raise BadAnswerError(f"{where}: `{field}` is no base64. Nothing was accepted.")
    return content
