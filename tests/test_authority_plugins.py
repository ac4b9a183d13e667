"""The authority beside other plugins: what they are told, and what they may not do."""

import pytest

from kinto_signer.core.trust import check
from tests.support.publications import URI, body_of, post, successive_states
from tests.support.servers import webtest_app
from tests.support.settings import guarded_settings
from tests.support.states import NAME, signed_state, trust_in
from tests.test_authority_publication import served


def settings(key_pair, storage_url, plugins, **more):
    found = guarded_settings(key_pair.public, storage_url) | {"kinto.includes": f"{plugins} kinto_signer.authority"}
    return found | {name.replace("__", "."): value for name, value in more.items()}


def test_one_event_for_each_kind_of_change(key_pair, storage_url):
    app = webtest_app(settings(key_pair, storage_url, "tests.support.recording_plugin"))
    first, second = successive_states(key_pair.key(), 2)
    post(app, body_of(first))
    told = app.app.registry.told
    for kind in ("ResourceChanged", "AfterResourceChanged"):
        assert [entry[1:] for entry in told if entry[0] == kind] == [("record", "create", 5), ("collection", "create", 1)]
    told.clear()
    post(app, body_of(second, first.timestamp))
    for kind in ("ResourceChanged", "AfterResourceChanged"):
        assert sorted(entry[1:] for entry in told if entry[0] == kind) == [
            ("collection", "update", 1),
            ("record", "create", 1),
            ("record", "delete", 1),
            ("record", "update", 1),
        ]
    told.clear()
    post(app, body_of(second, second.timestamp))
    assert told == []


def test_history_has_an_entry_for_each_record(key_pair, storage_url):
    app = webtest_app(settings(key_pair, storage_url, "kinto.plugins.history"))
    first, second = successive_states(key_pair.key(), 2)
    post(app, body_of(first))
    post(app, body_of(second, first.timestamp))
    entries = app.get("/buckets/main/history").json["data"]
    records = [(entry["action"], entry["record_id"]) for entry in entries if entry["resource_name"] == "record"]
    assert len(records) == 8
    assert ("delete", "record-0000") in records
    assert ("update", "record-0001") in records
    changed = next(entry for entry in entries if entry.get("record_id") == "record-0001" and entry["action"] == "update")
    assert changed["target"]["data"]["text"] == "changed 1"
    check(NAME, served(app), trust_in(key_pair.key()))


def test_the_default_bucket_is_no_hindrance(key_pair, storage_url):
    app = webtest_app(settings(key_pair, storage_url, "kinto.plugins.default_bucket"))
    for state, base in zip(states := successive_states(key_pair.key(), 2), (0, states[0].timestamp), strict=True):
        post(app, body_of(state, base))
    app.put_json("/buckets/default/collections/mine/records/one", {"data": {"free": True}}, status=201)


def test_attachments_are_published_as_they_are_and_not_uploaded_here(key_pair, storage_url, tmp_path):
    attachment = {"location": "main/a.png", "hash": "0" * 64, "size": 3, "mimetype": "image/png", "filename": "a.png"}
    more = {"kinto__attachment__base_path": str(tmp_path), "kinto__attachment__base_url": "https://files.example.org/"}
    app = webtest_app(settings(key_pair, storage_url, "kinto_attachment", **more))
    at = successive_states(key_pair.key(), 1)[0].timestamp
    first = signed_state(key_pair.key(), [{"id": "one", "last_modified": at, "attachment": attachment}])
    post(app, body_of(first), status=201)
    changed = {**attachment, "hash": "1" * 64}
    second = signed_state(key_pair.key(), [{"id": "one", "last_modified": at + 1, "attachment": changed}])
    post(app, body_of(second, first.timestamp), status=200)
    assert app.get(f"{URI}/records/one").json["data"]["attachment"] == changed
    gone = signed_state(key_pair.key(), [{"id": "one", "last_modified": at + 2, "deleted": True}])
    upload = [("attachment", "evil.txt", b"evil")]
    before = sorted(tmp_path.rglob("*"))
    answer = app.post(f"{URI}/records/one/attachment", upload_files=upload, status=403)
    assert answer.json["details"]["reason"] == "refused"
    app.delete(f"{URI}/records/one/attachment", status=403)
    assert sorted(tmp_path.rglob("*")) == before
    check(NAME, served(app), trust_in(key_pair.key()))
    post(app, body_of(gone, second.timestamp), status=200)


def test_a_subscriber_that_objects_undoes_the_publication(key_pair, storage_url):
    app = webtest_app(settings(key_pair, storage_url, "tests.support.objecting_plugin"))
    first, second = successive_states(key_pair.key(), 2)
    post(app, body_of(first))
    before = served(app)
    app.app.registry.objects = True
    post(app, body_of(second, first.timestamp), status=403)
    assert served(app) == before
    app.app.registry.objects = False
    post(app, body_of(second, first.timestamp), status=200)


@pytest.mark.parametrize("moment", ["subscriber", "hook"])
def test_what_a_subscriber_writes_is_verified_too(key_pair, storage_url, moment):
    app = webtest_app(settings(key_pair, storage_url, "tests.support.objecting_plugin"))
    first, second = successive_states(key_pair.key(), 2)
    post(app, body_of(first))
    before = served(app)
    app.app.registry.writes = moment
    answer = post(app, body_of(second, first.timestamp), status=403)
    assert "is guarded" in answer.json["message"]
    assert served(app) == before
    app.app.registry.writes = None
    post(app, body_of(second, first.timestamp), status=200)
