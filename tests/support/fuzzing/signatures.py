"""Mutations of signatures, of publication statements and of what finds their keys; and an attacker's own signatures."""

import base64
import copy
import json
import random
from typing import Any

from cryptography.hazmat.primitives.asymmetric import utils

from kinto_signer.core import canonical, envelope, signature
from kinto_signer.core.statement import PAYLOAD_TYPE
from kinto_signer.errors import KintoSignerError
from tests.support.fuzzing.material import Enemy, public_text
from tests.support.fuzzing.values import mutate_value, tweak

ORDER = signature.P384_ORDER
ODD_TEXTS = ("", "A" * 128, "_" * 128, "A" * 127, "A" * 129, None, 0, [], {}, "=" * 128)
Answer = dict[str, Any]


def entries_of(answer: Answer) -> list[dict[str, Any]]:
    """The signature objects in an answer, as far as they have that shape."""
    metadata = answer.get("metadata")
    if not isinstance(metadata, dict):
        return []
    listed = metadata.get("signatures")
    found = [*(listed if isinstance(listed, list) else []), metadata.get("signature")]
    return [entry for entry in found if isinstance(entry, dict)]


def numbers(rng: random.Random, r: int, s: int) -> tuple[int, int]:
    """Other numbers for a signature. The first choice verifies too: ECDSA is malleable."""
    bit = 1 << rng.randrange(384)
    inside = ((r, ORDER - s), (ORDER - r, s), (s, r), (r ^ bit, s), (r, s ^ bit), (1, 1), (ORDER - 1, ORDER - 1))
    outside = ((0, s), (r, 0), (ORDER, s), (r, ORDER), (r + ORDER, s), (r, s + ORDER), (2**384 - 1, s))
    return rng.choice(inside if rng.random() < 0.75 else outside)


def mutate_signature(rng: random.Random, answer: Answer, pieces: Any) -> str:
    """An edit of one signature object, or of the list they stand in."""
    found, metadata = entries_of(answer), answer.get("metadata")
    if not found or not isinstance(metadata, dict):
        return "no signature"
    what = rng.choice((*("numbers",) * 6, *("bits",) * 5, "text", "text", "mode", "key", "x5u", "list", "elsewhere", "odd"))
    if what == "list":
        _mutate_list(rng, metadata)
        return "signature: list"
    new = dict(rng.choice(found))
    text = new.get("signature")
    if what == "odd":
        new["signature"] = rng.choice(ODD_TEXTS)
    elif what == "mode":
        new["mode"] = rng.choice(("p256ecdsa", "p521ecdsa", "rs256pkcs1v15", "", None, 1, "P384ECDSA", []))
    elif what == "key":
        new["public_key"] = tweak(rng, new.get("public_key", ""))
    elif what == "x5u":
        new["x5u"] = rng.choice(
            ("", None, "file:///etc/passwd", "https://elsewhere.example/x", 1, {}, tweak(rng, new.get("x5u", "")))
        )
    elif what == "elsewhere":
        new |= rng.choice(entries_of(pieces) or [{}]) if isinstance(pieces, dict) else {}
    elif isinstance(text, str):
        new["signature"] = _other_text(rng, what, text)
    metadata["signature"], metadata["signatures"] = new, [new]
    return f"signature: {what}"


def _mutate_list(rng: random.Random, metadata: dict[str, Any]) -> None:
    listed = metadata.get("signatures")
    old = listed if isinstance(listed, list) else []
    strange = {"mode": "p521ecdsa", "signature": "A" * 176}
    chosen = rng.choice(
        (old[::-1], [*old, *old], [strange, *old], [*old, strange], [], None, old[1:], [old], [*old, None], {"0": old})
    )
    metadata["signatures"] = copy.deepcopy(chosen)
    if rng.random() < 0.5:
        metadata["signature"] = rng.choice((None, strange, metadata.get("signature")))


def _other_text(rng: random.Random, what: str, text: str) -> str:
    try:
        raw = base64.urlsafe_b64decode(text)
        r, s = int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big")
    except ValueError:
        return text
    if what == "numbers":
        r, s = numbers(rng, r, s)
        size = max(48, (max(r, s).bit_length() + 7) // 8)
        return signature.encode_raw(r.to_bytes(size, "big") + s.to_bytes(size, "big"))
    if what == "bits":
        at = rng.randrange(len(raw))
        return signature.encode_raw(raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :])
    der = base64.b64encode(utils.encode_dss_signature(max(r, 1), max(s, 1))).decode()
    at = rng.randrange(len(text))
    shapes = (der, base64.b64encode(raw).decode(), text + "=", text + "==", text[:-1], text + "A", text + "\n", " " + text)
    return rng.choice(
        (*shapes, text[:at] + "=" + text[at:], text[:at] + "\n" + text[at:], raw.hex(), text.replace("-", "+"), text[64:] * 2)
    )


# --- the publication statement ---------------------------------------------------------------------------------------------


def publication_of(answer: Answer) -> dict[str, Any] | None:
    metadata = answer.get("metadata")
    found = metadata.get("publication") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else None


def mutate_statement(rng: random.Random, answer: Answer, pieces: Any) -> str:
    """An edit of the envelope, of the statement in it, or of its signatures."""
    found = publication_of(answer)
    if found is None:
        return "no statement"
    what = rng.choice((*("field",) * 9, *("sig",) * 5, "bits", "spelling", "type", "list", "away", "keyid", "mixed"))
    if what == "field":
        _mutate_payload(rng, found, pieces)
    elif what == "bits":
        payload = bytearray(_decoded(found.get("payload")) or b"{}")
        payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
        found["payload"] = base64.b64encode(payload).decode()
    elif what == "spelling":
        found["payload"] = _other_base64(rng, str(found.get("payload")))
    elif what == "type":
        found["payloadType"] = rng.choice(
            (tweak(rng, PAYLOAD_TYPE), None, PAYLOAD_TYPE + " ", "application/json", "", PAYLOAD_TYPE.upper())
        )
    elif what == "away":
        answer["metadata"].pop("publication")
    elif what == "mixed":
        theirs = publication_of(pieces) if isinstance(pieces, dict) else None
        name = rng.choice(("payload", "signatures"))
        if theirs and name in theirs:
            found[name] = copy.deepcopy(theirs[name])
    else:
        _mutate_signatures(rng, found, what)
    return f"statement: {what}"


def _mutate_payload(rng: random.Random, found: dict[str, Any], pieces: Any) -> None:
    """The statement, altered and written again; mostly still a proper one."""
    try:
        said = json.loads(_decoded(found.get("payload")) or b"{}")
    except ValueError:
        return
    if not isinstance(said, dict) or not said:
        return
    field = rng.choice([*said, "audience", "more"])
    if rng.random() < 0.3:
        mutate_value(rng, said, pieces)
    elif field in ("audience", "more"):
        said[field] = rng.choice(("x", "", 1, None))
    elif isinstance(said[field], int):
        said[field] += rng.choice((1, -1, 1000, 10**9, -(10**9)))
    elif field == "attributes" and isinstance(said[field], dict) and isinstance(said[field].get("names"), list):
        names = said[field]["names"]
        said[field]["names"] = rng.choice((names[1:], names[::-1], [*names, "more"], [*names, *names[:1]], []))
    elif field in ("hash", "previous"):
        said[field] = canonical.format_hash(rng.randbytes(48))
    else:
        said[field] = rng.choice(("other", "countries", "regions", "main", "blog"))
    found["payload"] = base64.b64encode(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).decode()


def _mutate_signatures(rng: random.Random, found: dict[str, Any], what: str) -> None:
    listed = found.get("signatures")
    entries = [dict(entry) for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    if not entries:
        return
    entry = rng.choice(entries)
    if what == "sig":
        entry["sig"] = _other_der(rng, _decoded(entry.get("sig")) or b"\x30\x00")
    elif what == "keyid":
        entry["keyid"] = rng.choice((None, 1, "", "0" * 64, tweak(rng, str(entry.get("keyid")))))
        entry["x5u"] = rng.choice((entry.get("x5u"), None, "", "https://elsewhere.example/x"))
    found["signatures"] = entries
    if what == "list":
        found["signatures"] = rng.choice((entries * 2, entries[::-1], [], None, entries * 33, [None, *entries], {"0": entries}))


def _other_der(rng: random.Random, der: bytes) -> str:
    """The signature with other numbers, or the same ones in another encoding; some that are no DER."""
    try:
        r, s = utils.decode_dss_signature(der)
    except ValueError:
        return base64.b64encode(der + b"\x00").decode()
    plain = utils.encode_dss_signature(*numbers(rng, r, s))
    long_form = b"\x30\x81" + der[1:2] + der[2:]
    padded = _sequence(_integer(r, extra=b"\x00"), _integer(s))
    negative = _sequence(b"\x02\x30" + r.to_bytes(48, "big"), _integer(s))
    third = _sequence(_integer(r), _integer(s), _integer(1))
    at = rng.randrange(len(der))
    flipped = der[:at] + bytes([der[at] ^ 1 << rng.randrange(8)]) + der[at + 1 :]
    made = rng.choice(
        (plain, plain, plain, flipped, flipped, der + b"\x00", der[:-1], long_form, padded, negative, third, b"\x00" + der)
    )
    text = base64.b64encode(made).decode()
    return _other_base64(rng, text) if rng.random() < 0.1 else text


def _integer(number: int, extra: bytes = b"") -> bytes:
    body = extra + number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(body)]) + body


def _sequence(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return b"\x30" + bytes([len(body)]) + body


def _other_base64(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    url = text.replace("+", "-").replace("/", "_")
    return rng.choice(
        (
            text.rstrip("="),
            text + "=",
            text + "\n",
            text[:at] + "\n" + text[at:],
            url,
            text[:at] + " " + text[at:],
            "",
            text[:-1] + "B",
        )
    )


def _decoded(text: object) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except ValueError:
        return None


# --- the attacker's own ----------------------------------------------------------------------------------------------------


def repair_hash(answer: Answer) -> None:
    """What an attacker does who alters records: the published hash says what is there now."""
    metadata = answer.get("metadata")
    digests = digests_of(answer)
    if isinstance(metadata, dict) and "hash" in metadata and digests is not None:
        metadata["hash"] = digests.hash


def digests_of(answer: Answer) -> canonical.Digests | None:
    """Of the records as they stand in the answer; None if they have no canonical form."""
    changes, timestamp = answer.get("changes"), answer.get("timestamp")
    try:
        live = [change for change in changes or () if change.get("deleted") is not True]
        return canonical.digests(live, timestamp) if isinstance(timestamp, int) else None
    except (KintoSignerError, AttributeError, TypeError, ValueError, RecursionError):
        return None


def sign_by_enemy(rng: random.Random, answer: Answer, enemy: Enemy) -> str:
    """The answer as it is now, signed by a key that nobody trusts, with all that a server may send along."""
    metadata, digests = answer.get("metadata"), digests_of(answer)
    if not isinstance(metadata, dict) or digests is None:
        return "nothing to sign"
    key = rng.choice((enemy.key, enemy.pki.leaf.key, enemy.pki.leaf.key))
    olds = entries_of(answer)
    entry = {**(olds[0] if olds else {}), "signature": signature.sign(key, digests.signed)}
    if rng.random() < 0.6:
        entry["public_key"] = public_text(key)
    metadata["signature"], metadata["signatures"] = entry, rng.choice(([entry], [*olds, entry], [entry, *olds]))
    if rng.random() < 0.7 and isinstance(entry.get("x5u"), str):
        metadata["chains"] = {entry["x5u"]: _chain_by_enemy(rng, metadata.get("chains"), entry["x5u"], enemy)}
    found = publication_of(answer)
    payload = _decoded(found.get("payload")) if found else None
    if found and payload and rng.random() < 0.5:
        der = signature.decode(signature.sign(key, envelope.digest(PAYLOAD_TYPE, payload)))
        found["signatures"] = [{"keyid": "", "sig": base64.b64encode(der).decode(), "public_key": public_text(key)}]
    return "signed by another key"


def _chain_by_enemy(rng: random.Random, chains: Any, x5u: str, enemy: Enemy) -> str:
    """The attacker's chain, or only its first certificates, of the same names, below the true ones."""
    true = chains.get(x5u) if isinstance(chains, dict) else None
    own, end = enemy.pki.pem.decode(), "-----END CERTIFICATE-----\n"
    if not isinstance(true, str) or true.count(end) != 3 or rng.random() < 0.3:
        return own
    first = rng.choice((1, 1, 2))
    return "".join(part + end for part in [*own.split(end)[:first], *true.split(end)[first:3]])
