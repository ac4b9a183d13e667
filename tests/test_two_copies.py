"""Destination and preview published by one request: read and hashed once, and each is what its readers get."""

import json
import random
from contextlib import closing
from functools import cached_property
from types import SimpleNamespace

import psycopg2
import pytest
import sqlalchemy
import transaction
from cryptography.exceptions import InvalidSignature

from kinto_signer.core import form as form_module
from kinto_signer.core.form import Block, Form
from kinto_signer.plugin import comparing as comparing_sql
from kinto_signer.plugin import saved_forms
from kinto_signer.plugin.clock import now_ms
from kinto_signer.server import compared, copied_form, kept_states, publisher, signoff, stored, writing
from tests.support.campaigns import rounds
from tests.support.editing import independently_verified
from tests.support.site import DESTINATION, SOURCE, set_status, signer_app

PREVIEW = "/buckets/main-preview/collections/regions"
RESOURCES = "/buckets/main-workspace -> /buckets/main-preview -> /buckets/main"
COPIES = (DESTINATION, PREVIEW)
NAMES = [f"r{number:02d}" for number in range(12)]


@pytest.fixture
def new_app(key_pair, create_database, monkeypatch):
    """``new_app()`` is another worker of the same S; small blocks, so that there are several."""
    monkeypatch.setattr("kinto_signer.core.form.BLOCK", 3)
    database = create_database()

    def create(**extra):
        extra = {"kinto__batch_max_requests": "100", "kinto__signer__resources": RESOURCES, **extra}
        return signer_app(key_pair, database=database, **extra)

    return create


@pytest.fixture
def app(new_app):
    return new_app()


def put(app, *names, **data):
    parts = [{"method": "PUT", "path": f"{SOURCE}/records/{name}", "body": {"data": data}} for name in names]
    app.post_json("/batch", {"requests": parts})


def run(app, statement, **values):
    with app.app.registry.storage.client.connect() as session:
        result = session.execute(sqlalchemy.text(statement), values)
        rows = result.all() if result.returns_rows else []
    transaction.commit()
    return rows


def create_many(app, record, count):
    statement = (
        "INSERT INTO objects (id, parent_id, resource_name, data, last_modified, deleted) SELECT 's' || n, :uri, 'record', "
        "CAST(:data AS jsonb), from_epoch(1700000000000 + n), false FROM generate_series(1, :count) n"
    )
    run(app, statement, uri=SOURCE, data=json.dumps(record), count=count)


def assert_published(app, key_pair, *places):
    wanted = contents(app, SOURCE)
    for place in places or COPIES:
        answer, metadata = app.get(f"{place}/records"), app.get(place).json["data"]
        etag = int(answer.headers["ETag"].strip('"'))
        key = key_pair.public.read_bytes()
        assert metadata["hash"] == independently_verified(key, answer.json["data"], etag, metadata["signature"]["signature"])
        assert contents(app, place) == wanted


def contents(app, place):
    records = app.get(f"{place}/records").json["data"]
    return {record["id"]: {key: value for key, value in record.items() if key != "last_modified"} for record in records}


def timestamps(app, place):
    return {record["id"]: record["last_modified"] for record in app.get(f"{place}/records").json["data"]}


@pytest.mark.keeps("counts what is hashed")
def test_what_is_hashed_of_the_one_is_not_hashed_of_the_other(app, key_pair, monkeypatch):
    put(app, *NAMES, n=1)
    set_status(app, "to-sign")
    put(app, NAMES[0], n=2)
    set_status(app, "to-sign")  # what a publication wrote is looked at once more in the next one
    hashed, after = [], form_module._after
    monkeypatch.setattr(
        "kinto_signer.core.form._after", lambda mark, block, **first: hashed.append(block.ids[0]) or after(mark, block, **first)
    )
    monkeypatch.setattr(kept_states, "all_rows", pytest.fail)
    put(app, NAMES[7], n=2)
    set_status(app, "to-sign")
    assert sorted(hashed) == ["r06", "r06", "r09", "r09"]  # of what was signed last, and of what is signed now
    assert timestamps(app, PREVIEW) == timestamps(app, DESTINATION)
    assert_published(app, key_pair)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(rounds(3, 60)))
def test_whatever_happens_to_either_both_are_what_is_in_the_source(new_app, key_pair, seed, monkeypatch):
    """Records, workers, what is kept and what is stored change in between; some of it behind everybody's back."""
    random_ = random.Random(seed)
    workers = [new_app(), new_app(collection=False)]
    monkeypatch.setattr(compared, "MANY", 6)
    for step in range(14):
        app = random_.choice(workers)
        for name in random_.sample(NAMES, random_.randrange(8)):
            if random_.random() < 0.7:
                put(app, name, n=random_.randrange(4))
            else:
                app.delete(f"{SOURCE}/records/{name}", status="*")
        meddle = random_.randrange(6)
        if meddle == 0:
            app.app.registry.signer_kept_states.forget()
        elif meddle == 1 and app.app.registry.signer_kept_states.saves:
            run(app, "DELETE FROM kinto_signer_forms WHERE uri = :uri", uri=random_.choice(COPIES))
        elif meddle == 2:
            statement = (
                """UPDATE objects SET data = '{"n": "behind"}' WHERE parent_id = :uri AND resource_name = 'record' AND id < :id"""
            )
            run(app, statement, uri=random_.choice(COPIES), id=random_.choice(NAMES))
        elif meddle == 3:
            poison(app, random_)
        set_status(app, "to-sign")
        assert_published(app, key_pair)
        assert step or timestamps(app, PREVIEW) == timestamps(app, DESTINATION)


def poison(app, random_):
    """Alter bytes of what this worker keeps of one of both, or of both alike."""
    kept = app.app.registry.signer_kept_states
    chosen = random_.choice([("main/regions",), ("main-preview/regions",), ("main/regions", "main-preview/regions")])
    number = random_.randrange(4)
    for name in chosen:
        state = kept.get(name)
        if state is None or number >= len(state.form.blocks):
            continue
        block = state.form.blocks[number]
        chunks = (block.chunks[0].replace(b'"id"', b'"di"'), *block.chunks[1:])
        other = Form([*state.form.blocks[:number], Block(block.ids, chunks), *state.form.blocks[number + 1 :]])
        other._marks = state.form._marks
        object.__setattr__(state, "form", other)


@pytest.mark.keeps("alters it itself")
def test_what_is_altered_in_the_kept_preview_is_not_signed(app, key_pair, monkeypatch, caplog):
    put(app, *NAMES, n=1)
    set_status(app, "to-sign")
    for value in (2, 3):
        poison_preview = app.app.registry.signer_kept_states.get("main-preview/regions")
        block = poison_preview.form.blocks[3]
        chunks = (block.chunks[0].replace(b'"n":', b'"m":'), *block.chunks[1:])
        altered = Form([*poison_preview.form.blocks[:3], Block(block.ids, chunks)])
        altered._marks = poison_preview.form._marks
        object.__setattr__(poison_preview, "form", altered)
        put(app, NAMES[0], n=value)
        set_status(app, "to-sign")
        if value == 2:
            assert_published(app, key_pair)
            assert "main-preview/regions: what is kept of it in memory is not what was signed" in caplog.text
            monkeypatch.setattr(Form, "proven", lambda form, *others: form)
    assert_published(app, key_pair, DESTINATION)
    with pytest.raises(InvalidSignature):  # without the proof it is
        assert_published(app, key_pair, PREVIEW)


@pytest.mark.keeps("looks at what is read")
def test_what_was_copied_is_not_read_back(app, key_pair, monkeypatch):
    monkeypatch.setattr(compared, "MANY", 5)
    monkeypatch.setattr(kept_states, "all_rows", pytest.fail)
    create_many(app, {"n": 1, "text": "東京 \\ \t"}, 20)
    digest = app.get(f"{SOURCE}/diff?_limit=100").json["data"]["digest"]
    app.patch_json(SOURCE, {"data": {"status": "to-sign", "reviewed_digest": digest}})
    assert_published(app, key_pair)
    assert timestamps(app, PREVIEW) == timestamps(app, DESTINATION)


@pytest.mark.keeps("takes the check away")
@pytest.mark.parametrize("compares", [True, False])
def test_a_preview_that_becomes_something_else_while_it_is_copied_is_not_signed(app, key_pair, monkeypatch, compares):
    """By a trigger, say."""
    monkeypatch.setattr(compared, "MANY", 5)
    create_many(app, {"n": 1}, 9)
    copy_all = writing.copy_all

    def altered(storage, uri, *places, **when):
        assert uri == PREVIEW
        copy_all(storage, uri, *places, **when)
        statement = """UPDATE objects SET data = '{"n": 2}' WHERE parent_id = :uri AND id = 's3'"""
        with storage.client.connect() as session:
            session.execute(sqlalchemy.text(statement), {"uri": uri})

    monkeypatch.setattr(writing, "copy_all", altered)
    if not compares:
        monkeypatch.setattr(stored, "not_the_same", lambda *places: [])
    answer = app.patch_json(SOURCE, {"data": {"status": "to-sign"}}, status=503 if compares else 200)
    if compares:
        assert "main-preview/regions: the storage holds something else than what was written" in answer.json["message"]
        assert contents(app, DESTINATION) == contents(app, PREVIEW) == {}
    else:
        with pytest.raises(InvalidSignature):
            assert_published(app, key_pair, PREVIEW)


def test_a_preview_gets_the_destinations_timestamps_also_below_its_clock(new_app, key_pair, monkeypatch):
    """A source that was there before the signer: the preview's clock starts while the destination is published."""
    monkeypatch.setattr(compared, "MANY", 5)
    now = now_ms() + 60_000
    monkeypatch.setattr(publisher, "now_ms", lambda: now)
    app = new_app(collection=False)
    statement = (
        "INSERT INTO objects (id, parent_id, resource_name, data, last_modified, deleted) "
        "VALUES ('regions', '/buckets/main-workspace', 'collection', '{}', from_epoch(1700000000000), false)"
    )
    run(app, statement)
    start = "INSERT INTO timestamps (parent_id, resource_name, last_modified) VALUES (:uri, 'record', from_epoch(:at))"
    run(app, start, uri=PREVIEW, at=now + 5)
    create_many(app, {"n": 1}, 9)
    set_status(app, "to-sign")
    found = timestamps(app, PREVIEW)
    assert found == timestamps(app, DESTINATION)
    assert sorted(found.values()) == [now + 1 + number for number in range(9)]
    assert_published(app, key_pair)


def test_a_preview_in_memory_gets_no_timestamp_at_its_clock(key_pair, monkeypatch):
    """Kinto would move it."""
    now = now_ms() + 60_000
    monkeypatch.setattr(publisher, "now_ms", lambda: now)
    app = signer_app(key_pair, kinto__signer__resources=RESOURCES, collection=False)
    app.app.registry.storage._timestamps[PREVIEW]["record"] = now + 2
    parts = [{"method": "PUT", "path": f"{SOURCE}/records/{name}", "body": {"data": {"n": 1}}} for name in NAMES[:4]]
    collection = {"method": "PUT", "path": SOURCE, "body": {"data": {"status": "to-sign"}}}
    answer = app.post_json("/batch", {"requests": [collection, *parts]})
    assert {part["status"] for part in answer.json["responses"]} == {201}
    assert_published(app, key_pair)


@pytest.mark.keeps("takes the check away")
@pytest.mark.parametrize("since", ["the first comparison", "its own"])
def test_what_is_committed_to_the_source_between_both_copies_reaches_the_preview_next_time(app, key_pair, monkeypatch, since):
    """With the database's password: Kinto's own writes wait. It was begun before the publication, and was not seen there."""
    monkeypatch.setattr(compared, "MANY", 5)
    monkeypatch.setattr(stored, "LOOKED_AT_AGAIN", 5)
    create_many(app, {"n": 1}, 9)
    lacks_all, fill_preview = compared.Compared._lacks_all, signoff.SignOff._fill_preview

    def known_since_it_was_looked_at(self):
        other = lacks_all(self)
        return other and SimpleNamespace(created=other.created, count=other.count, since=self.since)

    with closing(psycopg2.connect(app.app.registry.settings["storage_url"])) as connection, connection.cursor() as cursor:
        cursor.execute("""UPDATE objects SET data = '{"n": 2}' WHERE parent_id = %s AND id = 's3'""", (SOURCE,))
        monkeypatch.setattr(
            signoff.SignOff, "_fill_preview", lambda self, *beside: connection.commit() or fill_preview(self, *beside)
        )
        if since == "its own":
            monkeypatch.setattr(compared.Compared, "_lacks_all", known_since_it_was_looked_at)
        set_status(app, "to-sign")
    monkeypatch.setattr(signoff.SignOff, "_fill_preview", fill_preview)
    assert contents(app, PREVIEW)["s3"]["n"] == 1
    put(app, "r1")
    set_status(app, "to-sign")
    assert contents(app, DESTINATION)["s3"]["n"] == 2
    assert contents(app, PREVIEW)["s3"]["n"] == (2 if since == "the first comparison" else 1)


@pytest.fixture
def read_blocks(monkeypatch):
    """The first ids of blocks that were read from the table."""
    read, block = [], saved_forms._block
    monkeypatch.setattr(saved_forms, "_block", lambda ids, forms: read.append(ids.partition("\n")[0]) or block(ids, forms))
    return read


@pytest.mark.keeps("counts what is read")
def test_what_both_have_is_read_from_the_table_once(app, new_app, key_pair, read_blocks, caplog):
    put(app, *NAMES, n=1)
    set_status(app, "to-sign")
    other = new_app(collection=False)
    put(other, NAMES[7], n=2)
    set_status(other, "to-sign")
    assert sorted(read_blocks) == ["r00", "r03", "r06", "r06", "r09"]  # the one that changed was written anew by then
    assert_published(other, key_pair)
    run(other, "UPDATE kinto_signer_blocks SET forms = 'x', ids = 'x' WHERE uri = :uri AND first_id <> 'r03'", uri=PREVIEW)
    third = new_app(collection=False)
    put(third, NAMES[4], n=3)
    set_status(third, "to-sign")
    assert_published(third, key_pair)
    assert "is not what was signed" not in caplog.text


@pytest.mark.keeps("alters it itself")
@pytest.mark.parametrize("proves", [True, False])
def test_rows_that_only_claim_to_be_those_of_the_other_copy(app, new_app, key_pair, caplog, monkeypatch, proves):
    put(app, *NAMES, n=1)
    set_status(app, "to-sign")
    run(app, "UPDATE objects SET data = :data WHERE parent_id = :uri AND id = 'r04'", uri=PREVIEW, data='{"n": "preview"}')
    app.app.registry.signer_kept_states.forget()
    run(app, "DELETE FROM kinto_signer_forms WHERE uri = :uri", uri=PREVIEW)
    for value in (2, 3):  # the row gets another timestamp in the preview only; what was written last is looked at once more
        put(app, NAMES[0], n=value)
        set_status(app, "to-sign")
    written = "SELECT written FROM kinto_signer_blocks other WHERE other.uri = :other AND other.first_id = block.first_id"
    run(app, f"UPDATE kinto_signer_blocks block SET written = ({written}) WHERE uri = :uri", uri=PREVIEW, other=DESTINATION)
    other = new_app(collection=False)
    if not proves:
        monkeypatch.setattr(Form, "proven", lambda form, *others: form)
    put(other, NAMES[11], n=3)
    set_status(other, "to-sign")
    if proves:
        assert "main-preview/regions: what is kept of it in memory is not what was signed" in caplog.text
        assert_published(other, key_pair)
    else:
        with pytest.raises(InvalidSignature):
            assert_published(other, key_pair, PREVIEW)


# the second one says its timestamp twice; the last ones are not plain
@pytest.mark.parametrize(
    "record", [{"a": {"b": 1, "last_modified": 17}}, {"a": {"b": 1, "last_modified": 1700000000001}}, {"n": 1.5}, {"n": "\u001f"}]
)
def test_what_may_be_written_in_two_ways_is_read_back(app, new_app, key_pair, monkeypatch, record):
    monkeypatch.setattr(compared, "MANY", 5)
    app = new_app(kinto__signer__allow_floats="true")
    create_many(app, record, 9)
    digest = app.get(f"{SOURCE}/diff?_limit=100").json["data"]["digest"]
    app.patch_json(SOURCE, {"data": {"status": "to-sign", "reviewed_digest": digest}})
    assert_published(app, key_pair)


@pytest.mark.keeps("takes the check away")
@pytest.mark.parametrize("seen", [True, False])
def test_what_is_written_to_the_source_while_it_is_published(app, key_pair, monkeypatch, seen):
    """With the database's password, past S's lock: what was read of the source is not what was copied."""
    monkeypatch.setattr(compared, "MANY", 5)
    create_many(app, {"n": 1}, 9)
    original = compared.StoredRecords.texts.func

    def texts(self):
        read = original(self)
        statement = """UPDATE objects SET data = '{"n": "new"}' WHERE parent_id = :uri AND id = 's3'"""
        with app.app.registry.storage.client.connect() as session:
            session.execute(sqlalchemy.text(statement), {"uri": SOURCE})
        return read

    later = cached_property(texts)
    later.__set_name__(compared.StoredRecords, "texts")
    monkeypatch.setattr(compared.StoredRecords, "texts", later)
    if not seen:
        unseen = copied_form.touched
        monkeypatch.setattr(copied_form, "touched", lambda *args: type(unseen(*args))(frozenset(), 9, 9))
    set_status(app, "to-sign")
    if seen:
        assert_published(app, key_pair)
    else:
        with pytest.raises((InvalidSignature, AssertionError)):
            assert_published(app, key_pair)


@pytest.mark.keeps("looks at what is read")
@pytest.mark.parametrize("compares", [True, False])
def test_a_preview_of_which_nothing_is_kept_is_what_the_destination_is_but_for_what_is_not(app, key_pair, monkeypatch, compares):
    put(app, *NAMES, n=1)
    set_status(app, "to-sign")
    put(app, NAMES[2], n=2)
    set_status(app, "to-sign")
    run(app, "DELETE FROM kinto_signer_forms WHERE uri = :uri", uri=PREVIEW)
    app.app.registry.signer_kept_states._kept.forget()
    run(
        app,
        "UPDATE objects SET last_modified = last_modified - interval '1 second' WHERE parent_id = :uri AND id = 'r05'",
        uri=PREVIEW,
    )
    put(app, NAMES[7], n=3)
    read, original = [], kept_states.all_rows
    monkeypatch.setattr(kept_states, "all_rows", lambda session, uri, **how: read.append(uri) or original(session, uri, **how))
    if not compares:
        monkeypatch.setattr(stored, "not_the_same", lambda *places: [])
    set_status(app, "to-sign")
    assert PREVIEW not in read
    assert_published(app, key_pair, DESTINATION)
    if compares:
        assert_published(app, key_pair, PREVIEW)
    else:
        with pytest.raises((InvalidSignature, AssertionError)):
            assert_published(app, key_pair, PREVIEW)


def test_not_the_same_is_what_only_one_has_and_what_is_stored_in_another_way(app):
    stored_records = {
        DESTINATION: {"same": ('{"n": 1}', 1), "way": ('{"n": 1.00}', 2), "when": ("{}", 3), "here": ("{}", 4)},
        PREVIEW: {"same": ('{"n": 1}', 1), "way": ('{"n": 1.0}', 2), "when": ("{}", 5), "there": ("{}", 6)},
    }
    statement = (
        "INSERT INTO objects (id, parent_id, resource_name, data, last_modified, deleted) "
        "VALUES (:id, :uri, 'record', CAST(:data AS jsonb), from_epoch(:at), false)"
    )
    for uri, records in stored_records.items():
        for name, (data, at) in records.items():
            run(app, statement, id=name, uri=uri, data=data, at=at)
    with app.app.registry.storage.client.connect() as session:
        assert sorted(comparing_sql.not_the_same(session, *COPIES)) == ["here", "there", "way", "when"]
    transaction.commit()
