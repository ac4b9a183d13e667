"""Wall clock at an HTTP client, and the memory of the worker that answers it."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.support.servers import LiveKinto
from tests.support.settings import PASSWORD

TIMEOUT_S = 600
# What was measured, by what it is called in `benchmarks.rows`: seconds, MiB, numbers.
Figures = dict[str, list[float]]


class FailedError(Exception):
    """A server refused what is being measured, or what it published is not what was asked for."""


class Client:
    """Requests of one user over one connection, which is kept."""

    def __init__(self, server: LiveKinto, user: str) -> None:
        self.server = server
        self._session = requests.Session()
        self._session.auth = (user, PASSWORD)

    def call(self, method: str, path: str, body: Any = None) -> float:
        """Seconds from sending the request until the whole answer is there. Raises FailedError for what is not 2xx."""
        started = time.perf_counter()
        answer = self._session.request(method, self.server.url + path, json=body, timeout=TIMEOUT_S)
        seconds = time.perf_counter() - started
        if not 200 <= answer.status_code < 300:
            log = self.server.log_text()[-3000:]
            raise FailedError(f"{method} {path}: {answer.status_code}: {answer.text[:500]}\n{log}")
        return seconds

    def get(self, path: str) -> Any:
        answer = self._session.get(self.server.url + path, timeout=TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()

    def total(self, uri: str) -> int:
        """How many live records there are."""
        answer = self._session.head(f"{self.server.url}{uri}/records", timeout=TIMEOUT_S)
        answer.raise_for_status()
        return int(answer.headers.get("Total-Records") or answer.headers["Total-Objects"])


class Peak:
    """How far the resident size of a worker rose above what it is now, in MiB (Linux only)."""

    def __init__(self, server: LiveKinto) -> None:
        self._folders = [Path(f"/proc/{pid}") for pid in server.worker_pids()]
        self._before = max(_mib(folder, "VmRSS") for folder in self._folders)
        self.restart()

    def restart(self) -> None:
        """Forget how high it was so far."""
        for folder in self._folders:
            (folder / "clear_refs").write_text("5")

    def mib(self) -> float:
        return max(_mib(folder, "VmHWM") for folder in self._folders) - self._before


def _mib(folder: Path, name: str) -> float:
    return int((folder / "status").read_text().partition(f"{name}:")[2].split()[0]) / 1024


def _raise_out_of_time(_signal: int, _frame: object) -> None:
    raise OutOfTimeError


def median(figures: Mapping[str, Sequence[float]], key: str) -> float | None:
    """None for what was not measured."""
    return statistics.median(figures[key]) if figures.get(key) else None


def repeated(measure: Callable[[], float], times: int, within_s: float = float("inf")) -> list[float]:
    """What it gives, so many times; once at least, and not again after so many seconds."""
    end = time.monotonic() + within_s
    values = [measure()]
    while len(values) < times and time.monotonic() < end:
        values.append(measure())
    return values


class OutOfTimeError(Exception):
    """A step took longer than the whole run may take."""


class Budget:
    """What is left of the time that a run may take."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.left_out: list[str] = []

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Break off what is still running at the end of the time, and note that; call it from the main thread."""
        handler = signal.signal(signal.SIGALRM, _raise_out_of_time)
        timer = signal.setitimer(signal.ITIMER_REAL, max(0.001, self.left()))
        try:
            yield
        except OutOfTimeError:
            self.left_out.append("what was running when the time was over, and what would have followed it")
        finally:
            signal.setitimer(signal.ITIMER_REAL, *timer)
            signal.signal(signal.SIGALRM, handler)

    def left(self) -> float:
        """Seconds."""
        return max(0.0, self._end - time.monotonic())

    def allows(self, what: str, seconds: float) -> bool:
        """Whether something that takes so long still fits in; what does not is noted."""
        if seconds <= self.left():
            return True
        self.left_out.append(f"{what}: about {seconds:.0f} s, {self.left():.0f} s were left")
        return False
