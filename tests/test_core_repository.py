"""Changesets, and what Verify and Synchronizer do with them."""

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinto_signer.core.changeset import EMPTY, Changeset, diff, is_tombstone, latest, merge, tombstone, validate
from kinto_signer.core.repository import FUTURE_TOLERANCE_MS, MemoryRepository, Synchronizer, Verify
from kinto_signer.errors import (
    BadAnswerError,
    BadSignatureError,
    NotYetValidError,
    RollbackError,
    SameTimestampError,
    UnsignedError,
    VerificationError,
)
from tests.support.states import NAME, START, make_records, new_key, signed_state, since, trust_in

KEY = new_key()
TRUST = trust_in(KEY)
FIRST = signed_state(KEY, make_records(4))
SECOND = signed_state(KEY, [*make_records(3), tombstone("record-0003", START + 50)])


# --- merge and diff -------------------------------------------------------------------------------------------------

ids = st.sampled_from("abcdef")
values = st.integers(0, 2)
contents = st.dictionaries(ids, values)


def records_of(content, start=1):
    return [{"id": i, "value": v, "last_modified": start + n} for n, (i, v) in enumerate(content.items())]


@given(contents, contents)
def test_diff_is_what_is_missing(wanted, held):
    wanted_records, held_records = records_of(wanted, 100), records_of(held)
    found = diff(wanted_records, held_records)

    assert {r["id"] for r in found.created} == set(wanted) - set(held)
    assert {r["id"] for r in found.updated} == {i for i in wanted if i in held and wanted[i] != held[i]}
    assert {r["id"] for r in found.deleted} == set(held) - set(wanted)
    assert bool(found) is (wanted != held)


@given(st.lists(st.dictionaries(ids, st.none() | values, max_size=4), max_size=6))
def test_merging_differences_one_by_one_is_merging_all(steps):
    clock, state, truth = START, Changeset(START), {}
    for step in steps:
        changes = []
        for record_id, value in step.items():
            clock += 1
            if value is None:
                changes.append(tombstone(record_id, clock))
                truth.pop(record_id, None)
            else:
                changes.append({"id": record_id, "value": value, "last_modified": clock})
                truth[record_id] = value
        state = merge(state, Changeset(clock, changes, {"n": clock}, since=state.timestamp))
    assert {r["id"]: r["value"] for r in state.records} == truth
    assert state.timestamp == clock
    assert len({change["id"] for change in state.changes}) == len(state.changes)


def test_a_complete_changeset_replaces():
    assert merge(FIRST, SECOND) is SECOND


def test_small_things():
    assert latest([]) == 0
    assert latest(SECOND.changes) == START + 50
    assert [is_tombstone(c) for c in ({"deleted": True}, {"deleted": 1}, {}, {"deleted": False})] == [True, False, False, False]
    assert len(SECOND.tombstones) == 1
    assert EMPTY.records == []


PROPER = {"id": "a", "last_modified": 1}
IMPROPER = {
    "text": ["a"],
    "null": [None],
    "list": [[]],
    "no id": [{"last_modified": 1}],
    "id null": [{**PROPER, "id": None}],
    "id empty": [{**PROPER, "id": ""}],
    "id a number": [{**PROPER, "id": 1}],
    "no timestamp": [{"id": "a"}],
    "timestamp a text": [{**PROPER, "last_modified": "1"}],
    "timestamp true": [{**PROPER, "last_modified": True}],
    "timestamp a float": [{**PROPER, "last_modified": 1.0}],
    "timestamp negative": [{**PROPER, "last_modified": -1}],
    "deleted false": [{**PROPER, "deleted": False}],
    "deleted 1": [{**PROPER, "deleted": 1}],
    "deleted null": [{**PROPER, "deleted": None}],
    "twice": [PROPER, {**PROPER, "x": 1}],
    "twice with a tombstone": [PROPER, tombstone("a", 2)],
}


@pytest.mark.parametrize("what", IMPROPER)
def test_improper_records(what):
    with pytest.raises(BadAnswerError, match=rf"^{NAME}: .*kept"):
        validate(NAME, IMPROPER[what])


def test_proper_records():
    changes = [PROPER, tombstone("b", 0)]
    assert validate(NAME, changes) is changes


# --- Verify ---------------------------------------------------------------------------------------------------------


def held(*states, now=None):
    repository = Verify(MemoryRepository(), TRUST, now)
    for state in states:
        repository.apply(NAME, state)
    return repository


def resigned(state, **changed):
    return signed_state(KEY, list(state.changes), state.timestamp, **changed)


REFUSED = {
    # what is held; what is applied; the error
    "an older state": ([FIRST, SECOND], FIRST, RollbackError),
    "an older state as a difference": ([SECOND], dataclasses.replace(FIRST, changes=[], since=SECOND.timestamp), RollbackError),
    "nothing": ([SECOND], EMPTY, RollbackError),
    "nothing at first": ([], EMPTY, UnsignedError),
    "unsigned": ([], dataclasses.replace(FIRST, metadata={}), UnsignedError),
    "other content, same timestamp": ([FIRST], signed_state(KEY, make_records(2), FIRST.timestamp), SameTimestampError),
    "altered": ([FIRST], dataclasses.replace(SECOND, changes=make_records(2)), BadSignatureError),
    "a difference from elsewhere": ([FIRST], since(SECOND, START + 1), BadAnswerError),
    "a difference from nowhere": ([], since(SECOND, FIRST.timestamp), BadAnswerError),
    "a difference that lost a part": ([FIRST], dataclasses.replace(SECOND, changes=[], since=FIRST.timestamp), BadSignatureError),
}


@pytest.mark.parametrize("attack", REFUSED)
def test_refused_and_nothing_changed(attack):
    before, offered, error = REFUSED[attack]
    repository = held(*before)
    state, highest = repository.inner.changeset(NAME), repository.highest(NAME)

    with pytest.raises(error) as caught:
        repository.apply(NAME, offered)
    assert type(caught.value) is error
    assert (repository.inner.changeset(NAME), repository.highest(NAME)) == (state, highest)


@pytest.mark.parametrize("attack", [name for name in REFUSED if REFUSED[name][2] is not BadAnswerError])
def test_control_without_verify_they_are_accepted(attack):
    before, offered, _ = REFUSED[attack]
    inner = held(*before).inner
    inner.apply(NAME, offered)
    assert inner.timestamp(NAME) == offered.timestamp


def test_accepted():
    repository = held(FIRST, since(SECOND, FIRST.timestamp))
    assert {r["id"] for r in repository.changeset(NAME).records} == {r["id"] for r in SECOND.records}
    repository.apply(NAME, SECOND)
    refreshed = resigned(SECOND)
    repository.apply(NAME, dataclasses.replace(refreshed, changes=[], since=SECOND.timestamp))
    assert repository.changeset(NAME).metadata == refreshed.metadata


def test_rollback_after_a_reset():
    repository = held(SECOND)
    repository.wipe(NAME)
    with pytest.raises(RollbackError, match="accept-older") as caught:
        repository.apply(NAME, FIRST)
    assert (caught.value.ours, caught.value.theirs) == (SECOND.timestamp, FIRST.timestamp)
    repository.apply(NAME, SECOND)


@pytest.mark.parametrize(("ahead", "accepted"), [(0, True), (FUTURE_TOLERANCE_MS, True), (FUTURE_TOLERANCE_MS + 1, False)])
def test_the_future(ahead, accepted):
    repository = held(now=lambda: FIRST.timestamp - ahead)
    if accepted:
        repository.apply(NAME, FIRST)
        return
    with pytest.raises(NotYetValidError, match="24 hours"):
        repository.apply(NAME, FIRST)
    assert repository.changeset(NAME) == EMPTY


def test_what_is_handed_out_is_verified_too():
    repository = held(FIRST)
    repository.inner._held[NAME] = dataclasses.replace(FIRST, changes=make_records(2))
    with pytest.raises(BadSignatureError):
        repository.changeset(NAME)
    with pytest.raises(BadSignatureError):
        repository.changeset(NAME, START)
    assert held(FIRST).changeset(NAME, FIRST.timestamp).since == FIRST.timestamp


def test_a_middleware_passes_everything_on():
    repository = held(FIRST)
    assert repository.atomic
    assert repository.timestamp(NAME) == FIRST.timestamp
    repository.wipe(NAME)
    assert repository.timestamp(NAME) == 0


# --- Synchronizer ---------------------------------------------------------------------------------------------------


class Source:
    def __init__(self, state, differences=since):
        self.state = state
        self.differences = differences
        self.asked = []

    def changeset(self, name, timestamp=0):
        self.asked.append(timestamp)
        return self.state if timestamp == 0 else self.differences(self.state, timestamp)


def test_synchronizing():
    source, destination = Source(SECOND), held(FIRST)
    applied = Synchronizer(source, destination).sync(NAME)
    assert (source.asked, len(applied.changes)) == ([FIRST.timestamp], 1)
    assert destination.timestamp(NAME) == SECOND.timestamp


@pytest.mark.parametrize("fault", ["part lost", "from elsewhere"])
def test_a_difference_that_does_not_fit_is_asked_for_as_a_whole_once(fault):
    def wrong(state, timestamp):
        return dataclasses.replace(since(state, timestamp), **({"changes": []} if fault == "part lost" else {"since": 5}))

    source, destination = Source(SECOND, wrong), held(FIRST)
    applied = Synchronizer(source, destination).sync(NAME)
    assert (source.asked, applied.since) == ([FIRST.timestamp, 0], 0)
    assert {r["id"] for r in destination.changeset(NAME).records} == {r["id"] for r in SECOND.records}


def test_what_is_wrong_as_a_whole_is_not_asked_for_again():
    source, destination = Source(dataclasses.replace(SECOND, changes=make_records(1))), held(FIRST)
    with pytest.raises(BadSignatureError):
        Synchronizer(source, destination).sync(NAME)
    assert source.asked == [FIRST.timestamp, 0]
    source, destination = Source(FIRST), held(SECOND)
    with pytest.raises(RollbackError):
        Synchronizer(source, destination).sync(NAME)
    assert source.asked == [SECOND.timestamp]


def test_many_random_histories_reach_the_reader():
    """Whatever happens in between, after a sync the reader holds what was signed last; in between what it held."""
    choose = random.Random(7)
    for _ in range(30):
        truth, clock, reader = {}, START, held()
        for _ in range(12):
            for record_id in choose.sample("abcdefgh", choose.randrange(4)):
                clock += 1
                gone = record_id in truth and choose.random() < 0.4
                truth[record_id] = (
                    tombstone(record_id, clock) if gone else {"id": record_id, "last_modified": clock, "v": clock % 3}
                )
            clock += 1
            truth["marker"] = tombstone("marker", clock)
            state = signed_state(KEY, list(truth.values()), clock)
            if choose.random() < 0.3:
                before = reader.changeset(NAME)
                with pytest.raises(VerificationError):
                    Synchronizer(Source(dataclasses.replace(state, timestamp=clock + 1)), reader).sync(NAME)
                assert reader.changeset(NAME) == before
            if choose.random() < 0.6:
                Synchronizer(Source(state), reader).sync(NAME)
                expected = {i: r for i, r in truth.items() if not r.get("deleted")}
                assert {r["id"]: r for r in reader.changeset(NAME).records} == expected
