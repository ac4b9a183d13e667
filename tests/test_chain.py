"""The walking chain, with the commands that people type: edit on S, approve, A over HTTP, gather, tamper, refuse."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.servers import ROOT
from tests.support.settings import PASSWORD, authority_settings, signer_settings

NAME = "main/regions"


def run(module, *arguments, environment=None):
    command = [sys.executable, "-m", f"kinto_signer.cli.{module}", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **(environment or {})}
    )


@pytest.fixture
def keys(tmp_path):
    done = run("signer", "keygen", tmp_path / "private.pem", tmp_path / "public.pem")
    assert done.returncode == 0, done.stderr
    assert "Fingerprint" in done.stdout
    return tmp_path / "private.pem", tmp_path / "public.pem"


def test_from_an_edit_to_a_verified_copy_and_a_refused_forgery(live_kinto, keys, tmp_path):
    private, public = keys
    authority = live_kinto(authority_settings(), name="authority")
    signer = live_kinto(signer_settings(private, authority=authority.url), name="signer")
    client = signer.client("alice")
    client.create_bucket(id="main-workspace")
    client.create_collection(bucket="main-workspace", id="regions")
    for i in range(3):
        client.create_record(bucket="main-workspace", collection="regions", id=f"r{i}", data={"name": f"Straße {i}", "n": [i]})

    access = {"KINTO_SERVER": signer.url, "KINTO_AUTH": f"alice:{PASSWORD}"}
    done = run("signer", "approve", "main-workspace/regions", environment=access)
    assert done.returncode == 0, done.stderr
    done = run("signer", "status", "--format", "json", environment=access)
    assert json.loads(done.stdout)["collections"][0]["status"] == "signed"

    def gather():
        flags = ["-c", NAME, "--public-key", public, "--cache", tmp_path / "cache", "--format", "json"]
        return run("updater", "gather-changes", authority.url, *flags)

    done = gather()
    assert done.returncode == 0, done.stderr
    before = run("updater", "show", NAME, "--cache", tmp_path / "cache").stdout
    assert "3 records" in before

    authority.client("signer").patch_record(bucket="main", collection="regions", id="r1", data={"name": "forged"})
    done = gather()
    assert done.returncode == 3
    assert json.loads(done.stdout)["collections"][0]["error"]["reason"] in ("hash-mismatch", "bad-signature")
    assert run("updater", "show", NAME, "--cache", tmp_path / "cache").stdout == before
