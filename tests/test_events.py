"""The events that subscribers get: which, how often, with what; and none of a request that was refused before its end."""

import pytest
import transaction

from kinto_signer.errors import GuardRefusedError
from kinto_signer.events import ReviewApproved, ReviewCanceled, ReviewRejected, ReviewRequested
from tests.support.workflow import BUCKET, DESTINATION, SOURCE, review_site

EVENTS = (ReviewRequested, ReviewApproved, ReviewRejected, ReviewCanceled)
PLACES = {
    "source": {"bucket": "main-workspace", "collection": "regions"},
    "preview": {"bucket": "main-preview", "collection": "regions"},
    "destination": {"bucket": "main", "collection": "regions"},
}


def listen(site):
    """A list that grows with each call of a subscriber of one of the four classes."""
    told = []
    for kind in EVENTS:
        site.app.app.registry.registerHandler(told.append, (kind,))
    return told


@pytest.fixture
def site(key_pair):
    return review_site(key_pair)


@pytest.fixture
def told(site):
    return listen(site)


def common(event, site, user):
    """What every event has to say of the one source collection."""
    assert event.resource == PLACES
    assert event.payload["uri"] == SOURCE
    assert (event.payload["bucket_id"], event.payload["collection_id"]) == ("main-workspace", "regions")
    assert (event.payload["resource_name"], event.payload["action"]) == ("collection", "update")
    assert event.payload["user_id"] == site.principals[user]
    assert event.original_event.payload["resource_name"] == "collection"
    assert event.request is event.original_event.request
    assert event.impacted_records is event.impacted_objects
    (change,) = event.impacted_objects
    return change["old"].get("status"), change["new"]["status"]


def test_a_request_for_review(site, told):
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review", last_editor_comment="please")
    (event,) = told
    assert type(event) is ReviewRequested
    assert common(event, site, "alice") == ("work-in-progress", "to-review")
    size = len(b'{"id":"fr","last_modified":1795598115173,"name":"France"}')
    assert (event.comment, event.changes_count, event.changes_size_bytes) == ("please", 1, size)
    assert {key: event.payload[key] for key in ("comment", "changes_count", "changes_size_bytes")} == {
        "comment": "please",
        "changes_count": 1,
        "changes_size_bytes": size,
    }


def test_a_refused_review(site, told):
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review")
    del told[:]
    site.set_status("carol", "work-in-progress", last_reviewer_comment="no")
    (event,) = told
    assert type(event) is ReviewRejected
    assert common(event, site, "carol") == ("to-review", "work-in-progress")
    assert event.comment == event.payload["comment"] == "no"


def test_an_approval(site, told):
    for name in ("fr", "de"):
        site.put("alice", name, name=name)
    site.set_status("alice", "to-review")
    del told[:]
    site.set_status("carol", "to-sign")
    (event,) = told
    assert type(event) is ReviewApproved
    assert common(event, site, "carol") == ("to-review", "to-sign")
    assert event.changes_count == event.payload["changes_count"] == 2
    assert event.changes_size_bytes == event.payload["changes_size_bytes"] > 100


def test_a_rollback(site, told):
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-rollback")
    (event,) = told
    assert type(event) is ReviewCanceled
    assert common(event, site, "alice") == ("work-in-progress", "to-rollback")
    assert event.changes_count == event.payload["changes_count"] == 1


def test_nothing_else_is_an_event(site, told):
    site.put("alice", "fr", name="France")
    site.app.patch_json(SOURCE, {"data": {"displayFields": ["name"]}})
    site.set_status("alice", "work-in-progress")
    site.set_status("alice", "to-resign")
    site.app.put_json(f"{BUCKET}/collections/other", {})
    assert told == []


def test_each_collection_of_a_batch_has_its_own_event(site, told):
    other = f"{BUCKET}/collections/other"
    site.app.put_json(other, {})
    parts = [{"method": "PUT", "path": f"{uri}/records/r", "body": {"data": {}}} for uri in (SOURCE, other)]
    site.app.post_json("/batch", {"requests": parts})
    ask = [{"path": SOURCE, "body": {"data": {"status": "to-rollback"}}}]
    ask += [{"path": other, "body": {"data": {"status": "to-rollback"}}}]
    site.app.post_json("/batch", {"defaults": {"method": "PATCH"}, "requests": ask})
    assert [event.payload["collection_id"] for event in told] == ["regions", "other"]
    assert [event.payload["uri"] for event in told] == [SOURCE, other]
    assert [[change["new"]["id"] for change in event.impacted_objects] for event in told] == [["regions"], ["other"]]
    assert [event.resource["destination"]["collection"] for event in told] == ["regions", "other"]


def test_a_status_in_the_batch_that_made_the_collection(key_pair):
    site = review_site(key_pair, preview=False, to_review=False, kinto__signer__group_check_enabled="false")
    told, uri = listen(site), f"{BUCKET}/collections/new"
    parts = [
        {"method": "PUT", "path": uri, "body": {"data": {"displayFields": ["a"]}}},
        {"method": "PUT", "path": f"{uri}/records/r", "body": {"data": {}}},
        {"method": "PATCH", "path": uri, "body": {"data": {"status": "to-review"}}},
    ]
    answers = site.app.post_json("/batch", {"requests": parts}).json["responses"]
    assert [answer["status"] for answer in answers] == [201, 201, 200]
    (event,) = told
    assert event.payload["action"] == "update"
    assert event.impacted_objects[0]["new"]["status"] == "to-review"
    assert set(event.resource) == {"source", "destination"}


def refuse(event):
    raise GuardRefusedError("a subscriber does not want it")


def refuse_later(event):
    """As the push to an authority that is down does."""
    transaction.get().addBeforeCommitHook(refuse, (event,))


@pytest.mark.parametrize("refusal", [refuse, refuse_later])
def test_what_a_subscriber_raises_undoes_the_request(key_pair, storage_url, refusal):
    site = review_site(key_pair, database=storage_url)
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review")
    site.app.app.registry.registerHandler(refusal, (ReviewApproved,))
    before = site.app.get(SOURCE).json, site.records(DESTINATION)
    site.set_status("carol", "to-sign", status=403)
    assert (site.app.get(SOURCE).json, site.records(DESTINATION)) == before
    assert before[0]["data"]["status"] == "to-review"


def test_what_a_subscriber_writes_is_part_of_the_request(key_pair, storage_url):
    site = review_site(key_pair, database=storage_url)
    registry = site.app.app.registry

    def write(event):
        registry.storage.update("record", f"{BUCKET}/collections/notes", "note", {"text": event.comment})

    registry.registerHandler(write, (ReviewRequested,))
    site.put("alice", "fr", name="France")
    site.set_status("dave", "to-review", status=403)
    site.set_status("alice", "to-review", last_editor_comment="written")
    transaction.abort()
    assert registry.storage.get("record", f"{BUCKET}/collections/notes", "note")["text"] == "written"


def test_a_refused_request_is_no_event(site, told):
    site.put("alice", "fr", name="France")
    site.set_status("carol", "to-review", status=403)
    site.set_status("carol", "to-sign", status=400)
    site.set_status("alice", "nope", status=400)
    assert told == []
