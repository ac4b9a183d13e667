"""What asking for a status would do, and who may ask for it, from what the signer shows. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from kinto_signer.cli import output
from kinto_signer.cli.pending import Pending
from kinto_signer.cli.signer_api import Signer
from kinto_signer.core.difference_text import visible
from kinto_signer.core.mass_deletion import refuse_mass_deletion
from kinto_signer.core.workflow import RULES, Effect, Rule, Status, decide
from kinto_signer.errors import CredentialsError, KintoSignerError, WorkflowError

WOULD = {
    Effect.NOTHING: "change the status alone",
    Effect.REQUEST_REVIEW: "ask the reviewers to approve",
    Effect.DECLINE: "decline the review; the changes stay pending",
    Effect.PUBLISH: "sign and publish",
    Effect.REFRESH: "sign again what was published last; what is pending stays pending",
    Effect.ROLLBACK: "take back everything that is pending",
}


@dataclass(frozen=True)
class Who:
    """Who may do it. group: its URI; None: whoever may write the source. members: None where they are not shown to us.

    excluded: who cannot, by the rule of four eyes; alone: those who may nevertheless.
    """

    group: str | None
    members: tuple[str, ...] | None
    excluded: tuple[str, ...]
    alone: tuple[str, ...]
    you: str

    def lines(self) -> Iterator[str]:
        if self.group is None:
            yield "Who may do it: whoever may write the collection."
        else:
            members = (
                "whose members are not shown to you" if self.members is None else f"members: {', '.join(self.members) or 'none'}"
            )
            yield f"Who may do it: the group {self.group} ({members})."
        if self.excluded:
            yield f"Four eyes exclude: {', '.join(self.excluded)}."
        if self.excluded and self.alone:
            yield f"May approve alone: {', '.join(self.alone)}."
        yield f"You are {self.you}."


@dataclass(frozen=True)
class Rehearsal:
    """rule: what would happen; None if it would be refused, and `refusal` says why. authorities: URLs to which it would go."""

    name: str
    status: Status
    rule: Rule | None
    refusal: KintoSignerError | None
    who: Who | None
    authorities: tuple[str, ...] = ()

    @property
    def becomes(self) -> Status:
        """The status afterwards."""
        return (self.rule and self.rule.becomes) or self.status

    @property
    def exit_code(self) -> int:
        return self.refusal.exit_code if self.refusal else 0

    def lines(self) -> Iterator[str]:
        """The same for people."""
        if self.rule:
            yield f"{self.name}: would {WOULD[self.rule.effect]}. Status {_shown(self.status)} -> {_shown(self.becomes)}."
        else:
            yield f"{self.name}: would be refused: {self.refusal}"
        if self.authorities:
            yield f"It would go to {', '.join(self.authorities)}."
        for line in self.who.lines() if self.who else ():
            yield visible(line)

    def as_json(self) -> dict[str, Any]:
        found = {"who": asdict(self.who) if self.who else None}
        if self.rule:
            return {
                "would": self.rule.effect.value,
                "becomes": self.becomes.value or None,
                "authorities": list(self.authorities),
                **found,
            }
        return {"would": None, "refusal": output.error_object(self.refusal) if self.refusal else None, **found}


def decided(signer: Signer, name: str, asked: Status, pending: Pending, *, allow_mass_deletion: bool = False) -> Rule:
    """The rule by which asking for `asked` would go through now. Raises WorkflowError where it visibly would not."""
    rules = pending.rules
    if not rules.may_write:
        raise WorkflowError(f"{rules.user} may not write {name}.", forbidden=True)
    rule = decide(pending.status, asked, rules.asker(), reviews=rules.reviews)
    if rule.effect is Effect.PUBLISH and not allow_mass_deletion:
        _refuse_mass_deletion(signer, name, pending)
    return rule


def rehearse(signer: Signer, name: str, asked: Status, pending: Pending, *, allow_mass_deletion: bool = False) -> Rehearsal:
    """What asking for `asked` would do now, and who may. Raises nothing for a refusal."""
    who = _who(signer, asked, pending)
    try:
        rule = decided(signer, name, asked, pending, allow_mass_deletion=allow_mass_deletion)
    except WorkflowError as error:
        return Rehearsal(name, pending.status, None, error, who)
    goes_out = rule.effect in (Effect.PUBLISH, Effect.REFRESH)
    authorities = signer.authorities(name) if goes_out else None
    return Rehearsal(name, pending.status, rule, None, who, tuple(str(one.get("url")) for one in authorities or ()))


def _refuse_mass_deletion(signer: Signer, name: str, pending: Pending) -> None:
    percent, deleted = pending.rules.mass_deletion_percent, pending.counts["deleted"]
    if not (percent and deleted):
        return
    try:
        published = signer.number_of_records(pending.against)
    except CredentialsError:  # destination_readers does not name us: only the signer can tell
        return
    refuse_mass_deletion(name, published=published, deleted=deleted, percent=percent)


def _who(signer: Signer, asked: Status, pending: Pending) -> Who | None:
    rule, rules = RULES.get((pending.status, asked)), pending.rules
    if rule is None:
        return None
    group = rules.groups[rule.group] if rule.group and rules.groups else None
    members = signer.members(group) if group else None
    four_eyes = rule.four_eyes and rules.reviews
    return Who(group, members, rules.excluded if four_eyes else (), rules.alone if four_eyes else (), rules.user)


def _shown(status: Status) -> str:
    return status.value or "none"
