"""Kinto's history plugin beside ours: what people asked for on the source, and nothing that the plugin did by itself."""

import time

import pytest

from tests.support.keys import write_key_pair
from tests.support.workflow import BUCKET, DESTINATION, PREVIEW, SOURCE, review_site

INCLUDES = "kinto.plugins.history kinto_signer"
REFRESH = {"data": {"status": "to-resign"}}


@pytest.fixture(scope="module", params=["memory", "postgresql"])
def everybodys_site(request, tmp_path_factory, postgres):
    database = postgres.create_database() if request.param == "postgresql" else None
    return review_site(write_key_pair(tmp_path_factory.mktemp("keys")), database=database, kinto__includes=INCLUDES)


@pytest.fixture
def site(everybodys_site):
    """With one edit pending, and an empty history."""
    everybodys_site.make_ready()
    everybodys_site.app.delete(f"{BUCKET}/history")
    return everybodys_site


def entries(site, bucket=BUCKET, **conditions):
    """Oldest first."""
    return site.app.get(f"{bucket}/history", {"_sort": "last_modified", **conditions}).json["data"]


def statuses(site):
    return [entry["target"]["data"].get("status") for entry in entries(site, uri=SOURCE)]


def test_one_entry_for_each_action_on_the_source(site):
    site.set_status("alice", "to-review", last_editor_comment="look")
    site.set_status("carol", "work-in-progress")
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")
    site.put("alice", "fr", name="again")
    site.set_status("alice", "to-rollback")
    found = entries(site, uri=SOURCE)
    assert statuses(site) == ["to-review", "work-in-progress", "to-review", "to-sign", "to-rollback"]
    site.put("alice", "at", name="Austria")
    site.app.post_json(f"{SOURCE}/discard", {"ids": ["at"]}, headers=site.headers("alice"))
    discarded = entries(site, uri=SOURCE)[5:]
    assert [(entry["user_id"], entry["target"]["data"]["status"]) for entry in discarded] == [
        (site.principals["alice"], "signed")
    ]
    assert [entry["user_id"] for entry in found[:4]] == [site.principals[user] for user in ("alice", "carol", "alice", "carol")]
    assert found[0]["target"]["data"]["last_editor_comment"] == "look"


def test_the_records_entries_are_of_those_who_edited(site):
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")
    site.delete("alice", "fr")
    site.set_status("alice", "to-rollback")
    found = entries(site, resource_name="record")
    assert [(entry["uri"], entry["action"], entry["user_id"]) for entry in found] == [
        (f"{SOURCE}/records/fr", "delete", site.principals["alice"])
    ]


def test_kinto_admins_tab_finds_the_approvals(site):
    """It compares what was published: entries of the source whose status is ``to-sign``."""
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")
    conditions = {"uri": SOURCE, "target.data.status": "to-sign"}
    found = site.app.get(f"{BUCKET}/history", conditions).json["data"]
    assert [(entry["user_id"], entry["resource_name"]) for entry in found] == [(site.principals["carol"], "collection")]


def test_what_the_plugin_writes_is_kept_out(site):
    for i in range(30):
        site.put("alice", f"r{i}", n=i)
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign")
    assert len(site.records(DESTINATION)) == len(site.records(PREVIEW)) > 30
    storage = site.app.app.registry.storage
    for bucket in ("/buckets/main", "/buckets/main-preview"):  # which nobody may read by HTTP
        assert storage.list_all("history", bucket) == []
    assert len(storage.list_all("history", BUCKET)) == 30 + 2


def test_a_refreshed_signature_leaves_no_entry(site):
    site.app.patch_json(SOURCE, REFRESH)
    assert statuses(site) == []
    site.set_status("alice", "to-review")
    site.app.patch_json(SOURCE, REFRESH)
    assert statuses(site) == ["to-review"]


def test_refreshes_in_a_batch_leave_none(site):
    other = f"{BUCKET}/collections/other"
    site.app.put_json(other, {})
    parts = [{"path": uri, "body": REFRESH} for uri in (SOURCE, other)]
    site.app.post_json("/batch", {"defaults": {"method": "PATCH"}, "requests": parts})
    assert statuses(site) == []
    assert [entry["action"] for entry in entries(site, uri=other)] in ([], ["create"])


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"status": "to-resign", "displayFields": ["name"]}},
        {"data": {"status": "to-resign", "last_editor_comment": "a comment"}},
        {"data": {"status": "to-resign"}, "permissions": {"read": ["system.Everyone"]}},
        '{"data": {"status": "to-resign"}, "p\\u0065rmissions": {"read": ["system.Authenticated"]}}',
    ],
)
def test_nobody_hides_a_change_behind_a_refresh(site, body):
    """Each body says something that was not stored before."""
    if isinstance(body, dict):
        site.app.patch_json(SOURCE, body)
    else:
        site.app.patch(SOURCE, body, content_type="application/json")
    assert statuses(site) == ["to-resign"]


def test_nobody_hides_a_record_behind_a_refresh(site):
    """A record that looks like a refresh, of the very same millisecond."""
    moment = int(time.time() * 1000) + 60_000
    site.app.put_json(f"{SOURCE}/records/at", {"data": {"status": "to-resign", "last_modified": moment}})
    site.app.patch_json(SOURCE, {"data": {"status": "to-resign", "last_modified": moment}})
    assert statuses(site) == []
    (entry,) = entries(site, uri=f"{SOURCE}/records/at")
    assert entry["target"]["data"]["last_modified"] == moment


def test_a_refused_refresh_takes_nothing_away(site):
    site.set_status("alice", "to-review")
    site.app.patch_json(SOURCE, REFRESH, headers=site.headers("dave"), status=403)
    site.app.patch_json(SOURCE, {"data": {"status": "to-resign", "signer_claim": 1}}, status=400)
    assert statuses(site) == ["to-review"]


def test_with_permissions_on_entries_none_are_left(key_pair):
    site = review_site(key_pair, kinto__includes=INCLUDES, kinto__explicit_permissions="true")
    site.make_ready()
    permission = site.app.app.registry.permission

    def kept():
        return [uri for uri in permission._store if "/history/" in uri]

    before = kept()
    site.app.patch_json(SOURCE, REFRESH)
    assert kept() == before
    assert before
