"""S against every kind of A that it may meet: what it refuses, what it says, and that it is then exactly as before."""

import json
import time

import pytest

from kinto_signer.server.authority import Authority
from tests.support.emptied import emptied, memory_kinto
from tests.support.hostile import HostileServer
from tests.support.keys import write_key_pair
from tests.support.servers import ROOT
from tests.support.settings import PASSWORD, authority_settings, kinto_settings
from tests.support.site import DESTINATION, SOURCE, attributes, everything, set_status, signer_app

PATH = {"PYTHONPATH": str(ROOT)}
NAME = {"bucket": "main", "collection": "regions"}


@pytest.fixture
def database(create_database):
    return create_database()


def signer(key_pair, authority, database, **options):
    return signer_app(key_pair, database=database, authority=authority.url, **options)


def refused(app, reason, *words, act=None):
    """Ask for a publication, which is refused for this reason, and leaves S as it was."""
    before = everything(app)
    answer = act(app) if act else set_status(app, "to-sign", status=503)
    assert answer.status_int == 503, answer
    assert answer.json["details"]["reason"] == reason, answer.json
    for word in words:
        assert word in answer.json["message"], answer.json["message"]
    assert PASSWORD not in answer.text
    assert everything(app) == before
    return answer


def create_collection(app):
    return app.put_json(SOURCE, {}, status="*")


@pytest.fixture(scope="module")
def plain_kinto():
    with memory_kinto("authority") as server:
        yield server


@pytest.fixture
def authority(plain_kinto):
    return emptied(plain_kinto)


def test_everybody_reads_there_and_only_the_signer_writes(key_pair, authority, database):
    signer(key_pair, authority, database)
    there = authority.client("signer").get_collection(bucket="main", id="regions")
    assert there["permissions"] == {"read": ["system.Everyone"], "write": [authority.userid("signer")]}
    assert "published_to" not in there["data"]
    bucket = authority.client("signer").get_bucket(id="main")
    assert bucket["permissions"] == {"write": [authority.userid("signer")]}


def test_an_authority_that_already_has_the_bucket_gets_the_read_permission(key_pair, authority, database):
    admin = authority.client("admin")
    admin.create_bucket(id="main", permissions={"write": [authority.userid("signer")]})
    admin.create_collection(bucket="main", id="regions")
    app = signer(key_pair, authority, database)
    there = authority.client("signer").get_collection(bucket="main", id="regions")
    assert there["permissions"]["read"] == ["system.Everyone"]
    assert attributes(app)["status"] == "signed"


def test_only_what_changed_is_sent(key_pair, authority, database):
    app = signer(key_pair, authority, database)
    for i in range(5):
        app.put_json(f"{SOURCE}/records/r{i}", {"data": {"n": i}})
    set_status(app, "to-sign")
    client = authority.client("reader")
    etag = client.get_records_timestamp(**NAME)
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 10}})
    app.delete(f"{SOURCE}/records/r2")
    set_status(app, "to-sign")
    changes = client.get_records(**NAME, _since=etag)
    assert {change["id"] for change in changes} == {"r1", "r2"}


def test_a_refresh_reaches_the_authority_without_touching_records(key_pair, authority, database):
    app = signer(key_pair, authority, database)
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1}})
    set_status(app, "to-sign")
    client = authority.client("reader")
    etag, before = client.get_records_timestamp(**NAME), client.get_collection(bucket="main", id="regions")["data"]
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 2}})
    set_status(app, "to-resign")
    after = client.get_collection(bucket="main", id="regions")["data"]
    assert client.get_records_timestamp(**NAME) == etag
    assert after["signature"] != before["signature"]
    assert after["signature"] == attributes(app, DESTINATION)["signature"]
    assert attributes(app)["status"] == "work-in-progress"
    authority.client("signer").patch_collection(bucket="main", id="regions", data={"hash": "other"})
    before = everything(app)
    answer = set_status(app, "to-resign", status=409)
    assert "to-sign" in answer.json["message"]
    assert everything(app) == before


def test_attributes_come_and_go_with_the_source(key_pair, authority, database):
    app = signer(key_pair, authority, database)
    client = authority.client("signer")
    client.patch_collection(bucket="main", id="regions", data={"theirs": 1})
    app.patch_json(SOURCE, {"data": {"displayFields": ["n"], "schema": {"type": "object", "properties": {"n": {}}}}})
    set_status(app, "to-sign")
    there = client.get_collection(bucket="main", id="regions")
    assert there["data"]["displayFields"] == ["n"]
    kept = {name: value for name, value in attributes(app).items() if name != "displayFields"}
    app.put_json(SOURCE, {"data": kept | {"schema": {"type": "object"}}})
    set_status(app, "to-sign")
    after = client.get_collection(bucket="main", id="regions")
    assert "displayFields" not in after["data"]
    assert (after["data"]["schema"], after["data"]["theirs"]) == ({"type": "object"}, 1)
    assert after["permissions"] == there["permissions"]
    app.patch_json(SOURCE, {"data": {"sort": "unapproved"}})
    set_status(app, "to-resign")
    after = client.get_collection(bucket="main", id="regions")
    assert ("sort" in after["data"], after["data"]["theirs"]) == (False, 1)
    assert after["data"]["signature"] == attributes(app, DESTINATION)["signature"]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_an_authority_that_is_down(key_pair, authority, database):
    app = signer(key_pair, authority, database)
    authority.sigkill()
    answer = refused(app, "unreachable", authority.origin)
    assert answer.headers["Retry-After"]
    authority.start()
    set_status(app, "to-sign")


def test_records_that_this_signer_did_not_sign(key_pair, authority, database, tmp_path):
    """Unsigned, altered, and signed by another key: refused; with the check taken out, overwritten."""
    admin = authority.client("signer")
    admin.create_bucket(id="main")
    admin.create_collection(bucket="main", id="regions")
    admin.create_record(**NAME, id="precious", data={"n": 1})
    app = signer_app(key_pair, database=database, authority=authority.url, collection=False)
    refused(app, "unsigned", "no signature", "main/regions", act=create_collection)
    admin.delete_collection(bucket="main", id="regions")
    app.put_json(SOURCE, {})
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1}})
    set_status(app, "to-sign")
    admin.patch_record(**NAME, id="r1", data={"n": 666})
    refused(app, "hash-mismatch", "delete the collection")


@pytest.fixture
def foreign_state(authority, create_database, tmp_path):
    """The authority holds what somebody else signed."""
    folder = tmp_path / "other"
    folder.mkdir()
    other = signer(write_key_pair(folder), authority, create_database())
    other.put_json(f"{SOURCE}/records/theirs", {"data": {"n": 1}})
    set_status(other, "to-sign")


def test_a_state_that_another_key_signed(key_pair, authority, database, foreign_state):
    app = signer_app(key_pair, database=database, authority=authority.url, collection=False)
    refused(app, "unknown-key", "not trusted", act=create_collection)
    assert [record["id"] for record in authority.client().get_records(**NAME)] == ["theirs"]


def test_the_control_without_the_check_it_is_overwritten(key_pair, authority, database, foreign_state, monkeypatch):
    monkeypatch.setattr("kinto_signer.server.authority.Authority._is_sound", lambda self, state, ours: False)
    monkeypatch.setattr("kinto_signer.server.authorities.is_ahead", lambda *_: False)
    app = signer_app(key_pair, database=database, authority=authority.url, collection=False)
    create_with_record(app)
    assert [record["id"] for record in authority.client().get_records(**NAME)] == ["ours"]


def create_with_record(app):
    parts = [{"method": "PUT", "path": SOURCE, "body": {"data": {"status": "to-sign"}}}]
    parts.append({"method": "PUT", "path": f"{SOURCE}/records/ours", "body": {"data": {"n": 1}}})
    app.post_json("/batch", {"requests": parts})


def test_wrong_credentials(key_pair, live_kinto, database):
    settings = authority_settings() | {"multiauth.policies": "account", "multiauth.policy.account.use": ACCOUNT_POLICY}
    authority = live_kinto(settings, includes="kinto.plugins.accounts", name="authority")
    app = signer_app(key_pair, database=database, authority=authority.url, collection=False)
    refused(app, "refused", "kinto.signer.authority.auth", act=create_collection)


ACCOUNT_POLICY = "kinto.plugins.accounts.authentication.AccountsAuthenticationPolicy"


def test_an_account_that_may_not_write_there(key_pair, authority, database):
    authority.client("admin").create_bucket(id="main")
    app = signer_app(key_pair, database=database, authority=authority.url, collection=False)
    answer = refused(app, "refused", "collection:create", act=create_collection)
    assert authority.userid("signer") in answer.json["message"]
    authority.client("admin").create_collection(bucket="main", id="regions", permissions={"read": ["system.Everyone"]})
    answer = refused(app, "refused", "write", authority.userid("signer"), act=create_collection)


def test_too_many_requests_for_one_batch(key_pair, live_kinto, database):
    authority = live_kinto(kinto_settings(), name="authority")
    app = signer(key_pair, authority, database)
    for i in range(24):
        app.put_json(f"{SOURCE}/records/r{i}", {"data": {"n": i}})
    refused(app, "configuration", "batch_max_requests", "26", "25")
    app.delete(f"{SOURCE}/records/r0")
    set_status(app, "to-sign")
    assert len(authority.client().get_records(**NAME)) == 23


def test_this_server_itself(key_pair, live_kinto):
    server = live_kinto(kinto_settings(), name="signer")
    url = server.url
    server.stop()
    server.settings |= {
        "kinto.includes": "kinto_signer",
        "kinto.signer.resources": "/buckets/main-workspace -> /buckets/main",
        "kinto.signer.ecdsa.private_key": str(key_pair.private),
        "kinto.signer.authority.url": url,
        "kinto.signer.authority.auth": f"signer:{PASSWORD}",
        "kinto.signer.authority.timeout_seconds": "20",
    }
    server.start()
    client = server.client()
    client.create_bucket(id="main-workspace")
    with pytest.raises(Exception, match="is this server itself"):
        client.create_collection(bucket="main-workspace", id="regions")


def test_a_refresh_does_not_hide_that_a_publication_was_left_unfinished(key_pair, live_kinto, tmp_path, database):
    fault = tmp_path / "fault.json"
    settings = authority_settings() | {"kinto.faults.file": str(fault)}
    authority = live_kinto(settings, includes="tests.support.faults", name="authority", environment=PATH)
    app = signer(key_pair, authority, database)
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1}})
    fault.write_text(json.dumps({"do": "503", "at": -1}))
    refused(app, "unreachable")
    set_status(app, "to-resign", status=409)
    set_status(app, "to-sign")
    set_status(app, "to-resign")


def test_a_server_on_the_signers_own_database(key_pair, live_kinto, database):
    authority = live_kinto(authority_settings(database), name="authority")
    app = signer_app(key_pair, database=database, authority=authority.url, collection=False)
    answer = app.put_json(SOURCE, {}, status=503)
    assert "own database" in answer.json["message"]
    app.get(SOURCE, status=404)
    app = signer_app(key_pair, database=database, collection=False)
    app.put_json(SOURCE, {})  # published here before
    app = signer_app(key_pair, database=database, authority=authority.url, collection=False)
    refused(app, "configuration", "own database")


def test_attachments_without_our_plugin(key_pair, live_kinto, database):
    authority = live_kinto(
        authority_settings(), includes="tests.support.attachments_capability", name="authority", environment=PATH
    )
    app = signer_app(key_pair, database=database, authority=authority.url, collection=False)
    refused(app, "configuration", "kinto-attachment", act=create_collection)


def test_a_signer_that_lost_its_data_does_not_publish_the_void(key_pair, authority, create_database):
    app = signer(key_pair, authority, create_database())
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1}})
    set_status(app, "to-sign")
    reborn = signer_app(key_pair, database=create_database(), authority=authority.url, collection=False)
    before = everything(reborn)
    answer = reborn.put_json(SOURCE, {}, status=409)
    assert "bootstrap" in answer.json["message"]
    assert everything(reborn) == before
    assert len(authority.client().get_records(**NAME)) == 1


def test_an_unfinished_publication_is_recognised_by_its_claim_only(key_pair, live_kinto, tmp_path, database, monkeypatch):
    """A was left with half a publication: it is repaired, and without the claim it would be refused."""
    fault = tmp_path / "fault.json"
    settings = authority_settings() | {"kinto.faults.file": str(fault)}
    authority = live_kinto(settings, includes="tests.support.faults", name="authority", environment=PATH)
    app = signer(key_pair, authority, database)
    for i in range(4):
        app.put_json(f"{SOURCE}/records/r{i}", {"data": {"n": i}})
    fault.write_text(json.dumps({"do": "412", "at": 3}))
    refused(app, "unreachable", "412", "a fault of the test")
    with monkeypatch.context() as patched:
        patched.setattr("kinto_signer.server.authority.Authority._is_unfinished", lambda *_: False)
        refused(app, "hash-mismatch")
    set_status(app, "to-sign")
    assert len(authority.client().get_records(**NAME)) == 4


def test_an_etag_that_somebody_else_moved(key_pair, authority, database, monkeypatch):
    """Old readers verify against the ETag: a publication that does not carry it is none."""
    app = signer(key_pair, authority, database)
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1}})
    read, seen = Authority.records, []

    def records(self, since=0):
        changes, etag = read(self, since)
        seen.append(etag)
        return changes, etag + (len(seen) == 2)

    with monkeypatch.context() as patched:
        patched.setattr(Authority, "records", records)
        refused(app, "bad-signature", "somebody else writes there")
    set_status(app, "to-sign")


def test_a_record_that_did_not_arrive_as_it_was_sent(key_pair, authority, database, monkeypatch):
    """Every part of the batch was accepted, and what a reader gets is something else."""
    app = signer(key_pair, authority, database)
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1}})
    read = Authority.records

    def records(self, since=0):
        changes, etag = read(self, since)
        return [{**change, "n": 2} if change["id"] == "r1" else change for change in changes], etag

    with monkeypatch.context() as patched:
        patched.setattr(Authority, "records", records)
        refused(app, "hash-mismatch", "main/regions")
    set_status(app, "to-sign")


def drip(_request):
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    while True:
        time.sleep(0.2)
        yield b" "


def html(_request):
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"


def away(_request):
    yield b"HTTP/1.1 302 Found\r\nLocation: http://localhost:1/v1/\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "reason"), [(drip, "deadline"), (html, "bad-answer"), (away, "off-origin")], ids=["drip", "html", "redirect"]
)
def test_a_server_that_is_no_kinto(key_pair, database, answer, reason):
    with HostileServer(answer) as server:
        app = signer_app(
            key_pair, database=database, authority=server.url, collection=False, kinto__signer__authority__timeout_seconds="2"
        )
        refused(app, reason, act=create_collection)
