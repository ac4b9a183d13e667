"""Kills and refusals in the middle of a publication, while editors go on writing: asking again mends everything."""

import json
import threading
from pathlib import Path

import kinto_http
import pytest
import requests

from kinto_signer.core.changeset import by_record_id
from kinto_signer.core.repository import MemoryRepository, Synchronizer, Verify
from kinto_signer.core.trust import Trust, load_public_key
from kinto_signer.remote import RemoteRepository
from kinto_signer.transport import Deadline, Session
from tests.support.servers import ROOT
from tests.support.settings import authority_settings, signer_settings
from tests.support.unmeasured import unmeasured  # noqa: F401

pytestmark = pytest.mark.usefixtures("unmeasured")

SOURCE = {"bucket": "main-workspace", "collection": "regions"}
DESTINATION = {"bucket": "main", "collection": "regions"}
NAME = "main/regions"
UNAVAILABLE = (kinto_http.KintoException, requests.RequestException)

FAULTS = [{"do": do, "at": at} for do in ("409", "412", "503", "crash", "kill") for at in (1, 0, -1)]
FAULTS += [{"do": "kill-after-commit", "at": -1}, {"do": "kill-before-commit"}]


class Editor(threading.Thread):
    """Writes records of its own until it is stopped, each again until it is acknowledged."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client = client
        self.acknowledged = {}
        self.count = 0
        self.stopped = threading.Event()

    def run(self):
        number = 0
        while not self.stopped.is_set():
            number += 1
            record = {"id": f"editor-{number % 17}", "value": number}
            while not self.stopped.is_set():
                try:
                    self.client.update_record(**SOURCE, id=record["id"], data=record)
                except UNAVAILABLE:
                    self.stopped.wait(0.05)
                else:
                    self.acknowledged[record["id"]] = number
                    self.count += 1
                    break
            self.stopped.wait(0.01)


class Site:
    """S, A and a reader."""

    def __init__(self, live_kinto, create_database, key_pair, folder):
        self.fault = folder / "fault.json"
        extra = {"kinto.faults.file": str(self.fault)}
        environment = {"PYTHONPATH": str(ROOT)}
        settings = authority_settings(create_database()) | extra
        self.authority = live_kinto(settings, name="authority", includes="tests.support.faults", environment=environment)
        settings = signer_settings(key_pair.private, database=create_database(), authority=self.authority.url) | extra
        self.signer = live_kinto(settings, name="signer", includes="kinto_signer tests.support.faults", environment=environment)
        self.client = self.signer.client("alice")
        trust = Trust((load_public_key(key_pair.public.read_bytes(), where="the test"),))
        self.reader = Verify(MemoryRepository(), trust)

    def sign(self, attempts=1):
        for attempt in range(attempts):
            try:
                return self.client.patch_collection(bucket=SOURCE["bucket"], id=SOURCE["collection"], data={"status": "to-sign"})
            except kinto_http.KintoException as error:
                if error.response.status_code != 409 or attempt == attempts - 1:
                    raise
        return None

    def revive(self):
        for server in (self.authority, self.signer):
            try:
                requests.get(f"{server.url}/", timeout=5).raise_for_status()
            except requests.RequestException:
                server.sigkill()
                server.start()

    def attributes(self):
        return self.client.get_collection(bucket=SOURCE["bucket"], id=SOURCE["collection"])["data"]

    def assert_equal(self):
        """What S signed, what A serves and what a reader verified are the same, timestamps and ETag included."""
        there = self.authority.client("reader")
        held, etag = there.get_records(**DESTINATION), int(there.get_records_timestamp(**DESTINATION))
        signed = self.client.get_records(**DESTINATION)
        assert by_record_id(held) == by_record_id(signed)
        source = RemoteRepository(Session(self.authority.url, deadline=Deadline(30)))
        Synchronizer(source, self.reader).sync(NAME)
        state = self.reader.changeset(NAME)
        assert by_record_id(state.records) == by_record_id(held)
        assert etag == state.timestamp == there.get_collection(bucket="main", id="regions")["data"]["signed_timestamp"]


@pytest.fixture
def site(live_kinto, create_database, key_pair, tmp_path):
    site = Site(live_kinto, create_database, key_pair, tmp_path)
    site.client.create_bucket(id=SOURCE["bucket"], permissions={"write": ["system.Authenticated"]})
    site.client.create_collection(bucket=SOURCE["bucket"], id=SOURCE["collection"])
    return site


@pytest.mark.proof
def test_every_fault_is_mended_by_asking_again(site, report_campaign):
    client = site.client
    for i in range(10):
        client.create_record(**SOURCE, id=f"r{i}", data={"value": 0})
    site.sign()
    editor = Editor(site.signer.client("bob"))
    editor.start()
    hits = 0
    for number, fault in enumerate(FAULTS, start=1):
        client.patch_collection(bucket=SOURCE["bucket"], id=SOURCE["collection"], data={"round": number})
        client.update_record(**SOURCE, id="r1", data={"value": number})
        client.create_record(**SOURCE, id=f"new-{number}", data={"value": number})
        client.delete_record(**SOURCE, id=f"new-{number - 1}" if number > 1 else "r9")
        site.fault.write_text(json.dumps(fault))
        with pytest.raises(UNAVAILABLE) as refused:
            site.sign(attempts=20)
        hits += not Path(site.fault).exists()
        assert not site.fault.exists(), f"{fault} did not strike: {refused.value}"
        site.revive()
        assert site.attributes()["status"] == "work-in-progress", fault
        site.sign(attempts=20)
        site.assert_equal()
        assert site.attributes()["round"] == number
    editor.stopped.set()
    editor.join()
    site.sign()
    site.assert_equal()
    final = by_record_id(site.authority.client("reader").get_records(**DESTINATION))
    assert len(editor.acknowledged) == 17, "the editor wrote all the while"
    assert {name: final[name]["value"] for name in editor.acknowledged} == editor.acknowledged
    assert final["r1"]["value"] == len(FAULTS)
    assert "r9" not in final
    assert site.attributes()["status"] == "signed"
    report_campaign("faults in a publication", {"faults": len(FAULTS), "hits": hits, "edits": editor.count}, 0)
