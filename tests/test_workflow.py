"""Statuses, tracking fields and what S signs, on memory and on PostgreSQL, without an authority."""

import pytest

from kinto_signer.core.changeset import Changeset
from kinto_signer.core.trust import Trust, check, load_public_key
from kinto_signer.core.workflow import RULES, TRACKING_FIELDS, Asker, Effect, Status, decide
from kinto_signer.errors import HashMismatchError, WorkflowError
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server import writing
from tests.support.servers import authorization
from tests.support.site import (
    BUCKET,
    DESTINATION,
    SOURCE,
    attributes,
    delete_source,
    everything,
    set_status,
    signer_app,
    store,
)


@pytest.fixture
def app(key_pair, storage_url):
    return signer_app(key_pair, database=storage_url)


def put(app, name, **data):
    return app.put_json(f"{SOURCE}/records/{name}", {"data": data})


def signed_records(app):
    return {record["id"]: record for record in app.get(f"{DESTINATION}/records").json["data"]}


def assert_verifies(app, key_pair):
    """What S's destination serves verifies, and its ETag is the signed timestamp."""
    metadata = verify(app, key_pair)
    timestamp = int(app.get(f"{DESTINATION}/records").headers["ETag"].strip('"'))
    assert timestamp == metadata["signed_timestamp"]
    assert metadata["signature"] == metadata["signatures"][0]
    return timestamp


def verify(app, key_pair):
    metadata = attributes(app, DESTINATION)
    records = app.get(f"{DESTINATION}/records").json["data"]
    trust = Trust((load_public_key(key_pair.public.read_bytes(), where="the test"),))
    check("main/regions", Changeset(metadata["signed_timestamp"], records, {**metadata, "bucket": "main"}), trust)
    return metadata


# --- the table ------------------------------------------------------------------------------------------------------


ANYBODY = Asker()


@pytest.mark.parametrize("reviews", [True, False])
@pytest.mark.parametrize("old", Status)
@pytest.mark.parametrize("asked", Status)
def test_every_pair_is_a_rule_or_refused_with_what_is_possible(old, asked, reviews):
    rule = RULES.get((old, asked))
    if rule is not None and not (rule.unreviewed and reviews):
        assert decide(old, asked, ANYBODY, reviews=reviews) is rule
        return
    with pytest.raises(WorkflowError) as refused:
        decide(old, asked, ANYBODY, reviews=reviews)
    assert not refused.value.forbidden
    for (known, possible), rule in RULES.items():
        if known is old and possible is not old and not (rule.unreviewed and reviews):
            assert possible.value in refused.value.message


def test_only_publication_and_rollback_make_a_collection_signed():
    for (old, _), rule in RULES.items():
        if rule.becomes is Status.SIGNED and old is not Status.SIGNED:
            assert rule.effect in (Effect.PUBLISH, Effect.ROLLBACK)


def test_groups_and_four_eyes():
    pair = (Status.TO_REVIEW, Status.TO_SIGN)
    reviewer = frozenset({"reviewers"})
    for asker in (Asker(), Asker(reviewer), Asker(reviewer, took_part=True, may_approve_alone=True)):
        assert decide(*pair, asker, reviews=True).effect is Effect.PUBLISH
    assert decide(*pair, Asker(reviewer, took_part=True), reviews=False).effect is Effect.PUBLISH
    for asker in (
        Asker(frozenset()),
        Asker(frozenset({"editors"})),
        Asker(reviewer, took_part=True),
        Asker(None, took_part=True),
    ):
        with pytest.raises(WorkflowError) as refused:
            decide(*pair, asker, reviews=True)
        assert refused.value.forbidden


# --- signing --------------------------------------------------------------------------------------------------------


def test_a_new_collection_is_signed_at_once(app, key_pair):
    found = attributes(app)
    assert found["status"] == "signed"
    assert found["last_signature_by"].startswith("basicauth:")
    assert found["last_signature_date"]
    assert_verifies(app, key_pair)
    assert found["hash"] == attributes(app, DESTINATION)["hash"]


def test_anybody_reads_the_signed_copy(app):
    app.authorization = None
    assert app.get(f"{DESTINATION}/records", status=200)
    app.get(f"{SOURCE}/records", status=401)
    app.put_json(f"{DESTINATION}/records/x", {}, status=401)


@pytest.mark.parametrize("verb", ["create", "update", "delete", "delete all", "batch"])
def test_an_edit_is_work_in_progress(app, verb):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    before = attributes(app)
    headers = authorization("alice")
    actions = {
        "create": lambda: put(app, "r2", n=2),
        "update": lambda: app.patch_json(f"{SOURCE}/records/r1", {"data": {"n": 3}}, headers=headers),
        "delete": lambda: app.delete(f"{SOURCE}/records/r1"),
        "delete all": lambda: app.delete(f"{SOURCE}/records"),
        "batch": lambda: app.post_json("/batch", {"requests": [{"method": "POST", "path": f"{SOURCE}/records"}]}),
    }
    actions[verb]()
    after = attributes(app)
    assert (before["status"], after["status"]) == ("signed", "work-in-progress")
    assert after["last_edit_by"] == before["last_signature_by"]
    assert after["last_edit_date"] > before["last_signature_date"]
    assert "r1" in signed_records(app)


def test_an_edit_of_the_attributes_is_work_in_progress_and_reaches_the_signed_copy(app, key_pair):
    app.patch_json(SOURCE, {"data": {"displayFields": ["n"], "schema": {"type": "object"}, "private": 1}})
    assert attributes(app)["status"] == "work-in-progress"
    assert "displayFields" not in attributes(app, DESTINATION)
    set_status(app, "to-sign")
    there = attributes(app, DESTINATION)
    assert (there["displayFields"], there["schema"]) == (["n"], {"type": "object"})
    assert "private" not in there
    app.put_json(SOURCE, {"data": {k: v for k, v in attributes(app).items() if k != "schema"}})
    set_status(app, "to-sign")
    assert "schema" not in attributes(app, DESTINATION)
    assert_verifies(app, key_pair)


def test_publication_compares_content_and_not_timestamps(app, key_pair):
    put(app, "old", n=1, last_modified=1_500_000_000_000)
    put(app, "same", n=1)
    set_status(app, "to-sign")
    first, before = assert_verifies(app, key_pair), signed_records(app)
    assert before["old"]["n"] == 1
    put(app, "same", n=1)  # a new timestamp, nothing else
    app.patch_json(f"{SOURCE}/records/old", {"data": {"n": True}})  # equal in Python, not in JSON
    set_status(app, "to-sign")
    after = signed_records(app)
    assert after["same"] == before["same"]
    assert after["old"]["n"] is True
    assert assert_verifies(app, key_pair) > first


def test_a_second_publication_is_harmless(app, key_pair):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    timestamp, records = assert_verifies(app, key_pair), signed_records(app)
    set_status(app, "to-sign")
    assert assert_verifies(app, key_pair) == timestamp
    assert signed_records(app) == records
    assert attributes(app)["status"] == "signed"


def test_deletions_leave_tombstones(app, key_pair):
    put(app, "r1", n=1)
    put(app, "r2", n=1)
    set_status(app, "to-sign")
    since = assert_verifies(app, key_pair)
    app.delete(f"{SOURCE}/records/r1")
    set_status(app, "to-sign")
    assert_verifies(app, key_pair)
    changes = app.get(f'{DESTINATION}/records?_since="{since}"').json["data"]
    assert [(change["id"], change.get("deleted")) for change in changes] == [("r1", True)]
    put(app, "r1", n=2)
    set_status(app, "to-sign")
    assert_verifies(app, key_pair)
    assert signed_records(app)["r1"]["n"] == 2


def test_edits_and_approval_in_one_batch(app, key_pair):
    parts = [{"method": "PUT", "path": f"{SOURCE}/records/b{i}", "body": {"data": {"n": i}}} for i in range(5)]
    parts.append({"method": "PATCH", "path": SOURCE, "body": {"data": {"status": "to-sign"}}})
    answer = app.post_json("/batch", {"requests": parts})
    assert {part["status"] for part in answer.json["responses"]} == {200, 201}
    assert set(signed_records(app)) == {f"b{i}" for i in range(5)}
    assert attributes(app)["status"] == "signed"
    assert_verifies(app, key_pair)


# --- refreshing -----------------------------------------------------------------------------------------------------


def test_a_refresh_renews_the_signature_and_nothing_else(app, key_pair):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    put(app, "r1", n=2)
    before, timestamp = attributes(app, DESTINATION), assert_verifies(app, key_pair)
    set_status(app, "to-resign")
    after = attributes(app, DESTINATION)
    assert after["signature"]["signature"] != before["signature"]["signature"]
    assert assert_verifies(app, key_pair) == timestamp
    assert after["hash"] == before["hash"]
    assert signed_records(app)["r1"]["n"] == 1
    assert attributes(app)["status"] == "work-in-progress"


def test_a_refresh_never_blesses_records_that_were_altered(app, key_pair):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    tamper(app, n=666)
    set_status(app, "to-resign")
    with pytest.raises(HashMismatchError):
        verify(app, key_pair)


def test_a_refresh_of_a_peers_signature_verifies_the_records_first(app, key_pair):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    storage = app.app.registry.storage
    kept = {k: v for k, v in attributes(app, DESTINATION).items() if k not in ("signer_claim", "hash", "signed_timestamp")}
    storage.update("collection", "/buckets/main", "regions", kept)
    commit()
    set_status(app, "to-resign")
    assert_verifies(app, key_pair)
    storage.update("collection", "/buckets/main", "regions", kept)
    commit()
    tamper(app, n=666)
    answer = set_status(app, "to-resign", status=503)
    assert answer.json["details"]["reason"] == "bad-signature"


def test_a_refresh_signs_no_digest_that_was_not_signed_before(app, key_pair):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    forged = attributes(app, DESTINATION)
    forged["signer_claim"]["digest"] = "sha384-" + "A" * 64
    app.app.registry.storage.update("collection", "/buckets/main", "regions", forged)
    commit()
    answer = set_status(app, "to-resign", status=503)
    assert answer.json["details"]["reason"] == "bad-signature"


def test_what_the_storage_did_not_keep_is_not_signed(app, monkeypatch):
    put(app, "r1", n=1)
    before = everything(app)
    write, in_bulk = StorageRepository.write, writing.apply_in_bulk

    def forgetful(self, name, changes):
        write(self, name, [{**change, "n": 2} for change in changes])

    def forgetful_in_bulk(storage, uri, changes, **options):
        in_bulk(storage, uri, [{**change, "n": 2} for change in changes], **options)

    with monkeypatch.context() as patched:
        patched.setattr(StorageRepository, "write", forgetful)
        patched.setattr(writing, "apply_in_bulk", forgetful_in_bulk)
        answer = set_status(app, "to-sign", status=503)
    assert answer.json["details"]["reason"] == "signer"
    assert everything(app) == before


def tamper(app, **data):
    record = {**signed_records(app)["r1"], **data}
    app.app.registry.storage.update("record", DESTINATION, "r1", record)
    commit()


def commit():
    import transaction

    transaction.commit()


# --- refusals leave everything as it was ------------------------------------------------------------------------------

REFUSED = [
    ({"status": "nope"}, 400, "Invalid status 'nope'"),
    ({"status": 1}, 400, "Invalid status 1"),
    ({"status": "signed"}, 400, "Cannot set status to 'signed'"),
    *[({field: "me"}, 400, field) for field in (*TRACKING_FIELDS, "hash")],
]


@pytest.mark.parametrize(("data", "status", "words"), REFUSED, ids=[str(row[0]) for row in REFUSED])
def test_a_refused_change_stores_nothing(app, data, status, words):
    put(app, "r1", n=1)
    before = everything(app)
    answer = app.patch_json(SOURCE, {"data": data}, status=status)
    assert answer.json["errno"] == 109
    assert words in answer.json["message"]
    assert everything(app) == before


def test_removing_the_status_or_a_tracking_field_is_refused(app):
    put(app, "r1", n=1)
    before = everything(app)
    answer = app.put_json(SOURCE, {"data": {"displayFields": ["n"]}}, status=400)
    assert "last_edit_by" in answer.json["message"]
    kept = {field: value for field, value in attributes(app).items() if field != "status"}
    answer = app.put_json(SOURCE, {"data": kept}, status=400)
    assert "Cannot remove status" in answer.json["message"]
    assert everything(app) == before


def test_a_review_of_what_is_signed_is_refused(app):
    answer = set_status(app, "to-review", status=400)
    assert "Collection already signed" in answer.json["message"]


def test_review_without_reviewers_tracks_who_asked(app):
    put(app, "r1", n=1)
    set_status(app, "to-review")
    found = attributes(app)
    assert found["status"] == "to-review"
    assert found["last_review_request_by"] == found["last_edit_by"]
    set_status(app, "work-in-progress")
    set_status(app, "to-review")
    set_status(app, "to-sign")
    assert attributes(app)["status"] == "signed"


def test_a_refused_batch_stores_no_part_of_it(app):
    before = everything(app)
    parts = [{"method": "PUT", "path": f"{SOURCE}/records/b1", "body": {"data": {"n": 1}}}]
    parts.append({"method": "PATCH", "path": SOURCE, "body": {"data": {"status": "nope"}}})
    answer = app.post_json("/batch", {"requests": parts}, status=400)
    assert "nope" in answer.json["message"]
    assert everything(app) == before


def test_a_signer_that_fails_leaves_everything_as_it_was(app, monkeypatch):
    put(app, "r1", n=1)
    before = everything(app)
    signing = app.app.registry.signing
    (member,) = signing.signer(signing.resources.configured[0]).members
    monkeypatch.setattr(type(member.signer), "sign", lambda self, digest, content=None: signer_that_lies())
    answer = set_status(app, "to-sign", status=503)
    assert answer.json["details"]["reason"] == "bad-signature"
    assert everything(app) == before
    monkeypatch.undo()
    set_status(app, "to-sign")
    assert attributes(app)["status"] == "signed"


def signer_that_lies():
    from kinto_signer.signers import Signature

    return (Signature("A" * 128),)


# --- creating and deleting --------------------------------------------------------------------------------------------


def test_a_status_on_creation(key_pair, storage_url):
    app = signer_app(key_pair, database=storage_url, collection=False)
    app.put_json(SOURCE, {"data": {"status": "signed"}}, status=400)
    app.put_json(SOURCE, {"data": {"last_edit_by": "me"}}, status=400)
    app.get(SOURCE, status=404)
    app.put_json(SOURCE, {"data": {"status": "to-sign"}})
    assert attributes(app)["status"] == "signed"


def test_a_collection_made_with_records_in_one_batch_is_not_published_unapproved(key_pair, storage_url):
    app = signer_app(key_pair, database=storage_url, collection=False)
    parts = [{"method": "PUT", "path": SOURCE}, {"method": "PUT", "path": f"{SOURCE}/records/r1", "body": {"data": {"n": 1}}}]
    app.post_json("/batch", {"requests": parts})
    assert attributes(app)["status"] == "work-in-progress"
    assert signed_records(app) == {}
    assert_verifies(app, key_pair)


def test_deleting_a_source_publishes_the_empty_state(app, key_pair):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    since = assert_verifies(app, key_pair)
    delete_source(app)
    assert signed_records(app) == {}
    assert assert_verifies(app, key_pair) > since
    app.put_json(SOURCE, {})
    assert app.get(f"{SOURCE}/records").json["data"] == []
    assert_verifies(app, key_pair)


def test_a_deletion_that_a_batch_undid_changes_nothing(key_pair, create_database):
    """PostgreSQL: an inner 409 undoes what came before it, and Kinto would wipe the records all the same."""
    app = signer_app(key_pair, database=create_database())
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    before = everything(app)
    other = "/buckets/plain/collections/c/records"
    for uri in ("/buckets/plain", "/buckets/plain/collections/c"):
        app.put_json(uri, {})
    for name, timestamp in (("a", 1000), ("b", 2000)):
        app.put_json(f"{other}/{name}", {"data": {"last_modified": timestamp}})
    clash = {"method": "PUT", "path": f"{other}/d", "body": {"data": {"last_modified": 1000}}}
    app.post_json("/batch", {"requests": [{"method": "DELETE", "path": f"{SOURCE}?confirm=regions"}, clash]}, status=409)
    assert everything(app) == before


def test_a_source_deleted_and_made_again_in_one_batch_is_refused(app):
    """Kinto would remove the records that were written last."""
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    before = everything(app)
    parts = [{"method": "DELETE", "path": f"{SOURCE}?confirm=regions"}, {"method": "PUT", "path": SOURCE}]
    parts.append({"method": "PUT", "path": f"{SOURCE}/records/new", "body": {"data": {"n": 1}}})
    answer = app.post_json("/batch", {"requests": parts}, status=409)
    assert "request of its own" in answer.json["message"]
    assert everything(app) == before


def test_a_record_with_the_markers_id_from_before_the_plugin(app):
    app.app.registry.storage.update("record", SOURCE, "kinto-signer-timestamp", {"n": 1})
    commit()
    put(app, "r1", n=1)
    before = everything(app)
    answer = set_status(app, "to-sign", status=400)
    assert answer.json["details"]["record"] == "kinto-signer-timestamp"
    assert everything(app) == before
    app.delete(f"{SOURCE}/records/kinto-signer-timestamp")
    set_status(app, "to-sign")


def test_a_clock_so_far_ahead_that_readers_refuse_is_not_signed(app):
    put(app, "r1", n=1)
    app.app.registry.storage.update("record", DESTINATION, "x", {"last_modified": 4102444800000})
    commit()
    before = everything(app)
    answer = set_status(app, "to-sign", status=503)
    assert answer.json["details"]["reason"] == "not-yet-valid"
    assert everything(app) == before


def test_what_nobody_signed_is_not_signed_for_a_new_source(key_pair, storage_url):
    app = signer_app(key_pair, database=storage_url, collection=False)
    store(app, DESTINATION, "foreign", n=1)
    answer = app.put_json(SOURCE, {}, status=503)
    assert answer.json["details"]["reason"] == "unsigned"
    app.get(SOURCE, status=404)


def test_a_bucket_of_sources_is_not_deleted_as_a_whole(app):
    before = everything(app)
    for uri in (BUCKET, "/buckets"):
        answer = app.delete(uri, status=403)
        assert answer.json["errno"] == 121
        assert everything(app) == before
    app.put_json("/buckets/other", {})
    app.delete("/buckets/other")


def test_other_collections_are_left_alone(app):
    app.put_json("/buckets/other", {})
    app.put_json("/buckets/other/collections/c", {"data": {"status": "whatever"}})
    app.put_json("/buckets/other/collections/c/records/r", {"data": {"n": 1.5}})
    app.delete("/buckets/other/collections/c/records")
    assert attributes(app, "/buckets/other/collections/c")["status"] == "whatever"
    app.delete("/buckets/other/collections/c")


def test_more_records_than_kinto_fetches_at_once(key_pair, storage_url):
    app = signer_app(key_pair, database=storage_url, kinto__storage_max_fetch_size="7", kinto__batch_max_requests="100")
    parts = [{"method": "PUT", "path": f"{SOURCE}/records/r{i}", "body": {"data": {"n": i}}} for i in range(40)]
    app.post_json("/batch", {"requests": parts})
    set_status(app, "to-sign")
    assert count(app, DESTINATION) == 40
    app.delete(f"{SOURCE}/records")
    assert count(app, SOURCE) == 0
    set_status(app, "to-sign")
    assert count(app, DESTINATION) == 0
    app.post_json("/batch", {"requests": parts})
    app.delete(SOURCE)
    app.put_json(SOURCE, {})
    assert count(app, SOURCE) == 0


def test_what_is_written_after_a_deletion_of_all_stays(key_pair, storage_url):
    app = signer_app(key_pair, database=storage_url, kinto__storage_max_fetch_size="7", kinto__batch_max_requests="100")
    parts = [{"method": "PUT", "path": f"{SOURCE}/records/r{i}", "body": {"data": {"n": i}}} for i in range(40)]
    app.post_json("/batch", {"requests": parts})
    new = {"method": "PUT", "path": f"{SOURCE}/records/new", "body": {"data": {"n": 1}}}
    app.post_json("/batch", {"requests": [{"method": "DELETE", "path": f"{SOURCE}/records"}, new]})
    assert [record["id"] for record in app.get(f"{SOURCE}/records").json["data"]] == ["new"]
    app.post_json("/batch", {"requests": parts})
    app.delete(f"{SOURCE}/records?_limit=7")
    assert count(app, SOURCE) == 34


def count(app, uri):
    return int(app.head(f"{uri}/records").headers["Total-Records"])
