"""Spans of time as people write and read them; in integer milliseconds."""

from __future__ import annotations

import re

from kinto_signer.errors import ConfigurationError

DAY_MS = 24 * 3600 * 1000
WANTED = "a number of days, hours, minutes or seconds such as 7d, 36h, 90m or 30s"

_SPAN = re.compile(r"([1-9][0-9]{0,8})([dhms])\Z")
_UNITS_MS = {"d": DAY_MS, "h": 3_600_000, "m": 60_000, "s": 1000}


def is_span(text: str) -> bool:
    return _SPAN.match(text) is not None


def parse_span_ms(text: str) -> int:
    """A span of time such as ``7d``, ``36h``, ``90m`` or ``30s``, in milliseconds. Raises ConfigurationError."""
    found = _SPAN.match(text)
    if found is None:
        raise ConfigurationError(f"{text!r} is no span of time: {WANTED} is needed.")
    return int(found[1]) * _UNITS_MS[found[2]]


def span(milliseconds: int) -> str:
    """A time span for people: the two units that matter."""
    seconds = max(milliseconds, 0) // 1000
    if seconds >= DAY_MS // 1000:
        return f"{seconds // 86400} d {seconds % 86400 // 3600} h"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min" if seconds >= 3600 else f"{seconds // 60} min {seconds % 60} s"
