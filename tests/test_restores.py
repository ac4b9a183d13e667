"""S or A restored from an older back-up: nothing is dropped in silence, `adopt` and `push` mend it, readers never go back."""

import pytest
import transaction

from kinto_signer.core.changeset import TIMESTAMP_MARKER, by_record_id
from kinto_signer.core.repository import MemoryRepository, Synchronizer, Verify
from kinto_signer.core.trust import Trust, load_public_key
from kinto_signer.errors import HashMismatchError, RollbackError
from kinto_signer.remote import RemoteRepository
from kinto_signer.transport import Deadline, Session
from tests.support.servers import LiveKinto
from tests.support.settings import PASSWORD, authority_settings, guarded_settings
from tests.support.site import DESTINATION, SOURCE, attributes, delete_source, everything, set_status, signer_app
from tests.support.unmeasured import unmeasured  # noqa: F401

pytestmark = pytest.mark.usefixtures("unmeasured")

NAME = "main/regions"
THERE = {"bucket": "main", "collection": "regions"}
WHO_MAY = {"kinto__signer__status_principals": "system.Authenticated"}


@pytest.fixture(params=["plain", "plugin"])
def authority(request, live_kinto, create_database, key_pair) -> LiveKinto:
    """A on PostgreSQL, as a plain Kinto and with the plugin."""
    if request.param == "plain":
        return live_kinto(authority_settings(create_database()), name="authority")
    return live_kinto(guarded_settings(key_pair.public, create_database()), name="authority")


@pytest.fixture
def signer(key_pair, authority):
    """``signer(database)``: S on that database; a source collection is made where it is new."""

    def start(database, **options):
        return signer_app(key_pair, database=database, authority=authority.url, **WHO_MAY, **options)

    return start


class Reader:
    """Pulls what changed and keeps what verifies, as kinto-updater does."""

    def __init__(self, server, key_pair):
        trust = Trust((load_public_key(key_pair.public.read_bytes(), where="the test"),))
        self.server, self.copy = server, Verify(MemoryRepository(), trust)

    def pull(self):
        source = RemoteRepository(Session(self.server.url, deadline=Deadline(30)))
        Synchronizer(source, self.copy).sync(NAME)
        return {record["id"]: record["n"] for record in self.copy.changeset(NAME).records}


@pytest.fixture
def reader(authority, key_pair):
    return Reader(authority, key_pair)


def put(app, name, **data):
    return app.put_json(f"{SOURCE}/records/{name}", {"data": data})


def content(app, uri=SOURCE):
    return {record["id"]: record["n"] for record in app.get(f"{uri}/records").json["data"]}


def held(server):
    return by_record_id(server.client("reader").get_records(**THERE))


@pytest.fixture
def restored(signer, create_database, back_up):
    """S as it was before its last publications: r1 was changed since, r2 deleted, r3 made."""
    database = create_database()
    app = signer(database)
    put(app, "r1", n=1)
    put(app, "r2", n=1)
    set_status(app, "to-sign")
    older = back_up(database)
    app = signer(database, collection=False)
    put(app, "r1", n=2)
    set_status(app, "to-sign")
    app.delete(f"{SOURCE}/records/r2")
    put(app, "r3", n=2)
    app.patch_json(SOURCE, {"data": {"displayFields": ["n"]}})
    set_status(app, "to-sign")
    return signer(older, collection=False)


# --- S restored -------------------------------------------------------------------------------------------------------


def test_a_restored_signer_says_what_would_be_lost_and_publishes_nothing(restored, authority, reader):
    reader.pull()
    put(restored, "r4", n=4)
    before, there = everything(restored), held(authority)
    answer = set_status(restored, "to-sign", status=409)
    said = answer.json["message"]
    assert "1 records created (r3), 1 updated (r1), 1 deleted (r2)" in said
    assert "displayFields" in said
    assert "`kinto-signer adopt main-workspace/regions`" in said
    assert str(attributes(restored, DESTINATION)["signed_timestamp"]) in said
    assert str(authority.client().get_collection(bucket="main", id="regions")["data"]["signed_timestamp"]) in said
    assert everything(restored) == before
    assert held(authority) == there
    (seen,) = restored.get("/signer/status").json["data"][0]["authorities"]
    assert "restored from an older back-up?" in seen["why"]
    answer = delete_source(restored, status=409)
    assert held(authority) == there
    answer = restored.post_json("/signer/push", {}).json
    assert "newer than the" in answer["data"][0]["error"]["message"]
    assert held(authority) == there


def test_the_control_without_the_check_it_is_lost(restored, authority, monkeypatch):
    monkeypatch.setattr("kinto_signer.server.authorities.is_ahead", lambda *_: False)
    put(restored, "r4", n=4)
    set_status(restored, "to-sign")
    assert {name: record["n"] for name, record in held(authority).items()} == {"r1": 1, "r2": 1, "r4": 4}


def test_adopt_takes_it_over_and_keeps_pending_edits_on_top(restored, authority, reader):
    reader.pull()
    put(restored, "r1", n=10)
    put(restored, "r4", n=4)
    restored.patch_json(SOURCE, {"data": {"sort": "-n", "private": 1}})
    there = authority.client().get_collection(bucket="main", id="regions")["data"]
    done = restored.post_json("/signer/adopt", {"collection": "main-workspace/regions"}).json["data"]
    assert done["taken"] == {"created": 1, "updated": 1, "deleted": 1}
    assert done["pending"] == {"created": 1, "updated": 1, "deleted": 0}
    assert (done["conflicts"], done["status"], done["timestamp"]) == (["r1"], "work-in-progress", there["signed_timestamp"])
    assert content(restored) == {"r1": 10, "r3": 2, "r4": 4}
    here = attributes(restored, DESTINATION)
    for name in ("signature", "signatures", "hash", "signed_timestamp", "signer_claim", "displayFields"):
        assert here[name] == there[name]
    records = restored.get(f"{DESTINATION}/records")
    assert by_record_id(records.json["data"]) == held(authority)
    assert records.headers["ETag"] == f'"{there["signed_timestamp"]}"'
    deleted = restored.get(f"{DESTINATION}/records?_since=0").json["data"]
    assert [change["id"] for change in deleted if change.get("deleted") and change["id"] != TIMESTAMP_MARKER] == ["r2"]
    source = attributes(restored)
    assert (source["displayFields"], source["sort"], source["private"]) == (["n"], "-n", 1)
    set_status(restored, "to-sign")
    assert reader.pull() == {"r1": 10, "r3": 2, "r4": 4}
    assert held(authority) == by_record_id(restored.get(f"{DESTINATION}/records").json["data"])
    set_status(restored, "to-resign")


def test_adopt_without_pending_edits_leaves_it_signed(restored, authority):
    there, held_there = authority.client().get_collection(bucket="main", id="regions")["data"], held(authority)
    done = restored.post_json("/signer/adopt", {"collection": "main-workspace/regions"}).json["data"]
    assert (done["status"], done["conflicts"]) == ("signed", [])
    assert content(restored) == {"r1": 2, "r3": 2}
    assert attributes(restored)["hash"] == there["hash"]
    before = everything(restored)
    answer = restored.post_json("/signer/adopt", {"collection": "main-workspace/regions"}, status=409)
    assert "Nothing to take over" in answer.json["message"]
    assert everything(restored) == before
    set_status(restored, "to-sign")
    assert authority.client().get_collection(bucket="main", id="regions")["data"]["signed_timestamp"] > there["signed_timestamp"]
    assert held(authority) == held_there  # what was taken over counts as newer than its copies, and no record is written again


def test_a_pending_deletion_is_kept_too(restored, authority):
    restored.delete(f"{SOURCE}/records/r1")
    done = restored.post_json("/signer/adopt", {"collection": "main-workspace/regions"}).json["data"]
    assert done["pending"] == {"created": 0, "updated": 0, "deleted": 1}
    assert done["conflicts"] == ["r1"]
    assert content(restored) == {"r3": 2}
    set_status(restored, "to-sign")
    assert set(held(authority)) == {"r3"}


def test_a_state_that_does_not_verify_is_not_taken_over(restored, authority, postgres):
    postgres.execute(
        """UPDATE objects SET data = data || '{"n": 666}' WHERE id = 'r1' AND resource_name = 'record'""",
        authority.settings["kinto.storage_url"],
    )
    before = everything(restored)
    answer = restored.post_json("/signer/adopt", {"collection": "main-workspace/regions"}, status=503)
    assert answer.json["details"]["reason"] == "hash-mismatch"
    assert everything(restored) == before


def test_a_signer_whose_source_has_all_of_it_goes_on(signer, create_database, back_up, authority, reader):
    """The back-up is of a moment between the edits and their approval: nothing would be lost."""
    database = create_database()
    app = signer(database)
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    put(app, "r2", n=2)
    older = back_up(database)
    app = signer(database, collection=False)
    set_status(app, "to-sign")
    reader.pull()
    app = signer(older, collection=False)
    put(app, "r3", n=3)
    set_status(app, "to-sign")
    assert reader.pull() == {"r1": 1, "r2": 2, "r3": 3}
    assert set(held(authority)) == {"r1", "r2", "r3"}


def test_what_this_signer_did_not_finish_is_told_apart_by_what_it_remembers(
    signer, create_database, authority, reader, monkeypatch, postgres
):
    """A took it and S failed to commit: the editors go on, and what they took back is taken back. Without the memory: refused."""
    database = create_database()
    app = signer(database)
    put(app, "r1", n=1)
    set_status(app, "to-sign")

    def fail_to_commit():
        put(app, "r2", n=2)
        with monkeypatch.context() as patched:
            patched.setattr("kinto_signer.server.authorities._give", giving_and_failing)
            set_status(app, "to-sign", status=503)
        assert "r2" in held(authority)
        app.delete(f"{SOURCE}/records/r2")

    from kinto_signer.server.authorities import _give

    def giving_and_failing(*arguments):
        _give(*arguments)
        raise HashMismatchError("The test fails after A took it.")

    fail_to_commit()
    set_status(app, "to-sign")
    assert reader.pull() == {"r1": 1}
    assert set(held(authority)) == {"r1"}
    fail_to_commit()
    postgres.execute("DELETE FROM objects WHERE parent_id = '/kinto-signer/journal'", database)
    answer = set_status(app, "to-sign", status=409)
    assert "1 records created (r2)" in answer.json["message"]


def test_an_optional_authority_that_was_down_meanwhile_is_not_overwritten_either(key_pair, live_kinto, create_database, back_up):
    """S was restored, went on without the authority, and is later than it again: what that has is still unknown here."""
    eu, us = (live_kinto(authority_settings(create_database()), name=name) for name in ("eu", "us"))
    options = {"kinto__signer__authorities": "eu us", "kinto__signer__authority__us__required": "false"} | WHO_MAY
    for label, server in (("eu", eu), ("us", us)):
        options |= {f"kinto__signer__authority__{label}__url": server.url}
        options |= {f"kinto__signer__authority__{label}__auth": f"signer:{PASSWORD}"}
    database = create_database()
    app = signer_app(key_pair, database=database, **options)
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    older = back_up(database)
    eu.stop()
    eu_before = back_up(eu.settings["kinto.storage_url"])
    eu.start()
    app = signer_app(key_pair, database=database, collection=False, **options)
    put(app, "r2", n=2)
    set_status(app, "to-sign")
    us.stop()
    eu.stop()
    eu.settings |= {f"kinto.{backend}_url": eu_before for backend in ("storage", "permission", "cache")}
    eu.start()  # restored with S
    app = signer_app(key_pair, database=older, collection=False, **options)
    put(app, "r3", n=3)
    set_status(app, "to-sign")
    us.start()
    put(app, "r4", n=4)
    answer = set_status(app, "to-sign", status=409)
    assert us.url in answer.json["message"]
    assert set(held(us)) == {"r1", "r2"}


def test_adopt_takes_the_one_that_is_furthest_ahead(key_pair, live_kinto, create_database, back_up):
    eu, us = (live_kinto(authority_settings(create_database()), name=name) for name in ("eu", "us"))
    options = {"kinto__signer__authorities": "eu us", "kinto__signer__authority__us__required": "false"} | WHO_MAY
    for label, server in (("eu", eu), ("us", us)):
        options |= {f"kinto__signer__authority__{label}__url": server.url}
        options |= {f"kinto__signer__authority__{label}__auth": f"signer:{PASSWORD}"}
    database = create_database()
    app = signer_app(key_pair, database=database, **options)
    older = back_up(database)
    app = signer_app(key_pair, database=database, collection=False, **options)
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    us.stop()
    put(app, "r2", n=2)
    set_status(app, "to-sign")
    us.start()
    app = signer_app(key_pair, database=older, collection=False, **options)
    set_status(app, "to-sign", status=409)
    eu_state, us_state = held(eu), held(us)
    app.post_json("/signer/adopt", {"collection": "main-workspace/regions", "authority": "xx"}, status=503)
    done = app.post_json("/signer/adopt", {"collection": "main-workspace/regions"}).json["data"]
    assert (done["label"], done["taken"]["created"]) == ("eu", 2)
    assert set(us_state) == {"r1"}
    set_status(app, "to-sign")
    assert held(eu) == eu_state == held(us)


# --- A restored -------------------------------------------------------------------------------------------------------


@pytest.fixture
def behind(signer, create_database, back_up, authority, reader):
    """A as it was before the last publications, and a reader who has them."""
    app = signer(create_database())
    for i in range(3):
        put(app, f"r{i}", n=1)
    set_status(app, "to-sign")
    authority.stop()
    older = back_up(authority.settings["kinto.storage_url"])
    authority.start()
    put(app, "r1", n=2)
    app.delete(f"{SOURCE}/records/r2")
    put(app, "r3", n=2)
    set_status(app, "to-sign")
    assert reader.pull() == {"r0": 1, "r1": 2, "r3": 2}
    authority.stop()
    authority.settings |= {f"kinto.{backend}_url": older for backend in ("storage", "permission", "cache")}
    authority.start()
    return app


def test_readers_refuse_a_restored_authority_until_push_has_healed_it(behind, authority, reader):
    before = everything(behind)
    with pytest.raises(RollbackError):
        reader.pull()
    (done,) = behind.post_json("/signer/push", {"collection": "main-workspace/regions"}).json["data"]
    assert "1 records created (r3), 1 updated (r1), 1 deleted (r2)" in done["what"]
    assert "ETag" not in done["what"]
    assert everything(behind) == before
    assert reader.pull() == {"r0": 1, "r1": 2, "r3": 2}
    assert held(authority) == by_record_id(behind.get(f"{DESTINATION}/records").json["data"])
    signed = attributes(behind, DESTINATION)
    assert authority.client().get_collection(bucket="main", id="regions")["data"]["signature"] == signed["signature"]
    assert int(authority.client().get_records_timestamp(**THERE)) == signed["signed_timestamp"]
    put(behind, "r4", n=4)
    set_status(behind, "to-sign")
    assert reader.pull() == {"r0": 1, "r1": 2, "r3": 2, "r4": 4}


def test_an_approval_heals_a_restored_authority_too(behind, authority, reader):
    put(behind, "r5", n=5)
    set_status(behind, "to-sign")
    assert reader.pull() == {"r0": 1, "r1": 2, "r3": 2, "r5": 5}


def test_a_new_authority_gets_everything(signer, create_database, authority, reader):
    """A lost its database."""
    app = signer(create_database())
    for i in range(3):
        put(app, f"r{i}", n=1)
    app.delete(f"{SOURCE}/records/r1")
    set_status(app, "to-sign")
    reader.pull()
    authority.stop()
    empty = create_database()
    authority.settings |= {f"kinto.{backend}_url": empty for backend in ("storage", "permission", "cache")}
    authority.start()
    (done,) = app.post_json("/signer/push", {}).json["data"]
    assert done["what"].startswith("it had nothing; 2 records")
    assert reader.pull() == {"r0": 1, "r2": 1}
    assert held(authority) == by_record_id(app.get(f"{DESTINATION}/records").json["data"])


def test_nothing_of_it_depends_on_when_purged_tombstones_went(behind, authority, reader):
    """S does not know any more what was deleted: with the plugin the whole state is sent, a plain Kinto cannot be healed so."""
    storage = behind.app.registry.storage
    storage.purge_deleted("record", DESTINATION)
    transaction.commit()
    (done,) = behind.post_json("/signer/push", {}).json["data"]
    if "authority" in authority.settings.get("kinto.includes", ""):
        assert reader.pull() == {"r0": 1, "r1": 2, "r3": 2}
    else:
        assert "does not take an older timestamp back" in done["error"]["message"]
        with pytest.raises(RollbackError):
            reader.pull()
