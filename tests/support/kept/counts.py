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
    """Numbers that look like chance and only depend on the test and on how often it asked, so that it does the same again.

    One after the other would do less: who asks twice for each publication would always get every second one.
    """

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    def __call__(self) -> int:
        test = _test()
        self._asked[test] += 1
        return zlib.crc32(f"{test} {self._asked[test]}".encode())


def _test() -> str:
    """The test that runs, in a served Kinto the one that started it."""
    return os.environ.get("PYTEST_CURRENT_TEST", "no test").rpartition(" ")[0]
