"""The rules about statements and age: boundaries, memory, and each attack with the control that shows what stops it."""

import dataclasses

import pytest

from kinto_signer.core.changeset import Changeset
from kinto_signer.core.freshness import (
    DAY_MS,
    FUTURE_TOLERANCE_MS,
    LOG_LENGTH,
    Remembered,
    Rules,
    covered,
    follows,
    logged,
    refuse_older,
    refuse_untimely,
)
from kinto_signer.core.repository import MemoryRepository, Verify
from kinto_signer.core.statement import peek
from kinto_signer.errors import (
    ExpiredError,
    NoStatementError,
    NotYetValidError,
    OlderStatementError,
    OtherCollectionError,
    SameTimestampError,
    StaleError,
)
from tests.support.statements import stated, unstated
from tests.support.states import NAME, make_records, new_key, signed_state, trust_in

KEY = new_key()
TRUST = trust_in(KEY)
NOW = 1_790_000_000_000
STATE = signed_state(KEY, make_records(3, start=NOW - DAY_MS), displayFields=["text"])
NEXT = signed_state(KEY, make_records(4, start=NOW - DAY_MS), displayFields=["text"])
SAID = stated(KEY, STATE, now=NOW)
SIGNED = peek(SAID.metadata)


def reader(state: Changeset | None = SAID, rules: Rules = Rules(), now: int = NOW) -> Verify:  # noqa: B008 - frozen
    """A reader that holds `state`, and whose clock shows `now`."""
    inner = MemoryRepository()
    if state is not None:
        inner.apply(NAME, state)
    return Verify(inner, TRUST, lambda: now, rules)


ATTACKS = {
    "the statement taken away": (unstated(SAID), NoStatementError),
    "newer data without a statement": (unstated(NEXT), NoStatementError),
    "an older statement": (stated(KEY, STATE, now=NOW, serial=NOW - 1), OlderStatementError),
    "newer data with an older statement": (stated(KEY, NEXT, now=NOW, serial=NOW - 1), OlderStatementError),
    "another statement with the same serial": (stated(KEY, STATE, now=NOW, expires=NOW + DAY_MS), SameTimestampError),
    "an expired one": (stated(KEY, STATE, now=NOW - 30 * DAY_MS - 1, serial=NOW + 1), ExpiredError),
    "one of the future": (stated(KEY, STATE, now=NOW + FUTURE_TOLERANCE_MS + 1), NotYetValidError),
    "a serial of the future": (stated(KEY, STATE, now=NOW, serial=NOW + FUTURE_TOLERANCE_MS + 1), NotYetValidError),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_reader_who_has_seen_a_statement_refuses(attack):
    forged, error = ATTACKS[attack]
    verify = reader()
    with pytest.raises(error, match="Nothing was accepted"):
        verify.apply(NAME, forged)
    assert verify.changeset(NAME) == SAID


@pytest.mark.parametrize("attack", ATTACKS)
def test_without_the_rules_each_of_them_is_accepted(attack, monkeypatch):
    """The control: signatures alone stop none."""
    monkeypatch.setattr("kinto_signer.core.repository.refuse_older", lambda *args: None)
    monkeypatch.setattr("kinto_signer.core.repository.refuse_untimely", lambda *args: None)
    verify = reader()
    verify.apply(NAME, ATTACKS[attack][0])
    assert verify.changeset(NAME) == ATTACKS[attack][0]


def test_the_next_one_is_accepted():
    verify = reader()
    refreshed = stated(KEY, STATE, now=NOW + 1)
    verify.apply(NAME, refreshed)
    assert verify.changeset(NAME) == refreshed
    verify.apply(NAME, stated(KEY, NEXT, now=NOW + 2))


def test_the_same_again_is_accepted():
    verify = reader()
    verify.apply(NAME, SAID)
    assert verify.changeset(NAME) == SAID


@pytest.mark.parametrize("required", [True, False])
def test_required(required):
    verify = reader(None, Rules(required=required))
    if required:
        with pytest.raises(NoStatementError, match="require_statement"):
            verify.apply(NAME, unstated(SAID))
    else:
        verify.apply(NAME, unstated(SAID))
    verify.apply(NAME, SAID)


def test_a_memory_outlives_what_is_held():
    class Memory:
        def remembered(self, name):
            return Remembered(NOW + 1)

    verify = Verify(MemoryRepository(), TRUST, lambda: NOW, memory=Memory())
    with pytest.raises(OlderStatementError, match="reset main/regions --accept-older"):
        verify.apply(NAME, SAID)


def test_a_serial_alone_may_be_remembered():
    refuse_older(NAME, SIGNED, Remembered(NOW))
    refuse_older(NAME, SIGNED, Remembered(NOW, SIGNED.digest))
    refuse_older(NAME, None, Remembered())


EXPIRES = SIGNED.statement.expires
BOUNDARIES = [
    (EXPIRES, None),
    (EXPIRES + 1, ExpiredError),
    (NOW - FUTURE_TOLERANCE_MS, None),
    (NOW - FUTURE_TOLERANCE_MS - 1, NotYetValidError),
]


@pytest.mark.parametrize(("clock", "error"), BOUNDARIES)
def test_the_time_of_a_statement(clock, error):
    if error is None:
        refuse_untimely(NAME, SIGNED, STATE.timestamp, Rules(), clock)
    else:
        with pytest.raises(error, match=f"^{NAME}: "):
            refuse_untimely(NAME, SIGNED, STATE.timestamp, Rules(), clock)


@pytest.mark.parametrize(("found", "signed_at"), [(SIGNED, NOW), (None, STATE.timestamp)])
def test_the_greatest_age(found, signed_at):
    """Of the statement, which is renewed; where there is none, of the data."""
    rules = Rules(max_age_ms=DAY_MS)
    refuse_untimely(NAME, found, STATE.timestamp, rules, signed_at + DAY_MS)
    with pytest.raises(StaleError, match="max-age"):
        refuse_untimely(NAME, found, STATE.timestamp, rules, signed_at + DAY_MS + 1)


@pytest.mark.parametrize(
    ("said", "asked", "accepted"),
    [(None, None, True), ("x", None, True), ("x", "x", True), ("y", "x", False), (None, "x", False)],
)
def test_the_audience(said, asked, accepted):
    found = peek(stated(KEY, STATE, now=NOW, audience=said).metadata)
    rules = Rules(audience=asked)
    if accepted:
        refuse_untimely(NAME, found, STATE.timestamp, rules, NOW)
    else:
        with pytest.raises(OtherCollectionError, match="audience"):
            refuse_untimely(NAME, found, STATE.timestamp, rules, NOW)


def test_what_is_not_covered_is_not_kept():
    verify = reader(None)
    verify.apply(NAME, dataclasses.replace(SAID, metadata={**SAID.metadata, "unheard": "of"}))
    assert verify.changeset(NAME) == SAID
    assert covered({"displayFields": 1, "id": 2, "chains": 3, "unheard": 4}, SIGNED.statement) == {
        "displayFields": 1,
        "id": 2,
        "chains": 3,
    }


# --- the log ----------------------------------------------------------------------------------------------------------------


def history(*said: dict) -> list:
    log: list = []
    for fields in said:
        log = logged(log, peek(stated(KEY, STATE, **fields).metadata))
    return log


def test_a_log_of_statements_that_follow_each_other():
    (first,) = log = history({"now": NOW})
    second = peek(stated(KEY, STATE, now=NOW + 1, previous=first["digest"]).metadata)
    log = logged(log, second)
    log = logged(log, second)
    log = logged(log, None)
    gap = peek(stated(KEY, STATE, now=NOW + 9, previous=STATE.digests().hash).metadata)
    log = logged(log, gap)

    assert [entry["serial"] for entry in log] == [NOW, NOW + 1, NOW + 9]
    assert [follows(log, number) for number in range(3)] == [None, True, None]


@pytest.mark.parametrize("previous", ["the first", None])
def test_two_histories_show(previous):
    (first,) = log = history({"now": NOW})
    log = logged(log, peek(stated(KEY, STATE, now=NOW + 1, previous=first["digest"]).metadata))
    fork = stated(KEY, STATE, now=NOW + 2, previous=first["digest"] if previous else None)
    log = logged(log, peek(fork.metadata))
    assert follows(log, 2) is False


def test_a_log_does_not_grow_for_ever():
    entries = [{"serial": number} for number in range(LOG_LENGTH)]
    log = logged(entries, SIGNED)
    assert (len(log), log[0]["serial"], log[-1]["serial"]) == (LOG_LENGTH, 1, NOW)
