"""Reviews as people do them: requested by an editor, approved by a reviewer who is somebody else; on memory and PostgreSQL."""

import pytest
import transaction

from kinto_signer.core.changeset import Changeset
from kinto_signer.core.trust import Trust, check, load_public_key
from tests.support.servers import authorization
from tests.support.workflow import BUCKET, DESTINATION, PREVIEW, SOURCE, review_site


@pytest.fixture
def site(key_pair, storage_url):
    return review_site(key_pair, database=storage_url)


def verify(site, key_pair, uri):
    metadata = site.attributes(uri)
    records = site.app.get(f"{uri}/records").json["data"]
    trust = Trust((load_public_key(key_pair.public.read_bytes(), where="the test"),))
    bucket, collection = uri.split("/")[2], uri.split("/")[4]
    check(f"{bucket}/{collection}", Changeset(metadata["signed_timestamp"], records, {**metadata, "bucket": bucket}), trust)
    assert site.app.get(f"{uri}/records").headers["ETag"] == f'"{metadata["signed_timestamp"]}"'


def test_a_new_collection_has_groups_that_may_write_it_and_signed_copies(site, key_pair):
    for group in ("editors", "reviewers"):
        assert f"{BUCKET}/groups/regions-{group}" in site.app.get(SOURCE).json["permissions"]["write"]
    assert site.attributes()["status"] == "signed"
    for copy in (PREVIEW, DESTINATION):
        verify(site, key_pair, copy)


def test_request_decline_request_approve(site, key_pair):
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review", last_editor_comment="first", last_reviewer_comment="old")
    found = site.attributes()
    assert (found["status"], found["last_editor_comment"], found["last_reviewer_comment"]) == ("to-review", "first", "")
    assert found["last_review_request_by"] == site.principals["alice"]
    assert site.records(PREVIEW) == {"fr": {"name": "France"}}
    assert site.records(DESTINATION) == {}
    verify(site, key_pair, PREVIEW)

    site.set_status("carol", "work-in-progress", last_reviewer_comment="no")
    found = site.attributes()
    assert (found["status"], found["last_review_by"]) == ("work-in-progress", site.principals["carol"])

    site.put("alice", "fr", name="Frankreich")
    site.set_status("alice", "to-review")
    site.set_status("alice", "to-sign", status=403)
    site.set_status("bob", "to-sign", last_reviewer_comment="")
    found = site.attributes()
    assert found["status"] == "signed"
    assert found["last_review_by"] == found["last_signature_by"] == site.principals["bob"]
    assert found["signer_contributors"] == []
    assert {k: found["signer_approval"][k] for k in ("created", "updated", "deleted", "by", "requested_by", "alone")} == {
        "created": 1,
        "updated": 0,
        "deleted": 0,
        "by": site.principals["bob"],
        "requested_by": site.principals["alice"],
        "alone": False,
    }
    assert site.records(DESTINATION) == site.records(PREVIEW) == {"fr": {"name": "Frankreich"}}
    verify(site, key_pair, DESTINATION)
    actions = [entry["action"] for entry in site.app.get(f"{SOURCE}/log").json["data"]]
    assert actions == ["publish", "request review", "decline", "request review"]


def test_rollback_restores_source_and_preview(site, key_pair):
    site.put("alice", "fr", name="France")
    site.put("alice", "de", name="Germany")
    site.app.patch_json(SOURCE, {"data": {"displayFields": ["name"]}})
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")
    published = site.records(DESTINATION)
    site.put("alice", "fr", name="changed")
    site.put("alice", "at", name="new")
    site.delete("alice", "de")
    site.app.patch_json(SOURCE, {"data": {"displayFields": ["other"], "sort": "name"}})
    site.set_status("alice", "to-review")
    assert site.records(PREVIEW) == {"fr": {"name": "changed"}, "at": {"name": "new"}}
    site.set_status("alice", "to-rollback")
    found = site.attributes()
    assert (found["status"], found["displayFields"], "sort" in found) == ("signed", ["name"], False)
    assert site.records(SOURCE) == site.records(PREVIEW) == site.records(DESTINATION) == published
    verify(site, key_pair, PREVIEW)
    site.set_status("alice", "to-rollback", status=400)


@pytest.mark.parametrize("order", ["edit first", "status first"])
@pytest.mark.parametrize("edit", ["record", "attribute"])
def test_an_edit_beside_an_approval_is_not_published_unseen(site, order, edit):
    """In one batch, before or after the approval; and the approval alone goes through."""
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review")
    approval = {"method": "PATCH", "path": SOURCE, "body": {"data": {"status": "to-sign"}}}
    edits = {
        "record": {"method": "PUT", "path": f"{SOURCE}/records/evil", "body": {"data": {"name": "evil"}}},
        "attribute": {"method": "PATCH", "path": SOURCE, "body": {"data": {"displayFields": ["evil"]}}},
    }
    requests = [edits[edit], approval] if order == "edit first" else [approval, edits[edit]]
    before = site.attributes()
    answer = site.app.post_json("/batch", {"requests": requests}, headers=authorization("carol"), status=400)
    assert "Collection not under review" in answer.json["message"]
    assert site.attributes() == before
    assert site.records(DESTINATION) == {}
    site.app.post_json("/batch", {"requests": [approval]}, headers=authorization("carol"))
    assert site.records(DESTINATION) == {"fr": {"name": "France"}}


@pytest.mark.parametrize("order", ["edit first", "status first"])
def test_records_and_their_review_in_one_batch(site, order):
    requests = [
        {"method": "PUT", "path": f"{SOURCE}/records/fr", "body": {"data": {"name": "France"}}},
        {"method": "PATCH", "path": SOURCE, "body": {"data": {"status": "to-review"}}},
    ]
    requests = requests if order == "edit first" else requests[::-1]
    site.app.post_json("/batch", {"requests": requests}, headers=authorization("alice"))
    found = site.attributes()
    assert found["status"] == "to-review"
    assert found["signer_contributors"] == [site.principals["alice"]]
    assert site.records(PREVIEW) == {"fr": {"name": "France"}}
    assert site.app.get("/").status_int == 200
    site.set_status("carol", "to-sign")
    assert site.records(DESTINATION) == {"fr": {"name": "France"}}


def test_what_was_reviewed_is_what_is_signed(site):
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review")
    etag = site.app.get(SOURCE).headers["ETag"]
    entry = site.app.get(f"{SOURCE}/log").json["data"][0]
    site.put("alice", "fr", name="altered")
    site.set_status("alice", "to-review")
    body = {"data": {"status": "to-sign"}}
    site.app.patch_json(SOURCE, body, headers=authorization("carol") | {"If-Match": etag}, status=412)
    refused = site.set_status("carol", "to-sign", reviewed_digest=entry["digest"], status=412)
    assert (refused.json["errno"], refused.json["details"]["reason"]) == (114, "changed")
    assert site.records(DESTINATION) == {}
    site.set_status("carol", "work-in-progress", reviewed_digest=entry["digest"], status=400)
    now = site.app.get(f"{SOURCE}/log").json["data"][0]["digest"]
    site.set_status("carol", "to-sign", reviewed_digest=now)
    found = site.attributes()
    assert (found["status"], found["signer_approval"]["digest"]) == ("signed", now)
    assert "reviewed_digest" not in found


def test_whoever_may_not_make_the_groups_makes_no_collection(site):
    bucket = site.app.get(BUCKET).json["permissions"] | {"collection:create": [site.principals["dave"]]}
    site.app.patch_json(BUCKET, {"permissions": bucket})
    path = f"{BUCKET}/collections/other"
    refused = site.app.put_json(path, {}, headers=authorization("dave"), status=403)
    assert "group:create" in refused.json["message"]
    site.app.get(path, status=404)
    site.app.patch_json(BUCKET, {"permissions": bucket | {"group:create": [site.principals["dave"]]}})
    site.app.put_json(path, {}, headers=authorization("dave"))
    assert site.app.get(f"{BUCKET}/groups/other-editors").json["data"]["members"] == [site.principals["dave"]]
    assert site.app.get(f"{BUCKET}/groups/other-reviewers").json["data"]["members"] == []
    site.app.put_json(f"{path}/records/r", {"data": {"n": 1}}, headers=authorization("dave"))
    site.app.patch_json(path, {"data": {"status": "to-review"}}, headers=authorization("dave"))


def test_contributors_cannot_approve_where_the_stricter_rule_is_in_force(key_pair, storage_url):
    site = review_site(key_pair, database=storage_url, kinto__signer__four_eyes="contributors")
    site.put("bob", "fr", name="France")
    site.set_status("alice", "to-review")
    refused = site.set_status("bob", "to-sign", status=403)
    assert refused.json["message"].startswith("Last editor cannot review")
    site.set_status("carol", "to-sign")
    # The peers' rule lets bob approve what he edited and alice requested.
    other = review_site(key_pair)
    other.put("bob", "fr", name="France")
    other.set_status("alice", "to-review")
    other.set_status("bob", "to-sign")


def test_a_bot_that_may_approve_alone(key_pair):
    site = review_site(key_pair)
    alone = {"kinto__signer__main-workspace__regions__self_approval_principals": site.principals["bob"]}
    site = review_site(key_pair, **alone)
    site.put("bob", "fr", name="France")
    site.set_status("bob", "to-sign", status=400)
    site.set_status("bob", "to-review")
    site.set_status("bob", "to-sign")
    assert site.attributes()["signer_approval"]["alone"] is True
    assert site.app.get(f"{SOURCE}/log").json["data"][0]["alone"] is True


def test_one_batch_is_of_one_person(site):
    """Kinto's events name whoever came first; each alone may do what they ask for."""
    site.put("alice", "fr", name="France")
    parts = [
        {"method": "PATCH", "path": SOURCE, "body": {"data": {"status": status}}, "headers": authorization(user)}
        for user, status in (("alice", "to-review"), ("carol", "to-sign"))
    ]
    before = site.attributes()
    refused = site.app.post_json("/batch", {"requests": parts}, headers=authorization("alice"), status=400)
    assert "several people" in refused.json["message"]
    assert site.attributes() == before
    for part in parts:
        site.app.post_json("/batch", {"requests": [part]}, headers=authorization("dave"))
    assert site.records(DESTINATION) == {"fr": {"name": "France"}}


def test_what_differs_though_signed_was_approved_by_nobody(site):
    """As after SQL in S's database, or writes while the plugin was not there."""
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")
    storage = site.app.app.registry.storage
    site.set_status("carol", "to-sign")
    storage.update("record", SOURCE, "fr", {"name": "evil"})
    if hasattr(storage, "client"):
        transaction.commit()
    refused = site.set_status("carol", "to-sign", status=400)
    assert "differs from what was published in 1 records" in refused.json["message"]
    site.set_status("carol", "work-in-progress")
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")


@pytest.mark.parametrize("stored", ["nope", 5, None])
def test_a_stored_status_that_nobody_knows_is_work_in_progress(site, stored):
    """From before the plugin, or from another one."""
    site.put("alice", "fr", name="France")
    storage = site.app.app.registry.storage
    before = storage.get("collection", BUCKET, "regions")
    storage.update("collection", BUCKET, "regions", {**before, "status": stored})
    if hasattr(storage, "client"):
        transaction.commit()
    site.app.patch_json(SOURCE, {"data": {"last_editor_comment": "x"}}, headers=authorization("alice"))
    site.set_status("carol", "to-sign", status=400)
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")
    assert site.records(DESTINATION) == {"fr": {"name": "France"}}
