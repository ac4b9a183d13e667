"""The memory backends' rollback while others read."""

import sys
import threading

import pytest

from tests.support.servers import authorization
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
