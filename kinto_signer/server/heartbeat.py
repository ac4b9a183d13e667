"""``__heartbeat__``: does signing work? The answer is kept for a minute, since probes come often."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from typing import Any

from kinto_signer.core.trust import check_signed
from kinto_signer.errors import KintoSignerError
from kinto_signer.plugin.resources import Resource
from kinto_signer.server.signing import Signing

logger = logging.getLogger(__name__)

KEPT_S = 60.0


class Heartbeat:
    """Signs and verifies a random digest with the signer of every resource."""

    def __init__(self, signing: Signing) -> None:
        self._signing = signing
        self._lock = threading.Lock()
        self._known: tuple[float, bool] | None = None

    def __call__(self, request: Any) -> bool:
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > KEPT_S:
                works = all(self._works(resource) for resource in self._signing.resources.configured)
                self._known = (time.monotonic(), works)
            return self._known[1]

    def _works(self, resource: Resource) -> bool:
        digest = hashlib.sha384(os.urandom(32)).digest()
        try:
            entry = self._signing.signer(resource).sign(digest).as_json()
            check_signed(resource.source.bucket, [entry], digest, self._signing.trust(resource))
        except KintoSignerError as error:
            logger.error("heartbeat: signing for %s failed: %s", resource.source.bucket, error)
            return False
        return True
