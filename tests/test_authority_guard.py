"""The guard on ordinary writes, its door, its start-up, its heartbeat. The table of attacks is in test_authority_attacks.py."""

import math

import pytest
from pyramid.exceptions import ConfigurationError

from kinto_signer.authority import heartbeat
from kinto_signer.core.trust import check
from tests.support.keys import write_key_pair
from tests.support.publications import CHANGESET, URI, body_of, post, successive_states
from tests.support.servers import authorization, webtest_app
from tests.support.settings import guarded_settings
from tests.support.states import NAME, signed_state, trust_in
from tests.test_authority_publication import by_id, served


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch):
    """However slow the machine is: a heartbeat that takes long is kept otherwise."""
    monkeypatch.setattr(heartbeat, "NOT_KEPT_S", math.inf)


@pytest.fixture
def states(key_pair):
    return successive_states(key_pair.key(), 3)


@pytest.fixture
def app(key_pair, database, states):
    """A on PostgreSQL with the first state."""
    app = webtest_app(guarded_settings(key_pair.public, database))
    post(app, body_of(states[0]), status=201)
    return app


def batch_of(state, base, *, collection="PATCH"):
    """A publication as S sends it to a plain A: a PUT or DELETE for each record, the attributes last."""
    requests = []
    for change in sorted(state.changes, key=lambda change: change["last_modified"]):
        path = f"{URI}/records/{change['id']}"
        if change["last_modified"] <= base:
            continue
        if change.get("deleted"):
            requests.append({"method": "DELETE", "path": f"{path}?last_modified={change['last_modified']}"})
        else:
            requests.append({"method": "PUT", "path": path, "body": {"data": change}})
    attributes = body_of(state)["metadata"]
    return {"requests": [*requests, {"method": collection, "path": URI, "body": {"data": attributes}}]}


# --- ordinary writes ----------------------------------------------------------------------------------------------------


def test_a_publication_by_batch_is_accepted_if_it_verifies(app, states, key_pair):
    answer = app.post_json("/batch", batch_of(states[1], states[0].timestamp))
    assert {part["status"] for part in answer.json["responses"]} <= {200, 201}
    found = served(app)
    check(NAME, found, trust_in(key_pair.key()))
    assert (found.timestamp, by_id(found.changes)) == (states[1].timestamp, by_id(states[1].records))
    post(app, body_of(states[2], states[1].timestamp), status=200)


def test_half_a_publication_by_batch_is_refused(app, states):
    before = served(app)
    body = batch_of(states[1], states[0].timestamp)
    for left_out in range(len(body["requests"])):
        part = {"requests": [request for number, request in enumerate(body["requests"]) if number != left_out]}
        answer = app.post_json("/batch", part, status=403)
        assert answer.json["errno"] == 121
        assert answer.json["details"]["reason"] in ("bad-signature", "hash-mismatch", "refused")
        assert served(app) == before


def test_an_older_publication_by_batch_is_refused(app, states):
    post(app, body_of(states[1], states[0].timestamp))
    before = served(app)
    body = batch_of(states[0], 0)
    body["requests"].append({"method": "DELETE", "path": f"{URI}/records/record-0101"})
    assert app.post_json("/batch", body, status=403).json["details"]["reason"] in ("rollback", "bad-signature", "hash-mismatch")
    assert served(app) == before


def test_a_record_that_was_lost_behind_our_back_may_be_put_back(app, states, postgres, database):
    lost = states[0].records[0]
    postgres.execute(f"DELETE FROM objects WHERE resource_name = 'record' AND id = '{lost['id']}'", database)
    app.put_json(f"{URI}/records/{lost['id']}", {"data": lost}, status=201)
    assert by_id(served(app).changes) == by_id(states[0].records)


def test_no_tombstone_of_what_was_never_published(app):
    before = app.get(f"{URI}/records?_since=0").json
    path = f"{URI}/records/never"
    requests = [
        {"method": "PUT", "path": path, "body": {"data": {"last_modified": 1000}}},
        {"method": "DELETE", "path": f"{path}?last_modified=1001"},
    ]
    answer = app.post_json("/batch", {"requests": requests}, status=403)
    assert "belongs to nothing that was published" in answer.json["message"]
    assert app.get(f"{URI}/records?_since=0").json == before


# --- what is stored does not verify -------------------------------------------------------------------------------------


RECORD = "WHERE resource_name = 'record' AND id = 'record-0002'"
COLLECTION = "WHERE resource_name = 'collection'"
HARM_TO_RECORDS = [
    f'UPDATE objects SET data = data || \'{{"text": "evil"}}\' {RECORD}',
    f"DELETE FROM objects {RECORD}",
    f"UPDATE objects SET deleted = TRUE, data = '{{\"deleted\": true}}' {RECORD}",
    f"UPDATE objects SET last_modified = last_modified + interval '1 hour' {RECORD}",
    "INSERT INTO objects VALUES ('more', '/buckets/main/collections/regions', 'record', NULL, '{}', FALSE)",
]
HARM_TO_ATTRIBUTES = [
    f'UPDATE objects SET data = data || \'{{"displayFields": ["evil"]}}\' {COLLECTION}',
    f"UPDATE objects SET data = data - 'signature' - 'signatures' {COLLECTION}",
    f"UPDATE objects SET data = data || '{{\"signed_timestamp\": 1600000000000}}' {COLLECTION}",
    f"DELETE FROM objects {COLLECTION}",
]


def heal(app, state, key_pair):
    """A complete publication of the same state, built on what A shows."""
    shown = app.get(URI, expect_errors=True).json.get("data", {})
    signed = "signature" in shown
    post(app, {**body_of(state, complete=True), "base": shown["signed_timestamp"] if signed else 0}, status="2*")
    assert app.get("/__heartbeat__").json["authority"] is not False
    found = served(app)
    check(NAME, found, trust_in(key_pair.key()))
    assert by_id(found.changes) == by_id(state.records)
    assert app.get(f"{URI}/records").headers["ETag"] == f'"{state.timestamp}"'


@pytest.mark.parametrize("harm", HARM_TO_RECORDS)
def test_records_that_were_altered_stop_writes_until_a_complete_publication(app, states, postgres, database, harm, key_pair):
    assert app.get("/__heartbeat__").json["authority"] is not False
    postgres.execute(harm, database)
    assert app.get("/__heartbeat__", status=503).json["authority"]["main/regions"].startswith("does not verify")
    before = app.get(f"{URI}/records").json
    assert "Retry-After" in app.put_json(f"{URI}/records/new", {"data": {}}, status=503).headers
    assert "behind this server's back" in post(app, body_of(states[1], states[0].timestamp), status=503).json["message"]
    assert app.get(f"{URI}/records").json == before
    heal(app, states[0], key_pair)
    post(app, body_of(states[1], states[0].timestamp))


@pytest.mark.parametrize("harm", HARM_TO_ATTRIBUTES)
def test_attributes_that_were_altered_are_noticed_and_replaced(app, states, postgres, database, harm, key_pair):
    postgres.execute(harm, database)
    assert app.get("/__heartbeat__", status=503).json["authority"]["main/regions"].startswith("does not verify")
    app.put_json(f"{URI}/records/new", {"data": {}}, status=(404, 503))
    heal(app, states[0], key_pair)


def test_kept_forms_are_never_what_is_verified(app, states, database, postgres):
    """Warm and cold, the answer is the same: what was altered by SQL is seen although the process knows the old bytes."""
    guard = app.app.registry.guard
    post(app, body_of(states[1], states[0].timestamp))
    assert guard.kept._kept
    postgres.execute("UPDATE objects SET data = '{\"text\": \"evil\"}' WHERE id = 'record-0003'", database)
    post(app, body_of(states[2], states[1].timestamp), status=503)
    guard.kept.forget()
    post(app, body_of(states[2], states[1].timestamp), status=503)


# --- after a deletion ---------------------------------------------------------------------------------------------------


def test_what_was_accepted_is_remembered_after_the_collection_is_gone(app, states, postgres, database):
    post(app, body_of(states[1], states[0].timestamp))
    postgres.execute("DELETE FROM objects WHERE resource_name IN ('record', 'collection', 'bucket')", database)
    answer = post(app, body_of(states[0]), status=403)
    assert answer.json["details"]["reason"] == "rollback"
    post(app, body_of(states[1]), status=201)


# --- start-up and capability --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kinto.authority.resources": ""}, "kinto.authority.resources is empty"),
        ({"kinto.authority.resources": "main workspace!"}, "kinto.authority.resources = workspace!"),
        ({"kinto.authority.public_keys": ""}, "kinto.authority.public_keys"),
        ({"kinto.authority.public_keys": "/nowhere.pem"}, "/nowhere.pem cannot be read"),
        ({"kinto.authority.main.public_keys": "/nowhere.pem"}, "kinto.authority.main.public_keys"),
        ({"kinto.includes": "kinto.plugins.flush kinto_signer.authority"}, "kinto.plugins.flush"),
        ({"kinto.authority.future_tolerance_seconds": "soon"}, "kinto.authority.future_tolerance_seconds = soon"),
        ({"kinto.authority.max_changeset_bytes": "much"}, "kinto.authority.max_changeset_bytes = much"),
    ],
)
def test_a_bad_setting_stops_the_server_and_is_named(key_pair, changed, message):
    with pytest.raises(ConfigurationError, match=message.replace("!", ".")):
        webtest_app(guarded_settings(key_pair.public) | changed)


def test_a_private_key_as_public_key_stops_the_server(key_pair):
    with pytest.raises(ConfigurationError, match="public_keys") as error:
        webtest_app(guarded_settings(key_pair.private))
    assert "BEGIN" not in str(error.value)


def test_the_capability_says_what_is_guarded(key_pair, tmp_path):
    other = write_key_pair(tmp_path, "other")
    settings = guarded_settings(key_pair.public, resources="/buckets/main /buckets/b/collections/c")
    settings["kinto.authority.b.c.public_keys"] = f"{key_pair.public} {other.public}"
    found = webtest_app(settings).get("/").json["capabilities"]
    assert [(place["bucket"], place["collection"]) for place in found["authority"]["resources"]] == [("main", None), ("b", "c")]
    fingerprints = [key.fingerprint for key in trust_in(key_pair.key(), other.key()).keys]
    assert found["authority"]["resources"][1]["public_keys"] == fingerprints
    assert found["changes"]["collections"] == ["/buckets/main", "/buckets/b/collections/c"]


def test_keys_of_one_collection(key_pair, tmp_path, storage_url):
    other = write_key_pair(tmp_path, "other")
    settings = guarded_settings(key_pair.public, storage_url) | {"kinto.authority.main.regions.public_keys": str(other.public)}
    app = webtest_app(settings)
    theirs, ours = successive_states(key_pair.key(), 1)[0], successive_states(other.key(), 1)[0]
    assert post(app, body_of(theirs), status=403).json["details"]["reason"] == "unknown-key"
    post(app, body_of(ours), status=201)


def test_the_heartbeat_names_other_writers(key_pair, storage_url, states):
    app = webtest_app(guarded_settings(key_pair.public, storage_url))
    writer = app.get("/").json["user"]["id"]
    app.put_json("/buckets/main", {"permissions": {"write": ["basicauth:somebody"]}}, status="*")
    post(app, body_of(states[0]), status=201)
    assert "basicauth:somebody" in app.get("/__heartbeat__").json["authority"]["main/regions"]
    known = {"kinto.authority.signer_principals": f"basicauth:somebody {writer}"}
    if storage_url:
        again = webtest_app(guarded_settings(key_pair.public, storage_url) | known)
        assert again.get("/__heartbeat__").json["authority"] is True


def test_an_existing_collection_that_verifies_is_taken_over(key_pair, database, states):
    """The plugin is added to a plain A that was published to before."""
    from tests.support.settings import kinto_settings

    plain = webtest_app(kinto_settings(database) | {"kinto.batch_max_requests": "100"})
    plain.put_json("/buckets/main", {})
    plain.put_json(URI, {"permissions": {"read": ["system.Everyone"]}})
    plain.post_json("/batch", batch_of(states[0], 0))
    app = webtest_app(guarded_settings(key_pair.public, database))
    assert app.get("/__heartbeat__").json["authority"] is not False
    app.patch_json(f"{URI}/records/record-0001", {"data": {"text": "evil"}}, status=403)
    post(app, body_of(states[1], states[0].timestamp), status=200)
    assert served(app).timestamp == states[1].timestamp


def test_a_year_2100_is_refused(app, states, key_pair):
    late = signed_state(key_pair.key(), [{"id": "one", "last_modified": 4_102_444_800_000}])
    assert post(app, body_of(late, states[0].timestamp), status=403).json["details"]["reason"] == "not-yet-valid"
    app.get(CHANGESET + "?_expected=0", headers=authorization("anybody"))
