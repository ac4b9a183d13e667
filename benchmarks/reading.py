"""What kinto-updater does, each run a process of its own, from an A that S publishes to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measured import FailedError, Figures, repeated
from benchmarks.sites import Desk
from tests.support.keys import KeyPair
from tests.support.servers import ROOT, LiveKinto

COLLECTION = "main/stops"
ENOUGH_S = 15.0


@dataclass(frozen=True)
class Reading:
    """A reader with a cache in `folder`."""

    desk: Desk
    authority: LiveKinto
    key_pair: KeyPair
    folder: Path

    def measure(self, pulls: int, changes: int, figures: Figures) -> None:
        """The first pull and the plain download in turn; then runs in which nothing, and one record, had changed."""
        repeated(lambda: self._pull(figures), pulls, ENOUGH_S)
        repeated(lambda: self._gathered("unchanged", figures)["seconds"], changes, ENOUGH_S)
        repeated(lambda: self._one_change(figures), changes, ENOUGH_S)

    def _pull(self, figures: Figures) -> float:
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        pulled = self._gathered("pull", figures)
        alone, _ = self._run("--alone", pulled["urls"][-1])
        figures.setdefault("download", []).append(alone["seconds"])
        return float(alone["seconds"])

    def _one_change(self, figures: Figures) -> float:
        self.desk.publish_one_change()
        return float(self._gathered("changed", figures)["seconds"])

    def _gathered(self, what: str, figures: Figures) -> dict[str, Any]:
        """One run of gather-changes, which has to end well; its numbers go into `figures`."""
        arguments = ["gather-changes", self.authority.url, "-c", COLLECTION, "--cache", str(self.folder / "cache")]
        arguments += ["--public-key", str(self.key_pair.public), "--format", "json"]
        found, printed = self._run(*arguments)
        (outcome,) = json.loads(printed)["collections"]
        status, records = outcome["status"], outcome.get("records")
        wanted = "unchanged" if what == "unchanged" else "updated"
        if (status, records) != (wanted, self.desk.count):
            raise FailedError(f"kinto-updater: {status} with {records} records, not {wanted} with {self.desk.count}.")
        for name in ("seconds", "own", "requests", "peak_mib", "process"):
            figures.setdefault(f"{what}_{name}", []).append(found[name])
        return found

    def _run(self, *arguments: str) -> tuple[dict[str, Any], str]:
        command = [sys.executable, "-m", "benchmarks.reader", *arguments]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise FailedError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return json.loads(done.stderr.splitlines()[-1]) | {"process": seconds}, done.stdout
