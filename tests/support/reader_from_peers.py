"""A reader that somebody wrote from the description: `reader.py SERVER BUCKET/COLLECTION KEY STATE`"""

import base64
import json
import pathlib
import sys
from urllib import parse, request

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

server, name, key_file, state_file = sys.argv[1:]
bucket, collection = name.split("/")
key, state = serialization.load_pem_public_key(pathlib.Path(key_file).read_bytes()), pathlib.Path(state_file)


def get(path, **query):
    with request.urlopen(f"{server}/buckets/{path}/changeset?" + parse.urlencode(query), timeout=60) as answer:
        return json.load(answer)


def read(base, expected):
    found = get(f"{bucket}/collections/{collection}", _expected=expected, **base["since"])
    records = {record["id"]: record for record in [*base["records"], *found["changes"]]}
    live = [records[record_id] for record_id in sorted(records) if not records[record_id].get("deleted")]
    text = json.dumps({"data": live, "last_modified": str(found["timestamp"])}, sort_keys=True, separators=(",", ":"))
    raw = base64.urlsafe_b64decode(found["metadata"]["signature"]["signature"])
    signature = utils.encode_dss_signature(int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big"))
    key.verify(signature, b"Content-Signature:\0" + text.replace("\x7f", "\\u007f").encode(), ec.ECDSA(hashes.SHA384()))
    if found["timestamp"] < base["timestamp"]:
        sys.exit("older than what was verified before")
    asked = {"seen": expected, "since": {"_since": f'"{found["timestamp"]}"'}, "changes": len(found["changes"])}
    return {"timestamp": found["timestamp"], "records": live, **asked}


held = json.loads(state.read_text()) if state.exists() else {"timestamp": 0, "seen": 0, "since": {}, "records": []}
here = [entry for entry in get("monitor/collections/changes", _expected=0)["changes"] if entry["bucket"] == bucket]
(latest,) = [entry["last_modified"] for entry in here if entry["collection"] == collection]
if latest > held["seen"]:
    state.write_text(json.dumps(read(held, latest)))
