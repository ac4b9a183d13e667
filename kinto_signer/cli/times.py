"""``--at``: the time as of which a command verifies."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import rich_click as click

Clock = Callable[[], float]
"""Says the time in epoch seconds."""


def parse(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Clock:
    """A clock that stands still at the time that was given, ISO 8601 (UTC unless it says otherwise) or epoch seconds."""
    if text is None:
        return time.time
    try:
        seconds = float(text) if text.isascii() and text.isdigit() else _iso(text)
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise click.BadParameter(f"{text!r} is no time: write 2026-02-16T09:44:35Z, or seconds since 1970.") from error
    return lambda: seconds


def _iso(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
