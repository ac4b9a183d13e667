"""What a refused request leaves behind: nothing in the memory backends, and no lock in PostgreSQL."""

import sys
import threading

import pytest

from tests.support.keys import write_key_pair
from tests.support.publications import URI, body_of, post, successive_states
from tests.support.servers import authorization, webtest_app
from tests.support.settings import guarded_settings
from tests.support.site import BUCKET, SOURCE, signer_app


@pytest.fixture
def app(key_pair):
    return signer_app(key_pair)


def test_readers_do_not_disturb_it(app):
    """Reading a list that nobody read before makes Kinto's memory storage grow: a copy made meanwhile must not fail."""
    stop, problems = threading.Event(), []

    def read():
        number = 0
        while not stop.is_set():
            number += 1
            try:
                uri = f"/buckets/nowhere-{threading.get_ident()}-{number}"
                app.app.registry.storage.list_all("record", uri)
                app.app.registry.storage.resource_timestamp("record", uri)
            except Exception as problem:  # noqa: BLE001 - reported by the test's own thread
                problems.append(problem)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(40):
            app.put_json(f"{SOURCE}/records/r{number % 5}", {"data": {"n": number}})
            app.put_json(f"{SOURCE}/records/r{number % 5}", {"data": {"n": 1.5}}, status=400)
            app.patch_json(SOURCE, {"data": {"status": "nope"}}, status=400)
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        for reader in readers:
            reader.join()
    assert not problems
    assert len(app.get(f"{SOURCE}/records").json["data"]) == 5


def test_permissions_are_put_back_too(app):
    before = app.get(BUCKET).json["permissions"]
    parts = [{"method": "PATCH", "path": BUCKET, "body": {"permissions": {"read": ["system.Everyone"]}}}]
    parts.append({"method": "PATCH", "path": SOURCE, "body": {"data": {"status": "nope"}}})
    app.post_json("/batch", {"requests": parts}, status=400)
    assert app.get(BUCKET).json["permissions"] == before
    app.get(f"{SOURCE}/records", headers=authorization("mallory"), status=403)


def open_transactions(postgres, database):
    name = database.partition("?")[0].rpartition("/")[2]
    return postgres.execute(f"SELECT query FROM pg_stat_activity WHERE datname = '{name}' AND xact_start IS NOT NULL")


@pytest.mark.postgres
def test_a_publication_that_is_refused_locks_nothing_afterwards(postgres, database, key_pair, live_kinto, tmp_path):
    authority = live_kinto(guarded_settings(write_key_pair(tmp_path, "another").public), name="authority")
    app = signer_app(key_pair, database=database, authority=authority.url, collection=False)

    answer = app.put_json(SOURCE, {}, status=503)

    assert answer.json["details"]["reason"] == "unknown-key"
    assert open_transactions(postgres, database) == []


@pytest.mark.postgres
def test_a_write_that_the_guard_refuses_locks_nothing_afterwards(postgres, database, key_pair):
    app = webtest_app(guarded_settings(key_pair.public, database))
    post(app, body_of(successive_states(key_pair.key(), 1)[0]), status=201)
    (record, *_) = app.get(f"{URI}/records").json["data"]

    answer = app.patch_json(f"{URI}/records/{record['id']}", {"data": {"text": "evil"}}, status=403)

    assert answer.json["details"]["reason"] == "hash-mismatch"
    assert open_transactions(postgres, database) == []
