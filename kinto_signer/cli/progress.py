"""How far a download is, on a terminal; nothing elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

MEBIBYTE = 2**20


class Progress:
    """A line on stderr with the collection that is being fetched and what has arrived of it."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._status = Status("", console=console) if console.is_terminal else None
        self._name = ""
        self._bytes = 0

    def begin(self, name: str) -> None:
        self._name, self._bytes = name, 0
        self._show()

    def add_bytes(self, count: int) -> None:
        self._bytes += count
        self._show()

    def _show(self) -> None:
        if self._status:
            self._status.update(f"{self._name}: {self._bytes / MEBIBYTE:.1f} MiB")

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._status:
            self._status.stop()
