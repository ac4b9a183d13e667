"""Which rules of the workflow are in force for a source, and what they make of us."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kinto_signer.core.difference_text import visible
from kinto_signer.core.workflow import EDITORS, REVIEWERS, Asker, FourEyes

_EXCLUDED = {
    FourEyes.REQUESTER: "who asked for the review cannot approve",
    FourEyes.CONTRIBUTORS: "nobody who edited or asked for the review can approve",
}


@dataclass(frozen=True)
class Rules:
    """What is in force for one source, as ``GET …/diff`` tells it.

    groups: URIs by EDITORS and REVIEWERS; None where they are not checked. excluded: whom four eyes keep from approving what is
    pending. alone: principals that may approve what they took part in. user: who we are. ours: of EDITORS and REVIEWERS, the
    groups we are in; None as above. may_write: whether we may write the source.
    """

    reviews: bool
    four_eyes: FourEyes
    groups: Mapping[str, str] | None
    excluded: tuple[str, ...]
    alone: tuple[str, ...]
    mass_deletion_percent: int
    user: str
    ours: frozenset[str] | None
    may_write: bool
    may_approve_alone: bool

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Rules:
        """Raises KeyError, TypeError or ValueError for another shape."""
        four_eyes, groups, you = FourEyes(found["four_eyes"]), found["groups"], found["you"]
        took_part = [found["requested_by"], *(found["contributors"] if four_eyes is FourEyes.CONTRIBUTORS else [])]
        return cls(
            bool(found["reviews"]),
            four_eyes,
            None if groups is None else {role: str(groups[role]) for role in (EDITORS, REVIEWERS)},
            tuple(sorted({str(who) for who in took_part if who})),
            tuple(map(str, found["self_approval_principals"])),
            int(found["mass_deletion_percent"]),
            str(you["id"]),
            None if you["groups"] is None else frozenset(map(str, you["groups"])),
            bool(you["may_write"]),
            bool(you["may_approve_alone"]),
        )

    def as_json(self) -> dict[str, Any]:
        """The rules, without what they make of us."""
        return {
            "reviews": self.reviews,
            "four_eyes": self.four_eyes.value,
            "groups": self.groups and dict(self.groups),
            "self_approval_principals": list(self.alone),
            "mass_deletion_percent": self.mass_deletion_percent,
        }

    def asker(self) -> Asker:
        """We, as `core.workflow.decide` wants to know us."""
        names = {role: uri.rpartition("/")[2] for role, uri in (self.groups or {}).items()}
        return Asker(self.ours, self.user in self.excluded, self.may_approve_alone, names)

    def lines(self) -> Iterator[str]:
        """What is in force, for people."""
        yield f"reviews: {'on' if self.reviews else 'off, nothing has to be reviewed'}"
        if self.groups is None:
            yield "groups: not checked, whoever may write the collection may request and approve"
        else:
            yield f"groups: {self.groups[EDITORS]} request, {self.groups[REVIEWERS]} approve"
        if self.reviews:
            yield f"four eyes: {self.four_eyes.value}, {_EXCLUDED[self.four_eyes]}"
        if self.reviews and self.alone:
            yield f"may approve alone: {visible(', '.join(self.alone))}"
        if self.mass_deletion_percent:
            yield f"mass deletion: to remove more than {self.mass_deletion_percent} % of the records has to be allowed"
