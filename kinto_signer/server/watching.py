"""``signer.signatures`` in ``__heartbeat__``: does somebody renew what S has published, before readers refuse it?

What is stored is looked at once a minute at most. The answer has numbers only, as anybody may ask; which collection it is, and
what mends it, is one line in the log, when the heartbeat begins to fail for something.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kinto_signer.core.renewal import Complaint, Kind, Validity, complaints
from kinto_signer.core.spans import DAY_MS
from kinto_signer.plugin import metrics
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.resources import Resource
from kinto_signer.server import lasting
from kinto_signer.validities import iso

logger = logging.getLogger(__name__)

KEPT_S = 60.0
KEPT_FAILING_S = 5.0
"""So that the answer is good again soon after a refresh."""
MOST_NAMED = 10

Looked = Sequence[tuple[Resource, Validity]]
Found = tuple[str, Complaint]
"""The name of a source, and what is wrong with its signed copy."""


class Shown(dict[str, float | int | None]):
    """What the heartbeat says; false, as Kinto reads it, if something is below its threshold."""

    failed = False

    def __bool__(self) -> bool:
        return not self.failed


class Signatures:
    """Looks at every published collection. now: the clock, milliseconds since 1970."""

    def __init__(self, registry: Any, now: Callable[[], int] = now_ms) -> None:
        self._registry = registry
        self._now = now
        self._lock = threading.Lock()
        self._known: tuple[float, Shown] | None = None
        self._said: set[tuple[str, Kind, str]] = set()

    def __call__(self, request: Any) -> Shown:
        with self._lock:
            if self._known is None or time.monotonic() >= self._known[0]:
                shown = self._look()
                self._known = (time.monotonic() + (KEPT_FAILING_S if shown.failed else KEPT_S), shown)
            return self._known[1]

    def _look(self) -> Shown:
        now, looked = self._now(), list(lasting.look(self._registry))
        found = [
            (resource.source.name, complaint)
            for resource, validity in looked
            for complaint in complaints(validity, self._registry.signing.thresholds(resource), now)
        ]
        self._say(found, {resource.source.name: resource for resource, _ in looked})
        shown = _shown(looked, now)
        shown["failing"] = len({name for name, _ in found})
        shown.failed = bool(found)
        _measure(self._registry, looked, now)
        return shown

    def _say(self, found: Sequence[Found], resources: dict[str, Resource]) -> None:
        """One line when it begins to fail for something that it did not fail for before."""
        known = {(name, complaint.kind, complaint.of) for name, complaint in found}
        new, self._said = known - self._said, known
        if not new:
            return
        name, worst = min(found, key=lambda one: one[1].until)
        others = list(dict.fromkeys(other for other, _ in found if other != name))
        logger.error(
            "heartbeat: %s reason=%s until=%s: %s. %s%s",
            resources[name].destination.name,
            worst.reason,
            iso(worst.until),
            worst.said,
            _mend(name, worst),
            _and(others),
        )


def _mend(name: str, worst: Complaint) -> str:
    if worst.kind is Kind.CERTIFICATE:
        return (
            f"Where the signer still has this certificate give it a new one (docs/trust.rst); then `kinto-signer refresh {name}`."
        )
    return f"`kinto-signer refresh {name}` renews it."


def _and(others: Sequence[str]) -> str:
    """The other collections that it fails for."""
    if not others:
        return ""
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    return f" Too old or ending soon, too: {', '.join(others[:MOST_NAMED])}{more}; `kinto-signer refresh` renews all."


def _ends(looked: Looked, kind: Kind) -> Iterable[int]:
    return (end.ends for _, validity in looked if (end := validity.first(kind)) is not None)


def _shown(looked: Looked, now: int) -> Shown:
    oldest = min((validity.signed_at for _, validity in looked if validity.signed_at is not None), default=None)
    shown = Shown(oldest_signature_days=None if oldest is None else _days(now - oldest))
    for kind in (Kind.STATEMENT, Kind.CERTIFICATE):
        first = min(_ends(looked, kind), default=None)
        shown[f"{kind.value}_days_left"] = None if first is None else _days(first - now)
    return shown


def _days(milliseconds: int) -> float:
    return round(milliseconds / DAY_MS, 1)


def _measure(registry: Any, looked: Looked, now: int) -> None:
    for kind, name in ((Kind.STATEMENT, metrics.STATEMENT_LEFT), (Kind.CERTIFICATE, metrics.CERTIFICATE_LEFT)):
        first = min(_ends(looked, kind), default=None)
        if first is not None:
            metrics.measured(registry, name, max(first - now, 0) / 1000)
