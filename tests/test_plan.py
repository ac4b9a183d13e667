"""The publication plan, against a model of how Kinto keeps timestamps."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinto_signer.core.changeset import TIMESTAMP_MARKER, is_tombstone
from kinto_signer.core.plan import Held, plan, repeated
from tests.support.campaigns import rounds


class Place:
    """A list of records as Kinto keeps it (design, section 7): ids, timestamps, tombstones, ETag."""

    def __init__(self, clock=0):
        self.objects = {}
        self.etag = clock
        self.published = False

    def held(self):
        return Held(self.etag, list(self.objects.values()), fresh=not self.objects and not self.published)

    def live(self):
        return {record["id"]: record for record in self.objects.values() if not is_tombstone(record)}

    def write(self, change):
        there = self.objects.get(change["id"])
        timestamp = change["last_modified"]
        if is_tombstone(change) and change["id"] == TIMESTAMP_MARKER:
            assert timestamp - 1 > self.etag or there is None
        elif is_tombstone(change):
            assert there is not None, "DELETE of what is not there: 404"
            assert not is_tombstone(there)
            assert timestamp > there["last_modified"], "DELETE would not keep the timestamp"
        elif there is not None and not is_tombstone(there):
            assert timestamp > there["last_modified"], "PUT would not keep the timestamp"
        assert all(other["last_modified"] != timestamp for other in self.objects.values() if other["id"] != change["id"]), "409"
        self.objects[change["id"]] = change
        self.etag = max(self.etag, timestamp)


def publish(source, destination, authorities, now, applied=None):
    """Plan and write; `applied` are the writes (by position) that reach each authority before S gives up, None for all."""
    planned = plan(list(source.values()), destination.held(), [place.held() for place in authorities], now)
    for place, writes in zip(authorities, planned.authorities, strict=True):
        for number, change in enumerate(writes):
            if applied is None or number in applied:
                place.write(change)
                place.published = True
    if applied is None:
        for change in planned.destination:
            place = destination
            place.write(change)
        destination.published = True
        for place in authorities:
            place.published = True
    return planned


def content(records):
    return {name: {k: v for k, v in record.items() if k != "last_modified"} for name, record in records.items()}


edits = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([None, 0, 1, True, "x"])), max_size=6)
steps = st.lists(st.tuples(edits, st.none() | st.sets(st.integers(0, 6)), st.integers(-50, 5000)), min_size=1, max_size=8)


@pytest.mark.proof
@settings(max_examples=rounds(300, 5000), deadline=None)
@given(steps=steps, clocks=st.lists(st.integers(0, 10_000), min_size=0, max_size=2))
def test_whatever_was_left_behind_the_next_publication_makes_all_places_equal(steps, clocks):
    source, destination, authorities = {}, Place(), [Place(clock) for clock in clocks]
    now = edit_clock = 1000
    read = [0 for _ in authorities]
    copies = [{} for _ in authorities]
    for changes, applied, drift in [*steps, ([], None, 0)]:
        for record_id, value in changes:
            edit_clock += 1
            if value is None:
                source.pop(record_id, None)
            else:
                source[record_id] = {"id": record_id, "v": value, "last_modified": edit_clock}
        now = max(0, now + drift)
        if applied is not None:  # S gives up, and the editors go on
            publish(source, destination, authorities, now, applied)
            continue
        planned = publish(source, destination, authorities, now)
        assert content(destination.live()) == content(source)
        for number, place in enumerate(authorities):
            assert place.live() == destination.live()
            assert place.etag == planned.timestamp
            # A reader that asks only for what changed since it read last has the same.
            for change in place.objects.values():
                if change["last_modified"] > read[number]:
                    copies[number][change["id"]] = change
            read[number] = place.etag
            assert {k: v for k, v in copies[number].items() if not is_tombstone(v)} == place.live()
        assert destination.etag == planned.timestamp
        again = plan(list(source.values()), destination.held(), [place.held() for place in authorities], now)
        assert again.timestamp == planned.timestamp
        assert not again.destination
        assert not any(again.authorities)


def test_new_timestamps_increase_and_are_above_every_clock():
    source = [{"id": name, "last_modified": number} for number, name in enumerate("cab")]
    planned = plan(source, Held(5000, (), True), [Held(9000, (), True)], now=7000)
    timestamps = [record["last_modified"] for record in planned.destination]
    assert all(one < other for one, other in pairwise(timestamps))
    assert timestamps[0] > 9000
    assert planned.timestamp == timestamps[-1]


def test_a_timestamp_lost_by_the_authority_is_not_written_behind_its_readers():
    record = {"id": "a", "v": 1, "last_modified": 100}
    other = {"id": "b", "v": 1, "last_modified": 200}
    destination = Held(200, [record, other])
    planned = plan([record, other], destination, [Held(200, [other])], now=150)
    (sent,) = planned.authorities[0]
    assert sent["id"] == "a"
    assert sent["last_modified"] > 200


def test_an_empty_new_collection_carries_its_timestamp_in_a_tombstone():
    planned = plan([], Held(0, (), True), [Held(50, (), True)], now=10)
    assert [change["id"] for change in planned.authorities[0]] == [TIMESTAMP_MARKER]
    assert planned.authorities[0] == planned.destination
    assert planned.timestamp == planned.destination[0]["last_modified"] > 50


def test_other_attributes_take_a_new_timestamp_once():
    record = {"id": "a", "v": 1, "last_modified": 100}
    held = Held(100, [record])
    assert plan([record], held, [held], now=50).timestamp == 100
    planned = plan([record], held, [held], now=50, renew=True)
    assert planned.timestamp > 100
    assert [change["id"] for change in planned.authorities[0]] == [TIMESTAMP_MARKER]
    other = plan([{**record, "v": 2}], held, [held], now=50, renew=True)
    assert [change["id"] for change in other.authorities[0]] == ["a"], "the record carries the new timestamp"
    first = plan([record], Held(0, (), True), [Held(0, (), True)], now=50, renew=True)
    assert [change["id"] for change in first.authorities[0]] == ["a"]


def test_an_authority_that_holds_what_the_signer_does_is_compared_once(monkeypatch):
    from kinto_signer.core import plan as module

    compared = []
    same = module.same_content
    monkeypatch.setattr(module, "same_content", lambda one, other: compared.append(1) or same(one, other))
    records = [{"id": str(number), "v": number, "last_modified": 100 + number} for number in range(50)]
    held = Held(149, records)
    source = [*records[1:], {"id": "0", "v": "new", "last_modified": 500}]
    alone = plan(source, held, [], now=50)
    cost = len(compared)
    both = plan(source, held, [held, held], now=50)
    assert len(compared) == 2 * cost
    assert both.authorities == [alone.destination] * 2
    assert both.destination == alone.destination


@settings(max_examples=rounds(300, 3000), deadline=None)
@given(
    source=st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.integers(0, 3), st.integers(1, 900))),
    published=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3)),
    graves=st.sets(st.sampled_from("xyz")),
    now=st.integers(0, 3000),
    renew=st.booleans(),
    authorities=st.integers(0, 2),
    clock=st.integers(0, 2),
)
def test_a_plan_of_what_differs_is_the_plan_of_everything(source, published, graves, now, renew, authorities, clock):
    source = [{"id": name, "v": value, "last_modified": at} for name, (value, at) in source.items()]
    changes = [{"id": name, "v": value, "last_modified": 1000 + number} for number, (name, value) in enumerate(published.items())]
    changes += [{"id": name, "last_modified": 1100 + number, "deleted": True} for number, name in enumerate(sorted(graves))]
    newest = max((change["last_modified"] for change in changes), default=0)
    whole = Held(newest + clock, changes, fresh=not changes)
    same = {record["id"] for record in source if published.get(record["id"]) == record["v"]}
    part = Held(
        newest + clock, [c for c in changes if c["id"] not in same and not is_tombstone(c)], fresh=not changes, rest=newest
    )
    of_all = plan(source, whole, [whole] * authorities, now, renew=renew)
    of_part = plan([r for r in source if r["id"] not in same], part, [part] * authorities, now, renew=renew)
    assert (of_part.timestamp, of_part.destination, of_part.authorities) == (
        of_all.timestamp,
        of_all.destination,
        of_all.authorities,
    )
    assert {r["id"]: r for r in of_all.records if r["id"] not in same} == {r["id"]: r for r in of_part.records}


@pytest.mark.proof
@settings(max_examples=rounds(300, 5000), deadline=None)
@given(
    steps=st.lists(st.tuples(edits, edits, st.booleans(), st.integers(-50, 5000)), min_size=1, max_size=6),
    clock=st.integers(0, 9000),
)
def test_two_copies_are_given_the_same_timestamps_where_they_may(steps, clock):
    source, copies = {}, [Place(), Place(clock)]
    now = edit_clock = 1000
    for changes, hidden, both, drift in steps:
        now = max(0, now + drift)
        dated, first = {}, None
        for number in (0, 1):
            for record_id, value in changes if number == 0 else hidden:  # SQL in between, behind the signer's back
                edit_clock += 1
                source |= {record_id: {"id": record_id, "v": value, "last_modified": edit_clock}}
            place = copies[number]
            before, held = place.live(), place.held()
            planned = plan(list(source.values()), held, [], now, dated=dated)
            if first is not None and not before and not hidden:
                assert repeated(first, held, source.keys()) in (None, planned)
            first = planned
            for change in planned.destination:
                place.write(change)
            assert content(place.live()) == content(source)
            assert place.etag == planned.timestamp
            above = 0 if held.fresh else held.etag  # nobody has read what was never published
            assert all(change["last_modified"] > above for change in planned.destination)
            if number and not hidden:
                fits = max((record["last_modified"] for record in dated.values()), default=0) > held.etag
                for name, record in dated.items():
                    if before.get(name, {}).get("v") != record["v"] and (record["last_modified"] > above and fits):
                        assert place.live()[name] == record
            dated = {change["id"]: change for change in planned.destination if not is_tombstone(change)}
            if not both:
                break


NEW = [{"id": "b", "v": 1, "last_modified": 3}, {"id": "a", "v": 2, "last_modified": 7}]


# the clock of a list starts when it is first looked at, which may be while the first copy is published
@pytest.mark.parametrize("copy", [Held(0, fresh=True), Held(99, rest=99), Held(101, fresh=True)])
def test_the_first_plan_is_that_of_the_second_copy_too(copy):
    first = plan(NEW, Held(0, fresh=True), [], 100)
    dated = {change["id"]: change for change in first.destination}
    assert repeated(first, copy, {"a", "b"}) == plan(NEW, copy, [], 100, dated=dated)


@pytest.mark.parametrize(
    ("first", "copy", "ids"),
    [
        (Held(0, [NEW[0]], rest=3), Held(0), {"a", "b"}),  # it had one of them
        (Held(0, [{"id": "c", "last_modified": 5}]), Held(0), {"a", "b"}),  # one was removed there
        (Held(0), Held(0), {"a"}),
        (Held(0), Held(0), {"a", "c"}),
        (Held(0), Held(101), {"a", "b"}),  # its clock is at the first new timestamp
        (Held(0), Held(102, fresh=True), {"a", "b"}),  # and at the last one
        (Held(0), Held(50, rest=101), {"a", "b"}),
        (Held(0), Held(7, [NEW[1]]), {"a", "b"}),
    ],
)
def test_what_may_come_out_otherwise_is_planned(first, copy, ids):
    assert repeated(plan(NEW, first, [], 100), copy, ids) is None


def test_nothing_is_not_repeated():
    assert repeated(plan([], Held(0), [], 100), Held(0), set()) is None
