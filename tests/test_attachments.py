"""kinto-attachment on S: the data that comes with a file is looked at before the file is kept."""

import json

import pytest

from tests.support.site import DESTINATION, SOURCE, everything, set_status, signer_app

UPLOAD = f"{SOURCE}/records/r1/attachment"


@pytest.fixture
def app(key_pair, storage_url, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    options = {"kinto__includes": "kinto_attachment kinto_signer", "kinto__attachment__base_path": str(files)}
    app = signer_app(key_pair, database=storage_url, **options)
    app.files = files
    return app


def upload(app, data, **options):
    return app.post(UPLOAD, {"data": json.dumps(data)}, upload_files=[("attachment", "a.txt", b"hello")], **options)


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
