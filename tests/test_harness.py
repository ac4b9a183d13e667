"""The harness itself: a plain Kinto, live and in process, on memory and on PostgreSQL."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest
import requests
from kinto_http import KintoException

from tests.support.servers import ROOT, authorization, webtest_app
from tests.support.settings import authority_settings, kinto_settings

RECORD = {"id": "one", "name": "Žižkov", "lines": [5, 9, 26]}


def store(client) -> None:
    client.create_bucket(id="main")
    client.create_collection(id="stops", bucket="main")
    client.create_record(data=RECORD, collection="stops", bucket="main")


def test_a_live_kinto_on_memory(live_kinto):
    server = live_kinto(authority_settings())

    store(server.client())

    assert server.client().server_info()["settings"]["batch_max_requests"] == 20000
    record = server.client().get_record(id="one", collection="stops", bucket="main")["data"]
    assert {**RECORD, "last_modified": record["last_modified"]} == record
    assert server.userid("alice").startswith("basicauth:")
    assert server.userid("alice") != server.userid("bob")


def test_a_live_kinto_on_postgresql_survives_sigkill(live_kinto, database):
    server = live_kinto(kinto_settings(database), workers=2)
    store(server.client())

    server.sigkill()
    with pytest.raises(requests.ConnectionError):
        server.client().server_info()
    server.start()

    assert server.client().get_record(id="one", collection="stops", bucket="main")["data"]["name"] == "Žižkov"


def test_a_server_that_does_not_start_shows_its_log(live_kinto):
    with pytest.raises(RuntimeError, match="no_such_plugin"):
        live_kinto(kinto_settings() | {"kinto.includes": "no_such_plugin"})


def test_two_servers_have_two_ports_and_two_databases(live_kinto, create_database):
    one = live_kinto(kinto_settings(create_database()), name="one")
    two = live_kinto(kinto_settings(create_database()), name="two")

    store(one.client())

    with pytest.raises(KintoException, match="403"):
        two.client().get_collection(id="stops", bucket="main")


@pytest.mark.parametrize("storage", ["memory", "postgresql"])
def test_kinto_in_this_process(storage, request):
    app = webtest_app(kinto_settings(request.getfixturevalue("database") if storage == "postgresql" else None))

    app.put_json("/buckets/main", {})
    app.put_json("/buckets/main/collections/stops", {})
    app.put_json("/buckets/main/collections/stops/records/one", {"data": RECORD})

    assert app.get("/buckets/main/collections/stops/records").json["data"][0]["name"] == "Žižkov"
    app.get("/buckets/main/collections/stops/records", headers=authorization("bob"), status=403)


def test_postgresql_recovers_when_a_backend_is_killed(postgres, database):
    connection = psycopg2.connect(database)
    postgres.sigkill_backend(database)

    with pytest.raises(psycopg2.OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()
    assert postgres.execute("SELECT count(*) FROM objects", database) == [(0,)]


ORPHAN = """
import sys
from tests.support.postgres import PostgresServer
from tests.support.servers import LiveKinto
from tests.support.settings import kinto_settings
postgres = PostgresServer()
postgres.start()
server = LiveKinto(kinto_settings()).start()
print(postgres.directory, server.folder, postgres._process.pid, server._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_servers_end_when_the_tests_are_killed():
    tests = subprocess.Popen([sys.executable, "-c", ORPHAN], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    *folders, postgres_pid, server_pid = tests.stdout.readline().split()
    os.kill(tests.pid, signal.SIGKILL)
    tests.communicate()

    deadline = time.monotonic() + 30
    while running := [pid for pid in (postgres_pid, server_pid) if is_running(pid)]:
        assert time.monotonic() < deadline, f"still running: {running}"
        time.sleep(0.05)
    subprocess.run(["rm", "-rf", *folders], check=True)


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


NEEDS_CHROMIUM = """
from tests.support.chromium import chromium

def test_with_a_browser(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with chromium():
        raise AssertionError("there is none on the path")

def test_without_one():
    pass
"""


def test_a_machine_without_chromium_says_so_at_the_end_of_the_run(tmp_path):
    (tmp_path / "test_x.py").write_text(NEEDS_CHROMIUM)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "--rootdir", ROOT, "-c", ROOT / "setup.cfg"]

    done = subprocess.run([*map(str, command), str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 test(s) of the review in kinto-admin were SKIPPED" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout
