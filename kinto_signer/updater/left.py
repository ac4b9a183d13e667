"""How we left the cache's file, so that it need not be examined in full where nobody touched it since."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

EXAMINED_FOR_S = 24 * 3600
"""After so long it is examined whatever it looks like: what a disk loses changes no time."""

JOURNALS = ("-journal", "-wal", "-shm")


@dataclass(frozen=True)
class Left:
    """size in bytes; mtime_ns: as the file system tells it; examined: in full, epoch seconds."""

    size: int
    mtime_ns: int
    examined: int


def stamp(path: Path, examined: int) -> Left | None:
    """Give the file a time of its own, by which any later write is recognised; None where that cannot be done.

    What the kernel notes by itself is no finer than some milliseconds, within which more may happen.
    """
    try:
        now = time.time_ns()
        os.utime(path, ns=(now, now))
    except OSError:
        return None
    return _look(path, examined)


def is_as_left(path: Path, left: Left | None) -> bool:
    """Whether the file is as it was noted, and no transaction broke off."""
    return left is not None and _look(path, left.examined) == left


def is_due(left: Left, now: float) -> bool:
    """Whether the last examination in full was too long ago, or is yet to come. now: epoch seconds."""
    return not 0 <= now - left.examined < EXAMINED_FOR_S


def _look(path: Path, examined: int) -> Left | None:
    with contextlib.suppress(OSError):
        if not any(Path(f"{path}{suffix}").exists() for suffix in JOURNALS):
            found = path.stat()
            return Left(found.st_size, found.st_mtime_ns, examined)
    return None
