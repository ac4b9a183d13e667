"""``__heartbeat__``: is what is served what was accepted, and who besides the signer may try to change it?"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

from kinto_signer.authority.guard import Guard
from kinto_signer.core.acceptance import Accepted
from kinto_signer.core.renewal import Kind, validity_of
from kinto_signer.core.spans import DAY_MS
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.exclusive import exclusive
from kinto_signer.plugin.resources import Place
from kinto_signer.validities import iso

logger = logging.getLogger(__name__)

KEPT_TIMES = 20
NOT_KEPT_S = 0.5
"""A good answer that took longer is kept for so many times as long: probes come often, and get a share of the machine."""


class Findings(dict[str, str]):
    """What to say about each collection; false, as Kinto reads it, if something does not verify."""

    failed = False

    def __bool__(self) -> bool:
        return not self.failed


class Heartbeat:
    """Verifies every guarded collection."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._lock = threading.Lock()
        self._known: tuple[float, Findings] = (0.0, Findings())

    def __call__(self, request: Any) -> Any:
        with self._lock:
            started = time.monotonic()
            if started >= self._known[0]:
                with exclusive(self._guard.registry):
                    found = self._look()
                took = time.monotonic() - started
                self._known = (started + (KEPT_TIMES * took if took > NOT_KEPT_S and found else 0), found)
            found = self._known[1]
        return found if found.failed or len(found) else True

    def _look(self) -> Findings:
        found, names = Findings(), self._guard.names()
        for name in names:
            outcome = self._guard.check_stored(name)
            if not isinstance(outcome, Accepted):
                found.failed = True
                found[name] = f"does not verify [{outcome.reason}]"
                logger.error("heartbeat: %s does not verify: %s", name, outcome)
        for name, principals in other_writers(self._guard, names).items():
            others = " ".join(sorted(principals))
            found[name] = "; ".join(filter(None, [found.get(name), f"may be written by {others}"]))
        return found


class Validities:
    """``authority.signatures``: what ends first of all that is guarded, and when. It fails for nothing: only S can renew it."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def __call__(self, request: Any) -> Any:
        """``{"statement": {"collection", "ends", "days_left"}, "certificate": …}``, each where there is one; else true."""
        now, repository = now_ms(), self._guard.states.repository
        found: dict[str, dict[str, Any]] = {}
        names = {name: repository.attributes(name) or {} for name in self._guard.names()}
        validities = {name: validity_of(attributes) for name, attributes in names.items()}
        for kind in (Kind.STATEMENT, Kind.CERTIFICATE):
            firsts = {name: first.ends for name, one in validities.items() if (first := one.first(kind)) is not None}
            if firsts:
                name = min(firsts, key=firsts.__getitem__)
                days = round((firsts[name] - now) / DAY_MS, 1)
                found[kind.value] = {"collection": name, "ends": iso(firsts[name]), "days_left": days}
        return found or True


def other_writers(guard: Guard, names: Iterable[str]) -> dict[str, set[str]]:
    """Who may write each guarded collection, or its bucket, besides ``kinto.authority.signer_principals``."""
    found: dict[str, set[str]] = {}
    for name in names:
        place = Place(*name.split("/"))
        writers = _principals(guard, f"/buckets/{place.bucket}") | _principals(guard, place.uri)
        if others := writers - guard.guarding.signers:
            found[name] = others
    return found


def _principals(guard: Guard, uri: str) -> set[str]:
    granted = guard.registry.permission.get_object_permissions(uri)
    return {principal for name in ("write", "record:create", "collection:create") for principal in granted.get(name, ())}
