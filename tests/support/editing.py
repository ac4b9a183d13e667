"""Real editing histories (``../shared/data/history``), entered on S as an editor would."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import canonicaljson
import kinto_http
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

WORKSPACE = "main-workspace"
Records = list[dict[str, Any]]


def history(shared: Path, collection: str) -> list[dict[str, Any]]:
    """The successive states, ``{"data": [records], "timestamp": ms}``."""
    states = [json.loads(path.read_text()) for path in (shared / "data" / "history").glob(f"main-{collection}-*.json")]
    return sorted(states, key=lambda state: state["timestamp"])


def content(records: Records) -> dict[str, Any]:
    """By id, without the timestamps, which the servers give."""
    return {record["id"]: {k: v for k, v in record.items() if k != "last_modified"} for record in records}


def edit(client: kinto_http.Client, collection: str, wanted: Records) -> None:
    """Make the source say what `wanted` says, in one batch."""
    held = content(client.get_records(bucket=WORKSPACE, collection=collection))
    with client.batch() as batch:
        for record_id, record in content(wanted).items():
            if held.pop(record_id, None) != record:
                batch.update_record(bucket=WORKSPACE, collection=collection, id=record_id, data=record)
        for record_id in held:
            batch.delete_record(bucket=WORKSPACE, collection=collection, id=record_id)


def independently_verified(public_pem: bytes, records: Records, timestamp: int, signature: str) -> str:
    """The hash of a state, after verification in a few lines that share nothing with the package. Raises InvalidSignature."""
    text = canonicaljson.dumps({"data": sorted(records, key=lambda r: r["id"]), "last_modified": str(timestamp)})
    raw = base64.urlsafe_b64decode(signature)
    r, s = int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big")
    key = serialization.load_pem_public_key(public_pem)
    key.verify(utils.encode_dss_signature(r, s), b"Content-Signature:\x00" + text.encode(), ec.ECDSA(hashes.SHA384()))
    return "sha384-" + base64.b64encode(hashlib.sha384(text.encode()).digest()).decode()
