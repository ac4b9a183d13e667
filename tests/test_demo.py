"""``make demo`` as it is run, in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import requests

from tests.support.servers import ROOT

DEMO = [sys.executable, str(ROOT / "demo" / "run.py")]


def test_every_step_does_what_it_says():
    started = time.monotonic()

    done = subprocess.run(DEMO, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - started < 60
    assert "A serves 300 records" in done.stdout
    assert "main/stops: 3 changes" in done.stdout
    assert re.search(r"\[(hash-mismatch|bad-signature)\]", done.stdout)
    assert "exit code 3; the old copy of 300 records was kept, byte for byte" in done.stdout
    assert done.stdout.endswith("Every step did what it says.\n")


def test_keep_leaves_both_servers_running():
    done = subprocess.run([*DEMO, "--keep"], capture_output=True, text=True, check=False, timeout=120)
    kill, folder = re.search(r"To end them: kill -- (.*); rm -r (.*)$", done.stdout, re.MULTILINE).groups()
    try:
        for url, user, password in re.findall(r"^  [SA]   (\S+) +(\w+):(\S+)", done.stdout, re.MULTILINE):
            root = requests.get(f"{url}/", auth=(user, password), timeout=30).json()
            assert root["user"]["id"] == f"account:{user}"
    finally:
        for group in kill.split():
            os.killpg(-int(group), signal.SIGTERM)
        subprocess.run(["rm", "-r", folder], check=True)


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
