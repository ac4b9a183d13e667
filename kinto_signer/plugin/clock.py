"""This machine's clock, in the unit of Kinto's timestamps."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Integer milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
