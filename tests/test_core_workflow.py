"""The table of the workflow, read by itself: what `decide` makes of each person, and what belongs to the plugin."""

import itertools

import pytest

from kinto_signer.core.workflow import (
    OWNED_FIELDS,
    Asker,
    Effect,
    Status,
    changed_by_hand,
    contributors,
    decide,
    parse_status,
    parse_stored,
)
from kinto_signer.errors import WorkflowError

SETTLED = [Status.NONE, Status.WORK_IN_PROGRESS, Status.TO_REVIEW, Status.SIGNED]
BOTH = frozenset({"editors", "reviewers"})


def decided(old, asked, asker, *, reviews):
    """The rule, or how it is refused."""
    try:
        return decide(old, asked, asker, reviews=reviews)
    except WorkflowError as error:
        return error.message, error.forbidden


@pytest.mark.parametrize("reviews", [True, False])
@pytest.mark.parametrize(("old", "asked"), list(itertools.product(SETTLED, Status)))
def test_only_the_approval_of_a_review_asks_for_four_eyes(old, asked, reviews):
    other, involved = Asker(BOTH), Asker(BOTH, took_part=True)
    refused = (old, asked, reviews) == (Status.TO_REVIEW, Status.TO_SIGN, True)
    found = decided(old, asked, involved, reviews=reviews)
    assert (found != decided(old, asked, other, reviews=reviews)) == refused
    if refused:
        assert found[0].startswith("Last editor cannot review")
        assert found[1]
    alone = Asker(BOTH, took_part=True, may_approve_alone=True)
    assert decided(old, asked, alone, reviews=reviews) == decided(old, asked, other, reviews=reviews)


@pytest.mark.parametrize("reviews", [True, False])
@pytest.mark.parametrize(("old", "asked"), list(itertools.product(SETTLED, Status)))
def test_who_is_in_no_group_may_neither_request_nor_approve(old, asked, reviews):
    everybody = decided(old, asked, Asker(None), reviews=reviews)
    assert everybody == decided(old, asked, Asker(BOTH), reviews=reviews)
    nobody = decided(old, asked, Asker(frozenset()), reviews=reviews)
    asks_group = not isinstance(everybody, tuple) and everybody.effect in (Effect.REQUEST_REVIEW, Effect.PUBLISH)
    if asks_group:
        role = "editors" if asked is Status.TO_REVIEW else "reviewers"
        assert nobody[0].startswith(f"Not in {role} group")
        assert nobody[1]
        assert decided(old, asked, Asker(frozenset({role})), reviews=reviews) == everybody
        others = Asker(BOTH - {role}, names={role: "demo"})
        assert decided(old, asked, others, reviews=reviews)[0].startswith("Not in demo group")


@pytest.mark.parametrize("reviews", [True, False])
@pytest.mark.parametrize("status", SETTLED[1:])
def test_what_is_there_already_may_be_asked_for_by_anybody_and_is_nothing(status, reviews):
    rule = decide(status, status, Asker(frozenset(), took_part=True), reviews=reviews)
    assert (rule.effect, rule.becomes) == (Effect.NOTHING, status)


def test_a_refusal_lists_what_is_possible():
    message, forbidden = decided(Status.WORK_IN_PROGRESS, Status.SIGNED, Asker(), reviews=True)
    assert message.endswith("(from here: to-resign, to-review, to-rollback).")
    assert not forbidden
    message, _ = decided(Status.WORK_IN_PROGRESS, Status.SIGNED, Asker(), reviews=False)
    assert message.endswith("(from here: to-resign, to-review, to-rollback, to-sign).")


@pytest.mark.parametrize(("value", "status"), [(None, Status.NONE), ("", Status.NONE), *((s.value, s) for s in Status)])
def test_statuses(value, status):
    assert parse_status(value) is status
    transient = {Status.TO_SIGN, Status.TO_RESIGN, Status.TO_ROLLBACK}
    assert parse_stored(value) is (Status.WORK_IN_PROGRESS if status in transient else status)


@pytest.mark.parametrize("value", ["nope", 1, "To-Sign", [], {}])
def test_statuses_that_nobody_knows(value):
    with pytest.raises(WorkflowError, match=r"Invalid status .*Known: work-in-progress, to-review, to-sign, signed, to-r"):
        parse_status(value)
    assert parse_stored(value) is Status.WORK_IN_PROGRESS


OWNED = [
    *("last_edit_by", "last_edit_date", "last_review_request_by", "last_review_request_date", "last_review_by"),
    *("last_review_date", "last_signature_by", "last_signature_date", "hash", "signature", "signatures", "signed_timestamp"),
    *("signer_claim", "signer_contributors", "signer_approval"),
]


@pytest.mark.parametrize("name", OWNED)
def test_an_owned_field_is_named_that_was_set_altered_or_removed(name):
    assert changed_by_hand({}, {name: "x"}) == name
    assert changed_by_hand({name: "y"}, {name: "x", "status": "z"}) == name
    assert changed_by_hand({name: "y"}, {}) == name
    assert changed_by_hand({name: "y", "status": "a"}, {name: "y", "status": "b", "other": 1}) is None


def test_no_other_field_is_owned():
    assert sorted(OWNED_FIELDS) == sorted(OWNED)


@pytest.mark.parametrize(
    ("attributes", "known"),
    [
        ({}, []),
        ({"signer_contributors": []}, []),
        ({"signer_contributors": ["b", "a"], "last_edit_by": "c"}, ["a", "b"]),
        ({"status": "work-in-progress", "last_edit_by": "b", "last_review_request_by": "a"}, ["a", "b"]),
        ({"status": "to-review", "last_edit_by": "b"}, ["b"]),
        ({"status": "to-sign", "last_edit_by": "b"}, ["b"]),
        ({"status": "signed", "last_edit_by": "b", "last_review_request_by": "a"}, []),
        ({"status": "signed", "signer_contributors": ["x"]}, ["x"]),
    ],
)
def test_contributors(attributes, known):
    """What a peer left unpublished has those who edited and submitted last."""
    assert contributors(attributes) == known
    assert contributors(attributes, "me") == sorted([*known, "me"])
