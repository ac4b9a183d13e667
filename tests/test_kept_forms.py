"""A's work follows the change: the same is accepted whether what is kept is there, gone, stale, shared or wrong."""

import random
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import psycopg2
import pytest
import sqlalchemy
import transaction

from kinto_signer.authority.publication import Publication
from kinto_signer.authority.stored import StoredStates
from kinto_signer.core.acceptance import Accepted
from kinto_signer.core.form import Block, Form
from kinto_signer.core.trust import check
from kinto_signer.plugin import kept as module
from kinto_signer.plugin.kept import KeptForms
from tests.support.campaigns import rounds
from tests.support.publications import URI, body_of, post
from tests.support.servers import webtest_app
from tests.support.settings import authority_settings, guarded_settings
from tests.support.states import NAME, now_ms, signed_state, tombstone_of, trust_in
from tests.test_authority_publication import by_id, served

pytestmark = pytest.mark.keeps("looks at what A keeps itself")

NAMES = [f"r{number:02d}" for number in range(20)]


class Signer:
    """Publishes states that build on each other, to any worker of A."""

    def __init__(self, key):
        self._key = key
        self._changes = {}
        self._timestamp = 0
        self._start = now_ms() - 3_600_000

    def publish(self, app, complete=False, status="2*", **values):
        """values: by id of the record, None for one that is deleted; none at all: a new signature."""
        at = max(self._timestamp, self._start) + 1000
        changes = {
            name: tombstone_of(name, at + number) if value is None else {"id": name, "last_modified": at + number, "n": value}
            for number, (name, value) in enumerate(values.items())
        }
        known = self._changes | changes
        state = signed_state(self._key, list(known.values()))
        answer = post(app, body_of(state, self._timestamp, complete=complete), status=status)
        if answer.status_int < 300:
            self._changes, self._timestamp = known, state.timestamp
        return answer

    def assert_is_held_by(self, app):
        """What readers get verifies, and is what was published; A finds so too."""
        found = served(app)
        check(NAME, found, trust_in(self._key))
        assert by_id(found.changes) == {name: each for name, each in self._changes.items() if not each.get("deleted")}
        assert isinstance(outcome(app), Accepted)


def outcome(app):
    """What the heartbeat finds."""
    try:
        return app.app.registry.guard.check_stored(NAME)
    finally:
        transaction.abort()


def kept(app):
    return app.app.registry.guard.kept._kept.get(URI)


def replace_kept(app, found):
    app.app.registry.guard.kept._committed(True, URI, found)


@pytest.fixture
def settings(key_pair, database, monkeypatch):
    monkeypatch.setattr("kinto_signer.core.form.BLOCK", 3)
    monkeypatch.setattr(module, "FEW", 3)
    includes = {"kinto.includes": "tests.support.objecting_plugin kinto_signer.authority"}
    return guarded_settings(key_pair.public, database) | includes


@pytest.fixture
def app(settings):
    return webtest_app(settings)


@pytest.fixture
def signer(key_pair, app):
    signer = Signer(key_pair.key())
    signer.publish(app, **dict.fromkeys(NAMES, 0))
    return signer


@pytest.fixture
def reads(monkeypatch, signer):
    """The ids of the rows that were read each time; None: all. What the first publication did is not among it."""
    found, fetch = [], module._fetch

    def remember(session, uri, wanted, *rest):
        found.append(None if wanted is None else sorted(wanted))
        return fetch(session, uri, wanted, *rest)

    monkeypatch.setattr(module, "_fetch", remember)
    return found


@pytest.fixture
def unfounded(monkeypatch):
    """What is kept is used whatever hash is stored."""

    def form(self, name, held, *, anew=False):
        found = self.kept.read(self.storage, URI, anew=anew)
        self.kept.keep(URI, found)
        return found

    return lambda: monkeypatch.setattr(StoredStates, "form", form)


@pytest.fixture
def blind(monkeypatch):
    """Nobody looks at the versions of rows."""
    return lambda: monkeypatch.setattr(
        module, "_since", lambda session, uri, kept, now: replace(kept, since=now, made_of=kept.form)
    )


# --- as much as changed ---------------------------------------------------------------------------------------------------


def test_only_what_changed_is_read(app, signer, reads):
    signer.publish(app, r07=1)
    signer.publish(app, r03=None, x1=2, r07=2)
    assert reads == [["r07"], ["r03", "r07", "x1"]]
    signer.assert_is_held_by(app)
    reads.clear()
    form = kept(app).form
    signer.publish(app)
    signer.assert_is_held_by(app)
    signer.publish(app)
    assert reads == [[], []]
    assert kept(app).form is form  # with all that was hashed
    app.app.registry.guard.kept.forget()
    signer.publish(app)
    assert reads[2] is None
    signer.assert_is_held_by(app)


def test_workers_read_what_others_changed(app, settings, signer, reads):
    other = webtest_app(settings)
    outcome(other)
    assert reads == [None]
    reads.clear()
    for number, worker in enumerate([other, app, app, other, app, other, other]):
        signer.publish(worker, **{f"r{number:02d}": number + 1, f"x{number}": number, f"r{number + 10}": None})
        signer.assert_is_held_by(worker)
    assert None not in reads
    assert set().union(*reads) == {f"{kind}{number}" for number in range(7) for kind in ("r0", "x", "r1")}
    for worker in (app, other):
        signer.assert_is_held_by(worker)


def test_while_a_transaction_stays_open_no_row_is_read_twice(app, settings, signer, database, reads):
    other = webtest_app(settings)
    outcome(other)
    reads.clear()
    with closing(psycopg2.connect(database)) as open_one, open_one.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
        signer.publish(app, r07=1, r03=None)
        for worker in (app, other, app, other):
            signer.assert_is_held_by(worker)
    assert reads == [["r03", "r07"]] * 2


def test_without_looking_at_versions_another_workers_changes_are_missed(app, settings, signer, blind, unfounded, monkeypatch):
    other = webtest_app(settings)
    outcome(other)
    signer.publish(app, r03=1)
    blind()
    signer.publish(other, r07=1)  # the stored hash is another one: everything is read
    signer.assert_is_held_by(other)
    unfounded()
    assert signer.publish(app, r09=1, status=503).json["details"]["reason"] == "hash-mismatch"


def test_what_was_not_committed_is_not_kept(app, signer, reads, monkeypatch):
    registry = app.app.registry

    def refuse():
        registry.objects = True
        signer.publish(app, r07=1, x1=1, r03=None, status=403)
        registry.objects = False
        app.put_json(f"{URI}/records/r05", {"data": {"n": 9}}, status=403)
        app.delete(f"{URI}/records/r06", status=403)

    before = kept(app).form
    refuse()
    assert kept(app).form is before
    assert None not in reads
    signer.publish(app, r08=1)
    signer.assert_is_held_by(app)
    assert None not in reads
    keep = KeptForms.keep
    monkeypatch.setattr(KeptForms, "keep", lambda self, uri, found: keep(self, uri, replace(found, own=False)))
    refuse()
    signer.assert_is_held_by(app)
    assert None in reads  # kept at once it costs time, and is noticed all the same


# --- SQL behind A's back --------------------------------------------------------------------------------------------------

ROW = f"WHERE parent_id = '{URI}' AND resource_name = 'record' AND id = 'r05'"
HARM = [
    f"UPDATE objects SET data = '{{\"n\": 7}}' {ROW}",
    f"UPDATE objects SET last_modified = last_modified + interval '300 ms' {ROW}",
    f"UPDATE objects SET deleted = TRUE, data = '{{\"deleted\": true}}' {ROW}",
    f"UPDATE objects SET id = 'other' {ROW}",
    f"DELETE FROM objects {ROW}",
    f"INSERT INTO objects VALUES ('more', '{URI}', 'record', NULL, '{{}}', FALSE)",
    f"DELETE FROM objects {ROW}; INSERT INTO objects VALUES ('more', '{URI}', 'record', NULL, '{{}}', FALSE)",
]


@pytest.mark.parametrize("late", [False, True], ids=["known by age", "known by version"])
def test_what_was_altered_behind_our_back_is_seen(app, signer, postgres, database, blind, late):
    for harm in HARM:
        with closing(psycopg2.connect(database)) as other, other.cursor() as cursor:
            if late:  # while this transaction is open, no row that is written after it counts as old
                cursor.execute("SELECT pg_current_xact_id()")
            signer.publish(app, complete=True, **dict.fromkeys(NAMES, 0))
            signer.assert_is_held_by(app)
            assert ("r05" in kept(app).recent) is late
            postgres.execute(harm, database)
            assert outcome(app).reason in ("hash-mismatch", "bad-signature")
            signer.publish(app, r01=1, status=503)
    signer.publish(app, complete=True, **dict.fromkeys(NAMES, 0))
    signer.assert_is_held_by(app)
    blind()
    postgres.execute(HARM[0], database)
    assert isinstance(outcome(app), Accepted)


def test_what_was_written_before_and_committed_after_a_publication_is_seen(app, signer, database, reads):
    with closing(psycopg2.connect(database)) as other, other.cursor() as cursor:
        cursor.execute(HARM[0])
        signer.publish(app, r01=1)
        signer.assert_is_held_by(app)
        other.commit()
    for _ in range(3):
        assert outcome(app).reason == "hash-mismatch"
    assert None not in reads


def test_numbers_of_another_start_of_the_database_say_nothing(app, signer, postgres, reads):
    postgres.execute("SELECT pg_stat_reset_shared('bgwriter')")  # as after a crash
    signer.assert_is_held_by(app)
    assert reads == [None]
    signer.assert_is_held_by(app)
    assert reads == [None]


def test_a_moment_half_a_turn_of_the_ring_ago_says_nothing(app, signer, postgres, database, monkeypatch):
    """In the ring its number looks as if it were still to come, and every row older."""
    postgres.execute(HARM[0], database)
    long_ago = replace(kept(app).since, oldest=str(int(kept(app).since.oldest) + 10_000))
    replace_kept(app, replace(kept(app), since=long_ago, recent={}))
    assert outcome(app).reason == "hash-mismatch"
    monkeypatch.setattr(module, "can_tell", lambda *args: True)
    assert isinstance(outcome(app), Accepted)


# --- other bytes in memory ------------------------------------------------------------------------------------------------


def alter(app, name):
    """Another byte in one record, behind everybody's back: what was hashed stays."""
    for block in kept(app).form.blocks:
        if name in block.ids:
            chunks = [
                chunk.replace(b'"n":', b'"m":') if name == id_ else chunk
                for id_, chunk in zip(block.ids, block.chunks, strict=True)
            ]
            object.__setattr__(block, "chunks", tuple(chunks))


def test_altered_bytes_refuse_nothing(app, signer, postgres, database, caplog, monkeypatch):
    postgres.execute(f"UPDATE objects SET data = data {ROW}", database)  # another version, which says the same
    alter(app, "r19")
    signer.assert_is_held_by(app)
    for value, where in enumerate(["r06", "r07", "r08", "r19"]):
        caplog.clear()
        alter(app, where)
        signer.publish(app, r07=value)
        signer.assert_is_held_by(app)
        assert "what is kept of it in memory is not what is stored" in caplog.text
    monkeypatch.setattr(Form, "proven", lambda self, *args: self)
    alter(app, "r19")
    signer.publish(app, r07=9, status=403)


def test_altered_bytes_are_not_told_to_other_plugins(app, signer, monkeypatch):
    told = []
    carry_out = Publication.carry_out
    monkeypatch.setattr(Publication, "carry_out", lambda self: told.append(carry_out(self)) or told[-1])
    for value in (1, 2):
        alter(app, "r07")
        signer.publish(app, r07=value)
        monkeypatch.setattr(Form, "proven", lambda self, *args: self)
    assert [sorted(published.old["r07"]) for published in told] == [["id", "last_modified", "n"], ["id", "last_modified", "m"]]


def test_altered_bytes_in_front_of_the_change_are_not_needed_and_found_later(app, signer, caplog):
    alter(app, "r01")
    signer.publish(app, r07=1)
    signer.assert_is_held_by(app)
    assert not caplog.records
    signer.publish(app, r00=1)
    signer.assert_is_held_by(app)
    assert "what is kept of it in memory is not what is stored" in caplog.text


@pytest.mark.parametrize("looks", [True, False])
def test_a_record_that_memory_lost_does_not_stand_for_one_that_was_removed(app, signer, postgres, database, monkeypatch, looks):
    """Both are one record fewer: counting them finds no difference."""
    assert isinstance(outcome(app), Accepted)
    held = kept(app)
    first, *rest = held.form.blocks
    form = Form([Block(first.ids[1:], first.chunks[1:]), *rest])
    form._marks = held.form._marks
    replace_kept(app, replace(held, form=form))
    postgres.execute("DELETE FROM objects WHERE resource_name = 'record' AND id = 'r07'", database)
    if looks:
        assert outcome(app).reason == "hash-mismatch"
    else:
        monkeypatch.setattr(Form, "holds_together", True)
        assert isinstance(outcome(app), Accepted)


def test_altered_hash_states_refuse_nothing(app, signer, unfounded):
    def alter_state(number, which):
        marks = kept(app).form._marks
        marks[number] = replace(marks[number], **{name: getattr(marks[3], name) for name in which})

    for number in (0, 2, -1):
        for which in (["signed"], ["plain"], ["signed", "plain"]):
            alter_state(number, which)
            signer.assert_is_held_by(app)
            for values in ({"r07": number}, {}, {"r00": number}):
                alter_state(number, which)
                signer.publish(app, **values)
                signer.assert_is_held_by(app)
    unfounded()
    for which, reason in ((["signed"], "bad-signature"), (["plain"], "hash-mismatch")):
        app.app.registry.guard.kept.forget()
        outcome(app)
        alter_state(-1, which)
        replace_kept(app, replace(kept(app), seal=kept(app).form.digests(0)))
        assert outcome(app).reason == reason


def test_an_old_form_that_looks_current_refuses_nothing(app, signer, unfounded):
    old = kept(app)
    signer.publish(app, r07=1)
    for control in (False, True):
        transaction.begin()
        signer.assert_is_held_by(app)
        replace_kept(app, replace(kept(app), form=old.form, seal=old.seal, recent={}))
        if control:
            unfounded()
            assert outcome(app).reason == "hash-mismatch"
            signer.publish(app, r09=2, status=503)
        else:
            signer.assert_is_held_by(app)
            replace_kept(app, replace(kept(app), form=old.form, seal=old.seal, recent={}))
            signer.publish(app, r09=1)


def test_leftovers_of_a_collection_that_is_gone_are_not_published_over(app, signer, postgres, database, key_pair):
    postgres.execute("DELETE FROM objects WHERE resource_name = 'collection'", database)
    again = Signer(key_pair.key())
    again._start = now_ms() - 1_800_000
    again.publish(app, r07=1, status=503)
    again.publish(app, complete=True, r07=1)
    again.assert_is_held_by(app)


# --- whatever happens -----------------------------------------------------------------------------------------------------


@pytest.fixture
def storage(database, monkeypatch):
    monkeypatch.setattr("kinto_signer.core.form.BLOCK", 3)
    monkeypatch.setattr(module, "FEW", 3)
    return webtest_app(authority_settings(database)).app.registry.storage


def write(storage, random_):
    """One of what may happen to a row, in the current transaction."""
    name, value = random_.choice(NAMES), random_.randrange(10**6)
    values = {"uri": URI, "id": name, "data": f'{{"n": {value}}}', "at": value}
    with storage.client.connect() as session:
        there = "WHERE parent_id = :uri AND resource_name = 'record' AND id = :id"
        insert = (
            "INSERT INTO objects (id, parent_id, resource_name, data, last_modified, deleted) VALUES "
            "(:id, :uri, 'record', CAST(:data AS jsonb), from_epoch(:at), FALSE) ON CONFLICT (id, parent_id, resource_name) "
            "DO UPDATE SET data = EXCLUDED.data, deleted = FALSE, last_modified = EXCLUDED.last_modified"
        )
        kinds = [
            insert,
            insert,
            f"UPDATE objects SET data = data {there}",
            f"UPDATE objects SET last_modified = last_modified + interval '1 ms' {there}",
            f"UPDATE objects SET deleted = TRUE {there}",
            f"DELETE FROM objects {there}",
        ]
        session.execute(sqlalchemy.text(random_.choice(kinds)), values)


def differences(storage, database, random_, steps):
    """How often one of two workers took something else for stored than what is stored; and how often all was read."""
    workers, wrong, whole = (KeptForms(), KeptForms()), 0, 0
    with closing(psycopg2.connect(database)) as other, other.cursor() as cursor:
        for _ in range(steps):
            if random_.random() < 0.2:
                cursor.execute("SELECT pg_current_xact_id()")  # from now on rows are known by their versions
            elif random_.random() < 0.2:
                other.commit()
            for _ in range(random_.choice([0, 1, 1, 1, 5])):
                write(storage, random_)
            if random_.random() < 0.5:
                worker = random_.choice(workers)
                worker.keep(URI, worker.read(storage, URI))
            random_.choice([transaction.commit, transaction.commit, transaction.abort])()
            for worker in random_.sample(workers, random_.randrange(3)):
                found, expected = worker.read(storage, URI), KeptForms().read(storage, URI)
                worker.keep(URI, found)
                wrong += found.form.digests(0) != expected.form.digests(0) or list(found.form.ids) != list(expected.form.ids)
                whole += found.made_of is None
                transaction.commit()
    return SimpleNamespace(wrong=wrong, whole=whole)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(rounds(3, 100)))
def test_what_is_known_is_what_is_stored(storage, database, seed):
    found = differences(storage, database, random.Random(seed), 100)
    assert found.wrong == 0
    assert found.whole < 60


def test_without_looking_at_versions_it_is_not(storage, database, blind):
    blind()
    assert differences(storage, database, random.Random(0), 100).wrong
