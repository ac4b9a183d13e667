"""Collections as they are published: records of about 500 bytes, and their signed bodies."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core import signature
from kinto_signer.core.canonical import canonical_parsed, digests_of_chunks

WORDS = ("Žižkov", "tramway", "東京駅", "terminus", "naïve", "quartier", "Ortsteil", "embankment")


def make_records(count: int, start: int) -> dict[str, dict[str, Any]]:
    """Records of ten fields, nested, some of it not ASCII, with timestamps from `start` (ms) on, by id."""
    return {f"{number:08x}-stop": make_record(number, start + number) for number in range(count)}


def make_record(number: int, last_modified: int) -> dict[str, Any]:
    some = [WORDS[(number + step) % len(WORDS)] for step in range(4)]
    return {
        "id": f"{number:08x}-stop",
        "last_modified": last_modified,
        "name": f"{some[0]} {number}",
        "description": " ".join(some * 2),
        "enabled": number % 3 > 0,
        "zone": number % 17,
        "position": {"lat": 50_000_000 + number * 7 % 99_991, "lon": 14_000_000 + number * 13 % 99_991, "level": None},
        "lines": [number % 26, number % 9 + 100, number % 5 + 200],
        "operator": {"name": some[2], "contact": {"phone": f"+420 {number:09d}", "mail": f"stop-{number}@transport.example"}},
        "schedule": [{"from": "04:30", "to": "23:45", "every": number % 20 + 1}, {"from": "23:45", "to": "04:30", "every": 30}],
    }


class Publishing:
    """A signer of its own: keeps the canonical forms, so that a state of 100,000 records is signed in a fraction of a second."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, records: Mapping[str, Mapping[str, Any]]) -> None:
        self._key = key
        self._forms = {record_id: canonical_parsed(record) for record_id, record in records.items()}
        self._timestamp = 0
        self.records = dict(records)

    def body(self, changes: Iterable[Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """The body of a POST that publishes `changes` on top of what was published before; None: everything; none: a refresh."""
        sent = list(self.records.values()) if changes is None else list(changes)
        for change in sent:
            self._forms[change["id"]] = canonical_parsed(change)
        timestamp = max((change["last_modified"] for change in sent), default=self._timestamp)
        content = digests_of_chunks((self._forms[record_id] for record_id in sorted(self._forms)), timestamp)
        entry = {"signature": signature.sign(self._key, content.signed), "mode": "p384ecdsa", "x5u": ""}
        base, self._timestamp = self._timestamp, timestamp
        metadata = {"signature": entry, "signatures": [entry], "signed_timestamp": timestamp, "hash": content.hash}
        return {"base": base, "timestamp": timestamp, "changes": sent, "metadata": metadata}


def now_ms() -> int:
    return time.time_ns() // 1_000_000
