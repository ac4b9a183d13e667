"""Values that would not reach every reader unchanged are refused on every way in, and nothing is stored."""

import json

import pytest

from tests.support.servers import webtest_app
from tests.support.settings import kinto_settings
from tests.support.site import BUCKET, JSON_PATCH, MERGE_PATCH, SOURCE, attributes, everything, signer_app


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


VALUES = {
    "float": (1.5, "$.v", "float"),
    "whole float": (2.0, "$.v", "float"),
    "nested float": ({"a": [1, {"b c": 0.1}]}, "$.v.a[1]['b c']", "float"),
    "big integer": (2**53, "$.v", "2^53"),
    "huge integer": (-(2**63), "$.v", "2^53"),
    "null character": ("a\0b", "$.v", "U+0000"),
    "null character in a key": ({"a\0b": 1}, "$.v", "U+0000"),
    "lone surrogate": ("\ud800", "$.v", "surrogate"),
    "nesting": (nested(64), "$.v" + "[0]" * 63, "nested"),
    "deep nesting": (nested(500), "$.v" + "[0]" * 63, "nested"),
}
TIMESTAMPS = {
    "true": True,
    "text": "yesterday",
    "negative": -1,
    "year 2100": 4102444800000,
    "2^63": 2**63,
    "null": None,
    "list": [1],
}


def post(app, data):
    return app.post_json(f"{SOURCE}/records", {"data": data}, status="*"), None


def put(app, data):
    return app.put_json(f"{SOURCE}/records/r1", {"data": data}, status="*"), "r1"


def put_new(app, data):
    return app.put_json(f"{SOURCE}/records/new", {"data": data}, status="*"), "new"


def patch(app, data, content_type="application/json"):
    body = json.dumps({"data": data})
    return app.patch(f"{SOURCE}/records/r1", body, content_type=content_type, status="*"), "r1"


def merge_patch(app, data):
    return patch(app, data, MERGE_PATCH)


def json_patch(app, data, uri=f"{SOURCE}/records/r1"):
    operations = [{"op": "add", "path": f"/data/{key}", "value": value} for key, value in data.items()]
    return app.patch(uri, json.dumps(operations), content_type=JSON_PATCH, status="*"), "r1"


def batch(app, data, **request):
    request = {"method": "PUT", "path": f"{SOURCE}/records/r1", **request}
    answer = app.post_json("/batch", {"requests": [{**request, "body": {"data": data}}]}, status="*")
    return inner(answer), "r1"


def batch_defaults(app, data):
    body = {"defaults": {"method": "PUT", "body": {"data": data}}, "requests": [{"path": f"{SOURCE}/records/r1"}]}
    return inner(app.post_json("/batch", body, status="*")), "r1"


def inner(answer):
    """The only part of a batch, or the batch's own refusal."""
    if answer.status_int != 200:
        return answer

    class Part:
        status_int = answer.json["responses"][0]["status"]
        json = answer.json["responses"][0]["body"]

    return Part


def collection_put(app, data):
    return app.put_json(SOURCE, {"data": {**attributes(app), **data}}, status="*"), ""


def collection_patch(app, data):
    return app.patch_json(SOURCE, {"data": data}, status="*"), ""


def collection_json_patch(app, data):
    return json_patch(app, data, SOURCE)[0], ""


def collection_batch(app, data):
    return batch(app, data, method="PATCH", path=SOURCE)[0], ""


def collection_post(app, data):
    answer = app.post_json(f"{BUCKET}/collections", {"data": {"id": "other", **data}}, status="*")
    if answer.status_int == 201:
        app.delete(f"{BUCKET}/collections/other")
    return answer, ""


WAYS = [post, put, put_new, patch, merge_patch, json_patch, batch, batch_defaults]
WAYS += [collection_post, collection_put, collection_patch, collection_json_patch, collection_batch]


@pytest.fixture
def app(key_pair, storage_url):
    app = signer_app(key_pair, database=storage_url)
    app.put_json(f"{SOURCE}/records/r1", {"data": {"v": "fine"}})
    return app


@pytest.mark.parametrize("way", WAYS)
def test_refuses_what_would_not_survive(app, way):
    before = everything(app)
    for what, (value, path, word) in VALUES.items():
        answer, record = way(app, {"v": value})
        assert answer.status_int == 400, (what, answer)
        message = answer.json["message"]
        assert answer.json["details"]["path"] == path, (what, message)
        assert path in message
        if record:
            assert repr(record) in message
            assert answer.json["details"]["record"] == record
        assert word in message
        assert everything(app) == before, what


@pytest.mark.parametrize("way", [post, put, put_new, patch, merge_patch, batch, collection_put, collection_patch])
def test_refuses_timestamps_that_are_none(app, way):
    before = everything(app)
    for what, value in TIMESTAMPS.items():
        answer, _ = way(app, {"v": 1, "last_modified": value})
        assert answer.status_int == 400, (what, answer)
        assert "last_modified" in answer.json["message"]
        assert everything(app) == before, what


@pytest.mark.parametrize("text", ["abc", "-1", "4102444800000", "9" * 19, "1.5"])
def test_refuses_a_deletion_with_a_timestamp_that_is_none(app, text):
    before = everything(app)
    answer = app.delete(f"{SOURCE}/records/r1?last_modified={text}", status=400)
    assert "last_modified" in answer.json["message"]
    assert everything(app) == before


def test_other_charsets_are_refused(app):
    """Kinto would read another text than the one that was looked at."""
    before = everything(app)
    body = '{"data": {"n": 1.5, "name": "é"}}'.encode("latin-1")
    app.put(f"{SOURCE}/records/r1", body, content_type="application/json; charset=latin-1", status=400)
    app.post("/batch", b'{"requests": []}', content_type="application/json; charset=latin-1", status=400)
    assert everything(app) == before
    app.put(f"{SOURCE}/records/r1", b'{"data": {"n": 1}}', content_type="application/json; charset=UTF-8")
    app.patch(f"{SOURCE}/records/r1", b'[{"op":"add","path":5,"value":1}]', content_type=JSON_PATCH, status=400)


def test_the_id_of_the_marker_is_kept_for_the_signer(app):
    before = everything(app)
    data = {"data": {"id": "kinto-signer-timestamp"}}
    for answer in (
        app.post_json(f"{SOURCE}/records", data, status=400),
        app.put_json(f"{SOURCE}/records/kinto-signer-timestamp", {}, status=400),
    ):
        assert answer.json["details"]["path"] == "$.id"
    assert everything(app) == before


@pytest.mark.parametrize("way", [post, put, merge_patch, json_patch])
def test_what_makes_a_tombstone_is_no_field_of_a_record(app, way):
    """Kinto stores it in a live record, and it would be signed as one."""
    before = everything(app)
    for value in (True, False, 1, None):
        answer, _ = way(app, {"v": 1, "deleted": value})
        assert (answer.status_int, answer.json["details"]["path"]) == (400, "$.deleted")
        assert everything(app) == before
    answer, _ = way(app, {"w": {"deleted": True}})
    assert answer.status_int in (200, 201)


def test_the_control_good_values_go_in_on_every_way(app):
    for way in WAYS:
        for value in (nested(62), 2**53 - 1, "Straße \U0001f686", None, True, -1, ""):
            answer, _ = way(app, {"v": value})
            assert answer.status_int in (200, 201), (way, value, answer)


def test_without_the_plugin_such_values_are_stored_or_crash(storage_url):
    """The control: it is our check that refuses them."""
    app = webtest_app(kinto_settings(storage_url))
    app.put_json("/buckets/main-workspace", {})
    app.put_json(SOURCE, {})
    for what in ("float", "big integer", "nesting"):
        assert app.put_json(f"{SOURCE}/records/r1", {"data": {"v": VALUES[what][0]}}).status_int in (200, 201)


def test_bodies_that_are_no_json_are_left_to_kinto(app):
    answer = app.put(f"{SOURCE}/records/r1", b"{", content_type="application/json", status=400)
    assert answer.json["errno"] != 109
    app.post("/batch", b"[" * 100_000, content_type="application/json", status=400)
    app.put(f"{SOURCE}/records/r1", b"[" * 100_000, content_type="application/json", status=400)


def test_a_json_patch_that_nests_what_is_there_is_refused(app):
    app.put_json(f"{SOURCE}/records/r1", {"data": {"v": nested(60)}})
    before = everything(app)
    operations = [{"op": "add", "path": "/data/w", "value": {"a": {"b": {"c": {}}}}}]
    operations += [{"op": "copy", "from": "/data/v", "path": "/data/w/a/b/c/d"}]
    answer = app.patch(f"{SOURCE}/records/r1", json.dumps(operations), content_type=JSON_PATCH, status=400)
    assert answer.json["details"]["path"].startswith("$.w.a.b.c.d")
    assert everything(app) == before


def test_floats_are_accepted_where_the_setting_allows_them(key_pair, storage_url):
    app = signer_app(key_pair, database=storage_url, kinto__signer__allow_floats="true")
    app.put_json(f"{SOURCE}/records/r1", {"data": {"v": 1.5}})
    app.patch_json(SOURCE, {"data": {"status": "to-sign"}})
    assert attributes(app)["status"] == "signed"


@pytest.mark.parametrize(("stored", "path"), [({"v": {"w": 1.5}}, "$.v.w"), ({"deleted": True, "v": 1}, "$.deleted")])
def test_what_was_stored_before_the_plugin_is_refused_when_it_is_to_be_signed(app, stored, path):
    uri = "/buckets/main-workspace/collections/regions"
    app.app.registry.storage.update("record", uri, "old", stored)
    commit()
    app.patch_json(SOURCE, {"data": {"note": "edit"}})
    before = everything(app)
    answer = app.patch_json(SOURCE, {"data": {"status": "to-sign"}}, status=400)
    assert answer.json["details"] == {"reason": "unsignable", "record": "old", "path": path}
    assert everything(app) == before


def commit():
    import transaction

    transaction.commit()
