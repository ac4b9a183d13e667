"""Several changes of one source in one request."""

from unittest.mock import ANY

import pytest

from tests.support.servers import authorization
from tests.support.workflow import BUCKET, DESTINATION, PREVIEW, SOURCE, ReviewSite, review_site
from tests.support.workflow_site import principal, sequence_site

pytestmark = pytest.mark.xdist_group("sequences of the workflow")


@pytest.fixture
def site():
    """Reviews, a preview, the peers' rule of four eyes."""
    return ReviewSite(sequence_site(True, True, False).app, {})


def batch(site, user, *requests, status=200):
    return site.app.post_json("/batch", {"requests": list(requests)}, headers=authorization(user), status=status)


def put(record_id, **data):
    return {"method": "PUT", "path": f"{SOURCE}/records/{record_id}", "body": {"data": data}}


def patch(**data):
    return {"method": "PATCH", "path": SOURCE, "body": {"data": data}}


def actions(site):
    """Newest first."""
    return [entry["action"] for entry in site.app.get(f"{SOURCE}/log").json["data"]]


@pytest.mark.parametrize("asked", [["to-rollback"], ["work-in-progress", "to-rollback"], ["to-review", "to-rollback"]])
@pytest.mark.parametrize("order", ["edit first", "status first"])
def test_a_rollback_does_not_undo_the_edits_beside_it(site, asked, order):
    site.put("alice", "fr", name="France")
    before = site.attributes()
    requests = [patch(status=status) for status in asked]
    requests = [put("de", name="Germany"), *requests] if order == "edit first" else [*requests, put("de", name="Germany")]
    refused = batch(site, "alice", *requests, status=400)
    assert "A rollback in one request with edits would undo them" in refused.json["message"]
    assert site.attributes() == before
    assert site.records(SOURCE) == {"fr": {"name": "France"}}
    assert site.records(DESTINATION) == {}


@pytest.mark.parametrize("order", ["edit first", "status first"])
@pytest.mark.parametrize("edit", ["record", "attribute"])
@pytest.mark.parametrize("before", ["signed", "work-in-progress", "to-review"])
def test_what_is_edited_and_submitted_in_one_request_is_under_review(site, before, edit, order):
    if before != "signed":
        site.put("bob", "at", name="Austria")
    if before == "to-review":
        site.set_status("bob", "to-review")
        site.set_status("bob", "work-in-progress")
    edited = put("fr", name="France") if edit == "record" else patch(sort="name")
    requests = [edited, patch(status="to-review")]
    batch(site, "alice", *(requests if order == "edit first" else requests[::-1]))
    found = site.attributes()
    assert (found["status"], found["last_edit_by"]) == ("to-review", principal("alice"))
    assert found["signer_contributors"] == sorted(principal(user) for user in {"alice", *(["bob"] if before != "signed" else [])})
    assert site.attributes(PREVIEW).get("sort") == (None if edit == "record" else "name")
    assert ("fr" in site.records(PREVIEW)) == (edit == "record")


@pytest.mark.parametrize("order", ["edit first", "status first"])
def test_an_edit_beside_an_approval_is_not_published_unseen(site, order):
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review")
    before = site.attributes()
    for edited in (put("de", name="Germany"), patch(sort="name"), {"method": "DELETE", "path": f"{SOURCE}/records"}):
        requests = [edited, patch(status="to-sign")]
        refused = batch(site, "carol", *(requests if order == "edit first" else requests[::-1]), status=400)
        assert "Collection not under review" in refused.json["message"]
        assert site.attributes() == before
    batch(site, "carol", patch(status="to-sign"), patch(last_reviewer_comment="fine"))
    assert site.records(DESTINATION) == {"fr": {"name": "France"}}
    assert actions(site) == ["publish", "request review"]


def test_statuses_of_one_request_are_decided_one_after_the_other(site):
    site.put("bob", "fr", name="France")
    refused = batch(site, "bob", patch(status="to-review"), patch(status="to-sign"), status=403)
    assert "Last editor cannot review" in refused.json["message"]
    batch(site, "bob", patch(status="to-review"), patch(status="to-resign"), patch(status="work-in-progress"))
    assert actions(site) == ["decline", "refresh", "request review"]
    site.set_status("bob", "to-review")
    # Asked for in between, what is there already is nothing new, whoever asks.
    batch(site, "carol", patch(status="to-resign"), patch(status="to-review"))
    assert site.attributes()["status"] == "to-review"
    assert site.attributes()["last_review_request_by"] == principal("bob")


def test_a_status_is_carried_out_once_whatever_follows_in_the_request(site):
    site.put("alice", "fr", name="France")
    batch(site, "alice", patch(status="to-rollback"), patch(last_editor_comment="x"), patch(status="to-rollback"))
    assert actions(site) == ["rollback"]


@pytest.mark.parametrize("status", ["to-sign", "work-in-progress"])
def test_a_batch_is_of_one_person(site, status):
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review")
    before = site.attributes()
    as_carol = {**patch(status=status), "headers": authorization("carol")}
    for first in (put("de", name="Germany"), patch(last_editor_comment="x")):
        refused = batch(site, "alice", {**first, "headers": authorization("alice")}, as_carol, status=400)
        assert "in the name of several people" in refused.json["message"]
        assert site.attributes() == before


def test_changes_of_two_collections_in_one_request_do_not_mix(site):
    other = f"{BUCKET}/collections/other"
    site.app.put_json(other, {})
    there = site.app.get(other).json["data"]
    batch(site, "admin", put("fr", name="France"), {**patch(last_editor_comment="x"), "path": other})
    assert site.attributes()["status"] == "work-in-progress"
    assert site.app.get(other).json["data"] == {**there, "last_editor_comment": "x", "last_modified": ANY}
    batch(site, "admin", {**put("at"), "path": f"{other}/records/at"}, patch(status="to-resign"))
    assert site.app.get(other).json["data"]["status"] == "work-in-progress"
    assert site.attributes()["last_signature_by"] == principal("admin")


def test_a_collection_made_and_changed_in_one_request_is_asked_for_once(site):
    new = f"{BUCKET}/collections/new"
    requests = [
        {"method": "PUT", "path": new},
        {"method": "PUT", "path": f"{new}/records/fr", "body": {"data": {"name": "France"}}},
        {"method": "PATCH", "path": new, "body": {"data": {"status": "to-review"}}},
    ]
    batch(site, "admin", *requests)
    assert site.app.get(new).json["data"]["status"] == "to-review"
    assert [entry["action"] for entry in site.app.get(f"{new}/log").json["data"]] == ["request review"]


@pytest.mark.parametrize("order", ["beside first", "status first"])
@pytest.mark.parametrize("beside", ["another collection's records", "reading the records"])
def test_what_changes_nothing_here_is_no_edit_beside_an_approval(site, beside, order):
    other = f"{BUCKET}/collections/other"
    if beside == "another collection's records":
        site.app.put_json(other, {})
        bucket = site.app.get(BUCKET).json["permissions"] | {"write": [principal("carol")]}
        site.app.patch_json(BUCKET, {"permissions": bucket})
        request = {"method": "PUT", "path": f"{other}/records/x"}
    else:
        request = {"method": "GET", "path": f"{SOURCE}/records"}
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review")
    requests = [request, patch(status="to-sign")]
    batch(site, "carol", *(requests if order == "beside first" else requests[::-1]))
    assert (site.attributes()["status"], site.records(DESTINATION)) == ("signed", {"fr": {"name": "France"}})


@pytest.mark.parametrize("what", ["record", "collection"])
def test_what_another_plugin_edits_after_a_review_was_asked_for_is_work_in_progress(key_pair, what):
    """It comes with an event of its own, of the same kind as one that was looked at before it came."""
    site = review_site(key_pair, kinto__includes="kinto_signer tests.support.meddling_plugin")
    site.app.app.registry.meddles = what
    if what == "record":
        requests, user = [patch(status="to-review"), put("fr", name="France"), put("fr", name="Frankreich")], "alice"
        site.put("alice", "fr", name="old")
        uri = SOURCE
    else:
        uri, user = f"{BUCKET}/collections/new", "admin"
        requests = [{"method": "PUT", "path": uri}, {**patch(status="to-review"), "path": uri}]
    batch(site, user, *requests)
    assert site.app.app.registry.meddles is None, "it did"
    assert site.attributes(uri)["status"] == "work-in-progress"


def test_a_comment_after_an_approval_says_nothing_new(site):
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review")
    digest = site.app.get(f"{SOURCE}/diff").json["data"]["digest"]
    batch(site, "carol", patch(status="to-sign", reviewed_digest=digest), patch(last_reviewer_comment="fine"))
    assert site.attributes()["status"] == "signed"


def test_what_is_edited_submitted_and_withdrawn_in_one_request_was_submitted(site):
    batch(site, "alice", put("fr", name="France"), patch(status="to-review"), patch(status="work-in-progress"))
    assert (actions(site), site.attributes()["status"]) == (["decline", "request review"], "work-in-progress")
