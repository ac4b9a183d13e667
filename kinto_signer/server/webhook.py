"""Tells another server of each step in the workflow: one POST, after commit, from a thread of its own.

A request never waits for it and never fails with it. What does not get through is one line in the log, and is not sent again: the
log of the collection (``GET …/log``) is what is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import queue
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kinto_signer.errors import KintoSignerError
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.settings import Settings
from kinto_signer.transport import Deadline, Limits, Origin, bounded_session

logger = logging.getLogger(__name__)

WAITING = 100
"""How many messages may wait; a receiver that takes its time costs the newer ones, not memory."""

SIGNATURE = "X-Hub-Signature-256"
"""Header with ``sha256=`` and the HMAC-SHA256 of the body, in hexadecimal digits."""

_LIMITS = Limits(max_size_bytes=64 * 1024)

_TALKATIVE = tuple(map(logging.getLogger, ("urllib3.connectionpool", "urllib3.util.retry")))
"""At debug level they log each request's path, which may be a token."""


@dataclass(frozen=True)
class WebhookSettings:
    """url: it may hold a token, and is not shown. timeout_s: for one message as a whole."""

    url: str = field(repr=False)
    secret: str | None = field(repr=False)
    timeout_s: float

    @classmethod
    def of(cls, settings: Settings, resource: Resource) -> WebhookSettings | None:
        """What is set for the source collection; None where there is no ``webhook.url``."""
        place = (resource.source.bucket, resource.source.collection)
        url = settings.get("webhook.url", *place)
        if not url:
            return None
        return cls(url, settings.get("webhook.secret", *place), settings.get("webhook.timeout_seconds", *place))


@dataclass(frozen=True)
class Message:
    """One POST. about: for the log."""

    to: WebhookSettings
    body: bytes = field(repr=False)
    about: str

    @classmethod
    def of(cls, to: WebhookSettings, content: Mapping[str, Any]) -> Message:
        """content: with ``bucket``, ``collection`` and ``action``; an ``id`` is added, the same for no two messages."""
        body = json.dumps({"id": str(uuid.uuid4()), **content}).encode()
        return cls(to, body, f"{content['action']} {content['bucket']}/{content['collection']}")

    def headers(self) -> dict[str, str]:
        found = {"Content-Type": "application/json", "User-Agent": "kinto-signer"}
        if self.to.secret:
            found[SIGNATURE] = "sha256=" + hmac.new(self.to.secret.encode(), self.body, hashlib.sha256).hexdigest()
        return found


class Webhook:
    """The queue and its thread, one for each worker process. The thread starts with the first message."""

    def __init__(self, waiting: int = WAITING) -> None:
        self._queue: queue.Queue[Message] = queue.Queue(waiting)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def send(self, message: Message) -> None:
        """Take a message, or drop it if too many wait. Returns at once and raises nothing."""
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            _not_sent(message, "dropped", f"{self._queue.maxsize} messages wait already")
            return
        with self._starting:
            # A process that was forked has none of its parent's threads.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._deliver, name="kinto-signer webhook", daemon=True)
                self._thread.start()

    def join(self) -> None:
        """Wait until nothing waits any more."""
        self._queue.join()

    def _deliver(self) -> None:
        while True:
            message = self._queue.get()
            try:
                deliver(message)
            finally:
                self._queue.task_done()


def deliver(message: Message) -> None:
    """Send one message; one line in the log if it was not taken."""
    try:
        with _unlogged(), bounded_session(message.to.url, Deadline(message.to.timeout_s), _LIMITS) as session:
            answer = session.post(message.to.url, data=message.body, headers=message.headers(), allow_redirects=False)
    except KintoSignerError as error:
        _not_sent(message, "failed", f"no answer within {message.to.timeout_s:g} s, or none at all [{error.reason}]")
    except Exception as error:  # noqa: BLE001 - the thread has to go on; a traceback might quote the address
        _not_sent(message, "failed", type(error).__name__)
    else:
        if answer.status_code >= 300:
            _not_sent(message, "failed", f"answered {answer.status_code}")


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Nothing of what this thread does is in urllib3's log; other threads go on as they are set up."""
    mine = threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != mine

    for talkative in _TALKATIVE:
        talkative.addFilter(of_others)
    try:
        yield
    finally:
        for talkative in _TALKATIVE:
            talkative.removeFilter(of_others)


def _not_sent(message: Message, what: str, why: str) -> None:
    """Only the receiver's origin is named: what follows it may be a token."""
    logger.warning("webhook %s: %s to %s: %s", what, message.about, Origin.of(message.to.url), why)
