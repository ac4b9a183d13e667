"""Questions to a person at a terminal; never to a script."""

from __future__ import annotations

import getpass
import sys
import warnings

from kinto_signer.errors import ConfigurationError, KintoSignerError


class NotConfirmedError(KintoSignerError):
    """The person at the terminal said no, or nothing."""

    reason = "not-confirmed"


def attended() -> bool:
    """Whether somebody sits there who can be asked and who sees the question: never so in scripts, cron and pipes."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> str:
    """One line from the terminal, empty at its end. The question goes to stderr, so that stdout stays what it is."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().rstrip("\n")


def confirm(question: str) -> None:
    """Raises NotConfirmedError unless the answer is yes."""
    if ask(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise NotConfirmedError("Not confirmed. Nothing was changed.")


def ask_hidden(question: str, *, what: str, instead: str) -> str:
    """One line that is not echoed. Raises ConfigurationError where nothing is typed, or the terminal would show it.

    what: the thing that is asked for, and instead: how else it can be given, for messages.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(question, stream=sys.stderr)
        except getpass.GetPassWarning as error:
            raise ConfigurationError(f"This terminal would show the {what}. {instead}") from error
        except EOFError as error:
            raise ConfigurationError(f"No {what} was given.") from error
