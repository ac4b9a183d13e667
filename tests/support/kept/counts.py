"""What was altered, and what became of it: a line in one file for each time, written by every process of a run."""

import contextlib
import os
import zlib
from collections import Counter
from pathlib import Path

FILE = "KEPT_COUNTS"


def count(what: str) -> None:
    """Once more. Safe with several processes: one line is one write. A test of a full disk may have none left for it."""
    path = os.environ.get(FILE)
    if path:
        with contextlib.suppress(OSError), Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{what}\t{_test()}\n")


def counted(path: Path) -> Counter[str]:
    """How often each was counted."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return Counter(line.partition("\t")[0] for line in lines)


class Turns:
    """Which turn it is: numbers that only depend on the test and on how often it asked, so that it does the same again."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def __call__(self) -> int:
        test = _test()
        number = self._next.get(test, zlib.crc32(test.encode()))
        self._next[test] = number + 1
        return number


def _test() -> str:
    """The test that runs, in a served Kinto the one that started it."""
    return os.environ.get("PYTEST_CURRENT_TEST", "no test").rpartition(" ")[0]
