"""Many records at once on Kinto's own tables: the rows are those that Kinto's interface writes, one record at a time."""

from itertools import count

import hypothesis.strategies as st
import pytest
import sqlalchemy
import transaction
from hypothesis import HealthCheck, given, settings

from kinto_signer.core.changeset import is_tombstone
from kinto_signer.plugin.bulk import MANY, apply_in_bulk, copy_all
from tests.support.servers import webtest_app
from tests.support.settings import kinto_settings
from tests.support.states import TEXTS, make_records, tombstone_of

T = 1_700_000_000_000
NUMBERS = count(1)
ROWS = """
SELECT id, parent_id, resource_name, as_epoch(last_modified), data::text, deleted FROM objects
 WHERE parent_id = :uri ORDER BY id
"""


class Bulk:
    """A storage that is written in bulk, and another that Kinto writes record by record."""

    def __init__(self, bulk, kinto):
        self.bulk = bulk
        self.kinto = kinto
        self.uri = ""
        self.start()

    def start(self):
        """Go on with another collection, of which nothing is known."""
        self.uri = f"/buckets/main/collections/number-{next(NUMBERS)}"
        return self

    def apply(self, changes, *, complete=False, timestamp=None):
        timestamp = timestamp or max(change["last_modified"] for change in changes)
        apply_in_bulk(self.bulk, self.uri, changes, complete=complete, timestamp=timestamp)
        transaction.commit()

    def rows(self, storage=None):
        """Everything that is stored below the URI, the deleted included."""
        storage = storage or self.bulk
        if not hasattr(storage, "client"):
            held = storage._store[self.uri]["record"], storage._cemetery[self.uri]["record"]
            return [sorted(objects.values(), key=lambda found: found["id"]) for objects in held]
        with storage.client.connect(readonly=True) as session:
            return [tuple(row) for row in session.execute(sqlalchemy.text(ROWS), {"uri": self.uri})]

    def assert_as_kinto_writes(self, state):
        """`state`, records and tombstones, is what is stored; and it is stored as Kinto stores it in the order of timestamps."""
        for change in sorted(state, key=lambda change: change["last_modified"]):
            if is_tombstone(change):
                self.kinto.update("record", self.uri, change["id"], {"last_modified": T - 10_000_000 + next(NUMBERS)})
                self.kinto.delete("record", self.uri, change["id"], last_modified=change["last_modified"])
            else:
                self.kinto.update("record", self.uri, change["id"], change)
        transaction.commit()
        assert self.rows() == self.rows(self.kinto)
        listed = self.bulk.list_all("record", self.uri, include_deleted=True)
        assert by_id(listed) == by_id(state)
        newest = max((change["last_modified"] for change in state), default=None)
        if newest:
            assert self.bulk.resource_timestamp("record", self.uri) == newest
        transaction.commit()

    def alter(self, statement, **values):
        """Something behind Kinto's back."""
        with self.bulk.client.connect() as session:
            session.execute(sqlalchemy.text(statement), {"uri": self.uri, **values})
        transaction.commit()


def by_id(changes):
    return {change["id"]: change for change in changes}


@pytest.fixture
def bulk(storage_url, request):
    urls = [storage_url, request.getfixturevalue("create_database")() if storage_url else None]
    return Bulk(*(webtest_app(kinto_settings(url)).app.registry.storage for url in urls))


@pytest.fixture
def on_postgresql(create_database):
    return Bulk(*(webtest_app(kinto_settings(create_database())).app.registry.storage for _ in range(2)))


def records(count, first=0):
    return make_records(count, first=first, start=T)


def test_a_first_publication(bulk):
    odd = {
        "id": "odd",
        "last_modified": T + 50,
        "text": 'a\tb\nc\\d"e\r\x7f\u2028',
        "floats": [1.5, -0.25],
        "none": None,
        "{}": {},
    }
    state = [*records(12), odd, tombstone_of("gone", T + 60)]
    bulk.apply(state[::-1])
    bulk.assert_as_kinto_writes(state)


def test_ids_that_mean_something_to_copy(bulk):
    """Kinto's own rule lets a line break at the end pass; other generators of ids have other rules."""
    ids = ["a\n", "a\tb", "a\\n", "a\r", "\\.", "\\N", "é\u2028"]
    state = [{"id": odd, "last_modified": T + number, "n": 1} for number, odd in enumerate(ids)]
    state += [tombstone_of(odd + odd, T + 10 + number) for number, odd in enumerate(ids)]
    bulk.apply(state)
    bulk.assert_as_kinto_writes(state)


@pytest.mark.parametrize("in_use", [False, True])
def test_all_of_another_collection(on_postgresql, in_use):
    state = [*records(5), {"id": "odd", "last_modified": T + 50, "text": "a\\b\n", "floats": [1.5, -0.25]}]
    on_postgresql.apply([*state, tombstone_of("gone", T + 60)])
    origin = on_postgresql.uri
    on_postgresql.start()
    before = [tombstone_of(state[0]["id"], T - 9), tombstone_of("x", T - 8)] if in_use else []
    if in_use:
        on_postgresql.apply(before)
    else:
        on_postgresql.bulk.resource_timestamp("record", on_postgresql.uri)  # starts its clock, which is ahead
    copy_all(on_postgresql.bulk, on_postgresql.uri, origin, timestamp=T + 50)
    transaction.commit()
    there = {change["id"] for change in state}
    on_postgresql.assert_as_kinto_writes([*(change for change in before if change["id"] not in there), *state])


def test_an_empty_one(bulk):
    bulk.apply([], timestamp=T)
    bulk.assert_as_kinto_writes([])


def test_timestamps_that_change_places(bulk):
    one, two, three = records(3)
    bulk.apply([one, two, three])
    swapped = [{**one, "last_modified": T + 2}, {**two, "last_modified": T}, {**three, "last_modified": T + 1}]
    bulk.apply(swapped, complete=True)
    bulk.assert_as_kinto_writes(swapped)


def test_records_die_and_live_again(bulk):
    one, two, three = records(3)
    bulk.apply([one, two, three])
    bulk.apply([tombstone_of("record-0000", T + 10), tombstone_of("record-0001", T + 11)])
    bulk.assert_as_kinto_writes([tombstone_of("record-0000", T + 10), tombstone_of("record-0001", T + 11), three])
    bulk.start()
    bulk.apply([one, two, three])
    bulk.apply([tombstone_of("record-0000", T + 10), tombstone_of("record-0001", T + 11)])
    again = {**one, "last_modified": T + 20}
    bulk.apply([again])
    bulk.assert_as_kinto_writes([again, tombstone_of("record-0001", T + 11), three])


def test_a_complete_one_leaves_nothing_else_alive(bulk):
    bulk.apply([*records(6), tombstone_of("old", T + 100), tombstone_of("late", T + 900), tombstone_of("taken", T + 203)])
    state = [{**record, "last_modified": record["last_modified"] + 200} for record in records(5, first=2)]
    bulk.apply(state, complete=True, timestamp=T + 206)
    bulk.assert_as_kinto_writes([*state, tombstone_of("old", T + 100)])


def test_the_newest_is_written_again_after_it_was_altered(on_postgresql):
    """Kinto's trigger would give it another timestamp: it is the collection's newest."""
    state = records(4)
    on_postgresql.apply(state)
    on_postgresql.alter("UPDATE objects SET data = '{\"evil\": true}' WHERE parent_id = :uri AND id = 'record-0003'")
    moved = on_postgresql.rows()[3]
    assert moved[3] > T + 3, "the trigger moved what was altered through SQL"
    on_postgresql.apply(state, complete=True)
    on_postgresql.assert_as_kinto_writes(state)
    on_postgresql.alter(
        "UPDATE objects SET data = '{}', last_modified = from_epoch(:at) WHERE parent_id = :uri AND id = 'record-0003'", at=T + 9
    )
    on_postgresql.alter(
        "UPDATE objects SET last_modified = from_epoch(:at) WHERE parent_id = :uri AND id = 'record-0003'", at=T + 3
    )
    assert on_postgresql.rows()[3][3:5] == (T + 3, "{}")
    on_postgresql.apply(state, complete=True)
    assert on_postgresql.bulk.list_all("record", on_postgresql.uri, include_deleted=True) != []
    assert by_id(on_postgresql.bulk.list_all("record", on_postgresql.uri)) == by_id(state)


def test_a_number_that_was_altered_to_an_equal_one_is_written_again(on_postgresql):
    state = [{"id": "one", "last_modified": T, "number": 1}, {"id": "two", "last_modified": T + 1, "number": 2}]
    on_postgresql.apply(state)
    on_postgresql.alter("UPDATE objects SET data = '{\"number\": 1.0}', last_modified = last_modified WHERE id = 'one'")
    assert on_postgresql.rows()[0][4] == '{"number": 1.0}'
    on_postgresql.apply(state, complete=True)
    on_postgresql.assert_as_kinto_writes(state)


def test_the_clock_of_a_list_that_was_read_while_it_was_empty(bulk):
    assert bulk.bulk.resource_timestamp("record", bulk.uri) > T + 1_000_000
    transaction.commit()
    bulk.apply(records(3))
    bulk.assert_as_kinto_writes(records(3))


def test_many_with_others_around(bulk):
    """More than MANY, where PostgreSQL is told how to join; a second collection is left alone."""
    other = bulk.uri
    bulk.apply(records(5))
    bulk.start()
    state = records(MANY + 200)
    bulk.apply(state)
    changed = [{**record, "text": "new", "last_modified": T + 5000 + number} for number, record in enumerate(state[: MANY + 50])]
    bulk.apply(changed)
    bulk.assert_as_kinto_writes([*changed, *state[MANY + 50 :]])
    assert bulk.bulk.get("record", other, "record-0004") == records(5)[4]


def test_nothing_of_it_remains_if_it_is_undone(on_postgresql):
    on_postgresql.apply(records(3))
    before = on_postgresql.rows()
    apply_in_bulk(on_postgresql.bulk, on_postgresql.uri, records(9), complete=True, timestamp=T + 8)
    transaction.abort()
    assert on_postgresql.rows() == before


# --- any sequence of publications ---------------------------------------------------------------------------------------------

IDS = [f"record-{letter}" for letter in "abcdef"]
CHANGE = st.tuples(st.sampled_from(IDS), st.sampled_from([*TEXTS, "dead", "dead"]), st.integers(0, 9))
PUBLICATIONS = st.lists(
    st.tuples(st.booleans(), st.lists(CHANGE, min_size=1, max_size=6, unique_by=(lambda c: c[0], lambda c: c[2]))),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(publications=PUBLICATIONS)
def test_any_sequence_of_publications(bulk, publications):
    """Differences come with timestamps after everything; a complete one may use any again."""
    bulk.start()
    held = {}
    for complete, drawn in publications:
        newest = max((change["last_modified"] for change in held.values()), default=T)
        start = T if complete else newest + 1
        changes = [
            tombstone_of(record_id, start + at)
            if text == "dead"
            else {"id": record_id, "last_modified": start + at, "text": text}
            for record_id, text, at in drawn
        ]
        timestamp = max(change["last_modified"] for change in changes)
        if complete:
            taken = {change["last_modified"] for change in changes}
            graves = [held[record_id] for record_id in held if is_tombstone(held[record_id])]
            held = by_id(grave for grave in graves if grave["last_modified"] <= timestamp and grave["last_modified"] not in taken)
        held |= by_id(changes)
        bulk.apply(changes, complete=complete, timestamp=timestamp)
    bulk.assert_as_kinto_writes(list(held.values()))
