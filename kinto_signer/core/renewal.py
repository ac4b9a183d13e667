"""How old a signature is, what ends when, and what follows: what a refresh is due for, and what a heartbeat complains of.

What is judged here is verified elsewhere, or was when it was stored. Times are integer milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kinto_signer.core import signature
from kinto_signer.core.chain import load_chain, periods
from kinto_signer.core.spans import DAY_MS, span
from kinto_signer.core.statement import peek
from kinto_signer.core.trust import CARRIED
from kinto_signer.errors import BadChainError, BadSignatureError


class Kind(StrEnum):
    """What can be too old, or end."""

    SIGNATURE = "signature"
    STATEMENT = "statement"
    CERTIFICATE = "certificate"


@dataclass(frozen=True)
class End:
    """Something that readers use from `begins` to `ends`. of: whose certificate it is; empty for a statement."""

    kind: Kind
    begins: int
    ends: int
    of: str = ""

    @property
    def what(self) -> str:
        """What messages call it."""
        return f"the certificate of {self.of}" if self.kind is Kind.CERTIFICATE else "its statement"


@dataclass(frozen=True)
class Validity:
    """When a published collection was signed, and what of it ends; the statement first. signed_at: None if it never was."""

    signed_at: int | None = None
    ends: tuple[End, ...] = ()

    def first(self, kind: Kind) -> End | None:
        """What ends first of one kind."""
        return min((end for end in self.ends if end.kind is kind), key=lambda end: end.ends, default=None)


UNSIGNED = Validity()


def validity_of(attributes: Mapping[str, Any], signed_at: int | None = None) -> Validity:
    """The validity of a collection, from the attributes that readers get.

    signed_at: what is known where there is no statement; the data's own timestamp by default. Certificates are those of the
    chains that the collection carries for its signatures; a chain that cannot be read has none.
    """
    try:
        entries = signature.entries(attributes)
    except BadSignatureError:
        entries = []
    if not entries:
        return UNSIGNED
    ends: list[End] = []
    if (found := peek(attributes)) is not None:
        signed_at = found.statement.signed_at
        ends.append(End(Kind.STATEMENT, signed_at, found.statement.expires))
    if signed_at is None:
        timestamp = attributes.get("signed_timestamp")
        signed_at = timestamp if isinstance(timestamp, int) else 0
    carried = attributes.get(CARRIED)
    if isinstance(carried, Mapping):
        named = dict.fromkeys(str(entry.get("x5u") or "") for entry in entries)
        ends += _certificates(carried[x5u] for x5u in named if isinstance(carried.get(x5u), str))
    return Validity(signed_at, tuple(dict.fromkeys(ends)))


def _certificates(chains: Iterable[str]) -> Iterable[End]:
    for text in chains:
        try:
            chain = load_chain(text.encode("utf-8", "replace"))
        except BadChainError:
            continue
        for period in periods(chain):
            yield End(Kind.CERTIFICATE, period.begins * 1000, period.ends * 1000, period.who)


# --- what a refresh is for ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conditions:
    """What makes a refresh due; either suffices. None for no such condition; without any it is always due."""

    older_than_ms: int | None = None
    before_expiry_ms: int | None = None

    @property
    def given(self) -> bool:
        return self.older_than_ms is not None or self.before_expiry_ms is not None


@dataclass(frozen=True)
class Verdict:
    """Whether a refresh is due, and why or why not, in words; empty without conditions. by: what ends, if that made it due."""

    due: bool
    why: str
    by: End | None = None


def judge(found: Validity, conditions: Conditions, now: int) -> Verdict:
    """Whether what was published is to be signed again. Where nothing was ever signed there is nothing to renew."""
    if found.signed_at is None:
        return Verdict(False, "nothing is signed here yet")
    if not conditions.given:
        return Verdict(True, "")
    soon = conditions.before_expiry_ms
    if soon is not None:
        for end in sorted(found.ends, key=lambda end: end.ends):
            if end.ends - now <= soon:
                return Verdict(True, f"{when(end, now)}, within the {span(soon)} that are asked for", end)
    age, old = now - found.signed_at, conditions.older_than_ms
    if old is not None and age > old:
        return Verdict(True, f"it was signed {span(age)} ago, longer than the {span(old)} that are asked for")
    return Verdict(False, "; ".join([f"signed {span(age)} ago", *_firsts(found, now)]))


def _firsts(found: Validity, now: int) -> Iterable[str]:
    firsts = (found.first(kind) for kind in (Kind.STATEMENT, Kind.CERTIFICATE))
    return [when(end, now) for end in firsts if end is not None]


def when(end: End, now: int) -> str:
    """When something ends, or that it did, as seen at `now`."""
    left = end.ends - now
    return f"{end.what} ends in {span(left)}" if left >= 0 else f"{end.what} ended {span(-left)} ago"


# --- what a heartbeat complains of -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thresholds:
    """oldest_signature_days: how old a signature may get; 0 for any age. statement_days_left: how much of a statement has to be
    left; 0 for nothing.

    Of a certificate so many percent of its whole time have to be left, but at least certificate_min_days and at most
    certificate_max_days.
    """

    oldest_signature_days: int = 0
    statement_days_left: int = 3
    certificate_percentage: int = 5
    certificate_min_days: int = 10
    certificate_max_days: int = 30

    def least_ms(self, end: End) -> int:
        """How much has to be left of it: never more than half of its whole time, or what is short would always be too short."""
        whole = end.ends - end.begins
        wanted = self.statement_days_left * DAY_MS
        if end.kind is Kind.CERTIFICATE:
            share = whole * self.certificate_percentage // 100
            wanted = min(max(share, self.certificate_min_days * DAY_MS), self.certificate_max_days * DAY_MS)
        return min(wanted, whole // 2)


DEFAULT = Thresholds()


@dataclass(frozen=True)
class Complaint:
    """One thing that is too old or ends too soon. until: when it ends, or until when it was new enough. said: in words."""

    kind: Kind
    until: int
    said: str
    of: str = ""

    @property
    def reason(self) -> str:
        """A stable word for logs and alerts."""
        return "too-old" if self.kind is Kind.SIGNATURE else "ends-soon"


def complaints(found: Validity, thresholds: Thresholds, now: int) -> list[Complaint]:
    """What is below the thresholds, the most urgent first."""
    listed = [
        Complaint(end.kind, end.ends, f"{when(end, now)}; {consequence(end, now)}", end.of)
        for end in found.ends
        if end.ends - now < thresholds.least_ms(end)
    ]
    allowed = thresholds.oldest_signature_days * DAY_MS
    if allowed and found.signed_at is not None and now - found.signed_at > allowed:
        age = span(now - found.signed_at)
        listed.append(
            Complaint(
                Kind.SIGNATURE,
                found.signed_at + allowed,
                f"it was signed {age} ago, longer than {span(allowed)}: nobody renews it",
            )
        )
    return sorted(listed, key=lambda complaint: complaint.until)


def consequence(end: End, now: int) -> str:
    """What readers see once something has ended."""
    then = "" if now > end.ends else "then "
    if end.kind is Kind.CERTIFICATE:
        return f"readers who trust its root {then}refuse it [expired]"
    return f"readers {then}refuse it [expired]"
