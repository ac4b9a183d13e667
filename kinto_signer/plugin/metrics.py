"""What is counted and timed, through the service that Kinto has for it (Prometheus or StatsD; without one nothing happens).

What happens for several reasons is timed, never counted with labels: Kinto's StatsD service makes a set of a labelled count,
which tells how many reasons there were, not how many refusals. A timer counts on both.
"""

from __future__ import annotations

import time
from typing import Any

from kinto.core.metrics import NoOpMetricsService
from pyramid.events import NewRequest

from kinto_signer.plugin.resources import Place

REFUSALS = "plugins.signer.refusal.seconds"
ACTIONS = "plugins.signer.action.seconds"
CHANGES = "plugins.signer.changes"
APPROVED_CHANGES = "plugins.signer.approved_changes"
OLDEST_DRAFT = "plugins.signer.oldest_draft.age_seconds"
OLDEST_SIGNATURE = "plugins.signer.oldest_signature.age_seconds"
STATEMENT_LEFT = "plugins.signer.statement.left_seconds"
CERTIFICATE_LEFT = "plugins.signer.certificate.left_seconds"

_STARTED = "kinto_signer.started"
_LEAST_S = 1e-6
"""Kinto's StatsD service takes a duration of 0 for none at all."""


def includeme(config: Any) -> None:
    config.add_subscriber(_started, NewRequest)


def _started(event: Any) -> None:
    event.request.environ[_STARTED] = time.monotonic()


def refused(request: Any, reason: str) -> None:
    """A request was refused. The time is that of the whole batch, where it was part of one."""
    environ = getattr(request, "parent", request).environ
    seconds = time.monotonic() - environ[_STARTED] if _STARTED in environ else 0.0
    timed(request.registry, REFUSALS, seconds, reason=reason)


def acted(registry: Any, action: str, seconds: float) -> None:
    """An action of the workflow was committed, so long after it was decided: signing and publishing it included."""
    timed(registry, ACTIONS, seconds, action=action.replace(" ", "_"))


def approved(registry: Any, destination: Place, changes: int) -> None:
    """So many records were created, updated and deleted by an approval."""
    service = _service(registry)
    service.count(CHANGES, changes)
    # As kinto-remote-settings counts them, for dashboards that exist.
    labels = [("bucket_id", destination.bucket), ("collection_id", str(destination.collection))]
    service.count(APPROVED_CHANGES, changes, unique=labels)


def timed(registry: Any, name: str, seconds: float, **label: str) -> None:
    _service(registry).timer(name, value=max(seconds, _LEAST_S), labels=list(label.items()))


def measured(registry: Any, name: str, value: float) -> None:
    """A value that goes up and down: a gauge with StatsD, a summary with Prometheus, which has the sum and the number."""
    _service(registry).observe(name, round(value))


def _service(registry: Any) -> Any:
    """Kinto's; one that does nothing where its initialization was told to leave metrics out."""
    return getattr(registry, "metrics", None) or NoOpMetricsService()
