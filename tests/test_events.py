"""The events that subscribers get: which, how often, with what; and none of a request that was refused before its end."""

from contextlib import contextmanager

import pytest
import transaction

from kinto_signer.errors import GuardRefusedError
from kinto_signer.events import ReviewApproved, ReviewCanceled, ReviewRejected, ReviewRequested
from tests.support.keys import write_key_pair
from tests.support.settings import authority_settings
from tests.support.workflow import BUCKET, DESTINATION, SOURCE, review_site

EVENTS = (ReviewRequested, ReviewApproved, ReviewRejected, ReviewCanceled)
PLACES = {
    "source": {"bucket": "main-workspace", "collection": "regions"},
    "preview": {"bucket": "main-preview", "collection": "regions"},
    "destination": {"bucket": "main", "collection": "regions"},
}


@contextmanager
def listening(site, hear=None, events=EVENTS):
    """A list that grows with each call of a subscriber of these classes; or they call `hear`."""
    told = []
    hear = hear or told.append
    for kind in events:
        site.app.app.registry.registerHandler(hear, (kind,))
    yield told
    for kind in events:
        assert site.app.app.registry.unregisterHandler(hear, (kind,))


@pytest.fixture(scope="module")
def everybodys_site(tmp_path_factory):
    return review_site(write_key_pair(tmp_path_factory.mktemp("keys")))


@pytest.fixture
def site(everybodys_site):
    """With one edit pending."""
    everybodys_site.make_ready()
    return everybodys_site


@pytest.fixture
def told(site):
    with listening(site) as told:
        yield told


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
    site.set_status("alice", "to-review", last_editor_comment="please")
    (event,) = told
    assert type(event) is ReviewRequested
    assert common(event, site, "alice") == ("work-in-progress", "to-review")
    size = len(b'{"id":"fr","last_modified":1795598115173,"name":"00000000-0000-0000-0000-000000000000"}')
    assert (event.comment, event.changes_count, event.changes_size_bytes) == ("please", 1, size)
    assert event.payload["comment"] == "please"
    assert (event.payload["changes_count"], event.payload["changes_size_bytes"]) == (1, size)


def test_a_refused_review(site, told):
    site.set_status("alice", "to-review")
    del told[:]
    site.set_status("carol", "work-in-progress", last_reviewer_comment="no")
    (event,) = told
    assert type(event) is ReviewRejected
    assert common(event, site, "carol") == ("to-review", "work-in-progress")
    assert event.comment == event.payload["comment"] == "no"


def test_an_approval(site, told):
    site.put("alice", "de", name="Germany")
    site.set_status("alice", "to-review")
    del told[:]
    site.set_status("carol", "to-sign")
    (event,) = told
    assert type(event) is ReviewApproved
    assert common(event, site, "carol") == ("to-review", "to-sign")
    assert event.changes_count == event.payload["changes_count"] == 2
    assert event.changes_size_bytes == event.payload["changes_size_bytes"] > 100


def test_a_rollback(site, told):
    site.set_status("alice", "to-rollback")
    (event,) = told
    assert type(event) is ReviewCanceled
    assert common(event, site, "alice") == ("work-in-progress", "to-rollback")
    assert event.changes_count == event.payload["changes_count"] == 1


def test_nothing_else_is_an_event(site, told):
    site.app.patch_json(SOURCE, {"data": {"displayFields": ["name"]}})
    site.set_status("alice", "work-in-progress")
    site.set_status("alice", "to-resign")
    site.app.post_json(f"{SOURCE}/discard", {"ids": ["fr"]})
    site.app.put_json(f"{BUCKET}/collections/made", {})
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


def test_a_status_in_the_batch_that_made_the_collection(site, told):
    """Kinto announces the making, which is what the plugin is told, apart from the change that asked for something."""
    uri, groups = f"{BUCKET}/collections/new", [f"{BUCKET}/groups/new-{name}" for name in ("editors", "reviewers")]
    for group in groups:
        site.app.put_json(group, {"data": {"members": [site.principals["admin"]]}})
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


def test_without_a_preview_there_is_none(key_pair):
    site = review_site(key_pair, preview=False)
    site.make_ready()
    with listening(site) as told:
        site.set_status("alice", "to-review")
    assert told[0].resource == {name: place for name, place in PLACES.items() if name != "preview"}


def refuse(event):
    raise GuardRefusedError("a subscriber does not want it")


def refuse_later(event):
    """As the push to an authority that is down does."""
    transaction.get().addBeforeCommitHook(refuse, (event,))


def test_a_subscriber_refuses_before_anything_is_sent(key_pair, live_kinto):
    authority = live_kinto(authority_settings(), name="authority")
    site = review_site(key_pair, authority=authority.url, preview=False)
    client = authority.client("reader")
    before = client.get_collection(bucket="main", id="regions")
    site.make_ready()
    site.set_status("alice", "to-review")
    with listening(site, refuse, (ReviewApproved,)):
        site.set_status("carol", "to-sign", status=403)
    assert client.get_collection(bucket="main", id="regions") == before
    assert client.get_records(bucket="main", collection="regions", id="fr") == []
    site.set_status("carol", "to-sign", status=200)
    assert len(client.get_records(bucket="main", collection="regions", id="fr")) == 1


@pytest.fixture(scope="module", params=["memory", "postgresql"])
def stored_site(request, tmp_path_factory, postgres):
    database = postgres.create_database() if request.param == "postgresql" else None
    return review_site(write_key_pair(tmp_path_factory.mktemp("keys")), database=database)


@pytest.mark.parametrize("refusal", [refuse, refuse_later])
def test_what_a_subscriber_raises_undoes_the_request(stored_site, refusal):
    site = stored_site
    site.make_ready()
    site.set_status("alice", "to-review")
    before = site.app.get(SOURCE).json, site.records(DESTINATION)
    with listening(site, refusal, (ReviewApproved,)):
        site.set_status("carol", "to-sign", status=403)
    assert (site.app.get(SOURCE).json, site.records(DESTINATION)) == before
    assert before[0]["data"]["status"] == "to-review"
    site.set_status("carol", "to-sign", status=200)


def test_what_a_subscriber_writes_is_part_of_the_request(stored_site):
    site, storage = stored_site, stored_site.app.app.registry.storage
    site.make_ready()

    def write(event):
        storage.update("record", f"{BUCKET}/collections/notes", "note", {"text": event.comment})

    with listening(site, write, (ReviewRequested,)):
        site.set_status("dave", "to-review", status=403)
        site.set_status("alice", "to-review", last_editor_comment="written")
    transaction.abort()
    assert storage.get("record", f"{BUCKET}/collections/notes", "note")["text"] == "written"


def test_a_refused_request_is_no_event(site, told):
    site.set_status("carol", "to-review", status=403)
    site.set_status("carol", "to-sign", status=400)
    site.set_status("alice", "nope", status=400)
    assert told == []
