"""``make demo`` as it is run, in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests

from tests.support.chromium import chromium
from tests.support.kinto_admin import BUILD, KintoAdmin
from tests.support.servers import ROOT

SOURCE = "/buckets/main-workspace/collections/stops"
DEMO = [sys.executable, "-m", "demo.run"]


def test_every_step_does_what_it_says():
    started = time.monotonic()

    done = subprocess.run(DEMO, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)

    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - started < 60
    assert re.search(r"alice\$ kinto-signer approve .*\n(.*\n)?.*Not in stops-reviewers group", done.stdout)
    assert "A serves 300 records" in done.stdout
    assert re.search(r"bob\$ kinto-signer diff .*\n(.*\n)*?.*cz-prg-99", done.stdout)
    assert "main/stops: 3 changes" in done.stdout
    assert re.search(r"A answers 403: main/stops is guarded: .* nothing was stored. \[hash-mismatch\]", done.stdout)
    assert 'A\'s /__heartbeat__ answers 503: {"main/stops": "does not verify [hash-mismatch]"}' in done.stdout
    assert re.search(r"\[hash-mismatch\] Held and kept", done.stdout)
    assert "exit code 3; the old copy of 300 records was kept, byte for byte" in done.stdout
    assert "main/stops to authority: it did not verify; replaced as a whole, 300 records" in done.stdout
    assert done.stdout.index("replaced as a whole") < done.stdout.index("main/stops: unchanged since")
    assert done.stdout.endswith("Every step did what it says.\n")


def test_keep_leaves_the_servers_running():
    assert BUILD.is_dir(), "kinto-admin is missing: run `make admin`."
    done = subprocess.run([*DEMO, "--keep"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    ending = re.search(r"To end them: kill -- (.*); sleep 3; rm -r (\S+) (\S+)$", done.stdout, re.MULTILINE)
    groups, folder, postgres = ending.groups()
    try:
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
