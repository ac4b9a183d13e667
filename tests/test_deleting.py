"""Deleting a source: past nobody's review, and so that none of its records comes back."""

import pytest

from kinto_signer.core.changeset import Changeset
from kinto_signer.core.trust import Trust, check, load_public_key
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server import deleting
from tests.support.keys import write_key_pair
from tests.support.site import DESTINATION, SOURCE, attributes, everything, set_status, signer_app, store
from tests.support.workflow import BUCKET, PREVIEW, review_site

CONFIRMED = f"{SOURCE}?confirm=regions"


@pytest.fixture
def site(key_pair, storage_url):
    return published(review_site(key_pair, database=storage_url))


def published(site):
    for name in ("fr", "de"):
        site.put("alice", name, name=name)
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")
    return site


def delete(site, user, uri=SOURCE, *, batch=False, status=None):
    if not batch:
        return site.app.delete(uri, headers=site.headers(user), status=status)
    body = {"requests": [{"method": "DELETE", "path": uri}]}
    return site.app.post_json("/batch", body, headers=site.headers(user), status=status)


def verify(app, key_pair, uri):
    """The signed timestamp of a state that verifies and whose tombstones go up to it."""
    metadata = app.get(uri).json["data"]
    records = app.get(f"{uri}/records").json["data"]
    bucket = uri.split("/")[2]
    trust = Trust((load_public_key(key_pair.public.read_bytes(), where="the test"),))
    check(f"{bucket}/regions", Changeset(metadata["signed_timestamp"], records, {**metadata, "bucket": bucket}), trust)
    assert app.get(f"{uri}/records").headers["ETag"] == f'"{metadata["signed_timestamp"]}"'
    return metadata["signed_timestamp"]


# --- who may ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("user", ["alice", "carol", "admin"])
@pytest.mark.parametrize("query", ["", "?confirm=", "?confirm=other", "?confirm=true"])
def test_what_readers_have_is_not_deleted_unconfirmed(key_pair, shared_site, user, query, batch):
    before = everything(shared_site.app, PREVIEW)
    answer = delete(shared_site, user, SOURCE + query, batch=batch, status=403)
    assert answer.json["errno"] == 121
    assert answer.json["message"].startswith("Collection is in use. main/regions, which readers have, holds 2 records.")
    for way in ("Either delete the records of main-workspace/regions", f"`DELETE {CONFIRMED}`", "regions-reviewers"):
        assert way in answer.json["message"]
    assert everything(shared_site.app, PREVIEW) == before


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory):
    """One for all refusals, after which everything is as it was."""
    return published(review_site(write_key_pair(tmp_path_factory.mktemp("deleting"))))


@pytest.mark.parametrize("user", ["alice", "admin"])
def test_only_a_reviewer_confirms(shared_site, user):
    before = everything(shared_site.app, PREVIEW)
    answer = delete(shared_site, user, CONFIRMED, status=403)
    assert answer.json["message"].startswith("Not in regions-reviewers group")
    assert everything(shared_site.app, PREVIEW) == before


def test_who_may_not_write_it_gets_kintos_own_answer(shared_site):
    for user in ("dave", "stranger"):
        answer = delete(shared_site, user, CONFIRMED, status=403)
        assert "group" not in answer.json["message"]
    delete(shared_site, "admin", f"{BUCKET}/collections/other?confirm=other", status=404)


def test_a_refusal_holds_on_postgresql(key_pair, database):
    site = published(review_site(key_pair, database=database))
    before = everything(site.app, PREVIEW)
    for user, uri in (("carol", SOURCE), ("alice", CONFIRMED), ("admin", f"{BUCKET}/collections"), ("admin", BUCKET)):
        delete(site, user, uri, status=403)
    assert everything(site.app, PREVIEW) == before


@pytest.mark.parametrize("confirmed", [True, False])
def test_where_no_groups_are_checked_whoever_may_write_confirms(key_pair, confirmed):
    app = signer_app(key_pair)
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1}})
    set_status(app, "to-sign")
    answer = app.delete(CONFIRMED if confirmed else SOURCE, status=200 if confirmed else 403)
    assert confirmed or "whoever may write it" in answer.json["message"]


def test_an_empty_source_may_be_deleted_by_any_writer(site):
    for name in ("fr", "de"):
        site.delete("alice", name)
    delete(site, "alice", status=403)
    site.set_status("alice", "to-review")
    delete(site, "alice", status=403)
    site.set_status("carol", "to-sign")
    delete(site, "alice")
    site.app.get(SOURCE, status=404)


def test_what_was_never_signed_may_be_deleted(key_pair):
    """A source from before the plugin: what is in its destination is nobody's publication."""
    app = signer_app(key_pair, collection=False)
    for uri in (SOURCE, DESTINATION):
        store(app, uri, "old", n=1)
    app.app.registry.permission.add_principal_to_ace(DESTINATION, "read", "system.Everyone")
    app.delete(SOURCE)
    assert app.get(f"{DESTINATION}/records").json["data"] == []
    verify(app, key_pair, DESTINATION)


# --- what becomes of it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("storage_url", "batch"), [("memory", True), ("postgresql", False)], indirect=["storage_url"])
def test_a_confirmed_deletion_leaves_a_signed_empty_state(site, key_pair, batch):
    app = site.app
    site.put("alice", "draft", name="not published")
    site.set_status("alice", "to-review")
    since = {uri: verify(app, key_pair, uri) for uri in (DESTINATION, PREVIEW)}
    answer = delete(site, "carol", CONFIRMED, batch=batch)
    assert not batch or answer.json["responses"][0]["status"] == 200
    app.get(SOURCE, status=404)
    for uri, known in ((DESTINATION, {"fr", "de"}), (PREVIEW, {"fr", "de", "draft"})):
        assert app.get(f"{uri}/records").json["data"] == []
        assert verify(app, key_pair, uri) > since[uri]
        changes = app.get(f'{uri}/records?_since="{since[uri]}"').json["data"]
        assert {change["id"] for change in changes if change["deleted"]} >= known


def test_groups_go_with_the_collection_and_the_log_stays(site):
    app = site.app
    delete(site, "carol", CONFIRMED)
    for group in ("editors", "reviewers"):
        app.get(f"{BUCKET}/groups/regions-{group}", status=404)
    app.put_json(SOURCE, {})
    assert app.get(f"{BUCKET}/groups/regions-editors").json["data"]["members"] == [site.principals["admin"]]
    entry = app.get(f"{SOURCE}/log").json["data"][0]
    assert {name: entry[name] for name in ("action", "by", "created", "updated", "deleted")} == {
        "action": "delete",
        "by": site.principals["carol"],
        "created": 0,
        "updated": 0,
        "deleted": 2,
    }
    assert entry["size_bytes"] > 0
    assert "signer_approval" not in attributes(app)
    delete(site, "carol", CONFIRMED, status=403)  # whoever was a reviewer is none of the new collection


def test_a_list_of_sources_is_written_by_nobody_else_in_a_batch(shared_site):
    before = everything(shared_site.app, PREVIEW)
    edit = {"method": "PUT", "path": f"{SOURCE}/records/x", "headers": shared_site.headers("alice")}
    body = {"data": {"id": "second"}}
    new = {"method": "POST", "path": f"{BUCKET}/collections", "body": body, "headers": shared_site.headers("admin")}
    for parts in ([edit, new], [new, edit]):
        answer = shared_site.app.post_json("/batch", {"requests": parts}, status=400)
        assert "several people" in answer.json["message"]
    assert everything(shared_site.app, PREVIEW) == before


def test_several_empty_sources_are_deleted_at_once(key_pair, storage_url):
    app = signer_app(key_pair, database=storage_url)
    app.put_json(f"{BUCKET}/collections/second", {})
    app.delete(f"{BUCKET}/collections")
    for name in ("regions", "second"):
        app.get(f"{BUCKET}/collections/{name}", status=404)
        assert attributes(app, f"/buckets/main/collections/{name}")["signature"]


COUNT = 12_000


def test_of_more_records_than_kinto_deletes_at_once_none_comes_back(key_pair):
    """On memory; `test_many_records` does it on PostgreSQL."""
    app = signer_app(key_pair)
    storage = app.app.registry.storage
    for i in range(COUNT):
        storage.update("record", SOURCE, f"r{i}", {"n": i})
    set_status(app, "to-sign")
    since = attributes(app, DESTINATION)["signed_timestamp"]
    app.delete(CONFIRMED)
    repository = StorageRepository(storage)
    graves = repository.records("main/regions", with_tombstones=True)
    assert len([grave for grave in graves if grave["last_modified"] > since and grave["deleted"]]) == COUNT
    app.put_json(SOURCE, {})
    set_status(app, "to-sign")
    assert (repository.count("main-workspace/regions"), repository.count("main/regions")) == (0, 0)


def test_what_is_seen_before_a_deletion_stays_so(shared_site, monkeypatch):
    locked = []
    monkeypatch.setattr(deleting, "lock", lambda request, name: locked.append(name))
    delete(shared_site, "carol", status=403)
    assert locked == ["main-workspace/regions"]


def test_a_source_that_is_not_there_is_not_found_whatever_its_destination_holds(key_pair):
    site = published(review_site(key_pair))
    site.app.app.registry.storage.delete("collection", "/buckets/main-workspace", "regions")
    site.app.delete(SOURCE, status=404)
