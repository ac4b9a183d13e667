"""A test session in one of the modes: skips what looks at what is kept itself, counts, and tells at the end."""

import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.campaigns import CampaignReport
from tests.support.kept import MODE
from tests.support.kept.counts import FILE, counted
from tests.support.kept.modes import put_into

CAMPAIGNS = "KEPT_CAMPAIGNS"
"""The file of campaigns that `make proof` makes a page of. Those of the tests themselves do not go there once more."""

HAS_TO_BE_SEEN = {
    "off": ("S: nothing there", "A: dropped in memory"),
    "dropped": ("S: dropped in memory", "S: dropped in the table", "A: dropped in memory"),
    "poisoned": ("S: recognised: memory", "S: recognised: table", "A: recognised: memory"),
}


def problems(mode: str, seen: Mapping[str, int], sides: str = "SA") -> list[str]:
    """Why a run in this mode has failed, or has shown nothing of one of the sides. seen: what was counted."""
    wrong = [f"{what}: {times} times" for what, times in seen.items() if "WRONG" in what]
    needed = [start for start in HAS_TO_BE_SEEN[mode] if start[0] in sides]
    missing = [start for start in needed if not any(what.startswith(start) for what in seen)]
    return [*wrong, *(f"Never seen: {start}. Nothing was shown of that." for start in missing)]


def summed(seen: Mapping[str, int]) -> dict[str, int]:
    """Without the ways: ``{"S: handed out": 7, "S: recognised": 6}``."""
    found: Counter[str] = Counter()
    for what, times in seen.items():
        side, _, rest = what.partition(": ")
        found[f"{side}: {rest.partition(':')[0]}"] += times
    return dict(sorted(found.items()))


class KeptSession:
    """A pytest plugin. What is counted goes into the file that the environment names, or into one of its own."""

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        if FILE not in os.environ:  # the first process; its workers and servers inherit it
            os.environ[FILE] = str(Path(tempfile.mkdtemp(prefix="kinto-signer-kept-")) / "counts.txt")
        put_into(self._patch, MODE)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("keeps"):
                item.add_marker(pytest.mark.skip(reason=f"KEPT={MODE}: {mark.args[0]}"))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section(f"KEPT={MODE}")
        for what, times in sorted(counted(Path(os.environ[FILE])).items()):
            terminalreporter.write_line(f"{times:7} {what}", red="WRONG" in what)
        for problem in self._problems():
            terminalreporter.write_line(problem, red=True, bold=True)
        if os.environ.get(CAMPAIGNS):
            tests = {outcome: len(terminalreporter.getreports(outcome)) for outcome in ("passed", "failed", "skipped")}
            report = CampaignReport("make kept-modes", Path(os.environ[CAMPAIGNS]))
            report(f"All tests, with what is kept {MODE}", tests | summed(counted(Path(os.environ[FILE]))))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if not hasattr(session.config, "workerinput") and not session.config.option.collectonly and self._problems():
            session.exitstatus = exitstatus or pytest.ExitCode.TESTS_FAILED

    def _problems(self) -> list[str]:
        return problems(MODE, counted(Path(os.environ[FILE])))
