"""kinto-attachment on S: what comes with a file is looked at before it is kept, and what is published keeps its files."""

import hashlib
import json

import pytest

from tests.support.site import DESTINATION, SOURCE, attributes, everything, set_status, signer_app

UPLOAD = f"{SOURCE}/records/r1/attachment"
PREVIEW = "/buckets/main-preview/collections/regions"


@pytest.fixture
def app(key_pair, storage_url, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    options = {"kinto__includes": "kinto_attachment kinto_signer", "kinto__attachment__base_path": str(files)}
    app = signer_app(key_pair, database=storage_url, **options)
    app.files = files
    return app


def upload(app, data, name="r1", content=b"hello", **options):
    files = [("attachment", "a.txt", content)]
    return app.post(f"{SOURCE}/records/{name}/attachment", {"data": json.dumps(data)}, upload_files=files, **options)


REFUSED = [({"v": 1.5}, "$.v"), ({"v": [2**60]}, "$.v[0]"), ({"v": "\ud800"}, "$.v"), ({"v": "\0"}, "$.v")]
REFUSED += [({"last_modified": True}, "$.last_modified")]


@pytest.mark.parametrize(("data", "path"), REFUSED)
def test_what_would_not_survive_is_refused_before_the_file_is_kept(app, data, path):
    before = everything(app)
    answer = upload(app, data, status=400)
    assert answer.json["details"] == {"reason": "unsignable", "record": "r1", "path": path}
    assert everything(app) == before
    assert not list(app.files.rglob("*.*"))


def test_an_attachment_is_signed_and_published(app):
    upload(app, {"v": "fine"}, status=201)
    assert len(list(app.files.rglob("*.*"))) == 1
    set_status(app, "to-sign")
    (record,) = app.get(f"{DESTINATION}/records").json["data"]
    assert (record["v"], record["attachment"]["size"]) == ("fine", 5)
    app.delete(UPLOAD)
    set_status(app, "to-sign")
    (record,) = app.get(f"{DESTINATION}/records").json["data"]
    assert not record.get("attachment")


# --- what the workflow makes of files --------------------------------------------------------------------------------------


def site(key_pair, folder, *, keep="true"):
    """S with a preview, and a published record with a file; files stay where `keep` says so."""
    lines = {"kinto__signer__resources": "main-workspace -> main-preview -> main"}
    lines |= {"kinto__includes": "kinto_attachment kinto_signer", "kinto__attachment__base_path": str(folder)}
    app = signer_app(key_pair, kinto__attachment__keep_old_files=keep, **lines)
    app.files = folder
    upload(app, {"v": 1}, content=b"first")
    app.put_json(f"{SOURCE}/records/plain", {"data": {"v": 1}})
    set_status(app, "to-sign")
    return app


def in_batch(app, method, path):
    answer = app.post_json("/batch", {"requests": [{"method": method, "path": path}]})
    assert answer.json["responses"][0]["status"] < 300


CHANGES = {
    "add": ("plain", b"new", lambda app: upload(app, {"v": 2}, "plain", b"new")),
    "add with a record": ("r2", b"new", lambda app: upload(app, {"v": 2}, "r2", b"new")),
    "replace": ("r1", b"second", lambda app: upload(app, {"v": 2}, "r1", b"second")),
    "delete": ("r1", None, lambda app: app.delete(UPLOAD)),
    "delete in a batch": ("r1", None, lambda app: in_batch(app, "DELETE", UPLOAD)),
    "delete the record": ("r1", None, lambda app: app.delete(f"{SOURCE}/records/r1")),
    "delete the record in a batch": ("r1", None, lambda app: in_batch(app, "DELETE", f"{SOURCE}/records/r1")),
    "delete all records": ("r1", None, lambda app: app.delete(f"{SOURCE}/records")),
}
"""The record that changes, its file afterwards, and the change."""


def files(app, uri):
    """By record, what is in the file that its attachment names; each of them has to be there."""
    found = {}
    for record in app.get(f"{uri}/records").json["data"]:
        if record.get("attachment"):
            (path,) = app.files.rglob(record["attachment"]["location"].rpartition("/")[2])
            found[record["id"]] = path.read_bytes()
            assert record["attachment"]["hash"] == hashlib.sha256(found[record["id"]]).hexdigest()
    return found


def discard(app):
    pending = app.get(f"{SOURCE}/diff").json["data"]
    changed = [*pending["created"], *pending["deleted"], *(change["after"] for change in pending["updated"])]
    app.post_json(f"{SOURCE}/discard", {"ids": [record["id"] for record in changed]})


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_attachment_goes_through_the_workflow(key_pair, tmp_path_factory, change):
    name, content, make = CHANGES[change]
    app = site(key_pair, tmp_path_factory.mktemp("files"))
    published = {"r1": b"first"}
    changed = {record: kept for record, kept in (published | {name: content}).items() if kept}
    for take_back in (lambda: set_status(app, "to-rollback"), lambda: discard(app), None):
        make(app)
        assert attributes(app)["status"] == "work-in-progress"
        assert files(app, SOURCE) == changed
        set_status(app, "to-review")
        assert (files(app, PREVIEW), files(app, DESTINATION)) == (changed, published)
        if take_back:
            take_back()
            assert attributes(app)["status"] == "signed"
            assert (files(app, SOURCE), files(app, DESTINATION)) == (published, published)
    set_status(app, "to-sign")
    assert files(app, SOURCE) == files(app, PREVIEW) == files(app, DESTINATION) == changed
    upload(app, {"v": 3}, "r1", b"third")  # what was taken back or approved may be edited again
    set_status(app, "to-sign")
    assert files(app, DESTINATION) == changed | {"r1": b"third"}


def test_an_attachment_is_removed_and_approved_in_one_batch(key_pair, tmp_path_factory):
    app = site(key_pair, tmp_path_factory.mktemp("files"))
    approve = {"method": "PATCH", "path": SOURCE, "body": {"data": {"status": "to-sign"}}}
    app.post_json("/batch", {"requests": [{"method": "DELETE", "path": UPLOAD}, approve]})
    assert files(app, DESTINATION) == {}
    assert attributes(app)["status"] == "signed"


def test_without_the_setting_a_published_file_is_lost(key_pair, tmp_path_factory):
    """The reason for the warning at start-up."""
    app = site(key_pair, tmp_path_factory.mktemp("files"), keep="false")
    upload(app, {"v": 2}, "r1", b"second")
    with pytest.raises(ValueError, match="not enough values"):
        files(app, DESTINATION)


def test_what_is_refused_at_the_door_costs_no_file(key_pair, tmp_path_factory):
    app = site(key_pair, tmp_path_factory.mktemp("files"), keep="false")
    for bucket in ("/buckets/main", "/buckets/main-preview"):
        app.app.registry.permission.add_principal_to_ace(bucket, "write", "system.Authenticated")
    before = everything(app, PREVIEW)
    for uri in (f"{DESTINATION}/records/r1", f"{PREVIEW}/records/r1"):
        app.post(f"{uri}/attachment", {}, upload_files=[("attachment", "a.txt", b"forged")], status=403)
        app.delete(f"{uri}/attachment", status=403)
        app.delete(uri, status=403)
    for uri in (
        SOURCE,
        f"{SOURCE}?confirm=other",
        "/buckets/main-workspace/collections",
        "/buckets/main-workspace",
        "/buckets/main",
    ):
        app.delete(uri, status=403)
    assert everything(app, PREVIEW) == before
    assert [path.read_bytes() for path in app.files.rglob("*.*")] == [b"first"]
