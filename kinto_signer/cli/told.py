"""What a signer tells of its source collections in ``/signer/status``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kinto_signer.cli import recovery
from kinto_signer.cli.signer_session import objects
from kinto_signer.core.difference_text import visible
from kinto_signer.core.renewal import UNSIGNED, Conditions, Validity, Verdict, judge
from kinto_signer.validities import from_json, lines, milliseconds


@dataclass(frozen=True)
class Told:
    """One source; what is not one has neither signature nor authorities.

    validity: of S's own signed copy. elsewhere: that of the same publication on each authority, by label; None for one that has
    another, or does not say. authorities: as they were told, in JSON. now: S's clock, milliseconds since 1970.
    deleted: the source is not there any more, and readers have a signed empty state of it.
    """

    name: str
    validity: Validity = UNSIGNED
    now: int = 0
    elsewhere: Mapping[str, Validity | None] = field(default_factory=dict)
    authorities: tuple[dict[str, Any], ...] = ()
    deleted: bool = False

    def judge(self, conditions: Conditions) -> Verdict:
        """Whether it is to be signed again: for S's own copy, or because readers of an authority have an older signature."""
        found = judge(self.validity, conditions, self.now)
        if found.due or self.validity.signed_at is None:
            return found
        for label, validity in self.elsewhere.items():
            other = None if validity is None else judge(validity, conditions, self.now)
            if other is not None and other.due:
                return Verdict(True, f"on {label}: {other.why}", other.by)
        unknown = [label for label, validity in self.elsewhere.items() if validity is None]
        return Verdict(False, f"{found.why} ({', '.join(unknown)} is not known to have it)") if unknown else found


def print_told(told: Told | None) -> None:
    """None: the signer did not tell."""
    if told is None:
        print("  authorities: not shown; this account is not in the signer's kinto.signer.status_principals")
        return
    own = list(lines(told.validity, told.now))
    for line in own:
        print(f"  {visible(line)}")
    for authority in told.authorities:
        recovery.print_authority(authority)
        validity = told.elsewhere.get(str(authority.get("label")))
        for line in lines(validity, told.now) if validity else ():
            if line not in own:
                print(f"    there: {visible(line)}")


def read_told(body: Mapping[str, Any]) -> list[Told]:
    """The answer of ``/signer/status``. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
    now, found = milliseconds(body["now"]), []
    for entry in objects(body["data"]):
        authorities = objects(entry["authorities"])
        elsewhere = {str(one["label"]): one["validity"] and from_json(one["validity"]) for one in authorities}
        name, deleted = str(entry["source"]), entry["deleted"] is True
        found.append(Told(name, from_json(entry["validity"]), now, elsewhere, tuple(authorities), deleted))
    return found
