"""What is to happen beside the statuses: comments, groups, what is said with an approval, who is told what."""

import pytest

from tests.support.servers import authorization
from tests.support.workflow import BUCKET, DESTINATION, SOURCE, ReviewSite, review_site
from tests.support.workflow_site import principal, sequence_site

pytestmark = pytest.mark.xdist_group("sequences of the workflow")
PEOPLE = ("admin", "alice", "bob", "carol", "dave")


@pytest.fixture
def site():
    """Reviews, a preview, the peers' rule of four eyes."""
    return ReviewSite(sequence_site(True, True, False).app, {user: principal(user) for user in PEOPLE})


def patch(site, user, code=None, **data):
    """code: of the answer."""
    return site.app.patch_json(SOURCE, {"data": data}, headers=authorization(user), status=code)


@pytest.mark.parametrize("name", ["last_editor_comment", "last_reviewer_comment"])
def test_a_comment_is_no_edit(site, name):
    before = site.attributes()
    answer = patch(site, "alice", **{name: "hello"})
    found = site.attributes()
    assert {**found, "last_modified": 0} == {**before, name: "hello", "last_modified": 0}
    assert answer.headers["ETag"] == f'"{found["last_modified"]}"', "nothing was written after Kinto"


@pytest.mark.parametrize("name", ["displayFields", "whatever"])
def test_any_other_attribute_is_an_edit(site, name):
    patch(site, "carol", **{name: ["x"]})
    found = site.attributes()
    assert (found["status"], found["last_edit_by"]) == ("work-in-progress", principal("carol"))
    assert found["signer_contributors"] == [principal("carol")]


def test_what_is_said_with_an_approval_is_no_edit_and_is_not_stored(site):
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review")
    digest = site.app.get(f"{SOURCE}/diff").json["data"]["digest"]
    site.set_status("carol", "to-sign", allow_mass_deletion=True, reviewed_digest=digest)
    assert site.attributes()["status"] == "signed"
    assert not {"allow_mass_deletion", "reviewed_digest"} & site.attributes().keys()


@pytest.mark.parametrize("name", ["allow_mass_deletion", "reviewed_digest"])
@pytest.mark.parametrize("status", [None, "to-review", "work-in-progress", "to-resign", "to-rollback", "to-review beside edits"])
def test_it_is_said_with_an_approval_only(site, name, status):
    site.put("alice", "fr", name="France")
    before = site.attributes()
    data = {"status": status.partition(" ")[0]} if status else {}
    refused = patch(site, "alice", 400, **data, **{name: True}, **({"sort": "x"} if "beside" in str(status) else {}))
    assert f"{name!r} may only stand beside the status 'to-sign'" in refused.json["message"]
    assert site.attributes() == before


def test_groups_are_made_with_the_collection_only(site):
    site.app.delete(f"{BUCKET}/groups/regions-editors")
    patch(site, "carol", last_reviewer_comment="x")
    patch(site, "carol", sort="x")
    site.app.get(f"{BUCKET}/groups/regions-editors", status=404)


def test_whoever_is_no_member_any_more_may_not_ask(site):
    site.put("alice", "fr", name="France")
    site.app.put_json(f"{BUCKET}/groups/regions-editors", {"data": {"members": [principal("bob")]}})
    patch(site, "alice", 403, status="to-review")
    site.set_status("bob", "to-review")


def test_a_new_collection_that_asks_to_be_signed_is_signed_once(key_pair, monkeypatch):
    from kinto_signer.server.publisher import Publisher

    site = review_site(key_pair, kinto__signer__to_review_enabled="false", preview=False)
    group = {"data": {"members": [site.principals["admin"]]}}
    site.app.put_json(f"{BUCKET}/groups/other-reviewers", group)
    published, publish = [], Publisher.publish

    def count(self, resource, *args, **options):
        published.append(resource.destination.name)
        return publish(self, resource, *args, **options)

    monkeypatch.setattr(Publisher, "publish", count)
    site.app.put_json(f"{BUCKET}/collections/other", {"data": {"status": "to-sign"}})
    assert published == ["main/other"]
    site.app.put_json(f"{BUCKET}/collections/more", {})
    assert published == ["main/other", "main/more"]


def store(site, **data):
    storage = site.app.app.registry.storage
    storage.update("collection", BUCKET, "regions", {**storage.get("collection", BUCKET, "regions"), **data})


@pytest.mark.parametrize(("stored", "given"), [(None, ""), ("", None)])
def test_no_status_is_no_status_however_it_is_written(site, stored, given):
    store(site, status=stored)
    patch(site, "alice", status=given, last_editor_comment="x")
    assert not site.attributes().get("status")


def test_a_source_without_a_status_has_none_after_a_refresh(site):
    store(site, status=None)
    patch(site, "alice", status="to-resign")
    assert "status" not in site.attributes()


def test_what_differs_though_signed_is_published_where_there_are_no_reviews(key_pair):
    site = review_site(key_pair, kinto__signer__to_review_enabled="false")
    site.app.app.registry.storage.update("record", SOURCE, "fr", {"name": "France"})
    site.set_status("carol", "to-sign")
    assert site.records(DESTINATION) == {"fr": {"name": "France"}}


def test_the_log_names_who_asked_this_time_and_what_they_said(site):
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review", last_editor_comment="first")
    site.set_status("carol", "work-in-progress")
    site.set_status("bob", "to-review", last_editor_comment=None)
    entries = site.app.get(f"{SOURCE}/log").json["data"]
    told = [(entry["requested_by"], entry["comment"]) for entry in entries]
    assert told == [(principal("bob"), ""), (principal("alice"), ""), (principal("alice"), "first")]


def test_the_last_pending_change_is_taken_back_where_there_is_no_preview(key_pair):
    site = review_site(key_pair, preview=False)
    site.put("alice", "fr", name="France")
    site.app.post_json(f"{SOURCE}/discard", {"ids": ["fr"]}, headers=authorization("alice"))
    assert (site.attributes()["status"], site.records(SOURCE)) == ("signed", {})


def test_a_discard_is_told_to_others(site, monkeypatch):
    from kinto_signer.server import notifying

    told = []
    monkeypatch.setattr(notifying, "on_action", lambda event, action, change: told.append(action.effect.value))
    site.put("alice", "fr", name="France")
    site.app.post_json(f"{SOURCE}/discard", {"ids": ["fr"]}, headers=authorization("alice"))
    assert told == ["discard"]


@pytest.mark.parametrize("way", ["to-rollback", "discard"])
def test_nothing_is_restored_from_a_destination_that_was_altered(site, way):
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")
    site.put("alice", "fr", name="edited")
    site.app.app.registry.storage.update("record", DESTINATION, "fr", {"name": "evil"})
    before = site.attributes()
    if way == "discard":
        refused = site.app.post_json(f"{SOURCE}/discard", {"ids": ["fr"]}, headers=authorization("alice"), status=503)
    else:
        refused = site.set_status("alice", way, status=503)
    assert refused.json["details"]["reason"] in ("hash-mismatch", "bad-signature")
    assert (site.attributes(), site.records(SOURCE)) == (before, {"fr": {"name": "edited"}})


def test_attributes_are_not_restored_with_single_records(site):
    patch(site, "alice", sort="name")
    site.put("alice", "fr", name="France")
    site.app.post_json(f"{SOURCE}/discard", {"ids": ["fr"]}, headers=authorization("alice"))
    assert (site.attributes()["sort"], site.attributes()["status"]) == ("name", "work-in-progress")


def test_without_a_limit_everything_may_be_removed_at_once(site):
    for number in range(12):
        site.put("alice", f"r{number}")
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")
    site.app.delete(f"{SOURCE}/records", headers=authorization("alice"))
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")
    assert site.records(DESTINATION) == {}
