"""``__heartbeat__``: is what is served what was accepted, and who besides the signer may try to change it?"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from kinto_signer.authority.guard import Guard
from kinto_signer.core.acceptance import Accepted
from kinto_signer.plugin.exclusive import exclusive
from kinto_signer.plugin.resources import Place

logger = logging.getLogger(__name__)

KEPT_S = 60.0


class Findings(dict[str, str]):
    """What to say about each collection; false, as Kinto reads it, if something does not verify."""

    failed = False

    def __bool__(self) -> bool:
        return not self.failed


class Heartbeat:
    """Verifies every guarded collection; a good answer is kept for a minute, since probes come often."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._lock = threading.Lock()
        self._known: tuple[float, Findings] | None = None

    def __call__(self, request: Any) -> Any:
        with self._lock:
            if self._known is None or self._known[1].failed or time.monotonic() - self._known[0] > KEPT_S:
                with exclusive(self._guard.registry):
                    self._known = (time.monotonic(), self._look())
            found = self._known[1]
            return found if found.failed or len(found) else True

    def _look(self) -> Findings:
        found = Findings()
        for name in self._guard.names():
            outcome = self._guard.check_stored(name)
            if not isinstance(outcome, Accepted):
                found.failed = True
                found[name] = f"does not verify [{outcome.reason}]"
                logger.error("heartbeat: %s does not verify: %s", name, outcome)
        for name, principals in other_writers(self._guard).items():
            others = " ".join(sorted(principals))
            found[name] = "; ".join(filter(None, [found.get(name), f"may be written by {others}"]))
        return found


def other_writers(guard: Guard) -> dict[str, set[str]]:
    """Who may write a guarded collection, or its bucket, besides ``kinto.authority.signer_principals``."""
    found: dict[str, set[str]] = {}
    for name in guard.names():
        place = Place(*name.split("/"))
        writers = _principals(guard, f"/buckets/{place.bucket}") | _principals(guard, place.uri)
        if others := writers - guard.guarding.signers:
            found[name] = others
    return found


def _principals(guard: Guard, uri: str) -> set[str]:
    granted = guard.registry.permission.get_object_permissions(uri)
    return {principal for name in ("write", "record:create", "collection:create") for principal in granted.get(name, ())}
