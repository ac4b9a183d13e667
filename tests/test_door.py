"""S's door: nobody writes the signed copies by hand, and nobody deletes what holds them."""

import json

import pytest

from kinto_signer.server import door
from tests.support.keys import write_key_pair
from tests.support.publications import URI, body_of, post, successive_states
from tests.support.servers import authorization, webtest_app
from tests.support.settings import guarded_settings, signer_settings
from tests.support.site import BUCKET, DESTINATION, JSON_PATCH, MERGE_PATCH, SOURCE, everything, set_status, signer_app
from tests.test_authority_guard import batch_of

PREVIEW = "/buckets/main-preview/collections/regions"
RESOURCES = "main-workspace -> main-preview -> main"


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory):
    """One for all tests after which everything is as it was."""
    return site(write_key_pair(tmp_path_factory.mktemp("door")))


def site(key_pair, *, open_to_all=True, **options):
    """S on which, where it is open to all, everybody may write every bucket, so that the door alone refuses."""
    options = {"kinto__bucket_write_principals": "system.Authenticated", "kinto__signer__resources": RESOURCES} | options
    app = signer_app(key_pair, **options)
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1}})
    set_status(app, "to-review")
    set_status(app, "to-sign")
    for copied in ("/buckets/main", "/buckets/main-preview") if open_to_all else ():
        app.patch_json(copied, {"permissions": {"write": ["system.Authenticated"]}})
    return app


def send(app, method, uri, body, status):
    sent = {} if body is None else {"body": json.dumps(body).encode(), "content_type": "application/json"}
    return app.request(uri, method=method, status=status, **sent)


WRITES = [
    ("PUT", "/records/new", {"data": {"n": 2}}),
    ("PUT", "/records/r1", {"data": {"n": 2}}),
    ("PATCH", "/records/r1", {"data": {"n": 2}}),
    ("PATCH", "/records/r1", {"permissions": {"write": ["system.Everyone"]}}),
    ("POST", "/records", {"data": {"n": 2}}),
    ("DELETE", "/records/r1", None),
    ("DELETE", "/records", None),
    ("DELETE", "/records?n=1", None),
    ("PATCH", "", {"data": {"signature": {}}}),
    ("PATCH", "", {"data": {}, "permissions": {"read": ["account:x"]}}),
    ("PUT", "", {"data": {"displayFields": []}}),
    ("PUT", "", {}),
    ("PATCH", "", None),
    ("DELETE", "", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=[f"{method} {path}" for method, path, _ in WRITES])
@pytest.mark.parametrize("copied", [DESTINATION, PREVIEW])
def test_nobody_writes_a_signed_copy_by_hand(shared_app, method, path, body, copied):
    app = shared_app
    before = everything(app, PREVIEW)
    answer = send(app, method, copied + path, body, 403)
    assert (answer.json["errno"], answer.json["details"]) == (121, {"reason": "refused"})
    assert answer.json["message"].startswith("Collection is in use. ")
    assert "main-workspace/regions" in answer.json["message"]
    part = {"method": method, "path": copied + path} | ({} if body is None else {"body": body})
    edit = {"method": "PUT", "path": f"{SOURCE}/records/r2", "body": {"data": {"n": 2}}}
    app.post_json("/batch", {"requests": [edit, part]}, status=403)
    assert everything(app, PREVIEW) == before


def test_nothing_is_written_or_deleted_on_postgresql_either(key_pair, database):
    app = site(key_pair, database=database)
    before = everything(app, PREVIEW)
    for method, path, body in WRITES[:1] + WRITES[5:9] + WRITES[-1:]:
        send(app, method, DESTINATION + path, body, 403)
    for uri in (
        "/buckets",
        "/buckets/main",
        "/buckets/main-preview",
        BUCKET,
        "/buckets/main/collections",
        f"{BUCKET}/collections",
    ):
        app.delete(uri, status=403)
    assert everything(app, PREVIEW) == before


PATCHES = [
    ("read", {"permissions": {"read": ["account:x"]}}, "application/json", True),
    ("merge", {"permissions": {"read": ["account:x"]}}, MERGE_PATCH, True),
    ("patch", [{"op": "add", "path": "/permissions/read/account:x"}], JSON_PATCH, True),
    (
        "data too",
        [{"op": "add", "path": "/permissions/read/account:x"}, {"op": "remove", "path": "/data/hash"}],
        JSON_PATCH,
        False,
    ),
    ("moved out", [{"op": "move", "from": "/data/hash", "path": "/permissions/read"}], JSON_PATCH, False),
    ("everything", [{"op": "replace", "path": "", "value": {}}], JSON_PATCH, False),
    ("nothing", [], JSON_PATCH, False),
]


@pytest.mark.parametrize(("body", "content_type", "allowed"), [row[1:] for row in PATCHES], ids=[row[0] for row in PATCHES])
def test_only_permissions_may_be_patched(shared_app, body, content_type, allowed):
    app = shared_app
    app.patch_json(DESTINATION, {"permissions": {"read": []}}, headers={"Content-Type": MERGE_PATCH})
    before = app.get(DESTINATION).json
    headers = {"Content-Type": content_type}
    app.patch(DESTINATION, json.dumps(body), headers=headers, status=200 if allowed else 403)
    after = app.get(DESTINATION).json
    assert without_time(after["data"]) == without_time(before["data"])
    assert ("account:x" in after["permissions"].get("read", ())) is allowed


def without_time(data):
    return {key: value for key, value in data.items() if key != "last_modified"}


def test_a_put_of_permissions_alone_keeps_the_attributes(shared_app):
    """Which is how kinto.js sets them."""
    app = shared_app
    before = app.get(DESTINATION).json["data"]
    app.put_json(DESTINATION, {"permissions": {"read": ["account:x"]}}, status=200)
    assert without_time(app.get(DESTINATION).json["data"]) == without_time(before)
    set_status(app, "to-sign")


def test_a_signed_copy_is_not_made_by_hand(shared_app):
    app = shared_app
    for copied in ("/buckets/main", "/buckets/main-preview"):
        app.put_json(f"{copied}/collections/other", {"permissions": {"read": ["account:x"]}}, status=403)
        app.put_json(f"{copied}/collections/other", {"data": {}}, status=403)
        for body in ({}, {"data": {"id": "other"}}):
            answer = app.post_json(f"{copied}/collections", body, status=403)
            assert "main-workspace" in answer.json["message"]
        app.get(f"{copied}/collections/other", status=404)


def test_who_may_not_write_gets_kintos_own_answer(key_pair):
    app = site(key_pair, open_to_all=False, kinto__bucket_write_principals="")
    stranger = authorization("stranger")
    for headers, status in ((stranger, 403), ({"Authorization": ""}, 401)):
        for uri in (f"{DESTINATION}/records/x", f"{SOURCE}/records/x"):
            answer = app.put_json(uri, {}, headers=headers, status=status)
            assert "in use" not in answer.json["message"]


def test_buckets_themselves_may_be_written(shared_app):
    app = shared_app
    app.patch_json("/buckets/main", {"data": {"title": "x"}, "permissions": {"read": ["system.Everyone"]}})
    app.put_json("/buckets/main/groups/g", {"data": {"members": []}})
    app.delete("/buckets/main/groups/g")


EVASIONS = {
    "defaults": {"defaults": {"method": "PUT", "path": f"{DESTINATION}/records/x", "body": {}}, "requests": [{}]},
    "version": {"requests": [{"method": "PUT", "path": f"/v1{DESTINATION}/records/x"}]},
    "slash": {"requests": [{"method": "PUT", "path": f"{DESTINATION}/records/x/"}]},
    "escapes": {"requests": [{"method": "PUT", "path": "/buckets/%6dain/collections/region%73/%72ecords/x"}]},
    "query": {"requests": [{"method": "DELETE", "path": f"{DESTINATION}?confirm=regions&_since=1"}]},
}


@pytest.mark.parametrize("evasion", EVASIONS)
def test_no_spelling_gets_past_the_door(shared_app, evasion):
    before = everything(shared_app, PREVIEW)
    shared_app.post_json("/batch", EVASIONS[evasion], status=403)
    assert everything(shared_app, PREVIEW) == before


def test_other_buckets_and_collections_are_made_and_deleted_as_ever(shared_app):
    app = shared_app
    app.post_json("/buckets", {"data": {"id": "free"}})
    app.post_json("/buckets/free/collections", {"data": {"id": "x"}})
    app.delete("/buckets/free/collections/x")
    app.delete("/buckets/free")


@pytest.mark.parametrize("bucket", ["main", "main-preview", "main-workspace"])
def test_no_bucket_of_them_is_deleted(shared_app, bucket):
    answer = shared_app.delete(f"/buckets/{bucket}", status=403)
    assert "stands in kinto.signer.resources" in answer.json["message"]


def test_of_a_single_resource_only_its_own_copies_are_kept(key_pair):
    app = site(key_pair, kinto__signer__resources="main-workspace/regions -> main-preview/regions -> main/regions")
    for body, status in (({"data": {"id": "regions"}}, 403), ({"data": {"id": "free"}}, 201), ({}, 201)):
        app.post_json("/buckets/main/collections", body, status=status)
    app.delete("/buckets/main/collections/free")


@pytest.mark.parametrize("body", [b"3", b'"x"', b"null", b"[1]", b'["permissions"]', b"[[]]"])
@pytest.mark.parametrize("content_type", ["application/json", JSON_PATCH, MERGE_PATCH])
def test_bodies_that_are_no_objects_get_no_further(shared_app, body, content_type):
    before = everything(shared_app, PREVIEW)
    shared_app.request(DESTINATION, method="PATCH", body=body, content_type=content_type, status=(400, 403, 415))
    assert everything(shared_app, PREVIEW) == before


def test_permissions_are_written_under_the_sources_lock(shared_app, monkeypatch):
    locked = []
    monkeypatch.setattr(door, "lock", lambda request, name: locked.append(name))
    shared_app.patch_json(DESTINATION, {"permissions": {"read": ["system.Everyone"]}})
    assert locked == ["main-workspace/regions"]


def test_routes_of_other_plugins_are_refused_whoever_asks(key_pair, tmp_path):
    """Nobody knows whom they would let in."""
    files = {"kinto__attachment__base_path": str(tmp_path), "kinto__attachment__keep_old_files": "true"}
    app = site(
        key_pair,
        open_to_all=False,
        kinto__bucket_write_principals="",
        kinto__includes="kinto_attachment kinto_signer",
        **files,
    )
    answer = app.post(
        f"{DESTINATION}/records/r1/attachment",
        upload_files=[("attachment", "a.txt", b"x")],
        headers=authorization("stranger"),
        status=403,
    )
    assert answer.json["message"].startswith("Collection is in use")


# --- deletions of many ---------------------------------------------------------------------------------------------------

MANY = [
    ("/buckets", 403),
    ("/buckets?id=main", 403),
    ("/buckets?like_id=mai", 403),
    ("/buckets?exclude_id=other", 403),
    ("/buckets?_limit=1", 403),
    ("/buckets?id=other", 200),
    ("/buckets?exclude_id=main,main-preview,main-workspace", 200),
    ("/buckets?_since=abc", 400),
    ("/buckets?gt_id=%00", 400),
    ("/buckets?_limit=x", 400),
    ("/buckets/main/collections", 403),
    ("/buckets/main/collections?id=regions", 403),
    ("/buckets/main/collections?has_hash=true", 403),
    ("/buckets/main/collections?not_id=regions", 200),
    ("/buckets/main-preview/collections", 403),
    ("/buckets/main-workspace/collections", 403),
    ("/buckets/main-workspace/collections?status=signed", 403),
    ("/buckets/main-workspace/collections?status=to-review", 200),
    ("/buckets/other/collections", 200),
]


@pytest.mark.parametrize(("uri", "status"), MANY)
def test_a_list_is_deleted_where_nothing_signed_is_in_it(shared_app, uri, status):
    app = shared_app
    for made in ("/buckets/other", "/buckets/other/collections/c"):
        app.put_json(made, {})
    before = everything(app, PREVIEW)
    answer = app.delete(uri, status=status)
    app.post_json("/batch", {"requests": [{"method": "DELETE", "path": uri}]}, status=200 if status == 400 else status)
    assert everything(app, PREVIEW) == before
    if status == 403:
        app.get("/buckets/other/collections/c")
        assert answer.json["errno"] == 121
    if uri.startswith("/buckets?") and status == 200:
        app.get("/buckets/other", status=404)


def test_whoever_owns_other_buckets_may_delete_those(key_pair):
    app = site(key_pair, open_to_all=False, kinto__bucket_write_principals="")
    before = everything(app, PREVIEW)
    owner = authorization("owner")
    app.put_json("/buckets/theirs", {}, headers=owner)
    answer = app.delete("/buckets", headers=owner)
    assert [bucket["id"] for bucket in answer.json["data"]] == ["theirs"]
    assert everything(app, PREVIEW) == before
    app.delete("/buckets", headers={"Authorization": ""}, status=401)


# --- S and a guarded A in one server -------------------------------------------------------------------------------------


def test_what_is_guarded_here_and_signed_elsewhere_is_published_as_ever(key_pair, database):
    """A publication of another signer, as a changeset and as a batch; and each door keeps to what is its own."""
    settings = signer_settings(key_pair.private, database=database, resources="drafts -> signed")
    settings |= guarded_settings(key_pair.public, database) | {"kinto.includes": "kinto_signer.authority kinto_signer"}
    app = webtest_app(settings)
    first, second = successive_states(key_pair.key(), 2)
    post(app, body_of(first))
    for uri in ("/buckets/drafts", "/buckets/drafts/collections/c"):
        app.put_json(uri, {})
    app.post_json("/batch", batch_of(second, first.timestamp))
    assert app.get(URI).json["data"]["signature"] == second.metadata["signature"]
    app.put_json("/buckets/drafts/collections/c/records/r", {"data": {"n": 1}})
    app.patch_json("/buckets/drafts/collections/c", {"data": {"status": "to-sign"}})
    assert len(app.get("/buckets/signed/collections/c/records").json["data"]) == 1
    app.put_json(f"{URI}/records/forged", {"data": {"n": 1}}, status=403)
    app.patch_json(
        "/buckets/signed", {"permissions": {"write": ["system.Authenticated"]}}, headers=authorization("nobody"), status=403
    )
    app.app.registry.permission.add_principal_to_ace("/buckets/signed", "write", "system.Authenticated")
    answer = app.post_json("/buckets/signed/collections/c/changeset", body_of(first), status=403)
    assert "Collection is in use" in answer.json["message"]
