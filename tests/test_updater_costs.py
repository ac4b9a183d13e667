"""What an update reads, parses and writes: the changes, and no record beside them. Nothing wrong is served for it."""

import contextlib
import dataclasses
import json
import os
import sqlite3
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinto_signer.core import packed
from kinto_signer.core.canonical import canonical_parsed, digests
from kinto_signer.core.changeset import Content, tombstone
from kinto_signer.errors import CorruptCacheError, VerificationError
from kinto_signer.updater import cache_file, catalogue, highest, left, open_cache, rows
from kinto_signer.updater.cache import SqliteRepository
from kinto_signer.updater.gather import Gathering
from kinto_signer.updater.highest import read_marks, write_marks
from kinto_signer.updater.reading import open_for_update
from kinto_signer.updater.settings import Settings
from tests.support.hostile import FakeKinto, HostileServer
from tests.support.states import NAME, START, make_records, new_key, now_ms, signed_state, trust_in

KEY = new_key()
TRUST = trust_in(KEY)
OLD = signed_state(KEY, make_records(1200))
CHANGED = {**OLD.changes[700], "text": "new", "last_modified": START + 5000}
NEW = signed_state(KEY, [*OLD.changes[:700], CHANGED, *OLD.changes[701:]])


def gather(directory, state, *, examine=False, server=FakeKinto, json_=None):
    """The outcome, and the requests that it took."""
    with HostileServer(server(state, changes=True)) as served:
        settings = Settings(served.url, (NAME,), TRUST, directory, json_, deadline_s=60)
        outcome = Gathering(settings, examine=examine).run()[0]
    return outcome, [request.target.partition("/v1")[2] for request in served.requests]


@pytest.fixture
def directory(tmp_path):
    assert gather(tmp_path / "cache", OLD)[0].error is None
    return tmp_path / "cache"


@pytest.fixture
def statements(monkeypatch):
    """The SQL that ran on the cache, with its values."""
    ran = []
    connect = cache_file.connect

    @contextlib.contextmanager
    def traced(*arguments):
        with connect(*arguments) as connection:
            connection.set_trace_callback(ran.append)
            yield connection

    monkeypatch.setattr(cache_file, "connect", traced)
    return ran


def forbid(monkeypatch, place, name):
    def fail(*_arguments, **_options):
        raise AssertionError(f"{name} was used")

    monkeypatch.setattr(place, name, fail)


def about_records(statements):
    return [statement for statement in statements if "record " in statement and "integrity" not in statement]


# --- nothing changed ------------------------------------------------------------------------------------------------


def test_one_request_where_nothing_changed(directory):
    outcome, requests = gather(directory, OLD)
    assert (outcome.status, outcome.records, outcome.changes) == ("unchanged", 1200, 0)
    assert outcome.key == TRUST.keys[0].fingerprint
    assert requests == [f"/buckets/main/collections/regions/changeset?_expected=0&_since=%22{OLD.timestamp}%22"]


@pytest.mark.keeps("an examination in full reads every record")
def test_no_record_is_read_or_parsed_where_nothing_changed(directory, monkeypatch, statements):
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with monkeypatch.context() as patch:
        for place, name in ((rows, "read"), (rows, "content_after"), (rows, "write"), (packed, "canonical_parsed")):
            forbid(patch, place, name)
        assert gather(directory, OLD)[0].status == "unchanged"
    assert about_records(statements) == []
    assert not [statement for statement in statements if "integrity_check" in statement]
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    gather(directory, OLD, examine=True)
    assert about_records(statements)  # the control
    assert [statement for statement in statements if "integrity_check" in statement]


@pytest.mark.keeps("an examination in full reads every record")
def test_a_new_signature_alone_reads_no_record(directory, statements):
    renewed = signed_state(KEY, list(OLD.changes), note="renewed")
    outcome, requests = gather(directory, renewed)
    assert (outcome.status, outcome.error, len(requests)) == ("unchanged", None, 1)
    assert about_records(statements) == []
    with open_cache(directory, TRUST.keys) as cache:
        assert cache.metadata(NAME)["note"] == "renewed"


def test_the_noted_digests_are_verified_every_time(directory):
    """By the policy of now, though no record is read."""
    with HostileServer(FakeKinto(OLD, changes=True)) as served:
        settings = Settings(served.url, (NAME,), trust_in(new_key()), directory, deadline_s=60)
        assert Gathering(settings).run()[0].error.reason == "unknown-key"


def test_the_file_for_programs_is_written_again(directory, tmp_path):
    outcome, _ = gather(directory, OLD, json_=tmp_path)
    good = outcome.json.read_bytes()
    for there in (None, b"{}"):
        outcome.json.unlink() if there is None else outcome.json.write_bytes(there)
        assert gather(directory, OLD, json_=tmp_path)[0].status == "unchanged"
        assert outcome.json.read_bytes() == good


# --- one change -----------------------------------------------------------------------------------------------------


@pytest.mark.keeps("counts what is read")
def test_one_change_writes_one_row(directory, monkeypatch, statements):
    forbid(monkeypatch, rows, "read")
    outcome, requests = gather(directory, NEW)
    assert (outcome.status, outcome.records, outcome.changes, len(requests)) == ("updated", 1200, 1, 1)
    ours = about_records(statements)
    assert len([statement for statement in ours if statement.startswith("INSERT")]) == 1
    assert not [statement for statement in ours if statement.startswith(("DELETE", "UPDATE"))]
    assert len([statement for statement in ours if statement.startswith("SELECT")]) == 1  # read once, and hashed
    monkeypatch.undo()
    with open_cache(directory, TRUST.keys) as cache:
        assert cache.records(NAME) == NEW.records


def test_nothing_is_written_before_it_is_verified(directory, statements):
    forged = dataclasses.replace(NEW, changes=[{**record, "text": "forged"} for record in NEW.changes])
    assert gather(directory, forged)[0].error.reason == "bad-signature"
    assert not [statement for statement in statements if statement.startswith(("INSERT", "DELETE", "UPDATE", "BEGIN IMM"))]


IDS = st.text("aé\U0001f600z~", min_size=1, max_size=3)
RECORDS = st.dictionaries(IDS, st.integers(0, 3), max_size=30)


@given(RECORDS, st.dictionaries(IDS, st.none() | st.integers(0, 3), max_size=12), st.integers(1, 5))
def test_the_digests_of_a_change_are_those_from_nothing(held, changes, block):
    before = [{"id": name, "last_modified": START, "n": n} for name, n in held.items()]
    difference = [
        tombstone(name, START) if n is None else {"id": name, "last_modified": START, "n": n} for name, n in changes.items()
    ]
    after = {**{record["id"]: record for record in before}, **{change["id"]: change for change in difference}}
    live = [record for record in after.values() if "deleted" not in record]
    row = catalogue.Held(START, records_digest=catalogue.note(Content(digests(before, START), len(before))))
    with contextlib.closing(sqlite3.connect(":memory:")) as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BLOCK", block)
        connection.text_factory = bytes
        connection.executescript(catalogue.SCHEMA)
        rows.write(connection, NAME, catalogue.Held(), before, complete=True)
        assert rows.content_after(connection, NAME, row, difference, 7) == Content(digests(live, 7), len(live))
        rows.write(connection, NAME, row, difference, complete=False)
        assert rows.content_after(connection, NAME, row, (), 7) == Content(digests(live, 7), len(live))


def test_what_was_found_out_is_not_used_for_another_state(directory):
    """Another process stored something between verification and commit."""
    repository = open_for_update(directory, TRUST, now_ms).inner
    difference = dataclasses.replace(NEW, changes=[CHANGED], since=OLD.timestamp)
    repository.summary(NAME, difference).digests()
    renewed = signed_state(KEY, list(OLD.changes), note="renewed")
    SqliteRepository(directory, TRUST).apply(NAME, dataclasses.replace(renewed, changes=[], since=OLD.timestamp))
    assert not repository._found.is_of(repository.file.catalogue()[NAME], difference)
    repository.apply(NAME, difference)
    with open_cache(directory, TRUST.keys) as cache:
        assert cache.records(NAME) == NEW.records


# --- an older program's cache ---------------------------------------------------------------------------------------


@pytest.fixture
def older(directory):
    """The cache as the program before wrote it: records in texts of its own, and a digest over them."""
    file = directory / "collections.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.text_factory = bytes
        texts = [
            (NAME, record["id"], json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()) for record in OLD.records
        ]
        connection.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", texts)
        found = connection.execute(rows.SELECT, (NAME,)).fetchall()
        held = {
            name.decode(): catalogue.Held(*rest[:-1], rows._digest_texts(found))
            for name, *rest in catalogue.read_rows(connection)
        }
        catalogue.write(connection, held)
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
    written_before(directory / "highest.json")
    return directory


def written_before(path):
    """The second copy as the program before wrote it."""
    marks = dataclasses.replace(read_marks(path), header="", left=None)
    digest = highest._digest_before(marks)
    path.write_text(json.dumps({"highest": dict(marks.highest), "header": marks.header, "sha256": digest}))
    assert read_marks(path) == marks


@pytest.mark.parametrize("noted", [True, False])
def test_the_program_before_takes_no_second_copy_of_ours(directory, noted):
    """By its header it would take the new format for damage of its own."""
    path = directory / "highest.json"
    if not noted:
        write_marks(path, dataclasses.replace(read_marks(path), left=None))
    content = json.loads(path.read_bytes())
    assert content["sha256"] != highest._digest_before(read_marks(path))


def version(directory):
    with contextlib.closing(sqlite3.connect(directory / "collections.sqlite")) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_the_format_before_is_read_and_written_anew_with_the_next_change(older):
    with open_cache(older, TRUST.keys) as cache:
        assert cache.records(NAME) == OLD.records
    before = (older / "collections.sqlite").read_bytes()
    assert gather(older, OLD)[0].status == "unchanged"
    assert (older / "collections.sqlite").read_bytes() == before
    outcome, requests = gather(older, NEW)
    assert (outcome.changes, len(requests), version(older)) == (1, 1, 3)
    with contextlib.closing(sqlite3.connect(older / "collections.sqlite")) as connection:
        bodies = [body for (body,) in connection.execute("SELECT body FROM record ORDER BY id")]
    assert bodies == [canonical_parsed(record) for record in NEW.records]
    with open_cache(older, TRUST.keys) as cache:
        assert cache.records(NAME) == NEW.records


@pytest.mark.parametrize(
    "statement", ["UPDATE record SET body = 'x' WHERE id = 'record-0001'", "DELETE FROM record WHERE id > 'r'"]
)
def test_damage_in_the_format_before(older, statement):
    with contextlib.closing(sqlite3.connect(older / "collections.sqlite")) as connection:
        connection.executescript(statement)
    with open_cache(older, TRUST.keys) as cache, pytest.raises(CorruptCacheError):
        cache.records(NAME)
    assert gather(older, OLD)[0].error is None
    with open_cache(older, TRUST.keys) as cache:
        assert cache.records(NAME) == OLD.records


# --- poisoned on purpose --------------------------------------------------------------------------------------------


def poison(directory, what, *, unnoticed):
    """Alter the bytes of a row, the noted digest, or both so that they fit; the catalogue is made consistent again."""
    with contextlib.closing(sqlite3.connect(directory / "collections.sqlite")) as connection:
        connection.text_factory = bytes
        if what in ("row", "both"):
            connection.execute("UPDATE record SET body = replace(body, 'record', 'forged') WHERE id = 'record-0005'")
            connection.execute("UPDATE record SET body = replace(body, 'forged-', 'record-') WHERE id = 'record-0005'")
            connection.execute("UPDATE record SET body = replace(body, 'text', 'evil') WHERE id = 'record-0005'")
        held = {name.decode(): catalogue.Held(*rest) for name, *rest in catalogue.read_rows(connection)}
        if what == "digest":
            held[NAME] = dataclasses.replace(held[NAME], records_digest=bytes(len(held[NAME].records_digest)))
        if what == "both":
            content = rows.content_after(connection, NAME, held[NAME], (), OLD.timestamp)
            held[NAME] = dataclasses.replace(held[NAME], records_digest=catalogue.note(content))
        catalogue.write(connection, held)
        connection.commit()
    if unnoticed:
        noted = read_marks(directory / "highest.json").left
        os.utime(directory / "collections.sqlite", ns=(noted.mtime_ns, noted.mtime_ns))


@pytest.mark.keeps("an examination in full notices it all")
@pytest.mark.parametrize("unnoticed", [False, True])
@pytest.mark.parametrize("what", ["row", "digest", "both"])
@pytest.mark.parametrize("offered", [OLD, NEW], ids=["nothing new", "one change"])
def test_a_poisoned_cache_is_never_served_and_is_repaired(directory, what, unnoticed, offered):
    poison(directory, what, unnoticed=unnoticed)
    with open_cache(directory, TRUST.keys) as cache, pytest.raises(VerificationError):
        cache.records(NAME)
    outcome, _ = gather(directory, offered)
    assert outcome.error is None, outcome.error
    if unnoticed and what == "row" and offered is OLD:  # nothing was read, and so nothing was handed out
        with open_cache(directory, TRUST.keys) as cache, pytest.raises(CorruptCacheError, match="--examine"):
            cache.records(NAME)
        assert gather(directory, offered, examine=True)[0].error is None
    with open_cache(directory, TRUST.keys) as cache:
        assert cache.records(NAME) == offered.records


def test_once_a_day_every_byte_is_looked_at(directory, monkeypatch):
    poison(directory, "row", unnoticed=True)
    later = time.time() + left.EXAMINED_FOR_S
    monkeypatch.setattr(cache_file.time, "time", lambda: later)
    assert gather(directory, OLD)[0].error is None
    with open_cache(directory, TRUST.keys) as cache:
        assert cache.records(NAME) == OLD.records
    assert read_marks(directory / "highest.json").left.examined == int(later)


def test_a_transaction_that_broke_off_is_looked_at(directory, statements):
    (directory / "collections.sqlite-journal").write_bytes(b"")
    assert gather(directory, OLD)[0].error is None
    assert [statement for statement in statements if "integrity_check" in statement]


def test_the_same_bytes_written_at_once_are_another_file(directory):
    repository, file = SqliteRepository(directory, TRUST), directory / "collections.sqlite"
    repository.apply(NAME, NEW)
    noted = read_marks(directory / "highest.json").left
    assert left.is_as_left(file, noted)
    file.write_bytes(file.read_bytes())
    assert not left.is_as_left(file, noted)
    assert not left.is_as_left(file, None)


def test_a_file_whose_time_cannot_be_set_is_looked_at_each_time(directory, monkeypatch, statements):
    def refuse(*_arguments, **_options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(left.os, "utime", refuse)
    assert gather(directory, NEW)[0].error is None
    statements.clear()
    assert gather(directory, NEW)[0].status == "unchanged"
    assert [statement for statement in statements if "integrity_check" in statement]
