"""More records than Kinto's ``storage_max_fetch_size``: all of them are read, signed, published and removed.

To a plain A, which writes record by record: 12,000 under ``make proof``, where the limit is Kinto's own 10,000, else fewer.
"""

import pytest

from tests.support.campaigns import rounds
from tests.support.servers import webtest_app
from tests.support.settings import authority_settings, signer_settings

SOURCE = "/buckets/main-workspace/collections/many"
COUNT, LIMIT = rounds(600, 12_000), rounds(500, 10_000)

INSERT = """
INSERT INTO objects (id, parent_id, resource_name, data, last_modified, deleted)
SELECT '{prefix}' || i, '{uri}', 'record', jsonb_build_object('n', i, 'text', 'Ortsteil №' || i),
       from_epoch(1500000000000 + i), false
FROM generate_series(1, {count}) AS i
"""


@pytest.fixture
def signer(create_database, postgres, live_kinto, key_pair):
    authority = live_kinto(authority_settings(create_database()) | {"kinto.storage_max_fetch_size": str(LIMIT)}, name="authority")
    database = create_database()
    settings = signer_settings(key_pair.private, database=database, authority=authority.url)
    # A writes about 190 records a second, and less on a busy machine.
    limits = {"kinto.signer.authority.timeout_seconds": "900", "kinto.storage_max_fetch_size": str(LIMIT)}
    app = webtest_app(settings | limits)
    app.put_json("/buckets/main-workspace", {})
    app.put_json(SOURCE, {})
    app.authority = authority
    app.fill = lambda prefix: postgres.execute(INSERT.format(prefix=prefix, uri=SOURCE, count=COUNT), database)
    return app


@pytest.mark.proof
def test_more_than_kinto_fetches_at_once_go_all_the_way_and_all_disappear(signer):
    signer.fill("r")
    signer.patch_json(SOURCE, {"data": {"status": "to-sign"}})
    client = signer.authority.client("reader")
    there = client.get_records(bucket="main", collection="many")
    assert len(there) == COUNT
    signer.delete(f"{SOURCE}/records")
    assert signer.head(f"{SOURCE}/records").headers["Total-Records"] == "0"
    signer.fill("drafts-")
    signer.delete(f"{SOURCE}?confirm=many")
    assert client.get_records(bucket="main", collection="many") == []
    signer.put_json(SOURCE, {})
    for uri in (SOURCE, "/buckets/main/collections/many"):
        assert signer.head(f"{uri}/records").headers["Total-Records"] == "0"
    changes = client.get_records(bucket="main", collection="many", _since=f'"{min(r["last_modified"] for r in there) - 1}"')
    assert {change["id"] for change in changes if change.get("deleted")} >= {record["id"] for record in there}
