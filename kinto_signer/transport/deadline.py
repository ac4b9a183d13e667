"""One total deadline for everything a run does on the network.

A time-out as `requests` knows it restarts with every byte that arrives: a server that sends one byte now and then holds a
client for ever. Here every single operation on a socket gets the time that is left of the whole.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from kinto_signer.errors import ConfigurationError, DeadlineError, UnreachableError

T = TypeVar("T")

CLOCK_GRAIN_S = 0.01


class Deadline:
    """When the work has to be over; shared by all requests of a run.

    seconds: allowed from now on, in total.
    """

    def __init__(self, seconds: float) -> None:
        if not 0 < seconds < threading.TIMEOUT_MAX:
            raise ConfigurationError(f"A deadline of {seconds} seconds is not possible: give a positive number.")
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def expired(self) -> bool:
        return self._end - time.monotonic() < CLOCK_GRAIN_S

    def remaining(self) -> float:
        """Seconds left. Raises DeadlineError if there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.error()
        return left

    def error(self) -> DeadlineError:
        return DeadlineError(
            f"The {self.seconds:g} seconds allowed for the whole run are over. What was held was kept. "
            "Run it again, or allow more time with `--deadline`."
        )


class DeadlineSocket:
    """A socket, plain or TLS, of which every operation ends at the deadline.

    idle_s: how long a single operation may wait for the other side.
    """

    def __init__(self, sock: Any, deadline: Deadline, idle_s: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._idle_s = idle_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, _seconds: float | None) -> None:
        """Ignored: the time that is left is set before each operation."""

    def sendall(self, data: Any, *flags: int) -> None:
        self.run(lambda: self._sock.sendall(data, *flags))

    def makefile(self, mode: str, *_arguments: Any, **_options: Any) -> io.BufferedReader:
        if mode != "rb":
            raise ValueError(f"mode {mode!r}: only reading is bounded")
        return io.BufferedReader(_DeadlineReader(self, self._sock.makefile("rb", buffering=0)))

    def run(self, operation: Callable[[], T]) -> T:
        """Run one operation on the socket within the time that is left."""
        self._sock.settimeout(min(self._deadline.remaining(), self._idle_s))
        try:
            return operation()
        except TimeoutError as error:
            if self._deadline.expired:
                raise self._deadline.error() from error
            raise UnreachableError(
                f"The server was silent for {self._idle_s:g} seconds. What was held was kept. Try again later."
            ) from error


class _DeadlineReader(io.RawIOBase):
    def __init__(self, sock: DeadlineSocket, raw: Any) -> None:
        super().__init__()
        self._sock = sock
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        return self._sock.run(lambda: self._raw.readinto(buffer))  # type: ignore[no-any-return]

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineConnection:
    """Mixed into urllib3's connections."""

    deadline: ClassVar[Deadline]
    idle_s: ClassVar[float]
    sock: Any

    def _new_conn(self) -> Any:
        # In a thread, because resolving a name cannot be interrupted and each address of a host gets a time-out of its own.
        connect: Callable[[], Any] = super()._new_conn  # type: ignore[misc]
        sock = _in_time(connect, self.deadline)
        sock.settimeout(min(self.deadline.remaining(), self.idle_s))  # a TLS handshake takes this as its total
        return DeadlineSocket(sock, self.deadline, self.idle_s)

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        if not isinstance(self.sock, DeadlineSocket):  # TLS makes a socket of its own
            self.sock = DeadlineSocket(self.sock, self.deadline, self.idle_s)


def _in_time(connect: Callable[[], socket.socket], deadline: Deadline) -> socket.socket:
    results: list[socket.socket | Exception] = []
    lock = threading.Lock()
    given_up = False

    def work() -> None:
        try:
            result: socket.socket | Exception = connect()
        except Exception as error:  # noqa: BLE001  it is raised again by the thread that waits
            result = error
        with lock:
            results.append(result)
            if given_up and isinstance(result, socket.socket):
                result.close()

    thread = threading.Thread(target=work, name="connect", daemon=True)
    thread.start()
    thread.join(deadline.remaining())
    with lock:
        if not results:
            given_up = True
            raise deadline.error()
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


def pool_classes(deadline: Deadline, idle_s: float) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pools by scheme, with connections that end at the deadline."""
    bounds = {"deadline": deadline, "idle_s": idle_s}
    plain = type("DeadlineHTTPConnection", (_DeadlineConnection, HTTPConnection), bounds)
    tls = type("DeadlineHTTPSConnection", (_DeadlineConnection, HTTPSConnection), bounds)
    return {
        "http": type("DeadlineHTTPPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("DeadlineHTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }
