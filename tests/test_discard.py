"""``POST …/discard``: the pending changes of single records are taken back, all of them or none."""

import pytest

from kinto_signer.core.difference_pages import from_json
from kinto_signer.plugin.storage import StorageRepository
from tests.support.servers import authorization
from tests.support.site import JSON_PATCH, everything
from tests.support.workflow import (
    BUCKET,
    DESTINATION,
    EDITOR,
    EDITOR_AND_REVIEWER,
    PREVIEW,
    READER,
    REVIEWER,
    SOURCE,
    review_site,
)

DISCARD = f"{SOURCE}/discard"


def published(key_pair, **options):
    """kept, changed, gone are published; then changed is changed, gone is gone, new is new."""
    site = review_site(key_pair, **options)
    for record_id in ("kept", "changed", "gone"):
        site.put(EDITOR, record_id, v=1)
    site.app.patch_json(SOURCE, {"data": {"sort": "v"}}, headers=site.headers(EDITOR))
    site.set_status(EDITOR, "to-review")
    site.set_status(REVIEWER, "to-sign")
    site.put(EDITOR, "changed", v=2)
    site.put(EDITOR, "new", v=2)
    site.delete(EDITOR, "gone")
    return site


@pytest.fixture
def site(key_pair):
    return published(key_pair)


def discard(site, *ids, user=EDITOR, **options):
    return site.app.post_json(DISCARD, {"ids": list(ids)}, headers=site.headers(user), **options)


def pending(site):
    return from_json([site.app.get(f"{SOURCE}/diff").json["data"]])


# --- what it does ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("postgresql", [False, True])
def test_each_kind_of_change_is_taken_back(key_pair, request, postgresql):
    site = published(key_pair, database=request.getfixturevalue("create_database")() if postgresql else None)
    stamps = {record["id"]: record["last_modified"] for record in site.app.get(f"{SOURCE}/records").json["data"]}
    before = site.app.get(f"{SOURCE}/records").headers["ETag"]
    answer = discard(site, "changed", "gone", user=EDITOR_AND_REVIEWER)
    assert site.records(SOURCE) == {"kept": {"v": 1}, "changed": {"v": 1}, "gone": {"v": 1}, "new": {"v": 2}}
    assert pending(site).ids == {"new"}
    attributes = site.attributes()
    assert attributes == answer.json["data"]
    bob = site.principals[EDITOR_AND_REVIEWER]
    assert (attributes["status"], attributes["last_edit_by"]) == ("work-in-progress", bob)
    assert attributes["signer_contributors"] == sorted([bob, site.principals[EDITOR]])
    changes = site.app.get(f"{SOURCE}/records?_since={before}").json["data"]
    assert {change["id"] for change in changes} == {"changed", "gone"}, "who follows the source sees what came back"
    assert {record["id"]: record["last_modified"] for record in site.app.get(f"{SOURCE}/records?id=kept").json["data"]} == {
        "kept": stamps["kept"]
    }
    discard(site, "new")
    assert site.app.get(f"{SOURCE}/records?_since={before}&id=new").json["data"][0]["deleted"] is True
    assert site.attributes()["status"] == "signed"


def test_with_nothing_left_it_is_signed_again_and_the_preview_follows(site):
    site.set_status(EDITOR, "to-review")
    assert "new" in site.records(PREVIEW)
    discard(site, "new")
    assert (site.attributes()["status"], "new" in site.records(PREVIEW)) == ("work-in-progress", True)
    discard(site, "changed", "gone")
    attributes = site.attributes()
    assert (attributes["status"], attributes["signer_contributors"]) == ("signed", [])
    assert pending(site).empty
    assert site.records(PREVIEW) == site.records(DESTINATION) == site.records(SOURCE)
    site.set_status(EDITOR, "to-review", status=400)  # there is nothing to review


def test_attributes_that_differ_keep_it_in_progress(site):
    site.app.patch_json(SOURCE, {"data": {"sort": "-v"}}, headers=site.headers(EDITOR))
    discard(site, "changed", "gone", "new")
    assert site.attributes()["status"] == "work-in-progress"
    assert pending(site).attributes == {"sort": ("v", "-v")}
    site.app.patch_json(SOURCE, {"data": {"sort": "v"}}, headers=site.headers(EDITOR))
    discard(site, "changed", status=400)


def test_what_is_left_can_be_reviewed_and_published(site):
    discard(site, "gone")
    site.set_status(EDITOR, "to-review")
    seen = site.app.get(f"{SOURCE}/diff").json["data"]["digest"]
    discard(site, "changed")
    site.set_status(REVIEWER, "to-sign", status=400)  # the review was of something else
    site.set_status(EDITOR, "to-review")
    site.set_status(REVIEWER, "to-sign", reviewed_digest=seen, status=412)
    site.set_status(REVIEWER, "to-sign")
    assert site.records(DESTINATION) == {"kept": {"v": 1}, "changed": {"v": 1}, "gone": {"v": 1}, "new": {"v": 2}}


def test_who_discards_takes_part(key_pair):
    site = published(key_pair, kinto__signer__four_eyes="contributors")
    discard(site, "new", user=REVIEWER)
    site.set_status(EDITOR, "to-review")
    site.set_status(REVIEWER, "to-sign", status=403)


# --- all or none ----------------------------------------------------------------------------------------------------------


def test_an_id_without_a_pending_change_is_named_and_nothing_is_done(site):
    before = everything(site.app)
    for ids in (["changed", "unknown"], ["kept", "changed"], ["kinto-signer-timestamp"]):
        answer = discard(site, *ids, status=400).json
        named = answer["message"].partition("Nothing was changed")[0]
        assert (answer["errno"], "'changed'" in named) == (109, False)
        assert repr(next(name for name in ids if name != "changed")) in named
        assert everything(site.app) == before


BAD_BODIES = (
    ([], ""),
    ({}, "ids"),
    ({"ids": []}, "ids"),
    ({"ids": "changed"}, "ids"),
    ({"ids": ["changed", 1]}, "ids"),
    ({"ids": ["changed", "changed"]}, "ids"),
    ({"ids": ["changed"], "id": "new"}, "id"),
)


def test_a_bad_body_is_refused_with_the_field(site):
    for body, field in BAD_BODIES:
        answer = site.app.post_json(DISCARD, body, headers=site.headers(EDITOR), status=400).json
        assert answer["errno"] == 107
        assert (answer["details"][0]["location"], answer["details"][0]["name"] or "") == ("body", field)
    for text in (b"", b"{", b"\x80"):
        site.app.post(DISCARD, text, headers=site.headers(EDITOR), content_type="application/json", status=400)
    assert "new" in site.records(SOURCE)


def test_where_nothing_was_ever_published_there_is_nothing_to_go_back_to(key_pair):
    site = review_site(key_pair)
    site.put(EDITOR, "a", v=1)
    StorageRepository(site.app.app.registry.storage).set_attributes("main/regions", {})
    answer = discard(site, "a", status=400).json
    assert "ever published" in answer["message"]


# --- for whom -------------------------------------------------------------------------------------------------------------


def test_write_on_the_source_is_asked_for(site):
    discard(site, "new", user=READER, status=403)
    site.app.post_json(DISCARD, {"ids": ["new"]}, headers={"Authorization": ""}, status=401)
    for permission, status in (("read", 403), ("record:create", 403), ("write", 200)):
        user = f"with-{permission.partition(':')[0]}"
        principal = site.app.get("/", headers=authorization(user)).json["user"]["id"]
        site.app.patch_json(SOURCE, {"permissions": {permission: [principal]}})
        site.app.post_json(DISCARD, {"ids": ["new"]}, headers=authorization(user), status=status)
    assert "new" not in site.records(SOURCE)


def test_writing_the_bucket_is_enough_and_reading_it_shows_what_is_not_there(site):
    missing = f"{BUCKET}/collections/missing/discard"
    site.app.post_json(missing, {"ids": ["a"]}, headers=site.headers(READER), status=404)
    site.app.post_json(missing, {"ids": ["a"]}, headers=authorization("stranger"), status=403)
    site.app.post_json(f"{DESTINATION}/discard", {"ids": ["kept"]}, status=(403, 404))
    discard(site, "new", user="admin")


def test_who_does_not_log_in_is_everyone(site):
    site.app.patch_json(SOURCE, {"permissions": {"write": ["system.Everyone"]}})
    site.app.patch_json(BUCKET, {"permissions": {name: ["system.Everyone"] for name in ("collection:create", "group:create")}})
    nobody = {"Authorization": ""}
    site.app.put_json(f"{SOURCE}/records/kept", {"data": {"v": 2}}, headers=nobody)
    assert site.attributes()["last_edit_by"] == "system.Everyone"
    site.app.post_json(DISCARD, {"ids": ["new"]}, headers=nobody)
    assert site.attributes()["last_edit_by"] == "system.Everyone"
    assert site.attributes()["signer_contributors"] == sorted([site.principals[EDITOR], "system.Everyone"])
    site.app.put_json(f"{BUCKET}/collections/other", {}, headers=nobody)
    assert site.app.get(f"{BUCKET}/groups/other-editors").json["data"]["members"] == []


# --- beside other things --------------------------------------------------------------------------------------------------


def batch(site, *parts, user=EDITOR, **options):
    requests = [{"method": method, "path": path, "body": body} for method, path, body in parts]
    return site.app.post_json("/batch", {"requests": requests}, headers=site.headers(user), **options)


BESIDE = {
    "an edit": ("PUT", f"{SOURCE}/records/kept", {"data": {"v": 3}}),
    "a status": ("PATCH", SOURCE, {"data": {"status": "to-review"}}),
    "another discard": ("POST", DISCARD, {"ids": ["changed"]}),
}


def test_a_discard_stands_alone_in_its_request(site):
    before = everything(site.app)
    for beside in BESIDE.values():
        parts = [("POST", DISCARD, {"ids": ["new"]}), beside]
        for order in (parts, parts[::-1]):
            answer = batch(site, *order, status=400).json
            assert "request of its own" in answer["message"]
            assert everything(site.app) == before


def test_nobody_approves_what_a_discard_in_the_same_batch_made_of_it(site):
    site.set_status(EDITOR, "to-review")
    before = everything(site.app)
    approval = ("PATCH", SOURCE, {"data": {"status": "to-sign"}})
    batch(site, ("POST", DISCARD, {"ids": ["new"]}), approval, user=REVIEWER, status=400)
    batch(site, approval, ("POST", DISCARD, {"ids": ["new"]}), user=REVIEWER, status=400)
    assert everything(site.app) == before


def test_a_batch_may_discard_in_several_collections(site):
    other = f"{BUCKET}/collections/other"
    site.app.put_json(other, {})
    site.app.put_json(f"{other}/records/a", {"data": {"v": 1}})
    answer = batch(site, ("POST", DISCARD, {"ids": ["new"]}), ("POST", f"{other}/discard", {"ids": ["a"]}), user="admin").json
    assert [part["status"] for part in answer["responses"]] == [200, 200]
    assert (site.attributes(other)["status"], "new" in site.records(SOURCE)) == ("signed", False)


def test_a_batch_is_of_one_person(site):
    """Kinto tells of both in one event, with one name."""
    other = f"{BUCKET}/collections/other"
    site.app.put_json(other, {})
    before = everything(site.app)
    parts = [
        {"method": "POST", "path": DISCARD, "body": {"ids": ["new"]}, "headers": site.headers(EDITOR)},
        {"method": "PATCH", "path": other, "body": {"data": {"note": 1}}, "headers": site.headers("admin")},
    ]
    for order in (parts, parts[::-1]):
        answer = site.app.post_json("/batch", {"requests": order}, status=400).json
        assert "several people" in answer["message"]
        assert everything(site.app) == before


def test_a_refused_part_leaves_nothing_behind_on_postgresql(key_pair, database):
    site = published(key_pair, database=database)
    before = everything(site.app)
    batch(site, ("POST", DISCARD, {"ids": ["new"]}), BESIDE["an edit"], status=400)
    assert everything(site.app) == before


# --- told to others -------------------------------------------------------------------------------------------------------


def test_one_entry_in_the_log_and_one_in_the_history(key_pair):
    site = published(key_pair, kinto__includes="kinto.plugins.history kinto_signer")
    site.set_status(EDITOR, "to-review")
    digest = site.app.get(f"{SOURCE}/diff").json["data"]["digest"]
    old = {entry["id"] for entry in site.app.get(f"{BUCKET}/history").json["data"]}
    discard(site, "changed", "new", user=EDITOR_AND_REVIEWER)
    (entry,) = [entry for entry in site.app.get(f"{BUCKET}/history").json["data"] if entry["id"] not in old]
    assert (entry["uri"], entry["action"], entry["user_id"]) == (SOURCE, "update", site.principals[EDITOR_AND_REVIEWER])
    assert entry["target"]["data"] == site.attributes()
    action = site.app.get(f"{SOURCE}/log").json["data"][0]
    expected = {"action": "discard", "by": site.principals[EDITOR_AND_REVIEWER], "created": 1, "updated": 1, "deleted": 0}
    assert {name: action[name] for name in expected} == expected
    assert (action["digest"], action["requested_by"]) == (digest, site.principals[EDITOR])
    assert action["date"] == site.attributes()["last_edit_date"]
    assert action["size_bytes"] > 0


def test_a_failed_one_is_in_no_log(site):
    log = site.app.get(f"{SOURCE}/log").json["data"]
    discard(site, "unknown", status=400)
    batch(site, ("POST", DISCARD, {"ids": ["new"]}), BESIDE["an edit"], status=400)
    assert site.app.get(f"{SOURCE}/log").json["data"] == log


def test_the_schema_of_what_comes_back_is_not_asked_again(site):
    """What was published may not fit a schema that was made since; going back to it is still possible."""
    schema = {"type": "object", "properties": {"v": {"minimum": 2}}}
    site.app.patch_json(SOURCE, {"data": {"schema": schema}}, headers=site.headers(EDITOR))
    discard(site, "changed")
    assert site.records(SOURCE)["changed"] == {"v": 1}
    site.app.patch_json(
        SOURCE, [{"op": "remove", "path": "/data/schema"}], headers={**site.headers(EDITOR), "Content-Type": JSON_PATCH}
    )


def test_attachments_come_back(key_pair, tmp_path):
    """The files are kinto-attachment's: it deletes what is replaced at once unless it is told to keep it."""
    options = {"kinto__includes": "kinto_attachment kinto_signer", "kinto__attachment__base_path": str(tmp_path / "files")}
    site = review_site(key_pair, kinto__attachment__keep_old_files="true", **options)

    def upload(record_id, content):
        path, files = f"{SOURCE}/records/{record_id}/attachment", [("attachment", "a.txt", content)]
        site.app.post(path, {"data": "{}"}, upload_files=files, headers=site.headers(EDITOR))

    for record_id in ("replaced", "removed"):
        upload(record_id, b"old")
    site.put(EDITOR, "added", v=1)
    site.set_status(EDITOR, "to-review")
    site.set_status(REVIEWER, "to-sign")
    before = site.records(SOURCE)
    upload("replaced", b"new")
    upload("added", b"new")
    site.app.delete(f"{SOURCE}/records/removed/attachment", headers=site.headers(EDITOR))
    assert pending(site).ids == {"added", "replaced", "removed"}
    discard(site, "added", "replaced", "removed")
    assert site.records(SOURCE) == before == site.records(DESTINATION)
    for record_id in ("replaced", "removed"):
        assert (tmp_path / "files" / before[record_id]["attachment"]["location"]).read_bytes() == b"old"
    assert site.attributes()["status"] == "signed"
