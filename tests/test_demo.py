"""``make demo`` as it is run, in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.support.chromium import chromium
from tests.support.kinto_admin import BUILD, KintoAdmin
from tests.support.servers import ROOT
from tests.support.unmeasured import unmeasured  # noqa: F401

SOURCE = "/buckets/main-workspace/collections/stops"
DEMO = [sys.executable, "-m", "demo.run"]


@pytest.mark.usefixtures("unmeasured")
def test_every_step_does_what_it_says_and_the_servers_are_kept():
    assert BUILD.is_dir(), "kinto-admin is missing: run `make admin`."
    started = time.monotonic()

    done = subprocess.run([*DEMO, "--keep"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)

    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - started < 60
    ending = re.search(r"To end them: kill -- (.*); sleep 3; rm -r (\S+) (\S+)$", done.stdout, re.MULTILINE)
    groups, folder, postgres = ending.groups()
    try:
        every_step_did_what_it_says(done.stdout)
        for url, user, password in re.findall(r"^  [SA]   (\S+) +(\w+):(\S+)", done.stdout, re.MULTILINE):
            root = requests.get(f"{url}/", auth=(user, password), timeout=30).json()
            assert root["user"]["id"] == f"account:{user}"
        review_in_kinto_admin(done.stdout)
    finally:
        for group in groups.split():
            os.killpg(-int(group), signal.SIGTERM)
        deadline = time.monotonic() + 15
        while (running := (Path(postgres) / "data" / "postmaster.pid").exists()) and time.monotonic() < deadline:
            time.sleep(0.1)
        subprocess.run(["rm", "-r", folder, postgres], check=True)
    assert not running  # which also means that both servers have left it


def every_step_did_what_it_says(printed):
    assert re.search(r"alice\$ kinto-signer approve .*\n(.*\n)?.*Not in stops-reviewers group", printed)
    assert "A serves 300 records" in printed
    assert re.search(r"bob\$ kinto-signer diff .*\n(.*\n)*?.*cz-prg-99", printed)
    assert "main/stops: 3 changes" in printed
    assert re.search(r"A answers 403: main/stops is guarded: .* nothing was stored. \[hash-mismatch\]", printed)
    assert 'A\'s /__heartbeat__ answers 503: {"main/stops": "does not verify [hash-mismatch]"}' in printed
    assert re.search(r"\[hash-mismatch\] Held and kept", printed)
    assert "exit code 3; the old copy of 300 records was kept, byte for byte" in printed
    assert "main/stops to authority: it did not verify; replaced as a whole, 300 records" in printed
    assert printed.index("replaced as a whole") < printed.index("main/stops: unchanged since")
    assert "Every step did what it says.\n\nThe servers are running:\n" in printed


def review_in_kinto_admin(printed):
    """With the address, names and passwords that were printed: the editor sees the records, the reviewer approves."""
    (address,) = re.findall(r"^kinto-admin.*: (http\S+)/admin/$", printed, re.MULTILINE)
    people = dict(re.findall(r"user name (\w+) +password (\S+)$", printed, re.MULTILINE))
    with chromium() as browser:
        with KintoAdmin(browser, address, "alice", people["alice"]) as editor:
            editor.records(SOURCE)
            assert editor.step() == "Waiting review"
        with KintoAdmin(browser, address, "bob", people["bob"]) as reviewer:
            reviewer.review(SOURCE)
            assert len(reviewer.differences()) == 2
            reviewer.approve()
            reviewer.page.get_by_role("heading", name="Records of").wait_for()
            reviewer.records(SOURCE)
            assert reviewer.step() == "Approved"


def test_the_collection_shows_what_its_records_have():
    records = json.loads((ROOT / "demo" / "records.json").read_text(encoding="utf-8"))
    attributes = json.loads((ROOT / "demo" / "collection.json").read_text(encoding="utf-8"))

    for name in [*attributes["displayFields"], *attributes["schema"]["properties"]]:
        assert all(name in record for record in records), name


def test_the_records_are_worth_signing():
    records = json.loads((ROOT / "demo" / "records.json").read_text(encoding="utf-8"))

    assert len({record["id"] for record in records}) == len(records) == 300
    assert len({record["city"]["languages"][0] for record in records}) == 30
    assert not any(isinstance(value, float) for record in records for value in leaves(record))
    assert {type(value) for record in records for value in leaves(record)} == {str, int, bool, type(None)}


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return [value]
    return [leaf for item in value for leaf in leaves(item)]
