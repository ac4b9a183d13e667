"""``monitor/changes``: what changed where."""

import threading
import time

import pytest
import transaction

from kinto_signer.plugin.exclusive import exclusive
from tests.support.changes import MONITOR, NAME, URI, etag, reading_app, repository, store
from tests.support.states import make_records, new_key, signed_state

KEY = new_key()
ANYBODY = {"Authorization": ""}
RECORDS = f"{MONITOR}/records"
CHANGESET = f"{MONITOR}/changeset?_expected=0"


@pytest.fixture
def app(storage_url):
    """Two listed collections and one in a bucket that is not listed."""
    return filled(reading_app(storage_url))


def filled(app):
    app.put_json("/buckets/other", {})
    for uri in ("/buckets/other/collections/hidden", "/buckets/main/collections/empty", URI):
        app.put_json(uri, {})
    app.put_json(f"{URI}/records/r", {})
    return app


def entries(app, query=""):
    return app.get(f"{RECORDS}{query}", headers=ANYBODY).json["data"]


def test_an_entry_for_each_listed_collection_newest_first(app):
    first, second = entries(app)
    assert first == {
        "id": first["id"],
        "bucket": "main",
        "collection": "regions",
        "host": "localhost:80",
        "last_modified": etag(app.head(f"{URI}/records")),
    }
    assert (second["collection"], second["id"] != first["id"]) == ("empty", True)
    app.put_json("/buckets/main/collections/empty/records/r", {})
    again = entries(app)
    assert [entry["collection"] for entry in again] == ["empty", "regions"]
    assert {entry["id"] for entry in again} == {first["id"], second["id"]}


def test_the_same_entries_as_a_changeset(app):
    answer = app.get(CHANGESET, headers=ANYBODY)
    assert answer.json == {"metadata": {"bucket": "monitor"}, "timestamp": etag(answer), "changes": entries(app)}
    assert etag(answer) == entries(app)[0]["last_modified"] == etag(app.get(RECORDS))


def test_a_refreshed_signature_moves_the_entry(app):
    state = signed_state(KEY, make_records(3))
    store(app, state)
    before = entries(app)[0]
    assert before["last_modified"] == etag(app.get(f"{URI}/changeset?_expected=0"))
    repository(app).set_attributes(NAME, signed_state(KEY, make_records(3), state.timestamp).metadata)
    transaction.commit()
    after = entries(app)[0]
    assert after["last_modified"] > before["last_modified"]
    assert after["last_modified"] == etag(app.get(f"{URI}/changeset?_expected={after['last_modified']}"))


def test_records_ahead_of_the_clock_move_the_entry(app):
    store(app, signed_state(KEY, make_records(1, start=4_000_000_000_000)))
    assert entries(app)[0]["last_modified"] == 4_000_000_000_000


def test_a_deleted_collection_has_no_entry_and_the_list_does_not_go_back(app):
    before = etag(app.get(RECORDS))
    app.delete(URI)
    answer = app.get(RECORDS)
    assert [entry["collection"] for entry in answer.json["data"]] == ["empty"]
    assert etag(answer) > before


def test_nothing_is_listed(storage_url):
    app = reading_app(storage_url, changes__resources="/buckets/nope")
    assert app.get(CHANGESET).json == {"metadata": {"bucket": "monitor"}, "timestamp": 0, "changes": []}
    assert entries(app) == []


@pytest.mark.parametrize(
    ("resources", "excluded", "listed"),
    [
        ("/buckets/main", "/buckets/main/collections/empty", ["regions"]),
        ("/buckets/main\n/buckets/other", "", ["regions", "empty", "hidden"]),
        ("main/empty other", "other/nope", ["empty", "hidden"]),
        ("/buckets/main/collections/empty /buckets/main", "", ["regions", "empty"]),
        ("/buckets/main /buckets/other", "/buckets/other", ["regions", "empty"]),
        ("", "", []),
    ],
)
def test_which_collections_are_listed(storage_url, resources, excluded, listed):
    app = filled(reading_app(storage_url, changes__resources=resources, changes__excluded_collections=excluded))
    assert [entry["collection"] for entry in entries(app)] == listed


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, "localhost:80"),
        ({"http_host": "kinto.example.org"}, "kinto.example.org"),
        ({"http_host": "kinto.example.org", "changes__http_host": "eu"}, "eu"),
    ],
)
def test_the_host_of_the_entries(settings, host):
    app = filled(reading_app(**settings))
    assert {entry["host"] for entry in entries(app)} == {host}


def test_the_id_depends_on_host_bucket_and_collection():
    ids = set()
    for settings in ({"changes__http_host": "eu"}, {"changes__http_host": "us"}, {"changes__http_host": "eu"}):
        app = filled(reading_app(changes__resources="/buckets/main /buckets/other", **settings))
        ids |= {entry["id"] for entry in entries(app)}
    assert len(ids) == 6


def test_since_limit_filter_sort(app):
    first, second = entries(app)
    assert entries(app, f'?_since="{second["last_modified"]}"') == [first]
    assert entries(app, f"?_since={second['last_modified']}") == [first]
    assert entries(app, f'?_since="{first["last_modified"]}"') == []
    assert entries(app, "?_limit=1") == [first]
    assert app.get(f"{CHANGESET}&_limit=1").json["changes"] == [first]
    assert entries(app, "?collection=empty") == [second]
    assert app.get(f"{CHANGESET}&bucket=main&collection=regions").json["changes"] == [first]
    assert entries(app, "?bucket=other") == []
    assert entries(app, "?_sort=last_modified") == [second, first]
    assert entries(app, "?_sort=bucket,-collection") == [first, second]
    assert app.get(f"{RECORDS}?_sort=nope", status=400).json["details"][0]["name"] == "_sort"


@pytest.mark.parametrize("query", ["_since=abc", "_limit=0", "_expected=abc", "_expected=-1"])
def test_bad_parameters(app, query):
    for path in (f"{RECORDS}?{query}", f"{MONITOR}/changeset?{query if 'expected' in query else '_expected=1&' + query}"):
        assert app.get(path, status=400).json["errno"] == 107


def test_expected_is_mandatory_for_the_changeset_only(app):
    app.get(f"{MONITOR}/changeset", status=400)
    app.get(RECORDS)


def test_it_is_public_whoever_owns_a_bucket_of_that_name(app):
    app.put_json("/buckets/monitor", {})
    app.put_json("/buckets/monitor/collections/changes", {"data": {"own": True}})
    assert len(entries(app)) == 2
    assert app.get(CHANGESET, headers=ANYBODY).json["metadata"] == {"bucket": "monitor"}
    app.post_json(RECORDS, {"data": {}}, status=405)
    app.get("/buckets/monitor/collections/changes", headers=ANYBODY, status=401)


@pytest.mark.parametrize("path", [f"{RECORDS}?_expected=", f"{MONITOR}/changeset?_expected="])
class TestSpecialAnswers:
    def test_expecting_less_than_is_known_is_a_204(self, app, path):
        now = int(time.time() * 1000)
        answer = app.get(f'{path}{now - 1}&_since="{now}"')
        assert (answer.status_int, answer.body) == (204, b"")
        app.get(f'{path}{now}&_since="{now}"', status=200)
        app.get(f'{path}42&_since="43"', status=204)

    def test_expecting_0_is_expecting_nothing(self, app, path):
        app.get(f'{path}0&_since="{int(time.time() * 1000)}"', status=200)

    def test_too_old_a_since_leads_to_everything(self, app, path):
        answer = app.get(f'{path}42&_since="42"&bucket=main', status=307)
        assert answer.headers["Location"] == f"http://localhost/v1{path}42&bucket=main"
        assert answer.headers["Cache-Control"] == "max-age=86400"
        assert app.get(answer.headers["Location"].removeprefix("http://localhost"), status=200)

    def test_a_quoted_expected_leads_to_the_unquoted_one(self, app, path):
        answer = app.get(f"{path}%2242%22&_limit=1", status=307)
        assert answer.headers["Location"] == f"http://localhost/v1{path}42&_limit=1"

    def test_head(self, app, path):
        answer = app.head(f"{path}0")
        assert answer.headers["ETag"] == app.get(f"{path}0").headers["ETag"]
        assert answer.headers["Last-Modified"]
        assert answer.body == b""


@pytest.mark.parametrize(
    ("days", "age_days", "status"), [("21", 20.9, 200), ("21", 21.1, 307), ("1", 1.1, 307), ("0", 0.1, 307), ("-1", 9999, 200)]
)
def test_how_old_a_since_may_be(days, age_days, status):
    app = reading_app(changes__since_max_age_days=days)
    since = int((time.time() - age_days * 86400) * 1000)
    app.get(f"{RECORDS}?_since={since}", status=status)


@pytest.mark.parametrize(("ttl", "header"), [("60", "max-age=60"), ("-1", None)])
def test_how_long_that_redirect_is_kept(ttl, header):
    app = reading_app(changes__since_max_age_redirect_ttl_seconds=ttl)
    assert app.get(f"{RECORDS}?_since=42", status=307).headers.get("Cache-Control") == header


def test_what_is_not_modified_is_an_empty_list(app):
    tag = app.get(RECORDS).headers["ETag"]
    answer = app.get(RECORDS, headers={"If-None-Match": tag})
    assert (answer.status_int, answer.json) == (200, {"data": []})
    assert answer.headers["ETag"] == tag
    assert len(app.get(RECORDS, headers={"If-None-Match": '"1"'}).json["data"]) == 2


def test_inside_a_batch(app):
    tag = app.get(RECORDS).headers["ETag"]
    parts = [{"path": RECORDS, "headers": {"If-None-Match": tag}}, {"path": f"{RECORDS}?_since=42"}]
    parts.append({"path": f"{RECORDS}?_since=43&_expected=42"})
    *answers, nothing = app.post_json("/batch", {"requests": parts}).json["responses"]
    assert [len(answer["body"]["data"]) for answer in answers] == [0, 2]
    assert nothing["status"] == 204


def test_how_long_caches_may_keep_it():
    app = reading_app(
        record_cache_expires_seconds="9",
        monitor__changes__record_cache_expires_seconds="60",
        monitor__changes__record_cache_maximum_expires_seconds="3600",
    )
    for path, seconds in ((RECORDS, 60), (CHANGESET, 60), (f"{RECORDS}?_expected=42", 3600), (f"{RECORDS}?_expected=99990", 60)):
        assert app.get(path).headers["Cache-Control"] == f"max-age={seconds}"


def test_the_number_of_entries(app):
    assert app.head(f"{RECORDS}?_limit=1").headers["Total-Records"] == "2"


def test_on_memory_it_waits_for_the_end_of_a_request_that_writes():
    app, found = filled(reading_app()), []
    reader = threading.Thread(target=lambda: found.extend(entries(app)))
    with exclusive(app.app.registry):
        reader.start()
        reader.join(0.3)
        assert not found
    reader.join(10)
    assert len(found) == 2
