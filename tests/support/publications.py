"""Signed publications as S posts them."""

import dataclasses
import gzip
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from webtest import TestApp

from kinto_signer.core.canonical import digests
from kinto_signer.core.changeset import Changeset
from tests.support.states import make_records, now_ms, signed_state, tombstone_of

URI = "/buckets/main/collections/regions"
CHANGESET = f"{URI}/changeset"


def body_of(state: Changeset, base: int = 0, **fields: Any) -> dict[str, Any]:
    """The body of a POST that leads to `state` from the state of `base`."""
    changes = [change for change in state.changes if change["last_modified"] > base]
    metadata = {key: value for key, value in state.metadata.items() if key not in ("id", "last_modified")}
    metadata["hash"] = digests(state.records, state.timestamp).hash
    return {"base": base, "timestamp": state.timestamp, "changes": changes, "metadata": metadata, **fields}


def post(app: TestApp, body: Mapping[str, Any], uri: str = CHANGESET, **options: Any) -> Any:
    return app.post_json(uri, body, **options)


def post_gzipped(app: TestApp, body: Mapping[str, Any], **options: Any) -> Any:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    return app.post(CHANGESET, gzip.compress(json.dumps(body).encode()), headers=headers, **options)


def successive_states(key: ec.EllipticCurvePrivateKey, count: int = 3, **attributes: Any) -> list[Changeset]:
    """States dated now: five records; then each time one more, one changed and one deleted."""
    start = now_ms() - 60_000
    changes = {record["id"]: record for record in make_records(5, start=start)}
    states = [signed_state(key, list(changes.values()), **attributes)]
    for number in range(1, count):
        at = start + 1000 * number
        live = sorted(record_id for record_id, change in changes.items() if not change.get("deleted"))
        changes[live[0]] = tombstone_of(live[0], at)
        changes[live[1]] = {**changes[live[1]], "text": f"changed {number}", "last_modified": at + 1}
        new = make_records(1, first=100 + number, start=at + 2)[0] | {"last_modified": at + 2}
        changes[new["id"]] = new
        states.append(signed_state(key, list(changes.values()), **attributes))
    return states


def refreshed(key: ec.EllipticCurvePrivateKey, state: Changeset) -> Changeset:
    """The same state with a new signature."""
    fresh = signed_state(key, list(state.changes), state.timestamp)
    signatures = {name: fresh.metadata[name] for name in ("signature", "signatures")}
    return dataclasses.replace(state, metadata={**state.metadata, **signatures})
