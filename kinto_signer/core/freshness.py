"""Whether a verified state is the one to accept now: the rules about publication statements, and about age.

Nothing here looks at a signature; what is judged was verified. Times are integer milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinto_signer.core.published import SIGNED_ATTRIBUTES
from kinto_signer.core.spans import DAY_MS as DAY_MS
from kinto_signer.core.spans import span
from kinto_signer.core.statement import Signed, Statement
from kinto_signer.errors import (
    ExpiredError,
    NoStatementError,
    NotYetValidError,
    OlderStatementError,
    OtherCollectionError,
    SameTimestampError,
    StaleError,
)

FUTURE_TOLERANCE_MS = DAY_MS
"""How far ahead of the clock a signed timestamp may be. Publishing 100,000 records at once runs 97 s ahead."""

NOT_SIGNED = ("id", "bucket", "last_modified", *SIGNED_ATTRIBUTES)
"""Attributes that no statement covers: the server's own, the signatures, and what is compared by itself."""


@dataclass(frozen=True)
class Rules:
    """required: a statement has to be there. audience: the one it has to name; None takes any. max_age_ms: None for any age."""

    required: bool = False
    audience: str | None = None
    max_age_ms: int | None = None
    tolerance_ms: int = FUTURE_TOLERANCE_MS


@dataclass(frozen=True)
class Remembered:
    """The newest statement that was accepted for a collection, kept longer than its records. serial: 0 if there was none.

    digest: empty where only the serial is known.
    """

    serial: int = 0
    digest: str = ""


def remembered(found: Signed | None) -> Remembered:
    return Remembered() if found is None else Remembered(found.statement.serial, found.digest)


def refuse_older(name: str, found: Signed | None, before: Remembered) -> None:
    """Never again without one, never a lower serial, never two statements with one serial.

    Raises NoStatementError, OlderStatementError, SameTimestampError.
    """
    if not before.serial:
        return
    if found is None:
        raise NoStatementError(
            f"{name}: there is no publication statement, and one with the serial {before.serial} was verified here before. "
            "Nothing was accepted: whoever takes the statement away can show an old state, or another collection's."
        )
    if found.statement.serial < before.serial:
        raise OlderStatementError(name, before.serial, found.statement.serial)
    if found.statement.serial == before.serial and before.digest not in ("", found.digest):
        raise SameTimestampError(
            f"{name}: another publication statement with the serial {before.serial} was verified here before. Nothing was "
            "accepted: two histories were signed. Ask the publisher."
        )


def refuse_untimely(name: str, found: Signed | None, timestamp: int, rules: Rules, now_ms: int) -> None:
    """Raises what the rules and the clock say against a state. timestamp: of the data.

    NoStatementError, OtherCollectionError (another audience), NotYetValidError, ExpiredError, StaleError.
    """
    if found is not None:
        _refuse_statement(name, found.statement, rules, now_ms)
    elif rules.required:
        raise NoStatementError(
            f"{name}: there is no publication statement, and one is required (require_statement). Nothing was accepted. Ask the "
            "publisher for statements; a server without them is read with `require_statement = false`."
        )
    signed_at = timestamp if found is None else found.statement.signed_at
    if rules.max_age_ms is not None and now_ms - signed_at > rules.max_age_ms:
        raise StaleError(
            f"{name}: it was signed {span(now_ms - signed_at)} ago, longer than the {span(rules.max_age_ms)} that are allowed "
            "(max-age). Nothing was accepted. Either nobody published meanwhile, or the server holds newer states back."
        )


def _refuse_statement(name: str, said: Statement, rules: Rules, now_ms: int) -> None:
    if rules.audience is not None and said.audience != rules.audience:
        raise OtherCollectionError(
            f"{name}: its publication statement is meant for {said.audience or 'everybody'}, and {rules.audience} is asked for "
            "here (audience). Nothing was accepted."
        )
    ahead = max(said.signed_at, said.serial) - now_ms
    if ahead > rules.tolerance_ms:
        raise NotYetValidError(
            f"{name}: its publication statement is dated {span(ahead)} after this machine's clock, more than "
            f"{span(rules.tolerance_ms)}. Nothing was accepted. Look at the clocks of the publisher and of this machine."
        )
    if now_ms > said.expires:
        raise ExpiredError(
            f"{name}: its publication statement expired {span(now_ms - said.expires)} ago, and there is no tolerance. Nothing "
            "was accepted. Either the publisher did not renew it (`kinto-signer refresh`), or the server holds newer states "
            "back, or this machine's clock is wrong."
        )


def covered(attributes: Mapping[str, Any], said: Statement) -> dict[str, Any]:
    """Those of the attributes that a statement covers, and those that need no cover: nobody signed the others."""
    return {name: value for name, value in attributes.items() if name in said.names or name in NOT_SIGNED}


# --- the log of a reader ----------------------------------------------------------------------------------------------------

LOG_LENGTH = 100


def logged(log: Sequence[Mapping[str, Any]], found: Signed | None) -> list[Mapping[str, Any]]:
    """The log of the statements that were accepted, oldest first, with one more if it is new."""
    if found is None or (log and log[-1]["serial"] == found.statement.serial):
        return list(log)
    said = found.statement
    entry = {
        "serial": said.serial,
        "digest": found.digest,
        "previous": said.previous,
        "timestamp": said.timestamp,
        "signed_at": said.signed_at,
        "expires": said.expires,
    }
    return [*log, entry][-LOG_LENGTH:]


def follows(log: Sequence[Mapping[str, Any]], number: int) -> bool | None:
    """Whether entry `number` names the one before it as its predecessor.

    None if there may be others between them; False if it names one from before that, which cannot be: two histories.
    """
    if number == 0:
        return None
    previous = log[number]["previous"]
    if previous == log[number - 1]["digest"]:
        return True
    if previous is None or any(previous == entry["digest"] for entry in log[: number - 1]):
        return False
    return None
