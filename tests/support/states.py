"""Signed states of collections, made in memory."""

import base64
import copy
import dataclasses
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core import signature
from kinto_signer.core.canonical import digests
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.trust import PublicKey, Trust

NAME = "main/regions"
START = 1_600_000_000_000
TEXTS = ("Žižkov", "東京", "\u2028", "naïve \x7f", "😀")


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def trust_in(*keys: ec.EllipticCurvePrivateKey) -> Trust:
    return Trust(tuple(PublicKey(key.public_key()) for key in keys))


def make_records(count: int, *, first: int = 0, start: int = START) -> list[dict[str, Any]]:
    """Records with increasing timestamps from `start` on."""
    return [
        {
            "id": f"record-{number:04d}",
            "last_modified": start + number,
            "text": TEXTS[number % len(TEXTS)],
            "nested": {"list": [number, None, True, {"deep": "x" * (number % 7)}]},
        }
        for number in range(first, first + count)
    ]


def sign(key: ec.EllipticCurvePrivateKey, records: list[dict[str, Any]], timestamp: int) -> dict[str, Any]:
    """A signature object as it stands in a collection's attributes."""
    public = base64.b64encode(PublicKey(key.public_key()).der).decode("ascii")
    text = signature.sign(key, digests(records, timestamp).signed)
    return {"signature": text, "mode": "p384ecdsa", "x5u": "", "public_key": public}


def signed_state(
    key: ec.EllipticCurvePrivateKey, changes: list[dict[str, Any]], timestamp: int | None = None, **attributes: Any
) -> Changeset:
    """A complete, signed state; its timestamp is the greatest among the changes unless it is given."""
    timestamp = timestamp or max((change["last_modified"] for change in changes), default=START)
    live = [change for change in changes if not change.get("deleted")]
    entry = sign(key, live, timestamp)
    metadata = {
        "id": NAME.partition("/")[2],
        "last_modified": timestamp + 1,
        "signed_timestamp": timestamp,
        "signature": entry,
        "signatures": [entry],
        **attributes,
    }
    return Changeset(timestamp, copy.deepcopy(changes), metadata)


def since(state: Changeset, timestamp: int) -> Changeset:
    """The difference that leads to `state` from the state of `timestamp`."""
    newer = [change for change in state.changes if change["last_modified"] > timestamp]
    return dataclasses.replace(state, changes=newer, since=timestamp)


def tombstone_of(record_id: str, timestamp: int) -> dict[str, Any]:
    return {"id": record_id, "last_modified": timestamp, "deleted": True}


def now_ms() -> int:
    return int(time.time() * 1000)
