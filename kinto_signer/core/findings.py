"""What a check found, each thing in one line, and what the person who reads it at night does next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kinto_signer.errors import KintoSignerError, worst_exit_code

OK, WARNING, ERROR = "ok", "warning", "error"
DIFFERS = 10

_NEXT = {
    2: "Correct the settings named above, restart that server, check again.",
    3: (
        "Readers refuse what does not verify and keep what they have. Find out who altered it; then mend it: on an authority "
        "`kinto-signer push BUCKET/COLLECTION`, on the signer itself approve again. docs/operating.rst."
    ),
    4: "Correct the account or its permissions as named above, check again.",
    5: "Nothing is known about what could not be read. Check again when it answers.",
    10: "What readers get verifies, but is not the same everywhere: `kinto-signer push` brings authorities up to date.",
}
_ELSE = "See above; check again."
_OLD = frozenset({"expired", "stale"})
_RENEW = (
    "Readers refuse what is too old and keep what they have. `kinto-signer refresh` renews signatures and statements, under a "
    "certificate whose time is not over; if that was done, somebody between here and the signer holds newer states back."
)


@dataclass(frozen=True)
class Finding:
    """One line of a check.

    level: `OK`, `WARNING` or `ERROR`. where: ``settings``, a storage or the URL of a server. collection:
    ``bucket/collection``, or empty. reason: a stable word. exit_code: 0 unless it is an error.
    """

    level: str
    where: str
    collection: str
    reason: str
    message: str
    exit_code: int = 0

    def as_json(self) -> dict[str, str]:
        return {
            "level": self.level,
            "where": self.where,
            "collection": self.collection,
            "reason": self.reason,
            "message": self.message,
        }


def fine(where: str, message: str, collection: str = "") -> Finding:
    return Finding(OK, where, collection, OK, message)


def warned(where: str, reason: str, message: str, collection: str = "") -> Finding:
    """Something to know, which changes no exit code."""
    return Finding(WARNING, where, collection, reason, message)


def misconfigured(where: str, reason: str, message: str, collection: str = "") -> Finding:
    """Something that is to be corrected in a configuration, here or there."""
    return Finding(ERROR, where, collection, reason, message, 2)


def differs(where: str, message: str, collection: str) -> Finding:
    return Finding(ERROR, where, collection, "differs", message, DIFFERS)


def failed(where: str, error: KintoSignerError, collection: str = "", more: str = "") -> Finding:
    """more: a sentence to be put after the error's own message."""
    message = f"{error.message.removeprefix(f'{collection}: ')} {more}".rstrip()
    return Finding(ERROR, where, collection, error.reason, message, error.exit_code)


def exit_code(findings: Sequence[Finding]) -> int:
    return worst_exit_code(finding.exit_code for finding in findings)


def summary(findings: Sequence[Finding]) -> str:
    """One line: how much was found, and what to do next."""
    counts = Counter(finding.level for finding in findings)
    warnings = f", {counts[WARNING]} warnings" if counts[WARNING] else ""
    code = exit_code(findings)
    if not code:
        return f"Everything is right: {counts[OK]} checks{warnings}. Nothing has to be done."
    worst = [finding for finding in findings if finding.exit_code == code]
    places = dict.fromkeys(
        f"{finding.collection} on {finding.where}" if finding.collection else finding.where for finding in worst
    )
    shown = ", ".join(list(places)[:3]) + (", …" if len(places) > 3 else "")
    errors = "1 error" if counts[ERROR] == 1 else f"{counts[ERROR]} errors"
    following = _RENEW if all(finding.reason in _OLD for finding in worst) else _NEXT.get(code, _ELSE)
    return f"{errors}{warnings} (exit code {code}), worst: {shown}. {following}"
