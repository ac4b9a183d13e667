"""A real editing history, state after state, through live S -> A -> updater with PostgreSQL on both servers."""

import base64
import hashlib
import json
import os
import subprocess
import sys

import canonicaljson
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tests.support.servers import ROOT
from tests.support.settings import authority_settings, signer_settings

WORKSPACE = "main-workspace"


def independently_verified(public_pem, records, timestamp, signature):
    """Twenty lines that share nothing with the package."""
    text = canonicaljson.dumps({"data": sorted(records, key=lambda r: r["id"]), "last_modified": str(timestamp)})
    raw = base64.urlsafe_b64decode(signature)
    r, s = int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big")
    key = serialization.load_pem_public_key(public_pem)
    key.verify(utils.encode_dss_signature(r, s), b"Content-Signature:\x00" + text.encode(), ec.ECDSA(hashes.SHA384()))
    return "sha384-" + base64.b64encode(hashlib.sha384(text.encode()).digest()).decode()


def content(records):
    return {record["id"]: {k: v for k, v in record.items() if k != "last_modified"} for record in records}


def history(shared, collection):
    states = [json.loads(path.read_text()) for path in (shared / "data" / "history").glob(f"main-{collection}-*.json")]
    return sorted(states, key=lambda state: state["timestamp"])


def edit(client, collection, wanted):
    """Make the source say what `wanted` says, as an editor would, in one batch."""
    held = content(client.get_records(bucket=WORKSPACE, collection=collection))
    with client.batch() as batch:
        for record_id, record in content(wanted).items():
            if held.pop(record_id, None) != record:
                batch.update_record(bucket=WORKSPACE, collection=collection, id=record_id, data=record)
        for record_id in held:
            batch.delete_record(bucket=WORKSPACE, collection=collection, id=record_id)


@pytest.fixture
def servers(live_kinto, create_database, key_pair):
    authority = live_kinto(authority_settings(create_database()), name="authority")
    settings = signer_settings(key_pair.private, database=create_database(), authority=authority.url)
    return live_kinto(settings, name="signer"), authority


@pytest.mark.parametrize(("collection", "states"), [("search-config-icons", 9), ("search-telemetry-v2", 8)])
def test_every_state_arrives_as_it_was_edited(servers, key_pair, shared, tmp_path, collection, states):
    signer, authority = servers
    editor, reader = signer.client("alice"), authority.client("reader")
    editor.create_bucket(id=WORKSPACE)
    editor.create_collection(bucket=WORKSPACE, id=collection)
    published = history(shared, collection)
    assert len(published) == states
    for state in published:
        edit(editor, collection, state["data"])
        editor.patch_collection(bucket=WORKSPACE, id=collection, data={"status": "to-sign"})

        there = reader.get_records(bucket="main", collection=collection)
        metadata = reader.get_collection(bucket="main", id=collection)["data"]
        timestamp = int(reader.get_records_timestamp(bucket="main", collection=collection))
        assert timestamp == metadata["signed_timestamp"]
        found = independently_verified(key_pair.public.read_bytes(), there, timestamp, metadata["signature"]["signature"])
        assert found == metadata["hash"]

        command = [sys.executable, "-m", "kinto_signer.cli.updater", "gather-changes", authority.url]
        command += ["-c", f"main/{collection}", "--public-key", key_pair.public, "--cache", tmp_path / "cache"]
        command += ["--json", tmp_path / "json", "--format", "json"]
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ
        )
        assert done.returncode == 0, done.stderr
        saved = json.loads((tmp_path / "json" / "main" / f"{collection}.json").read_text())
        assert content(saved["data"]) == content(state["data"])
        assert saved["timestamp"] == timestamp
