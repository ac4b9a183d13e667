"""A collection with a line of its own in ``resources``, inside the buckets of another line, as the configuration that comes with
kinto-remote-settings has one: everything that goes through the collections of a bucket leaves it to its own line.
"""

import pytest

from tests.support.checking import Command
from tests.support.keys import write_key_pair
from tests.support.servers import webtest_app
from tests.support.settings import authority_settings, signer_settings

RESOURCES = "main-workspace/filter;main/bits\n/buckets/main-workspace -> /buckets/main"
WORKSPACE = "/buckets/main-workspace"


@pytest.fixture
def other_key(tmp_path):
    """The key of that collection."""
    return write_key_pair(tmp_path, "filter")


@pytest.fixture
def settings(key_pair, other_key):
    def make(**options):
        found = signer_settings(key_pair.private, resources=RESOURCES, **options)
        return found | {"kinto.signer.main-workspace.filter.ecdsa.private_key": str(other_key.private)}

    return make


def publish(app):
    app.put_json(WORKSPACE, {})
    for collection in ("filter", "regions", "bits"):
        uri = f"{WORKSPACE}/collections/{collection}"
        app.put_json(uri, {})
        app.put_json(f"{uri}/records/{collection}", {"data": {"n": 1}})
        app.patch_json(uri, {"data": {"status": "to-sign"}})


def records(app, bucket):
    """By collection, the ids of the records in a bucket."""
    there = [collection["id"] for collection in app.get(f"/buckets/{bucket}/collections").json["data"]]
    uris = {collection: f"/buckets/{bucket}/collections/{collection}/records" for collection in there}
    return {collection: [record["id"] for record in app.get(uri).json["data"]] for collection, uri in uris.items()}


def test_check_verifies_it_with_its_own_key(settings, database, capsys, monkeypatch, tmp_path):
    app = webtest_app(settings(database=database))
    publish(app)

    report = Command(capsys, monkeypatch, tmp_path)(settings(database=database))

    assert report.code == 0, report
    verified = sorted(finding["collection"] for finding in report.of("ok") if finding["collection"])
    assert verified == ["main/bits", "main/regions"]
    # main-workspace/bits would be copied to the same place, and is no source.
    assert [finding["message"].split(":")[0] for finding in report.of("warning")] == ["main-workspace/bits is not signed"]
    assert app.get(f"{WORKSPACE}/collections/bits").json["data"]["status"] == "to-sign"


def test_a_new_signer_takes_it_over_by_its_own_line(key_pair, live_kinto):
    authority = live_kinto(authority_settings(), name="authority")
    resources = "\n".join(reversed(RESOURCES.splitlines()))
    settings = signer_settings(key_pair.private, resources=resources, authority=authority.url)
    publish(webtest_app(settings))

    app = webtest_app(settings | {"kinto.signer.authority.bootstrap": "true"})

    assert records(app, "main-workspace") == {"filter": ["filter"], "regions": ["regions"]}
    assert records(app, "main") == {"bits": ["filter"], "regions": ["regions"]}
