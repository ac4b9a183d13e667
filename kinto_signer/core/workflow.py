"""The sign-off workflow as a table: which change of status is allowed, and what it makes happen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


class Effect(Enum):
    """What a change of status makes happen."""

    NOTHING = "nothing"
    REQUEST_REVIEW = "request review"
    DECLINE = "decline"
    PUBLISH = "publish"
    REFRESH = "refresh"


@dataclass(frozen=True)
class Rule:
    """becomes: the status afterwards; None leaves it as it was. group, four_eyes: who may ask."""

    effect: Effect
    becomes: Status | None
    group: str | None = None
    four_eyes: bool = False


S = Status

RULES: dict[tuple[Status, Status], Rule] = {
    (S.NONE, S.WORK_IN_PROGRESS): Rule(Effect.NOTHING, S.WORK_IN_PROGRESS),
    (S.NONE, S.TO_REVIEW): Rule(Effect.REQUEST_REVIEW, S.TO_REVIEW),
    (S.NONE, S.TO_SIGN): Rule(Effect.PUBLISH, S.SIGNED),
    (S.WORK_IN_PROGRESS, S.WORK_IN_PROGRESS): Rule(Effect.NOTHING, S.WORK_IN_PROGRESS),
    (S.WORK_IN_PROGRESS, S.TO_REVIEW): Rule(Effect.REQUEST_REVIEW, S.TO_REVIEW),
    (S.WORK_IN_PROGRESS, S.TO_SIGN): Rule(Effect.PUBLISH, S.SIGNED),
    (S.WORK_IN_PROGRESS, S.TO_RESIGN): Rule(Effect.REFRESH, None),
    (S.TO_REVIEW, S.WORK_IN_PROGRESS): Rule(Effect.DECLINE, S.WORK_IN_PROGRESS),
    (S.TO_REVIEW, S.TO_REVIEW): Rule(Effect.NOTHING, S.TO_REVIEW),
    (S.TO_REVIEW, S.TO_SIGN): Rule(Effect.PUBLISH, S.SIGNED),
    (S.TO_REVIEW, S.TO_RESIGN): Rule(Effect.REFRESH, None),
    (S.SIGNED, S.SIGNED): Rule(Effect.NOTHING, S.SIGNED),
    (S.SIGNED, S.TO_SIGN): Rule(Effect.PUBLISH, S.SIGNED),
    (S.SIGNED, S.TO_RESIGN): Rule(Effect.REFRESH, None),
    # Stored by a peer on a storage without rollback: asking again must not be a no-op.
    (S.TO_SIGN, S.TO_SIGN): Rule(Effect.PUBLISH, S.SIGNED),
    (S.TO_SIGN, S.WORK_IN_PROGRESS): Rule(Effect.NOTHING, S.WORK_IN_PROGRESS),
    (S.TO_RESIGN, S.TO_SIGN): Rule(Effect.PUBLISH, S.SIGNED),
    (S.TO_RESIGN, S.TO_RESIGN): Rule(Effect.REFRESH, S.SIGNED),
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

OWNED_FIELDS = (*TRACKING_FIELDS, "hash")


def parse_status(value: object) -> Status:
    """The status that an attribute stands for. Raises WorkflowError for one that nobody knows."""
    if value is None:
        return Status.NONE
    try:
        return Status(value)
    except ValueError:
        known = ", ".join(status.value for status in Status if status.value)
        raise WorkflowError(f"Invalid status {value!r}. Known: {known}.") from None


def decide(old: Status, new: Status, *, groups: Iterable[str] = (), took_part: bool = False) -> Rule:
    """The rule for a change from `old` to `new`.

    groups: those of the person who asks, ``editors`` or ``reviewers``. took_part: whether they changed or submitted it.
    Raises WorkflowError that lists what is possible from `old`.
    """
    rule = RULES.get((old, new))
    if rule is None:
        raise WorkflowError(_refusal(old, new))
    if rule.group and rule.group not in groups:
        raise WorkflowError(f"Only the {rule.group} group may ask for {new.value}.", forbidden=True)
    if rule.four_eyes and took_part:
        raise WorkflowError("Who changed or submitted it cannot approve it.", forbidden=True)
    return rule


def _refusal(old: Status, new: Status) -> str:
    possible = ", ".join(sorted(n.value for o, n in RULES if o is old and n is not old)) or "nothing"
    if new is Status.NONE:
        return f"Cannot remove status (it is {old.value!r}; from here: {possible})."
    if new is Status.SIGNED:
        return f"Cannot set status to 'signed': only a publication does that (from here: {possible})."
    if new is Status.TO_ROLLBACK:
        return f"Cannot go to 'to-rollback': this release has no rollback (from here: {possible})."
    if new is Status.TO_REVIEW and old is Status.SIGNED:
        return f"Collection already signed: there is nothing to review (from here: {possible})."
    return f"Cannot go from {old.value or 'no status'!r} to {new.value!r}; from here: {possible}."


def changed_by_hand(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first owned field that a request set, changed or removed; None if it kept to its own."""
    return next((name for name in OWNED_FIELDS if old.get(name) != new.get(name)), None)
