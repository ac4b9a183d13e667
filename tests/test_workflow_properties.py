"""Random sequences of edits, statuses, rollbacks, discards by several people: what holds after each step."""

import logging
from collections import Counter

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import Phase

from kinto_signer.core import workflow
from kinto_signer.plugin import rollback
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server import groups, listeners, restoring, signoff, writing
from kinto_signer.server.publisher import Publisher
from kinto_signer.server.signoff import SignOff
from tests.support.campaigns import IN_FULL, rounds
from tests.support.workflow_sequences import run

# One worker starts these sites once.
pytestmark = pytest.mark.xdist_group("sequences of the workflow")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """A failure shows the steps, not what thousands of refusals before it logged."""
    monkeypatch.setattr(logging.root.manager, "disable", logging.WARNING)


@pytest.mark.proof
def test_whatever_people_do_only_what_was_approved_is_published(report_campaign):
    counts = Counter()
    run(counts, examples=rounds(30, 1000), steps=rounds(15, 30), derandomize=not IN_FULL)
    assert counts["refused"]
    assert counts["publications"]
    report_campaign("sequences of edits, statuses, rollbacks, discards", {**counts, "violations": 0})


# --- the control: what has to be noticed ----------------------------------------------------------------------------------------


def _refresh_with_what_is_pending(self, resource):
    return self.publish(resource, self.repository.records(resource.source.name))


def _writes_without_tombstones(*args):
    return [change for change in _WRITES(*args) if not change.get("deleted")]


def _forget_instead_of_bury(self, uri, grave):
    self.storage.delete("record", uri, grave["id"], with_deleted=False, last_modified=grave["last_modified"])


def _only_who_requested(self, old):
    return old is workflow.Status.TO_REVIEW and self.attributes.get("last_review_request_by") == self.user


_WRITES, _ASKER, _PLAN = restoring._writes, signoff.Asker, writing.plan
BROKEN = {
    "nobody is kept from approving": (SignOff, "_took_part", lambda self, old: False),
    "those who edited are never kept from approving": (SignOff, "_took_part", _only_who_requested),
    "everybody is in both groups": (groups, "memberships", lambda *_: frozenset((workflow.EDITORS, workflow.REVIEWERS))),
    "nobody may approve alone": (
        signoff,
        "Asker",
        lambda in_groups, took_part, _, names: _ASKER(in_groups, took_part, False, names),
    ),
    "a refresh publishes what is pending": (Publisher, "refresh", _refresh_with_what_is_pending),
    "one record is not published": (writing, "plan", lambda source, *args, **options: _PLAN(source[:2], *args, **options)),
    "a rollback leaves what is new": (restoring, "_writes", _writes_without_tombstones),
    "a deletion leaves no tombstone": (StorageRepository, "_bury", _forget_instead_of_bury),
    "an edit leaves the review open": (listeners, "edited", lambda event, attributes: {}),
    "nobody remembers who edited": (workflow, "contributors", lambda attributes, user=None: []),
    "what is refused stays": (rollback, "_remember", lambda registry: lambda: None),
    "dates are made up": (signoff, "now", lambda: "2020-01-01T00:00:00+00:00"),
    "what is owned may be forged": (workflow, "changed_by_hand", lambda old, new: None),
    "what is not pending is taken back": (restoring, "_refuse_unchanged", lambda *_: None),
    "what was seen is not asked": (SignOff, "_refuse_unseen", lambda self, action, new: None),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_core_that_is_broken_is_noticed(monkeypatch, what):
    monkeypatch.setattr(*BROKEN[what])
    with pytest.raises((AssertionError, InvalidSignature)):
        run(Counter(), examples=150, steps=15, phases=[Phase.generate], database=None, derandomize=True)
