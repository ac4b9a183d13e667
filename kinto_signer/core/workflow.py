"""The sign-off workflow as a table: which change of status is allowed, to whom, and what it makes happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from kinto_signer.errors import WorkflowError


class Status(Enum):
    """The values of a source collection's attribute ``status``; NONE where it has none yet."""

    NONE = ""
    WORK_IN_PROGRESS = "work-in-progress"
    TO_REVIEW = "to-review"
    TO_SIGN = "to-sign"
    SIGNED = "signed"
    TO_RESIGN = "to-resign"
    TO_ROLLBACK = "to-rollback"


TRANSIENT = (Status.TO_SIGN, Status.TO_RESIGN, Status.TO_ROLLBACK)
"""What is asked for and never stored; where a peer left one behind, the content counts as work in progress."""
TRANSIENT_VALUES = tuple(status.value for status in TRANSIENT)


class Effect(Enum):
    """What a change of status makes happen; a discard is asked for without one."""

    NOTHING = "nothing"
    REQUEST_REVIEW = "request review"
    DECLINE = "decline"
    PUBLISH = "publish"
    REFRESH = "refresh"
    ROLLBACK = "rollback"
    DISCARD = "discard"
    DELETE = "delete"


class FourEyes(Enum):
    """Who cannot approve: who asked for the review last, or everybody who changed or submitted something."""

    REQUESTER = "requester"
    CONTRIBUTORS = "contributors"


EDITORS, REVIEWERS = "editors", "reviewers"


@dataclass(frozen=True)
class Rule:
    """becomes: the status afterwards; None leaves it as it was. group: who may ask. four_eyes: not who took part.

    unreviewed: only where collections are published without a review.
    """

    effect: Effect
    becomes: Status | None
    group: str | None = None
    four_eyes: bool = False
    unreviewed: bool = False


@dataclass(frozen=True)
class Asker:
    """The person who asks for a status.

    groups: of EDITORS and REVIEWERS, those they are in; None where no groups are checked. took_part: whether the rule of four
    eyes in force excludes them. may_approve_alone: whether they are exempt from it. names: of the two groups, for messages.
    """

    groups: frozenset[str] | None = None
    took_part: bool = False
    may_approve_alone: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


S = Status
_REQUEST = Rule(Effect.REQUEST_REVIEW, S.TO_REVIEW, EDITORS)
_PUBLISH_UNREVIEWED = Rule(Effect.PUBLISH, S.SIGNED, REVIEWERS, unreviewed=True)
_REFRESH = Rule(Effect.REFRESH, None)
_ROLLBACK = Rule(Effect.ROLLBACK, S.SIGNED)

RULES: dict[tuple[Status, Status], Rule] = {
    (S.NONE, S.WORK_IN_PROGRESS): Rule(Effect.NOTHING, S.WORK_IN_PROGRESS),
    (S.NONE, S.TO_REVIEW): _REQUEST,
    (S.NONE, S.TO_SIGN): _PUBLISH_UNREVIEWED,
    (S.NONE, S.TO_RESIGN): _REFRESH,
    (S.NONE, S.TO_ROLLBACK): _ROLLBACK,
    (S.WORK_IN_PROGRESS, S.WORK_IN_PROGRESS): Rule(Effect.NOTHING, S.WORK_IN_PROGRESS),
    (S.WORK_IN_PROGRESS, S.TO_REVIEW): _REQUEST,
    (S.WORK_IN_PROGRESS, S.TO_SIGN): _PUBLISH_UNREVIEWED,
    (S.WORK_IN_PROGRESS, S.TO_RESIGN): _REFRESH,
    (S.WORK_IN_PROGRESS, S.TO_ROLLBACK): _ROLLBACK,
    (S.TO_REVIEW, S.WORK_IN_PROGRESS): Rule(Effect.DECLINE, S.WORK_IN_PROGRESS),
    (S.TO_REVIEW, S.TO_REVIEW): Rule(Effect.NOTHING, S.TO_REVIEW),
    (S.TO_REVIEW, S.TO_SIGN): Rule(Effect.PUBLISH, S.SIGNED, REVIEWERS, four_eyes=True),
    (S.TO_REVIEW, S.TO_RESIGN): _REFRESH,
    (S.TO_REVIEW, S.TO_ROLLBACK): _ROLLBACK,
    (S.SIGNED, S.WORK_IN_PROGRESS): Rule(Effect.NOTHING, S.WORK_IN_PROGRESS),
    (S.SIGNED, S.SIGNED): Rule(Effect.NOTHING, S.SIGNED),
    # Nothing is pending, so that there is nothing to review: what was approved is published once more.
    (S.SIGNED, S.TO_SIGN): Rule(Effect.PUBLISH, S.SIGNED, REVIEWERS),
    (S.SIGNED, S.TO_RESIGN): _REFRESH,
}
"""(the status that was, the status that was asked for) -> what happens. A pair that is not here is refused."""

TRACKING_FIELDS = (
    "last_edit_by",
    "last_edit_date",
    "last_review_request_by",
    "last_review_request_date",
    "last_review_by",
    "last_review_date",
    "last_signature_by",
    "last_signature_date",
)
"""Attributes of a source collection that the plugin keeps; nobody sets or removes them by hand."""

CONTRIBUTORS, APPROVAL = "signer_contributors", "signer_approval"
"""Attributes of a source: the principals who edited or submitted since the last publication; what that publication approved."""

OWNED_FIELDS = (
    *TRACKING_FIELDS,
    "hash",
    "signature",
    "signatures",
    "signed_timestamp",
    "signer_claim",
    CONTRIBUTORS,
    APPROVAL,
)

REVIEWED_DIGEST, ALLOW_MASS_DELETION = "reviewed_digest", "allow_mass_deletion"
SAID_WITH_APPROVAL = (REVIEWED_DIGEST, ALLOW_MASS_DELETION)
"""What may be said beside ``status: to-sign``; it is never stored."""


def parse_status(value: object) -> Status:
    """The status that an attribute stands for. Raises WorkflowError for one that nobody knows."""
    if value is None:
        return Status.NONE
    try:
        return Status(value)
    except ValueError:
        known = ", ".join(status.value for status in Status if status.value)
        raise WorkflowError(f"Invalid status {value!r}. Known: {known}.") from None


def parse_stored(value: object) -> Status:
    """The status from which one that is stored counts: what a peer left behind, or nobody knows, is work in progress."""
    try:
        status = parse_status(value)
    except WorkflowError:
        return Status.WORK_IN_PROGRESS
    return Status.WORK_IN_PROGRESS if status in TRANSIENT else status


def decide(old: Status, asked: Status, asker: Asker, *, reviews: bool) -> Rule:
    """The rule for a change from `old`, a status as `parse_stored` gives it, to `asked`.

    reviews: whether nothing is published without a review. Raises WorkflowError that lists what is possible from `old`, or says
    why this person cannot ask for it.
    """
    rule = RULES.get((old, asked))
    if rule is None:
        raise WorkflowError(_refusal(old, asked, reviews))
    if rule.group and asker.groups is not None and rule.group not in asker.groups:
        name = asker.names.get(rule.group, rule.group)
        raise WorkflowError(f"Not in {name} group: only its members may ask for {asked.value!r}.", forbidden=True)
    if rule.unreviewed and reviews:
        raise WorkflowError(f"Collection not under review: a review has to be requested first ({_possible(old, reviews)}).")
    if rule.four_eyes and reviews and asker.took_part and not asker.may_approve_alone:
        raise WorkflowError(
            "Last editor cannot review: who changed or submitted something leaves the approval to somebody else.", forbidden=True
        )
    return rule


def _possible(old: Status, reviews: bool) -> str:
    found = {asked.value for (known, asked), rule in RULES.items() if known is old and not (rule.unreviewed and reviews)}
    return f"from here: {', '.join(sorted(found - {old.value})) or 'nothing'}"


def _refusal(old: Status, asked: Status, reviews: bool) -> str:
    possible = _possible(old, reviews)
    if asked is Status.NONE:
        return f"Cannot remove status (it is {old.value!r}; {possible})."
    if asked is Status.SIGNED:
        return f"Cannot set status to 'signed': only a publication does that ({possible})."
    if asked is Status.TO_ROLLBACK:
        return f"Collection has no work-in-progress: there is nothing to roll back ({possible})."
    if asked is Status.TO_REVIEW and old is Status.SIGNED:
        return f"Collection already signed: there is nothing to review ({possible})."
    return f"Cannot go from {old.value or 'no status'!r} to {asked.value!r}; {possible}."


def changed_by_hand(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first owned field that a request set, changed or removed; None if it kept to its own."""
    return next((name for name in OWNED_FIELDS if old.get(name) != new.get(name)), None)


def contributors(attributes: Mapping[str, Any], user: str | None = None) -> list[str]:
    """Who edited or submitted since the last publication, and `user`, sorted. attributes: of the source.

    A peer kept no such list; of what it left unpublished, who edited and who submitted last is known.
    """
    known = attributes.get(CONTRIBUTORS)
    if known is None:
        pending = parse_stored(attributes.get("status")) in (Status.WORK_IN_PROGRESS, Status.TO_REVIEW)
        known = [attributes.get("last_edit_by"), attributes.get("last_review_request_by")] if pending else []
    return sorted({*(who for who in known if who), *([user] if user else [])})
