"""``__heartbeat__``: does signing work, and did the last publications reach the authorities? No network is used.
`server.watching` adds whether what was published is renewed in time.

Whether signing works is kept for a minute, since probes come often. An authority that failed shows as false, or as null where it
is not required, which Kinto does not count as a failure. The ages in the metrics are looked up as often as signing is tried.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from kinto_signer.core.canonical import SIGNATURE_PREFIX
from kinto_signer.errors import SigningError
from kinto_signer.server import ages
from kinto_signer.server.signing import Signing
from kinto_signer.server.status import sources
from kinto_signer.server.watching import Signatures
from kinto_signer.signers.several import Named, SignerSet

logger = logging.getLogger(__name__)

KEPT_S = 60.0


def heartbeats(registry: Any) -> dict[str, Callable[[Any], Any]]:
    """``signer``, ``signer.signatures``, and ``signer.authority.LABEL`` for each authority of a configured resource."""
    signing: Signing = registry.signing
    labels = {settings.label for resource in signing.resources.configured for settings in signing.authorities(resource)}
    found: dict[str, Callable[[Any], Any]] = {"signer": Heartbeat(registry), "signer.signatures": Signatures(registry)}
    return found | {f"signer.authority.{label}": partial(_reached, registry, label) for label in sorted(labels)}


class Heartbeat:
    """Signs and verifies something random with every signer, and looks at how publications went."""

    def __init__(self, registry: Any) -> None:
        self._registry = registry
        self._signing: Signing = registry.signing
        self._lock = threading.Lock()
        self._known: tuple[float, bool] | None = None

    def __call__(self, request: Any) -> bool:
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > KEPT_S:
                works = all(self._works(member) for member in self._members())
                self._known = (time.monotonic(), works)
                ages.report(self._registry, ages.look(self._registry))
            return self._known[1] and False not in failing(self._registry).values()

    def _members(self) -> list[Named]:
        """The signers of all resources, each once."""
        sets = [self._signing.signer(resource) for resource in self._signing.resources.configured]
        return list({id(member.signer): member for found in sets for member in found.members}.values())

    def _works(self, member: Named) -> bool:
        content = os.urandom(32)
        digest = hashlib.sha384(SIGNATURE_PREFIX + content).digest()
        try:
            SignerSet([member]).sign(digest, lambda: content)
        except SigningError as error:
            logger.error("heartbeat: the signer %s failed: %s", member.label, error)
            return False
        return True


def failing(registry: Any) -> dict[str, bool | None]:
    """By label, the authorities whose last publication of some source that is there failed: False, or None if none needs it."""
    entries = registry.signer_journal.entries()
    if not any(entry.failing for entry in entries.values()):
        return {}
    found: dict[str, bool | None] = {}
    for resource in sources(registry):
        for settings in registry.signing.authorities(resource):
            entry = entries.get((resource.destination.name, settings.label))
            if entry is not None and entry.failing:
                found[settings.label] = False if settings.required else found.get(settings.label)
    return found


def _reached(registry: Any, label: str, request: Any) -> bool | None:
    return failing(registry).get(label, True)
