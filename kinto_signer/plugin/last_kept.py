"""What a process keeps from one publication to the next, up to a number of bytes: what was kept last stays."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class LastKept(Generic[T]):
    """By a key. One object serves all threads; what is kept must never be changed."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._kept: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> T | None:
        with self._lock:
            found = self._kept.get(key)
            return found[0] if found else None

    def keep(self, key: str, value: T, size_bytes: int) -> None:
        """Replace what is kept under the key. Nothing is kept there if it is larger than all that may be, or that is 0."""
        with self._lock:
            self._kept.pop(key, None)
            if 0 < self.max_bytes >= size_bytes:
                self._kept[key] = (value, size_bytes)
            while sum(size for _, size in self._kept.values()) > self.max_bytes:
                self._kept.popitem(last=False)

    def forget(self) -> None:
        """Drop everything: the next use computes it again."""
        with self._lock:
            self._kept.clear()
