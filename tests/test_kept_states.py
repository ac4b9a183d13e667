"""A publication costs what its change does: the same one whether what is kept is there, gone, stale, shared or wrong."""

import json
import random
from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest
import sqlalchemy
import transaction
from cryptography.exceptions import InvalidSignature
from kinto.core.storage.exceptions import BackendError

from kinto_signer.core.canonical import format_hash
from kinto_signer.core.difference import difference
from kinto_signer.core.form import Block, Form
from kinto_signer.core.published import COPIED_ATTRIBUTES
from kinto_signer.plugin import saved_forms
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.plugin.touched import can_tell, moment
from kinto_signer.server import compared as comparing
from kinto_signer.server import kept_states, signoff
from kinto_signer.server.compared import Compared
from kinto_signer.signers.local import LocalSigner
from tests.support.campaigns import rounds
from tests.support.editing import independently_verified
from tests.support.keys import write_key_pair
from tests.support.signers import digest_of
from tests.support.site import DESTINATION, SOURCE, set_status, signer_app
from tests.support.states import TEXTS

NAME = "main/regions"
URIS = {"source": SOURCE, "destination": DESTINATION}


@pytest.fixture
def database(create_database):
    return create_database()


@pytest.fixture
def app(key_pair, database, monkeypatch):
    monkeypatch.setattr("kinto_signer.core.form.BLOCK", 3)
    return signer_app(key_pair, database=database, kinto__batch_max_requests="100")


def put(app, *names, value=0):
    parts = [{"method": "PUT", "path": f"{SOURCE}/records/{name}", "body": {"data": {"n": value}}} for name in names]
    app.post_json("/batch", {"requests": parts})


def publish(app):
    set_status(app, "to-sign")


def assert_published(app, key_pair, *, like_source=True):
    """What readers get is what the editors see, and verifies with a few lines that share nothing with the package."""
    live = app.get(f"{DESTINATION}/records").json["data"]
    metadata = app.get(DESTINATION).json["data"]
    etag = int(app.get(f"{DESTINATION}/records").headers["ETag"].strip('"'))
    assert metadata["signed_timestamp"] == etag
    hash_ = independently_verified(key_pair.public.read_bytes(), live, etag, metadata["signature"]["signature"])
    assert metadata["hash"] == hash_
    if like_source:
        found = [
            {r["id"]: {k: v for k, v in r.items() if k != "last_modified"} for r in records} for records in (source(app), live)
        ]
        assert found[0] == found[1]


def source(app):
    return app.get(f"{SOURCE}/records").json["data"]


def run(app, statement, **values):
    """SQL behind everybody's back."""
    with app.app.registry.storage.client.connect() as session:
        found = session.execute(sqlalchemy.text(statement), values)
        rows = found.fetchall() if found.returns_rows else []
    transaction.commit()
    return rows


def states(app):
    return app.app.registry.signer_kept_states


def names(count):
    return [f"r{number:02d}" for number in range(count)]


# --- nothing kept, something else kept, something wrong kept ---------------------------------------------------------------


@pytest.mark.keeps("what is not there has to be read")
def test_only_what_changed_is_read(app, key_pair, monkeypatch):
    put(app, *names(20))
    publish(app)
    monkeypatch.setattr(kept_states, "all_rows", pytest.fail)
    monkeypatch.setattr(comparing, "differing", pytest.fail)
    monkeypatch.setattr(StorageRepository, "records", pytest.fail)
    put(app, "r07", value=1)
    publish(app)
    app.delete(f"{SOURCE}/records/r03")
    put(app, "a-new-one", "r07", value=2)
    publish(app)
    monkeypatch.undo()
    assert_published(app, key_pair)


@pytest.mark.keeps("what is not there has to be read")
def test_another_process_starts_from_what_was_saved(app, key_pair, database, monkeypatch):
    put(app, *names(20))
    publish(app)
    other = signer_app(key_pair, database=database, collection=False)
    monkeypatch.setattr(kept_states, "all_rows", pytest.fail)
    monkeypatch.setattr(comparing, "differing", pytest.fail)
    for number, worker in enumerate([other, app, app, other, app, other, other]):
        put(worker, f"r{number:02d}", f"x{number}", value=number + 1)
        worker.delete(f"{SOURCE}/records/r{number + 10:02d}")
        publish(worker)
        assert_published(worker, key_pair)


@pytest.mark.keeps("drops it itself")
def test_what_can_be_lost_at_any_time_is_no_burden_for_replicas(app):
    statement = "SELECT relname, relpersistence FROM pg_class WHERE relname LIKE 'kinto_signer_%' AND relkind = 'r'"
    assert sorted(tuple(row) for row in run(app, statement)) == [("kinto_signer_blocks", "u"), ("kinto_signer_forms", "u")]


@pytest.mark.keeps("drops it itself")
@pytest.mark.parametrize("drop", ["process", "table", "both", "tables gone", "tables gone, process", "no table"])
def test_without_it_the_same_is_signed(app, key_pair, drop):
    put(app, *names(20))
    publish(app)
    if drop in ("process", "both", "tables gone, process"):
        states(app).forget()
    if drop in ("table", "both"):
        run(app, "DELETE FROM kinto_signer_forms")
    if drop == "no table":
        states(app).saves = False
        states(app).forget()
    put(app, "r07", value=1)
    if drop.startswith("tables gone"):
        run(app, "DROP TABLE kinto_signer_forms, kinto_signer_blocks")
    publish(app)
    assert_published(app, key_pair)


@pytest.mark.keeps("drops it itself")
def test_an_account_that_may_make_no_tables(key_pair, database, monkeypatch, caplog):
    def refused(storage):
        raise BackendError(original=Exception("permission denied for schema public"))

    monkeypatch.setattr(saved_forms, "create", refused)
    app = signer_app(key_pair, database=database, kinto__batch_max_requests="100")
    assert "Canonical forms are not saved, since their table could not be made" in caplog.text
    for value in (1, 2):
        put(app, *names(4), value=value)
        publish(app)
        assert_published(app, key_pair)


@pytest.mark.keeps("there have to be tables")
def test_a_server_starts_while_somebody_reads_the_tables(app, key_pair, database):
    """As a back-up does for as long as it takes: nothing is altered that is there already."""
    with closing(psycopg2.connect(database)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE kinto_signer_forms, kinto_signer_blocks IN ACCESS SHARE MODE")
        run(app, "SET lock_timeout = '1s'")
        try:
            assert states(signer_app(key_pair, database=database, collection=False)).saves
        finally:
            run(app, "SET lock_timeout = 0")


def test_nothing_is_kept_where_that_is_said(key_pair, database):
    app = signer_app(key_pair, database=database, kinto__batch_max_requests="100", kinto__signer__kept_forms_mib="0")
    assert states(app).get(NAME) is None  # nor the empty state of a new collection
    for value in (1, 2):
        put(app, *names(4), value=value)
        publish(app)
        assert_published(app, key_pair)
    assert (states(app).get(NAME), states(app).saves) == (None, False)
    assert run(app, "SELECT to_regclass('kinto_signer_forms')") == [(None,)]


def poison(form, wanted):
    """A form with other bytes in the block of that record, which hides it from whoever trusts what is kept."""
    blocks = []
    for block in form.blocks:
        chunks = tuple(chunk.replace(b'"n":', b'"m":') for chunk in block.chunks) if wanted in block.ids else block.chunks
        blocks.append(Block(block.ids, chunks))
    return Form(blocks)


@pytest.mark.keeps("alters it itself")
@pytest.mark.parametrize("where", ["r01", "r10", "r19"])
def test_altered_bytes_in_memory_are_never_signed(app, key_pair, caplog, where, monkeypatch):
    put(app, *names(20))
    publish(app)

    def alter():
        kept = states(app).get(NAME)
        object.__setattr__(kept, "form", poison(kept.form, where))

    alter()
    put(app, "r07", value=1)
    publish(app)
    assert_published(app, key_pair)
    assert "what is kept of it in memory is not what was signed" in caplog.text
    monkeypatch.setattr(Form, "proven", lambda form, *others: form)
    alter()
    put(app, "r07", value=2)
    publish(app)
    with pytest.raises(InvalidSignature):  # without the proof they would be
        assert_published(app, key_pair)


@pytest.mark.keeps("alters it itself")
def test_what_does_not_hold_together_in_memory_is_not_used(app, key_pair, caplog):
    put(app, *names(20))
    publish(app)
    kept = states(app).get(NAME)
    first, *rest = kept.form.blocks
    altered = Form([Block(first.ids[1:], first.chunks[1:]), *rest])
    altered._marks = kept.form._marks
    object.__setattr__(kept, "form", altered)
    run(app, "DELETE FROM objects WHERE parent_id = :uri AND id = 'r07'", uri=DESTINATION)
    put(app, "r19", value=2)
    publish(app)
    assert "what is kept of it in memory is not what was signed" in caplog.text
    assert_published(app, key_pair)


@pytest.mark.keeps("alters it itself")
def test_a_signer_that_takes_all_of_it_is_given_what_is_stored(app, key_pair, caplog, monkeypatch):
    """Also where what was altered stands in front of what changed, and is known by its hash."""

    def sign(signer, digest, content=None):
        assert content is None or digest_of(content()) == digest
        return original(signer, digest)

    original = LocalSigner.sign
    monkeypatch.setattr(LocalSigner, "sign", sign)
    put(app, *names(20))
    publish(app)
    kept = states(app).get(NAME)
    assert "r01" in kept.form.blocks[0].ids
    altered = poison(kept.form, "r01")
    altered._marks = kept.form._marks
    object.__setattr__(kept, "form", altered)
    for value in (1, 2):
        put(app, "r19", value=value)
        publish(app)
        assert_published(app, key_pair)
    assert caplog.text.count("what is kept of it in memory is not what was signed") == 1


@pytest.mark.keeps("alters it itself")
@pytest.mark.parametrize("where", ["r01", "r10", "r19"])
def test_altered_bytes_in_the_table_are_never_signed(app, key_pair, database, caplog, where):
    put(app, *names(20))
    publish(app)
    run(
        app,
        "UPDATE kinto_signer_blocks SET forms = replace(forms, '\"n\":', '\"m\":') WHERE ids LIKE :like",
        like=f"%{where}%",
    )
    other = signer_app(key_pair, database=database, collection=False)
    put(other, "r07", value=1)
    publish(other)
    assert_published(other, key_pair)
    assert "what is kept of it in memory is not what was signed" in caplog.text


@pytest.mark.keeps("alters it itself")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE kinto_signer_forms SET oldest = 'x', own = 'y'",
        "UPDATE kinto_signer_forms SET oldest = '99999999999'",
        "UPDATE kinto_signer_forms SET oldest = '99999999999999999999', own = '5000000000'",
        "UPDATE kinto_signer_forms SET signed_timestamp = signed_timestamp + 1",
        "UPDATE kinto_signer_forms SET server = 'another'",
        "UPDATE kinto_signer_forms SET source = 'main-workspace/other'",
        "UPDATE kinto_signer_blocks SET ids = ids || E'\\nz'",
        "UPDATE kinto_signer_blocks SET ids = 'zzz' WHERE first_id = 'r00'",
        "UPDATE kinto_signer_blocks SET forms = 'Ž'",
        "DELETE FROM kinto_signer_blocks WHERE first_id = 'r00'",
        "DELETE FROM kinto_signer_blocks",
    ],
)
def test_a_table_that_makes_no_sense_is_left_alone(app, key_pair, database, statement):
    put(app, *names(20))
    publish(app)
    run(app, statement)
    other = signer_app(key_pair, database=database, collection=False)
    for value in (1, 2):
        put(other, "r07", value=value)
        publish(other)
        assert_published(other, key_pair)


def without_seal(monkeypatch):
    monkeypatch.setattr(saved_forms, "_sealed", lambda nonce, *said: nonce)


@pytest.mark.keeps("alters it itself")
@pytest.mark.parametrize("sealed", [True, False])
def test_a_moment_that_was_altered_hides_no_edit(app, key_pair, monkeypatch, sealed):
    """A newer one than that of the last publication, by which what was written in between looks older than it."""
    if not sealed:
        without_seal(monkeypatch)
    put(app, *names(8))
    publish(app)
    put(app, "r07", value=1)
    run(app, "SELECT pg_current_xact_id()")  # another transaction, after the edit
    run(app, "UPDATE kinto_signer_forms SET oldest = pg_current_xact_id()::text")
    states(app).forget()
    publish(app)
    if sealed:
        assert_published(app, key_pair)
    else:
        with pytest.raises(AssertionError):
            assert_published(app, key_pair)


@pytest.mark.keeps("alters it itself")
def test_more_transactions_ago_than_postgresql_counts(app, key_pair, monkeypatch):
    """After half a turn of the ring of transaction numbers, rows that were written since look older than the last publication."""
    without_seal(monkeypatch)
    put(app, *names(8))
    publish(app)
    with app.app.registry.storage.client.connect() as session:
        since = moment(session)
        assert can_tell(session, since)
        monkeypatch.setattr("kinto_signer.plugin.touched.HALF_A_TURN", 100)
        assert not can_tell(session, replace(since, oldest=str(int(since.oldest) - 200)))
    transaction.commit()
    put(app, "r07", value=1)
    # where the number of 2^31 transactions ago lies on the ring
    run(app, "UPDATE kinto_signer_forms SET oldest = pg_current_xact_id()::text::bigint + 2^31::bigint - 1000")
    states(app).forget()
    monkeypatch.setattr(kept_states, "can_tell", lambda *args: True)
    publish(app)
    with pytest.raises(AssertionError):  # without that question the edit would never be published
        assert_published(app, key_pair)


@pytest.mark.keeps("alters it itself")
@pytest.mark.parametrize("verified", [True, False])
def test_a_digest_that_nobody_signed_proves_nothing(app, key_pair, database, monkeypatch, caplog, verified):
    """Who alters the bytes and the recorded digest: the signature is not one over that."""
    put(app, *names(20))
    publish(app)
    put(app, "r19", value=1)
    publish(app)  # what the first one wrote is not looked at any more
    before = app.get(DESTINATION).json["data"]
    run(app, "UPDATE kinto_signer_blocks SET forms = replace(forms, '\"n\":', '\"m\":')")
    with app.app.registry.storage.client.connect() as session:
        forged = saved_forms.load(session, DESTINATION).form.digests(before["signed_timestamp"])
    transaction.commit()
    claim = {**before["signer_claim"], "digest": format_hash(forged.signed)}
    data = {k: v for k, v in before.items() if k not in ("id", "last_modified")} | {"hash": forged.hash, "signer_claim": claim}
    run(
        app,
        "UPDATE objects SET data = :data WHERE resource_name = 'collection' AND parent_id = '/buckets/main'",
        data=json.dumps(data),
    )
    other = signer_app(key_pair, database=database, collection=False)
    put(other, "r07", value=1)
    if verified:
        publish(other)
        assert_published(other, key_pair)
        assert "what is kept of it proves nothing" in caplog.text
        return
    monkeypatch.setattr(kept_states, "check_signed", lambda *args, **options: None)
    publish(other)
    with pytest.raises(InvalidSignature):  # without the check they would be signed
        assert_published(other, key_pair)


def test_a_key_that_is_not_known_any_more(app, key_pair, database, tmp_path):
    """A process that has another key does not believe what was saved, and publishes all the same."""
    put(app, *names(8))
    publish(app)
    (tmp_path / "next").mkdir()
    pair = write_key_pair(tmp_path / "next")
    other = signer_app(pair, database=database, collection=False)
    put(other, "r07", value=1)
    publish(other)
    assert_published(other, pair)


@pytest.mark.keeps("looks whether it is the same as before")
def test_what_was_not_committed_is_not_kept(app, key_pair, monkeypatch):
    put(app, *names(8))
    publish(app)
    kept, version = states(app).get(NAME), run(app, "SELECT version FROM kinto_signer_forms")
    put(app, "r01", value=1)

    def failing(*args, **options):
        raise RuntimeError("after the signature")

    monkeypatch.setattr(signoff.SignOff, "_signed", failing)
    set_status(app, "to-sign", status=500)
    monkeypatch.undo()
    assert states(app).get(NAME) is kept
    assert run(app, "SELECT version FROM kinto_signer_forms") == version
    publish(app)
    assert_published(app, key_pair)


# --- whatever is written, by whomever ------------------------------------------------------------------------------------


UPDATE = "UPDATE objects SET {} WHERE parent_id = :uri AND id = :id"
INSERT = """
INSERT INTO objects (id, parent_id, resource_name, data, last_modified, deleted)
VALUES (:id, :uri, 'record', :data, from_epoch(:at), false) ON CONFLICT DO NOTHING
"""


def edit(app, random_):
    """A write of any kind: through Kinto, or with SQL in the source or in the signed copy."""
    name, uri = f"r{random_.randrange(12):02d}", random_.choice([SOURCE, SOURCE, DESTINATION])
    value = random_.choice([0, 1, True, "x", None, TEXTS[0], {"a": [1]}])
    data, there = json.dumps({"n": value}), {"uri": uri, "id": name}
    writes = [
        lambda: put(app, name, value=value),
        lambda: put(app, name, value=value),
        lambda: app.delete(f"{SOURCE}/records/{name}", status="*"),
        lambda: run(app, UPDATE.format("data = :data") + " AND NOT deleted", data=data, **there),
        lambda: run(app, "DELETE FROM objects WHERE parent_id = :uri AND id = :id", **there),
        lambda: run(app, UPDATE.format("last_modified = last_modified + interval '7 millisecond'"), **there),
        lambda: run(app, UPDATE.format("deleted = true, data = :data"), data='{"deleted": true}', **there),
        lambda: run(app, INSERT, data=data, at=random_.randrange(10**12), **there),
    ]
    random_.choice(writes)()


@pytest.mark.keeps("looks whether it is the same as before")
def test_what_was_written_before_and_committed_after_a_publication_is_seen(app, key_pair, database):
    put(app, *names(8))
    publish(app)
    with closing(psycopg2.connect(database)) as other, other.cursor() as cursor:
        cursor.execute(
            UPDATE.replace(":uri", "%(uri)s").replace(":id", "%(id)s").format("data = '{\"n\": 5}'"), {"uri": SOURCE, "id": "r02"}
        )
        put(app, "r01", value=1)
        publish(app)
        kept = states(app).get(NAME)
        other.commit()
    assert states(app).get(NAME) is kept
    found = app.get(f"{SOURCE}/diff").json["data"]
    assert [pair["after"]["n"] for pair in found["updated"]] == [5]
    put(app, "r03", value=3)
    publish(app)
    assert_published(app, key_pair)


@pytest.mark.keeps("its control is what is kept")
def test_what_another_plugin_altered_after_the_signature_is_repaired(app, key_pair, monkeypatch):
    """In the transaction of the publication itself, whose own rows are not looked at again where they are many."""
    put(app, *names(8))
    publish(app)
    original = signoff.SignOff._signed

    def meddling(self, *args):
        for name in ("r03", "r07"):
            self.repository.storage.update("record", DESTINATION, name, {"n": "evil"})
        original(self, *args)

    for looked_at in (500, 0):
        monkeypatch.setattr("kinto_signer.server.stored.LOOKED_AT_AGAIN", looked_at)
        monkeypatch.setattr(signoff.SignOff, "_signed", meddling)
        put(app, "r07", value=looked_at + 1)
        publish(app)
        monkeypatch.setattr(signoff.SignOff, "_signed", original)
        put(app, "r08", value=looked_at + 2)
        publish(app)
        if looked_at:
            assert_published(app, key_pair)
    with pytest.raises(InvalidSignature):
        assert_published(app, key_pair)


@pytest.mark.keeps("drops it itself")
@pytest.mark.parametrize("kept", [True, False])
def test_two_contents_never_have_the_same_timestamp(app, key_pair, kept, caplog):
    """Where what was published was altered so that it still says what the source does, which is no difference."""
    put(app, *names(8))
    publish(app)
    statements = [("last_modified = last_modified - interval '7 millisecond'", [DESTINATION])]
    statements += [("data = '{\"n\": 7}', last_modified = last_modified", [SOURCE, DESTINATION])]
    for changes, uris in statements:
        before = app.get(DESTINATION).json["data"]
        for uri in uris:
            run(app, UPDATE.format(changes), uri=uri, id="r03")
        if not kept:
            states(app).forget()
            run(app, "DELETE FROM kinto_signer_forms")
        publish(app)
        assert_published(app, key_pair)
        assert app.get(DESTINATION).json["data"]["signed_timestamp"] > before["signed_timestamp"]
    assert caplog.text.count("altered behind S's back") == 2
    caplog.clear()
    publish(app)
    assert not caplog.text.count("altered behind S's back")


def whole(app):
    repository = StorageRepository(app.app.registry.storage)
    records = [repository.records(uri.removeprefix("/buckets/").replace("/collections", "")) for uri in URIS.values()]
    transaction.commit()
    return difference(*records, {}, {}, ())


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(rounds(3, 60)))
def test_what_differs_is_what_differs_when_everything_is_compared(app, key_pair, seed):
    random_ = random.Random(seed)
    registry, resource = app.app.registry, app.app.registry.signing.resources.of_source("main-workspace", "regions")
    for _ in range(12):
        for _ in range(random_.randrange(5)):
            edit(app, random_)
        expected = whole(app)
        for kept in (True, False):
            if not kept:
                states(app).forget()
            found = Compared(registry, resource.source, resource.destination).difference(COPIED_ATTRIBUTES)
            transaction.commit()
            assert (found.created, found.updated, found.deleted) == (expected.created, expected.updated, expected.deleted)
        if random_.random() < 0.8:
            publish(app)
            assert_published(app, key_pair)


def create_many(app, record, count):
    """Records `s1`, `s2` … in the source, of which nothing is kept."""
    run(
        app,
        "INSERT INTO objects (id, parent_id, resource_name, data, last_modified, deleted) "
        "SELECT 's' || n, :uri, 'record', CAST(:data AS jsonb), from_epoch(1000 + n), false FROM generate_series(1, :count) n",
        uri=SOURCE,
        data=json.dumps(record),
        count=count,
    )


def test_an_id_that_ends_with_a_line_break(app, key_pair, database, monkeypatch):
    """Kinto takes it. It cannot be told from two ids in the table, where the form is left alone then."""
    put(app, *names(4), "a%0A")
    publish(app)
    assert_published(app, key_pair)
    monkeypatch.setattr(comparing, "MANY", 1)
    other = signer_app(key_pair, database=database, collection=False)
    put(other, "b%0A", "c%0A", value=1)
    publish(other)
    assert_published(other, key_pair)
    assert "a\n" in {record["id"] for record in source(app)}


# keys are sorted, so that the timestamp is in the middle of the first form, and ends the other two
@pytest.mark.parametrize(
    ("record", "kept"), [({"n": 1, "text": "\u2028 \x7f \\ \t 東京"}, True), ({"a": {"last_modified": 5}}, False), ({}, False)]
)
def test_more_than_is_read_at_once_is_copied_inside_the_database(app, key_pair, monkeypatch, record, kept):
    monkeypatch.setattr(comparing, "MANY", 5)
    put(app, *names(4))
    publish(app)
    put(app, "r02", value=5)
    app.delete(f"{SOURCE}/records/r03")
    create_many(app, record, 30)
    if not kept:
        states(app).forget()
    found = app.get(f"{SOURCE}/diff?_limit=100").json["data"]
    assert (len(found["created"]), len(found["updated"]), len(found["deleted"])) == (30, 1, 1)
    states(app).forget()
    run(app, "DROP TABLE IF EXISTS kinto_signer_forms, kinto_signer_blocks")
    app.patch_json(SOURCE, {"data": {"status": "to-sign", "reviewed_digest": found["digest"]}})
    assert_published(app, key_pair)
    by_time = sorted(app.get(f"{DESTINATION}/records").json["data"], key=lambda record: record["last_modified"])
    assert [record["id"] for record in by_time if record["id"] > "s"] == [f"s{number}" for number in range(1, 31)]


@pytest.mark.parametrize("record", [{"n": 1.5}, {"n": 2**53 + 1}, {"n": {"a": [-(2**53) - 1]}}, {"deleted": True}])
def test_values_of_what_is_only_copied_are_looked_at(app, monkeypatch, record):
    monkeypatch.setattr(comparing, "MANY", 2)
    create_many(app, record, 9)
    before = app.get(DESTINATION).json
    answer = set_status(app, "to-sign", status=400)
    assert (answer.json["details"]["record"][0], answer.json["details"]["reason"]) == ("s", "unsignable")
    assert app.get(DESTINATION).json == before


@pytest.mark.keeps("counts how often everything is read")
@pytest.mark.parametrize("turns", [1, 2])
def test_now_and_then_everything_is_read_and_compared(app, key_pair, database, monkeypatch, caplog, turns):
    """By each process that publishes, also if they take turns, so that each starts from what the other one saved."""
    apps = [app, signer_app(key_pair, database=database, collection=False)][:turns]
    monkeypatch.setattr("kinto_signer.server.compared.CHECKED_EVERY", 3)
    monkeypatch.setattr("kinto_signer.server.stored.CHECKED_EVERY", 3)
    put(app, *names(8))
    read = []
    original = kept_states.all_rows
    monkeypatch.setattr(
        kept_states, "all_rows", lambda session, uri, **order: read.append(uri) or original(session, uri, **order)
    )
    for value in range(9 * turns):
        put(app, "r01", value=value + 1)
        publish(apps[value % turns])
        assert_published(app, key_pair)
    # of nine: the first one, where it has nothing to start from, and each third one after it
    assert len(read) == (3 if turns == 1 else 5)
    assert "not everything is known" not in caplog.text
