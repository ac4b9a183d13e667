"""S in this process, A a live server: what a publication leaves on both."""

import pytest

from tests.support.servers import webtest_app
from tests.support.settings import authority_settings, signer_settings

SOURCE = "/buckets/main-workspace/collections/regions"
DESTINATION = "/buckets/main/collections/regions"


@pytest.fixture(params=["memory", "postgresql"])
def storage(request):
    return request.param


@pytest.fixture
def authority(live_kinto, storage, request):
    database = request.getfixturevalue("create_database")() if storage == "postgresql" else None
    return live_kinto(authority_settings(database), name="authority")


@pytest.fixture
def signer(authority, storage, key_pair, request):
    database = request.getfixturevalue("create_database")() if storage == "postgresql" else None
    app = webtest_app(signer_settings(key_pair.private, database=database, authority=authority.url))
    app.put_json("/buckets/main-workspace", {})
    app.put_json(SOURCE, {})
    return app


def sign(app, **options):
    return app.patch_json(SOURCE, {"data": {"status": "to-sign"}}, **options)


def test_records_reach_the_authority(signer, authority):
    for i in range(3):
        signer.put_json(f"{SOURCE}/records/r{i}", {"data": {"name": f"Straße {i}", "deep": {"a": [1, None, True]}}})
    sign(signer)
    client = authority.client("reader")
    there = client.get_records(bucket="main", collection="regions")
    here = signer.get(f"{DESTINATION}/records").json["data"]
    assert sorted(there, key=str) == sorted(here, key=str)
    assert len(there) == 3
    metadata = client.get_collection(bucket="main", id="regions")["data"]
    assert client.get_records_timestamp(bucket="main", collection="regions") == str(metadata["signed_timestamp"])
    assert signer.get(SOURCE).json["data"]["status"] == "signed"


def test_a_refused_publication_leaves_everything_as_it_was(signer, authority):
    signer.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1}})
    before = signer.get(SOURCE).json, signer.get(f"{DESTINATION}/records?_since=0").json, signer.get(DESTINATION).json
    authority.sigkill()
    answer = sign(signer, status=503)
    assert answer.json["details"]["reason"] == "unreachable"
    assert (signer.get(SOURCE).json, signer.get(f"{DESTINATION}/records?_since=0").json, signer.get(DESTINATION).json) == before
