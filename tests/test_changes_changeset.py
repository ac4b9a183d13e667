"""``GET …/changeset``: shape, parameters, permissions, caches; always one committed publication."""

import random
import threading
import time
from email.utils import parsedate_to_datetime

import pytest
import transaction

from kinto_signer.core.changeset import Changeset, tombstone
from kinto_signer.core.trust import check
from kinto_signer.plugin.exclusive import exclusive
from kinto_signer.plugin.snapshot import snapshot
from kinto_signer.plugin.storage import StorageRepository
from tests.support.changes import CHANGESET, NAME, URI, etag, reading_app, repository, store
from tests.support.servers import authorization
from tests.support.settings import signer_settings
from tests.support.site import DESTINATION, SOURCE, set_status, signer_app
from tests.support.states import START, make_records, new_key, signed_state, trust_in

KEY = new_key()
ANYBODY = {"Authorization": ""}


@pytest.fixture
def app(storage_url):
    return reading_app(storage_url)


@pytest.fixture
def state():
    changes = [*make_records(5), tombstone("gone", START + 10), {"id": "odd", "last_modified": START + 11, "n": [1, 1.5, 2**53]}]
    return signed_state(KEY, changes, START + 11, displayFields=["é"])


def by_id(changes):
    return sorted(changes, key=lambda change: change["id"])


def test_the_whole_collection(app, state):
    store(app, state)
    answer = app.get(f"{CHANGESET}?_expected=0", headers=ANYBODY)

    assert answer.content_type == "application/json"
    assert set(answer.json) == {"metadata", "timestamp", "changes"}
    assert answer.json["timestamp"] == state.timestamp
    metadata = answer.json["metadata"]
    assert metadata == {**state.metadata, "bucket": "main", "last_modified": metadata["last_modified"]}
    assert by_id(answer.json["changes"]) == by_id(state.records)
    stamps = [change["last_modified"] for change in answer.json["changes"]]
    assert stamps == sorted(stamps, reverse=True)
    check(NAME, Changeset(answer.json["timestamp"], answer.json["changes"], metadata), trust_in(KEY))


def test_the_text_says_what_kintos_own_list_says(app):
    values = {"é": "\x7f\u2028😀", "numbers": [0, -1, 1.5, 2**53, 1e21], "deep": {"": [None, True, {}]}, "text": 'a:b::c %s \\ "'}
    store(app, signed_state(KEY, [{"id": "one", "last_modified": START, **values}], displayFields=["é"]))
    (change,) = app.get(f"{CHANGESET}?_expected=0").json["changes"]
    assert change == app.get(f"{URI}/records/one").json["data"]


def test_a_difference_has_the_tombstones(app, state):
    store(app, state)
    changes = app.get(f'{CHANGESET}?_expected=0&_since="{START + 4}"').json["changes"]
    assert [change["id"] for change in changes] == ["odd", "gone"]
    assert changes[1] == tombstone("gone", START + 10)
    assert app.get(f"{CHANGESET}?_expected=0&_since={START + 11}").json["changes"] == []
    assert len(app.get(f"{CHANGESET}?_expected=0&_since=0").json["changes"]) == 7


def test_at_most_limit_the_newest(app, state):
    store(app, state)
    changes = app.get(f"{CHANGESET}?_expected=0&_limit=2").json["changes"]
    assert [change["last_modified"] for change in changes] == [START + 11, START + 4]


def test_a_state_that_nobody_signed_or_a_peer_did_has_the_timestamp_of_the_records(app):
    app.put_json(URI, {"data": {"signature": {"signature": "x"}}})
    app.put_json(f"{URI}/records/r", {})
    records = etag(app.head(f"{URI}/records"))
    assert app.get(f"{CHANGESET}?_expected=0").json["timestamp"] == records
    for odd in (True, "1", 0, 1.5, None):
        app.patch_json(URI, {"data": {"signed_timestamp": odd}})
        assert app.get(f"{CHANGESET}?_expected=0").json["timestamp"] == records
    app.patch_json(URI, {"data": {"signed_timestamp": 1234}})
    assert app.get(f"{CHANGESET}?_expected=0").json["timestamp"] == 1234


def test_an_empty_collection(app):
    app.put_json(URI, {})
    answer = app.get(f"{CHANGESET}?_expected=0").json
    assert answer["changes"] == []
    assert answer["timestamp"] == etag(app.head(f"{URI}/records")) > START


def test_an_empty_collection_of_a_server_that_may_not_write(app):
    app.put_json(URI, {})
    app.app.registry.storage.readonly = True
    answer = app.get(f"{CHANGESET}?_expected=0").json
    assert answer["timestamp"] == answer["metadata"]["last_modified"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "_expected=",
        "_since=1",
        "_expected=0&_since=abc",
        "_expected=0&_since=",
        "_expected=0&_since=-1",
        "_expected=0&_since=42%22",
        "_expected=0&_since=%2242%22%0A",
        "_expected=0&_since=9999999999999999",
        "_expected=0&_since=*)(!(objectClass=*)",
        "_expected=0&_limit=0",
        "_expected=0&_limit=-1",
        "_expected=0&_limit=a",
        "_expected=0&_limit=36893488147419103232",
    ],
)
def test_a_bad_parameter_is_named(app, query):
    app.put_json(URI, {})
    answer = app.get(f"{CHANGESET}?{query}", status=400)
    assert answer.json["errno"] == 107
    name = "_expected" if "_expected=0" not in query else query.split("&")[1].partition("=")[0]
    assert answer.json["details"][0]["name"] == name
    assert answer.json["details"][0]["location"] == "querystring"


@pytest.mark.parametrize("query", ["_expected=abc", "_expected=%2242%22", "_expected=0&_since=42", "_expected=0&_other=a"])
def test_what_is_accepted(app, query):
    app.put_json(URI, {})
    app.get(f"{CHANGESET}?{query}")


def test_it_takes_the_permission_to_read_the_attributes(storage_url):
    app = reading_app(storage_url)
    app.put_json("/buckets/main", {"permissions": {"read": []}})
    app.put_json(URI, {})
    app.put_json(f"{URI}/records/r", {})
    app.get(f"{CHANGESET}?_expected=0")
    app.get(f"{CHANGESET}?_expected=0", headers=ANYBODY, status=401)
    bob = authorization("bob")
    for path in (URI, f"{CHANGESET}?_expected=0"):
        refused = app.get(path, headers=bob, status=403)
    assert refused.json["errno"] == 121
    for permission in ("read", "record:create", "write"):
        app.put_json(URI, {"permissions": {permission: ["system.Authenticated"]}})
        assert app.get(f"{CHANGESET}?_expected=0", headers=bob).json["metadata"]["id"] == "regions"


def test_what_is_not_there(app):
    expected = app.get("/buckets/main/collections/nope", status=404).json
    assert app.get("/buckets/main/collections/nope/changeset?_expected=0", status=404).json == expected
    app.get("/buckets/nope/collections/nope", status=403)
    app.get("/buckets/nope/collections/nope/changeset?_expected=0", status=403)
    app.get("/buckets/main/collections/-x/changeset?_expected=0", status=404)


def test_other_methods(app, state):
    store(app, state)
    head = app.head(f"{CHANGESET}?_expected=0")
    assert head.headers["ETag"] == app.get(f"{CHANGESET}?_expected=0").headers["ETag"]
    app.put_json(CHANGESET, {}, status=405)
    preflight = {"Origin": "http://x", "Access-Control-Request-Method": "GET"}
    assert app.options(CHANGESET, headers=preflight).headers["Access-Control-Allow-Origin"] == "*"
    shown = app.get(f"{CHANGESET}?_expected=0", headers={"Origin": "http://x"}).headers["Access-Control-Expose-Headers"]
    assert {"ETag", "Last-Modified", "Cache-Control"} <= {name.strip() for name in shown.split(",")}
    assert "/buckets/{bucket_id}/collections/{collection_id}/changeset" in app.get("/__api__").json["paths"]


def test_inside_a_batch(app, state):
    store(app, state)
    parts = [{"path": f"/v1{CHANGESET}?_expected=0"}, {"path": f"{CHANGESET}?_expected=0&_since=x"}]
    first, second = app.post_json("/batch", {"requests": parts}).json["responses"]
    assert (first["status"], second["status"]) == (200, 400)
    assert first["body"]["timestamp"] == state.timestamp


def test_a_refresh_gives_another_etag_and_date(app, state):
    store(app, state)
    before = app.get(f"{CHANGESET}?_expected=0")
    assert etag(before) == before.json["metadata"]["last_modified"] > state.timestamp
    assert parsedate_to_datetime(before.headers["Last-Modified"]).timestamp() == etag(before) // 1000
    repository(app).set_attributes(NAME, signed_state(KEY, list(state.changes), state.timestamp).metadata)
    transaction.commit()
    after = app.get(f"{CHANGESET}?_expected=0")
    assert etag(after) > etag(before)
    assert after.json["timestamp"] == before.json["timestamp"]


def test_records_ahead_of_the_clock_are_in_the_etag(app):
    store(app, signed_state(KEY, make_records(1, start=4_000_000_000_000)))
    assert etag(app.get(f"{CHANGESET}?_expected=0")) == 4_000_000_000_000


CACHING = {
    "record_cache_expires_seconds": "180",
    "main__record_cache_expires_seconds": "360",
    "main__regions__record_cache_expires_seconds": "1234",
    "main__regions__record_cache_minimum_expires_seconds": "42",
    "main__regions__record_cache_maximum_expires_seconds": "3600",
}


@pytest.mark.parametrize(
    ("given", "expected", "seconds"),
    [
        (5, "0", 42),
        (5, "99999996565", 42),
        (5, "1773913097658", 3600),
        (5, "%221773913097658%22", 3600),
        (3, "0", 1234),
        (3, "1773913097658", 1234),
        (2, "0", 360),
        (1, "1773913097658", 180),
    ],
)
def test_how_long_caches_may_keep_it(given, expected, seconds):
    app = reading_app(**dict(list(CACHING.items())[:given]))
    app.put_json(URI, {})
    answer = app.get(f"{CHANGESET}?_expected={expected}", headers=ANYBODY)
    assert answer.headers["Cache-Control"] == f"max-age={seconds}"


def test_without_a_setting_caches_keep_nothing(app):
    app.put_json(URI, {})
    assert set(app.get(f"{CHANGESET}?_expected=0").cache_control.properties) == {"no-cache", "no-store"}


def test_twelve_thousand_records_are_served_whole(storage_url):
    app = reading_app(storage_url)
    state = signed_state(KEY, make_records(12_000))
    store(app, state)
    answer = app.get(f"{CHANGESET}?_expected=0").json
    assert len(answer["changes"]) == 12_000
    check(NAME, Changeset(answer["timestamp"], answer["changes"], answer["metadata"]), trust_in(KEY))
    assert len(app.get(f"{CHANGESET}?_expected=0&_since={START}").json["changes"]) == 11_999


# --- one committed publication -------------------------------------------------------------------------------------------


def publications(count):
    """States that follow each other, each of which differs from the one before in a record and a tombstone."""
    records, now = {record["id"]: record for record in make_records(30)}, START + 100
    choose = random.Random(7)
    for number in range(count):
        changed, gone = choose.sample([record for record in records.values() if not record.get("deleted")], 2)
        records[changed["id"]] = {**changed, "text": f"of {number}", "last_modified": now}
        records[gone["id"]] = tombstone(gone["id"], now + 1)
        records[f"new-{number}"] = {"id": f"new-{number}", "last_modified": now + 2}
        yield signed_state(KEY, list(records.values()), now + 2)
        now += 10


def mixed_answers(app, read, enough=60):
    """How many of at least 60 answers of `read`, made while one state after the other is published, do not verify."""
    states = publications(1000)
    store(app, next(states))
    done, outcomes = threading.Event(), []

    def reading():
        while not done.is_set():
            try:
                metadata, timestamp, changes = read()
                check(NAME, Changeset(timestamp, changes, metadata), trust_in(KEY))
                outcomes.append(True)
            except Exception:  # noqa: BLE001 - a mixed answer fails in one way or another
                outcomes.append(False)
            finally:
                transaction.abort()

    threads = [threading.Thread(target=reading) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for state in states:
            with exclusive(app.app.registry):
                store(app, state)
            if len(outcomes) >= enough:
                break
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert len(outcomes) >= enough
    return outcomes.count(False)


def test_readers_see_whole_publications_only(app):
    def read():
        answer = app.get(f"{CHANGESET}?_expected=0").json
        return answer["metadata"], answer["timestamp"], answer["changes"]

    assert mixed_answers(app, read) == 0


def test_control_reading_one_after_the_other_mixes_publications(app):
    storage = app.app.registry.storage

    def read():
        state = StorageRepository(storage)
        attributes = state.attributes(NAME)
        time.sleep(0.005)
        changes = state.records(NAME)
        return attributes, attributes["signed_timestamp"], changes

    assert mixed_answers(app, read) > 0


def test_on_memory_a_reader_waits_for_the_end_of_a_request_that_writes(key_pair):
    """S without an authority on memory: its publication is written piece by piece."""
    app = signer_app(key_pair)
    storage, seen = app.app.registry.storage, []
    update = storage.update

    def slow(resource_name, *arguments, **options):
        stored = update(resource_name, *arguments, **options)
        if resource_name == "record" and not seen:
            reader = threading.Thread(target=lambda: seen.append(app.get(f"{DESTINATION}/changeset?_expected=0", status="*")))
            seen.append(reader)
            reader.start()
            reader.join(0.3)
            seen.append(reader.is_alive())
        return stored

    for number in range(3):
        app.put_json(f"{SOURCE}/records/r{number}", {"data": {"n": number}})
    storage.update, seen[:] = slow, []
    set_status(app, "to-sign")
    reader, waited = seen[:2]
    reader.join(10)
    assert waited is True
    assert len(seen[2].json["changes"]) == 3


# --- who serves it -------------------------------------------------------------------------------------------------------------


def test_a_signer_without_an_authority_serves_what_it_signed(storage_url, key_pair):
    app = signer_app(key_pair, database=storage_url)
    for number in range(3):
        app.put_json(f"{SOURCE}/records/r{number}", {"data": {"n": number}})
    set_status(app, "to-sign")
    answer = app.get(f"{DESTINATION}/changeset?_expected=0", headers=ANYBODY).json
    state = Changeset(answer["timestamp"], answer["changes"], answer["metadata"])
    check("main/regions", state, trust_in(key_pair.key()))
    assert len(state.records) == 3
    assert app.get("/").json["capabilities"]["changes"]["collections"] == ["/buckets/main"]


def test_kinto_http_reads_it(live_kinto, key_pair):
    server = live_kinto(signer_settings(key_pair.private), name="signer")
    editor = server.client("editor")
    editor.create_bucket(id="main-workspace")
    editor.create_collection(id="regions", bucket="main-workspace")
    editor.create_record(id="r1", data={"name": "Žižkov"}, bucket="main-workspace", collection="regions")
    editor.patch_collection(id="regions", bucket="main-workspace", data={"status": "to-sign"})
    answer = server.client("reader").get_changeset(bucket="main", collection="regions", bust_cache=True)
    check("main/regions", Changeset(answer["timestamp"], answer["changes"], answer["metadata"]), trust_in(key_pair.key()))
    assert answer["changes"][0]["name"] == "Žižkov"
    later = server.client("reader").get_changeset(bucket="main", collection="regions", _since=f'"{answer["timestamp"]}"')
    assert later["changes"] == []


def test_snapshot_of_nothing(app):
    with exclusive(app.app.registry):
        assert snapshot(app.app.registry.storage, "main/nope") is None
