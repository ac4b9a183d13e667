"""One publication at a time on Kinto's memory storage, and no reading in the middle of one.

PostgreSQL keeps readers and writers apart by itself: a statement sees what was committed when it began. On memory everything is
visible at once, so whoever writes a publication and whoever reads one take the same lock of the process. It may be taken again
by the thread that has it: the tween of `plugin.rollback` has it during every request that writes.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kinto.core.storage.memory import Storage


def includeme(config: Any) -> None:
    """Make the lock, ``registry.publication_lock``, once."""
    if not hasattr(config.registry, "publication_lock"):
        config.registry.publication_lock = threading.RLock()


def exclusive(registry: Any) -> AbstractContextManager[Any]:
    """Keeps other publications, and readers of one, out on memory storage; does nothing on PostgreSQL."""
    if not isinstance(registry.storage, Storage):
        return nullcontext()
    lock: AbstractContextManager[Any] = registry.publication_lock
    return lock
