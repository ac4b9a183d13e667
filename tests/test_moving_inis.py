"""Configurations written for kinto-signer 8.1 and for kinto-remote-settings start and run, with one line of them changed."""

import re

import pytest

from kinto_signer.server.groups import groups_of
from tests.support.moving import INIS, Person, moved, start, verified

MONITOR = "/buckets/monitor/collections/changes"


@pytest.fixture
def kinto_signer_8(tmp_path, database, monkeypatch):
    for backend in ("STORAGE", "PERMISSION", "CACHE"):
        monkeypatch.setenv(f"KINTO_{backend}_URL", database)
    return start(moved("kinto-signer-8.ini"), tmp_path, "ecdsa", "certs", "weather")


@pytest.fixture
def remote_settings(tmp_path):
    return start(moved("kinto-remote-settings.ini"), tmp_path, "ecdsa")


def review(app, source, editor, reviewer, *, groups=("editors", "reviewers")):
    """A new collection, from its first record to readers, with what is refused on the way."""
    bucket, collection = source.split("/")
    uri = f"/buckets/{bucket}/collections/{collection}"
    editor.put_json(uri, {"data": {"displayFields": ["title"]}})
    assert editor.get(uri).json["data"]["status"] == "signed"
    for group, members in zip(groups, ([editor.id], [editor.id, reviewer.id]), strict=True):
        editor.put_json(f"/buckets/{bucket}/groups/{group}", {"data": {"members": members}})
    editor.put_json(f"{uri}/records/r1", {"data": {"title": "Ünö"}})
    editor.put_json(f"{uri}/records/r2", {"data": {"title": "Dos", "n": 1.5}}, status=400)
    reviewer.set_status(uri, "to-sign", status=400)
    reviewer.set_status(uri, "to-review", status=403)
    editor.patch_json(uri, {"data": {"status": "to-review", "last_editor_comment": "please"}})
    refused = editor.set_status(uri, "to-sign", status=403).json
    assert (refused["errno"], refused["message"][:25]) == (121, "Last editor cannot review")
    reviewer.patch_json(uri, {"data": {"status": "work-in-progress", "last_reviewer_comment": "not yet"}})
    editor.set_status(uri, "to-review")
    reviewer.set_status(uri, "to-sign")
    attributes = editor.get(uri).json["data"]
    assert (attributes["status"], attributes["last_review_by"]) == ("signed", reviewer.id)
    assert {record_id: record["title"] for record_id, record in verified(app, source).items()} == {"r1": "Ünö"}


# --- kinto-signer 8 ---------------------------------------------------------------------------------------------------------


def test_kinto_signer_8_reviews_and_publishes(kinto_signer_8):
    app = kinto_signer_8
    alice, bob = Person(app, "alice"), Person(app, "bob")
    for bucket in ("staging", "certs", "drafts"):
        alice.put_json(f"/buckets/{bucket}", {"permissions": {"write": [bob.id]}})

    review(app, "staging/regions", alice, bob, groups=("regions-editors", "regions-reviewers"))
    review(app, "certs/revoked-staging", alice, bob)

    # Reviews are off for one collection, with its key and its groups; and another bucket checks no groups.
    bob.put_json("/buckets/staging/collections/weather", {})
    bob.put_json("/buckets/staging/collections/weather/records/w", {"data": {"sun": True}})
    bob.set_status("/buckets/staging/collections/weather", "to-sign", status=403)
    bob.put_json("/buckets/staging/groups/weather-reviewers", {"data": {"members": [bob.id]}})
    bob.set_status("/buckets/staging/collections/weather", "to-sign")
    bob.put_json("/buckets/drafts/collections/notices", {})
    bob.put_json("/buckets/drafts/collections/notices/records/n", {"data": {"text": "Closed"}})
    bob.set_status("/buckets/drafts/collections/notices", "to-sign")
    assert [set(verified(app, source)) for source in ("staging/weather", "drafts/notices")] == [{"w"}, {"n"}]
    alice.get("/buckets/drafts/groups/editors", status=404)

    # Three keys, each for what `verified` has checked with it.
    registry = app.app.registry
    sources = [("staging", "regions"), ("certs", "revoked-staging"), ("staging", "weather"), ("drafts", "notices")]
    resources = [registry.signing.resources.of_source(*source) for source in sources]
    keys = [registry.signing.signer(resource).public_keys()[0].fingerprint for resource in resources]
    assert len(set(keys)) == 3
    assert keys[0] == keys[3]


def test_kinto_signer_8_serves_what_kinto_changes_served_and_shows_its_capabilities(kinto_signer_8):
    app = kinto_signer_8
    alice = Person(app, "alice")
    for source in ("staging/regions", "certs/revoked-staging", "certs/other", "drafts/notices"):
        alice.put_json(f"/buckets/{source.split('/')[0]}", {})
        alice.put_json(f"/buckets/{source.replace('/', '/collections/')}", {})

    answer = app.get(f"{MONITOR}/records")
    assert {f"{entry['bucket']}/{entry['collection']}" for entry in answer.json["data"]} == {"public/regions", "certs/revoked"}
    assert {entry["host"] for entry in answer.json["data"]} == {"collections.example.org"}
    assert "max-age=60" in answer.headers["Cache-Control"]
    assert "max-age=3600" in app.get(f"{MONITOR}/changeset?_expected=1").headers["Cache-Control"]
    changeset = app.get("/buckets/public/collections/regions/changeset?_expected=0").json
    assert set(changeset) == {"metadata", "timestamp", "changes"}
    assert changeset["metadata"]["signature"]["mode"] == "p384ecdsa"

    capabilities = app.get("/").json["capabilities"]
    shown = capabilities["signer"]

    assert {name: shown[name] for name in ("group_check_enabled", "to_review_enabled", "editors_group", "reviewers_group")} == {
        "group_check_enabled": True,
        "to_review_enabled": True,
        "editors_group": "editors",
        "reviewers_group": "reviewers",
    }
    by_source = {(one["source"]["bucket"], one["source"]["collection"]): one for one in shown["resources"]}
    assert by_source["staging", None]["source"]["editors_group"] == "{collection_id}-editors"
    assert by_source["staging", None]["preview"]["bucket"] == "preview"
    weather = by_source["staging", "weather"]
    assert weather["to_review_enabled"] is False
    assert weather["source"]["reviewers_group"] == "weather-reviewers"
    assert by_source["certs", "revoked-staging"]["preview"] == {"bucket": "certs", "collection": "revoked"}
    assert by_source["drafts", "notices"]["group_check_enabled"] is False
    assert capabilities["changes"]["collections"] == ["/buckets/public", "/buckets/certs/collections/revoked"]


# --- kinto-remote-settings ---------------------------------------------------------------------------------------------------


def test_remote_settings_reviews_and_publishes(remote_settings, caplog):
    app = remote_settings
    alice, bob = Person(app, "alice", account=True), Person(app, "bob", account=True)

    review(app, "fleet-workspace/engines", alice, bob, groups=("engines-editors", "engines-reviewers"))
    preview = app.get("/buckets/fleet-preview/collections/engines/records").json["data"]
    assert [record["title"] for record in preview] == ["Ünö"]

    # A line of its own inside the bucket of another, and a pattern, which is about collections that are made later.
    for source, published in (
        ("lists-workspace/bloomfilter", "lists/bloomfilter"),
        ("fleet-workspace/suggest-fr-mobile", "fleet/suggest-fr-mobile"),
    ):
        uri = f"/buckets/{source.replace('/', '/collections/')}"
        bob.put_json(uri, {})
        bob.put_json(f"{uri}/records/f", {"data": {"bits": "0110"}})
        bob.set_status(uri, "to-sign", status=403)
        bob.patch_json(f"/buckets/{source.replace('/', '/groups/')}-reviewers", {"data": {"members": [bob.id]}})
        bob.set_status(uri, "to-sign")
        assert set(verified(app, source)) == {"f"}
        app.get(f"/buckets/{published.replace('/', '/collections/')}/records")
    app.get("/buckets/lists-preview/collections/bloomfilter", headers=alice.headers, status=404)

    # What clients poll.
    listed = app.get(f"{MONITOR}/changeset?_expected=0").json["changes"]
    assert {f"{entry['bucket']}/{entry['collection']}" for entry in listed} == {
        "fleet/engines",
        "fleet-preview/engines",
        "fleet/suggest-fr-mobile",
        "fleet-preview/suggest-fr-mobile",
    }
    address = "/buckets/fleet/collections/engines/changeset"
    assert "max-age=60" in app.get(f"{address}?_expected=0").headers["Cache-Control"]
    assert "max-age=3600" in app.get(f"{address}?_expected=5").headers["Cache-Control"]
    assert app.get(f"{MONITOR}/changeset?_expected=0&_since=%221%22", status=307).headers["Location"].endswith("_expected=0")


def test_remote_settings_start_up(tmp_path, caplog):
    """What the capability shows, and a warning for each line without effect."""
    capabilities = start(moved("kinto-remote-settings.ini"), tmp_path, "ecdsa").get("/").json["capabilities"]
    shown = capabilities["signer"]
    assert (shown["group_check_enabled"], shown["to_review_enabled"]) == (True, True)
    assert (shown["editors_group"], shown["reviewers_group"]) == ("{collection_id}-editors", "{collection_id}-reviewers")
    assert [
        (one["source"]["bucket"], one["source"]["collection"], one["preview"]["bucket"], one.get("to_review_enabled"))
        for one in shown["resources"]
    ] == [
        ("fleet-workspace", None, "fleet-preview", None),
        ("lists-workspace", None, "lists-preview", None),
        ("lists-workspace", "bloomfilter", "lists", False),
    ]
    assert capabilities["changes"]["collections"] == [
        "/buckets/fleet",
        "/buckets/fleet-preview",
        "/buckets/lists",
        "/buckets/lists-preview",
    ]

    warned = [record.getMessage() for record in caplog.records if record.name.startswith("kinto_signer")]
    idle = {found[1] for message in warned if (found := re.match(r"kinto\.signer\.(\S+) means nothing here", message))}
    assert idle == {"hard_delete_destination_on_source_deletion"}
    assert "7f3f2c9d" not in caplog.text


def test_remote_settings_with_two_includes(tmp_path):
    """`.changes` and `.signer` are included one by one, with another plugin in between."""
    before = (INIS / "kinto-remote-settings.ini").read_text()
    two = before.replace("kinto_attachment\n", "kinto_remote_settings.changes\n                 kinto_attachment\n")
    two = two.replace("kinto_remote_settings\n", "kinto_remote_settings.signer\n")
    (tmp_path / "peer.ini").write_text(two)
    app = start(moved(tmp_path / "peer.ini"), tmp_path, "ecdsa")
    alice, bob = Person(app, "alice", account=True), Person(app, "bob", account=True)

    review(app, "fleet-workspace/engines", alice, bob, groups=("engines-editors", "engines-reviewers"))

    assert {entry["bucket"] for entry in app.get(f"{MONITOR}/records").json["data"]} == {"fleet", "fleet-preview"}
    registry = app.app.registry
    assert groups_of(registry.signing.settings, registry.signing.resources.configured[0]).checked
