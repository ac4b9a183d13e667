"""A real editing history, state after state, through live S -> A -> updater with PostgreSQL on both servers."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.editing import WORKSPACE, content, edit, history, independently_verified
from tests.support.servers import ROOT
from tests.support.settings import authority_settings, signer_settings


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
