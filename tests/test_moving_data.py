"""What kinto-signer 8.1.1 or kinto-remote-settings had signed and stored goes on here: nothing has to be reviewed again.

``tests/data/kinto-signer-8.json`` is what kinto-signer stored, with five collections: `regions` was published, edited, declined,
reviewed and published again; `reviewing` waits for a review that bob requested; `drafts` has edits that nobody submitted;
`empty` was never edited; `resigned` got a new signature. kinto-remote-settings stores the same and a list of signatures.
"""

import json
from dataclasses import dataclass

import pytest
from webtest import TestApp

from kinto_signer.core.difference import difference
from kinto_signer.plugin.storage import StorageRepository
from tests.support.moving import STORED, Person, load_stored, verified
from tests.support.servers import webtest_app
from tests.support.settings import kinto_settings

COLLECTIONS = ("regions", "reviewing", "drafts", "empty", "resigned")
FAST_HASH = "$2b$04$UEP2rSRz7kMp4WFH3inkruRkGyoxX1yhcBih5.UPDJdLMIhwu8s7a"
"""Of the same password as in the data, at the least cost."""
SOURCE = "/buckets/main-workspace/collections"
LINES = {
    "kinto-signer 8": {
        "kinto.signer.signer_backend": "kinto_signer.signer.local_ecdsa",
        "kinto.signer.editors_group": "{collection_id}-editors",
        "kinto.signer.reviewers_group": "{collection_id}-reviewers",
        "kinto.signer.group_check_enabled": "true",
    },
    "kinto-remote-settings": {"kinto.signer.signer_backend": "kinto_remote_settings.signer.backends.local_ecdsa"},
}


@dataclass
class Moved:
    """S on the database of the peer. alice and bob edit, bob and carol review."""

    app: TestApp
    alice: Person
    bob: Person
    carol: Person

    def clocks(self):
        """Of all lists of signed records and of the monitor, the timestamp."""
        uris = [f"/buckets/{bucket}/collections/{one}" for bucket in ("main", "main-preview") for one in COLLECTIONS]
        uris.append("/buckets/monitor/collections/changes")
        return {uri: int(self.app.head(f"{uri}/records").headers["ETag"].strip('"')) for uri in uris}

    def records(self, uri, *, since=""):
        return {record["id"]: record for record in self.app.get(f"{uri}/records{since}").json["data"]}

    def status(self, collection):
        return self.alice.get(f"{SOURCE}/{collection}").json["data"]["status"]

    def pending(self, collection):
        repository = StorageRepository(self.app.app.registry.storage)
        source, destination = repository.records(f"main-workspace/{collection}"), repository.records(f"main/{collection}")
        return difference(source, destination, {}, {}, ()).ids


@pytest.fixture
def start(tmp_path, database):
    """``start(PEER, NAME=value, …)`` is S on the database of the peer, with further lines."""

    def begin(peer, **extra):
        stored = json.loads(STORED.read_text())
        for resource, parent, _, _, _, data in stored["objects"]:
            if resource == "account":
                data["password"] = FAST_HASH
            elif peer == "kinto-remote-settings" and resource == "collection" and parent != "/buckets/main-workspace":
                data["signatures"] = [data["signature"]]
        load_stored(database, stored)
        key = tmp_path / "private.pem"
        key.write_text("\n".join(stored["private_key"]) + "\n")
        key.chmod(0o600)
        settings = kinto_settings(database) | {
            "kinto.includes": "kinto.plugins.accounts kinto.plugins.history kinto_signer",
            "kinto.cache_backend": "kinto.core.cache.memory",
            "multiauth.policies": "account",
            "multiauth.policy.account.use": "kinto.plugins.accounts.AccountsPolicy",
            "kinto.signer.resources": "/buckets/main-workspace -> /buckets/main-preview -> /buckets/main",
            "kinto.signer.to_review_enabled": "true",
            "kinto.signer.ecdsa.private_key": str(key),
        }
        app = webtest_app(settings | LINES[peer] | {f"kinto.signer.{name}": value for name, value in extra.items()})
        app.authorization = None
        return Moved(app, *(Person(app, name) for name in ("alice", "bob", "carol")))

    return begin


both = pytest.mark.parametrize("peer", LINES)


@both
def test_what_was_signed_stays_signed_and_published(start, peer):
    site = start(peer)

    assert {one: site.status(one) for one in COLLECTIONS} == {
        "regions": "signed",
        "reviewing": "to-review",
        "drafts": "work-in-progress",
        "empty": "signed",
        "resigned": "signed",
    }
    ids = {"regions": {"de", "es", "fr"}, "reviewing": {"a"}, "drafts": {"a"}, "empty": set(), "resigned": {"a"}}
    assert {one: set(verified(site.app, f"main-workspace/{one}")) for one in COLLECTIONS} == ids
    stored = {row[2]: row[5] for row in json.loads(STORED.read_text())["objects"] if row[:2] == ["collection", "/buckets/main"]}
    clocks = site.clocks()
    for one in COLLECTIONS:
        changeset = site.app.get(f"/buckets/main/collections/{one}/changeset?_expected=0").json
        assert changeset["timestamp"] == clocks[f"/buckets/main/collections/{one}"] < 1706001000000
        assert changeset["metadata"]["signature"]["signature"] == stored[one]["signature"]["signature"]
    listed = site.app.get("/buckets/monitor/collections/changes/records").json["data"]
    assert {(entry["bucket"], entry["collection"]) for entry in listed} == {
        (bucket, one) for bucket in ("main", "main-preview") for one in COLLECTIONS
    }


def test_a_signature_is_renewed_and_nothing_else_changes(start):
    site = start("kinto-signer 8")
    uris = [f"/buckets/{bucket}/collections/{one}" for bucket in ("main", "main-preview") for one in COLLECTIONS]
    before = {uri: site.records(uri, since="?_since=0") for uri in uris}
    signatures = {uri: site.app.get(uri, headers=site.alice.headers).json["data"]["signature"] for uri in uris}
    statuses, clocks = {one: site.status(one) for one in COLLECTIONS}, site.clocks()

    for one in COLLECTIONS:
        site.alice.set_status(f"{SOURCE}/{one}", "to-resign")

    assert {uri: site.records(uri, since="?_since=0") for uri in uris} == before
    assert {one: site.status(one) for one in COLLECTIONS} == statuses
    after = site.clocks()
    assert {uri: after[uri] for uri in uris} == {uri: clocks[uri] for uri in uris}
    for uri in uris:
        assert site.app.get(uri, headers=site.alice.headers).json["data"]["signature"] != signatures[uri]
    for one in COLLECTIONS:
        verified(site.app, f"main-workspace/{one}")
    attributes = site.alice.get(f"{SOURCE}/regions").json["data"]
    assert (attributes["last_signature_by"], attributes["last_review_by"]) == ("account:alice", "account:carol")


@both
def test_the_next_edit_is_reviewed_and_published(start, peer):
    site = start(peer)
    for collection in ("regions", "empty", "resigned"):
        uri, published, preview = (
            f"/buckets/{one}/collections/{collection}" for one in ("main-workspace", "main", "main-preview")
        )
        before, clocks = site.records(published, since="?_since=0"), site.clocks()

        site.alice.put_json(f"{uri}/records/new", {"data": {"title": "New"}})
        assert site.status(collection) == "work-in-progress"
        site.alice.set_status(uri, "to-review")
        site.alice.set_status(uri, "to-sign", status=403)
        site.carol.set_status(uri, "to-sign")

        after = site.records(published, since="?_since=0")
        assert {record_id: record for record_id, record in after.items() if record_id in before} == before
        assert after["new"]["last_modified"] > clocks[published]
        assert "new" in verified(site.app, f"main-workspace/{collection}")
        assert site.pending(collection) == set()
        later = site.clocks()
        assert all(later[uri] >= clocks[uri] for uri in clocks)
        assert later[published] > clocks[published]
        assert later[preview] > clocks[preview]


@pytest.mark.parametrize(("peer", "four_eyes"), list(zip(LINES, ["contributors", "requester"], strict=True)))
def test_a_review_that_was_requested_before_goes_on(start, peer, four_eyes):
    site = start(peer, four_eyes=four_eyes)
    uri, clocks = f"{SOURCE}/reviewing", site.clocks()

    refused = site.bob.set_status(uri, "to-sign", status=403).json["message"]
    assert refused.startswith("Last editor cannot review")
    assert "Not in reviewing-reviewers group" in site.alice.set_status(uri, "to-sign", status=403).json["message"]
    assert set(verified(site.app, "main-workspace/reviewing")) == {"a"}

    site.carol.set_status(uri, "to-sign")

    assert set(verified(site.app, "main-workspace/reviewing")) == {"a", "b"}
    attributes = site.carol.get(uri).json["data"]
    assert (attributes["status"], attributes["last_review_by"]) == ("signed", "account:carol")
    assert attributes["signer_approval"]["requested_by"] == "account:bob"
    later = site.clocks()
    assert all(later[uri] >= clocks[uri] for uri in clocks)


def test_who_edited_before_is_known_where_contributors_cannot_approve(start):
    """Of the edits before the move the last editor is known: alice, in `drafts`, whose review bob requests."""
    site = start("kinto-signer 8", four_eyes="contributors")
    members = [site.alice.id, site.carol.id]
    site.alice.patch_json("/buckets/main-workspace/groups/drafts-reviewers", {"data": {"members": members}})
    site.bob.set_status(f"{SOURCE}/drafts", "to-review")

    site.alice.set_status(f"{SOURCE}/drafts", "to-sign", status=403)
    site.carol.set_status(f"{SOURCE}/drafts", "to-sign")

    assert set(verified(site.app, "main-workspace/drafts")) == {"c"}


def test_edits_from_before_can_be_taken_back(start):
    site = start("kinto-signer 8")
    clocks = site.clocks()
    assert site.pending("drafts") == {"a", "c"}

    site.alice.set_status(f"{SOURCE}/drafts", "to-rollback")

    assert (site.status("drafts"), site.pending("drafts")) == ("signed", set())
    assert set(verified(site.app, "main-workspace/drafts")) == {"a"}
    later = site.clocks()
    assert all(later[uri] >= clocks[uri] for uri in clocks)
