"""What is due for a refresh and what a heartbeat complains of, as pure rules with the moments at which they change."""

import dataclasses

import pytest

from kinto_signer.core.renewal import (
    DEFAULT,
    UNSIGNED,
    Conditions,
    End,
    Kind,
    Thresholds,
    Validity,
    complaints,
    judge,
    validity_of,
)
from kinto_signer.core.spans import DAY_MS, parse_span_ms, span
from kinto_signer.errors import ConfigurationError
from kinto_signer.validities import as_json, from_json, iso, lines
from tests.support.certificates import DAY, LEAF_END, START, make_pki
from tests.support.statements import stated
from tests.support.states import signed_state

HOUR_MS = DAY_MS // 24
NOW = 1_800_000_000_000
SIGNED = NOW - 8 * DAY_MS
STATEMENT = End(Kind.STATEMENT, SIGNED, SIGNED + 30 * DAY_MS)
CERTIFICATE = End(Kind.CERTIFICATE, NOW - 60 * DAY_MS, NOW + 25 * DAY_MS, "'x'")
BOTH = Validity(SIGNED, (STATEMENT, CERTIFICATE))


# --- spans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "milliseconds"), [("7d", 7 * DAY_MS), ("12h", 12 * HOUR_MS), ("30m", 1_800_000), ("5s", 5000)])
def test_spans(text, milliseconds):
    assert parse_span_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "-7d", "7 d", "7D", "7w", "1.5d", "7d\n", "٧d", "1234567890d"])
def test_what_is_no_span_is_an_error_that_says_what_is_wanted(text):
    with pytest.raises(ConfigurationError, match="7d, 36h, 90m or 30s"):
        parse_span_ms(text)


def test_spans_for_people():
    assert [span(ms) for ms in (90_000, 3 * HOUR_MS + 61_000, 9 * DAY_MS + HOUR_MS, -1)] == [
        "1 min 30 s",
        "3 h 1 min",
        "9 d 1 h",
        "0 min 0 s",
    ]


# --- reading --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pki():
    return make_pki()


@pytest.fixture
def state(key_pair):
    return signed_state(key_pair.key(), [{"id": "one", "last_modified": NOW - 9 * DAY_MS}])


def carrying(state, **attributes):
    return {**state.metadata, **attributes}


def with_x5u(state, x5u):
    entries = [{**entry, "x5u": x5u} for entry in state.metadata["signatures"]]
    return {**state.metadata, "signatures": entries, "signature": entries[0]}


def test_a_statement_says_when_it_was_signed_and_until_when_it_lasts(key_pair, state):
    attributes = stated(key_pair.key(), state, now=SIGNED).metadata
    assert validity_of(attributes, NOW) == Validity(SIGNED, (End(Kind.STATEMENT, SIGNED, SIGNED + 30 * DAY_MS),))


def test_without_one_the_age_is_what_is_known_or_that_of_the_data(state):
    assert validity_of(state.metadata, SIGNED) == Validity(SIGNED)
    assert validity_of({**state.metadata, "signed_timestamp": NOW - 9 * DAY_MS}) == Validity(NOW - 9 * DAY_MS)
    assert validity_of({**state.metadata, "signed_timestamp": "soon"}) == Validity(0)


@pytest.mark.parametrize("attributes", [{}, {"signature": 3}, {"signatures": []}, {"publication": {}, "chains": {}}])
def test_what_is_not_signed_has_no_age(attributes):
    assert validity_of(attributes, NOW) == UNSIGNED


def test_every_certificate_of_the_chains_that_the_signatures_name(state, pki):
    text = pki.pem.decode()
    found = validity_of(with_x5u(state, "https://x") | {"chains": {"https://x": text, "https://unused": text}}, SIGNED)
    assert [(end.kind, end.of) for end in found.ends] == [
        (Kind.CERTIFICATE, f"'{name}'")
        for name in ("regions.content-signature.example.org", "Example Intermediate", "Example Root")
    ]
    assert found.first(Kind.CERTIFICATE) == End(Kind.CERTIFICATE, START * 1000, LEAF_END * 1000, found.ends[0].of)
    assert found.first(Kind.STATEMENT) is None


@pytest.mark.parametrize("chains", [None, [], "pem", {"https://x": 5}, {"https://x": "no pem"}, {"https://other": "pem"}])
def test_chains_that_cannot_be_read_end_nowhere(state, chains):
    assert validity_of(with_x5u(state, "https://x") | {"chains": chains}, SIGNED) == Validity(SIGNED)


def test_a_statement_that_cannot_be_read_counts_as_none(state):
    assert validity_of(carrying(state, publication={"payload": 1}), SIGNED) == Validity(SIGNED)


@pytest.mark.parametrize("found", [UNSIGNED, BOTH, Validity(0), Validity(2**53 - 1, (End(Kind.STATEMENT, 1, 2**53 - 1),))])
def test_json_and_back(found):
    assert from_json(as_json(found)) == found


# --- due ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older", "before", "due"),
    [
        (None, None, True),
        (8 * DAY_MS, None, False),
        (8 * DAY_MS - 1, None, True),
        (None, 22 * DAY_MS, True),
        (None, 22 * DAY_MS - 1, False),
        (8 * DAY_MS, 22 * DAY_MS - 1, False),
        (8 * DAY_MS - 1, DAY_MS, True),
        (30 * DAY_MS, 22 * DAY_MS, True),
    ],
)
def test_either_condition_suffices(older, before, due):
    assert judge(BOTH, Conditions(older, before), NOW).due is due


def test_one_certificate_that_ends_suffices():
    found = Validity(SIGNED, (STATEMENT, dataclasses.replace(CERTIFICATE, ends=NOW + 90 * DAY_MS), CERTIFICATE))
    assert not judge(found, Conditions(before_expiry_ms=21 * DAY_MS), NOW).due
    verdict = judge(dataclasses.replace(found, ends=found.ends[1:]), Conditions(before_expiry_ms=25 * DAY_MS), NOW)
    assert (verdict.due, verdict.by) == (True, CERTIFICATE)


@pytest.mark.parametrize("conditions", [Conditions(), Conditions(1), Conditions(None, 10**15)])
def test_nothing_is_renewed_where_nothing_was_signed(conditions):
    verdict = judge(UNSIGNED, conditions, NOW)
    assert (verdict.due, verdict.why) == (False, "nothing is signed here yet")


def test_what_has_ended_is_due_and_said_to_be_over():
    late = STATEMENT.ends + 3 * HOUR_MS
    verdict = judge(BOTH, Conditions(before_expiry_ms=1), late)
    assert (verdict.due, verdict.why) == (True, "its statement ended 3 h 0 min ago, within the 0 min 0 s that are asked for")


def test_the_reasons_are_words():
    assert judge(BOTH, Conditions(7 * DAY_MS), NOW).why == "it was signed 8 d 0 h ago, longer than the 7 d 0 h that are asked for"
    assert judge(BOTH, Conditions(9 * DAY_MS), NOW).why == (
        "signed 8 d 0 h ago; its statement ends in 22 d 0 h; the certificate of 'x' ends in 25 d 0 h"
    )
    assert list(lines(BOTH, NOW)) == [
        "signed 8 d 0 h ago",
        f"its statement ends in 22 d 0 h, {iso(STATEMENT.ends)}; readers then refuse it [expired]",
        f"the certificate of 'x' ends in 25 d 0 h, {iso(CERTIFICATE.ends)}; readers who trust its root then refuse it [expired]",
    ]
    assert list(lines(UNSIGNED, NOW)) == []


# --- thresholds -----------------------------------------------------------------------------------------------------------


def statement(days):
    return End(Kind.STATEMENT, 0, days * DAY_MS)


def certificate(days):
    return End(Kind.CERTIFICATE, 0, days * DAY_MS, "'x'")


@pytest.mark.parametrize(
    ("end", "least_days"),
    [
        (statement(30), 3),
        (statement(4), 2),  # half of it: who renews daily is never too late
        (certificate(90), 10),  # 4.5, but at least 10
        (certificate(400), 20),  # 5 %
        (certificate(3650), 30),  # 182, but at most 30
        (certificate(14), 7),
    ],
)
def test_how_much_has_to_be_left(end, least_days):
    assert DEFAULT.least_ms(end) == least_days * DAY_MS
    left = end.ends - least_days * DAY_MS
    assert complaints(Validity(0, (end,)), DEFAULT, left) == []
    (complaint,) = complaints(Validity(0, (end,)), DEFAULT, left + 1)
    assert (complaint.kind, complaint.until, complaint.of, complaint.reason) == (end.kind, end.ends, end.of, "ends-soon")


def test_who_sets_other_thresholds_gets_them():
    found = Thresholds(0, 14, 50, 1, 400)
    assert [found.least_ms(end) for end in (statement(30), certificate(100), certificate(1))] == [
        14 * DAY_MS,
        50 * DAY_MS,
        DAY_MS // 2,
    ]
    none = Thresholds(0, 0, 0, 0, 0)
    assert complaints(Validity(0, (statement(30), certificate(90))), none, 30 * DAY_MS) == []
    (over,) = complaints(Validity(0, (statement(30), certificate(90))), none, 30 * DAY_MS + 1)
    assert over.said == "its statement ended 0 min 0 s ago; readers refuse it [expired]"


def test_the_age_counts_only_where_a_limit_is_set():
    assert complaints(Validity(1), DEFAULT, 5000 * DAY_MS) == []
    limit = Thresholds(oldest_signature_days=9)
    assert complaints(Validity(0), limit, 9 * DAY_MS) == []
    (complaint,) = complaints(Validity(0), limit, 9 * DAY_MS + 1)
    assert (complaint.kind, complaint.reason, complaint.until) == (Kind.SIGNATURE, "too-old", 9 * DAY_MS)
    assert complaints(UNSIGNED, limit, NOW) == []


def test_the_most_urgent_first():
    found = Validity(0, (statement(30), End(Kind.CERTIFICATE, 0, 29 * DAY_MS, "'x'")))
    listed = complaints(found, Thresholds(oldest_signature_days=28), 29 * DAY_MS + 1)
    assert [complaint.kind for complaint in listed] == [Kind.SIGNATURE, Kind.CERTIFICATE, Kind.STATEMENT]


def test_a_root_that_lasts_is_no_complaint(state, pki):
    attributes = with_x5u(state, "https://x") | {"chains": {"https://x": pki.pem.decode()}}
    found = validity_of(attributes, SIGNED)
    assert complaints(found, DEFAULT, (LEAF_END - 10 * DAY) * 1000) == []
    (complaint,) = complaints(found, DEFAULT, (LEAF_END - 10 * DAY) * 1000 + 1)
    assert complaint.of == "'regions.content-signature.example.org'"
