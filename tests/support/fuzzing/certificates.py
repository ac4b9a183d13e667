"""Mutations of the certificate chains that an answer carries: the files' text, their certificates, the bytes of these."""

import base64
import random
import re
from typing import Any

from cryptography.hazmat.primitives.asymmetric import utils

from kinto_signer.core import signature
from tests.support.fuzzing.material import Enemy
from tests.support.fuzzing.values import tweak

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


def mutate_chain(rng: random.Random, answer: dict[str, Any], pieces: Any, enemy: Enemy) -> str:
    """An edit of one chain file."""
    chains = chains_of(answer)
    if not chains:
        return "no chain"
    x5u = rng.choice(sorted(chains))
    certificates = _certificates(chains[x5u])
    if not certificates:
        return "no chain"
    what = rng.choice(
        (
            "order",
            "away",
            "double",
            "bits",
            "bits",
            "bits",
            "bits",
            "tlv",
            "signature",
            "signature",
            "enemy",
            "elsewhere",
            "text",
            "name",
        )
    )
    at = rng.randrange(len(certificates))
    if what == "text":
        chains[x5u] = _other_text(rng, chains[x5u])
        return "chain: text"
    if what == "name":
        chains[rng.choice(("", "x", x5u + "#", x5u.upper()))] = chains.pop(x5u)
        return "chain: name"
    if what == "order":
        rng.shuffle(certificates)
    elif what == "away":
        del certificates[at]
    elif what == "double":
        certificates.insert(rng.randrange(len(certificates) + 1), certificates[at])
    elif what == "bits":
        where = rng.randrange(len(certificates[at]))
        certificates[at] = _flipped(rng, certificates[at], where)
    elif what == "tlv":
        certificates[at] = _other_encoding(rng, certificates[at])
    elif what == "signature":
        certificates[at] = _other_signature(rng, certificates[at])
    elif what == "enemy":
        theirs = _certificates(enemy.pki.pem.decode())
        certificates[at] = theirs[min(at, len(theirs) - 1)]
    else:
        found = (
            pieces["metadata"].get("chains") if isinstance(pieces, dict) and isinstance(pieces.get("metadata"), dict) else None
        )
        theirs = [one for text in (found or {}).values() for one in _certificates(text)] if isinstance(found, dict) else []
        certificates[at] = rng.choice(theirs or [b"\x30\x00"])
    chains[x5u] = _pem(certificates)
    return f"chain: {what}"


def chains_of(answer: dict[str, Any]) -> dict[str, Any] | None:
    """The chain files that an answer carries, by x5u."""
    metadata = answer.get("metadata")
    found = metadata.get("chains") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else None


def _certificates(text: object) -> list[bytes]:
    try:
        return [base64.b64decode(body) for body in _PEM.findall(text)] if isinstance(text, str) else []
    except ValueError:
        return []


def _pem(certificates: list[bytes]) -> str:
    parts = [base64.encodebytes(der).decode() for der in certificates]
    return "".join(f"-----BEGIN CERTIFICATE-----\n{part}-----END CERTIFICATE-----\n" for part in parts)


def _flipped(rng: random.Random, der: bytes, at: int) -> bytes:
    return der[:at] + bytes([der[at] ^ 1 << rng.randrange(8)]) + der[at + 1 :]


def _other_encoding(rng: random.Random, der: bytes) -> bytes:
    """The same or nearly the same certificate in other bytes: lengths, booleans, time and text types, left-over bytes."""
    at = rng.randrange(len(der))
    swaps = (
        (b"\x01\x01\xff", b"\x01\x01\x01"),
        (b"\x01\x01\xff", b"\x01\x01\x00"),
        (b"\x17\x0d", b"\x18\x0d"),
        (b"\x0c", b"\x13"),
        (b"\x0c", b"\x1e"),
    )
    old, new = rng.choice(swaps)
    choices = (
        der + b"\x00",
        der[:-1],
        der.replace(old, new),
        der.replace(old, new, 1),
        der[:at] + der[at : at + 9] + der[at:],
        der[:at] + der[at + 1 :],
    )
    return rng.choice(
        (*choices, b"\x30\x83\x00" + der[2:] if der[1] == 0x82 else der, bytes([der[0], 0x80]) + der[2:] + b"\x00\x00")
    )


def _other_signature(rng: random.Random, der: bytes) -> bytes:
    """The certificate with another signature: the numbers flipped, or the other half of a malleable one."""
    start = der.rfind(b"\x30", len(der) - 110, len(der) - 90)
    try:
        r, s = utils.decode_dss_signature(der[start:])
    except ValueError:
        return _flipped(rng, der, rng.randrange(len(der) - 60, len(der)))
    changed = (
        utils.encode_dss_signature(r, signature.P384_ORDER - s)
        if rng.random() < 0.4
        else _flipped(rng, der[start:], rng.randrange(8, 90))
    )
    return der[:start] + changed if len(changed) == len(der) - start else _flipped(rng, der, len(der) - 1 - rng.randrange(40))


def _other_text(rng: random.Random, text: str) -> Any:
    at = rng.randrange(len(text))
    inserted = rng.choice((" ", "\r\n", "\x00", "#comment\n", "=", "-----BEGIN CERTIFICATE-----\n", "é", "\u2028", "A", "-"))
    shapes = (
        text.replace("\n", "\r\n"),
        text.replace("\n", ""),
        text.strip(),
        text + text,
        "\n" * 70_000 + text,
        text.replace("CERTIFICATE", "X509 CERTIFICATE"),
    )
    return rng.choice(
        (*shapes, text[:at] + inserted + text[at:], text[:at] + text[at + 1 :], text[:at], tweak(rng, text), [text], None)
    )
