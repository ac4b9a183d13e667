"""A loopback HTTP server that answers with whatever bytes a test wants, and a Kinto to be altered, served by it.

It writes to the socket itself, so that answers may be cut, dripped, endless or no HTTP at all.
"""

import contextlib
import dataclasses
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from kinto_signer.core.changeset import Changeset

GIVE_UP_S = 30
BACKLOG = 64


@dataclasses.dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}


Pieces = Iterable[bytes]


class HostileServer:
    """``answer(request)`` yields the pieces of the answer. Every connection serves one request."""

    def __init__(self, answer: Callable[[Request], Pieces]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._stopped = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self.port: int = self._listener.getsockname()[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.origin}/v1"

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(GIVE_UP_S)  # answers that are still under way end by themselves

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(GIVE_UP_S)
            request = read_request(connection)
            if request is None:
                return
            self.requests.append(request)
            for piece in self.answer(request):
                if self._stopped.is_set():
                    return
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


def read_request(connection: socket.socket) -> Request | None:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return None
        received += piece
    first, *lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(method, target, headers)


def http(status: int, body: bytes = b"", **headers: str) -> list[bytes]:
    """A proper answer; names of headers with ``_`` for ``-``; None leaves a header out."""
    sent = {"Content-Length": str(len(body)), "Connection": "close", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in sent.items() if value is not None)]
    return ["\r\n".join([*head, "", ""]).encode("latin-1"), body]


def http_json(status: int, value: Any, **headers: str) -> list[bytes]:
    return http(status, json.dumps(value).encode(), **headers)


def drip(pieces: Iterable[bytes], every_s: float = 0.05, limit_s: float = GIVE_UP_S) -> Iterator[bytes]:
    """The same bytes, one at a time."""
    end = time.monotonic() + limit_s
    for byte in b"".join(pieces):
        if time.monotonic() > end:
            return
        time.sleep(every_s)
        yield bytes([byte])


def endless(start: Iterable[bytes], piece: bytes, limit_s: float = GIVE_UP_S) -> Iterator[bytes]:
    end = time.monotonic() + limit_s
    yield from start
    while time.monotonic() < end:
        yield piece


class FakeKinto:
    """A Kinto that holds one collection, as far as a reader can tell. Override a method to make it lie."""

    def __init__(self, state: Changeset, name: str = "main/regions", *, page: int = 1000, changes: bool = False) -> None:
        self.state = state
        self.page = page
        self.changes = changes
        bucket, _, collection = name.partition("/")
        self.path = f"/v1/buckets/{bucket}/collections/{collection}"
        self.origin = ""

    def __call__(self, request: Request) -> Pieces:
        routes = {
            "/v1/": self.root,
            self.path: self.collection,
            f"{self.path}/records": self.records,
            f"{self.path}/changeset": self.changeset,
        }
        return routes.get(request.path, self.missing)(request)

    def root(self, request: Request) -> Pieces:
        body: dict[str, Any] = {"capabilities": {"changes": {}} if self.changes else {}}
        if "authorization" in request.headers:
            body["user"] = {"id": "somebody"}
        return http_json(200, body)

    def missing(self, request: Request) -> Pieces:
        return http_json(404, {"errno": 110, "message": "not here"})

    def collection(self, request: Request) -> Pieces:
        etag = f'"{self.state.metadata["last_modified"]}"'
        if request.headers.get("if-none-match") == etag:
            return http(304, ETag=etag, Content_Length=None)
        return http_json(200, {"data": dict(self.state.metadata), "permissions": {}}, ETag=etag)

    def records(self, request: Request) -> Pieces:
        etag = self.records_etag()
        if request.headers.get("if-match", etag) != etag:
            return http_json(412, {"errno": 114, "message": "changed meanwhile"})
        since = int(request.query.get("_since", "0").strip('"'))
        chosen = [c for c in self.state.changes if c["last_modified"] > since and (since or not c.get("deleted"))]
        start = int(request.query.get("_token", "0"))
        headers = {"ETag": etag}
        if start + self.page < len(chosen):
            query = f"_token={start + self.page}" + (f"&_since={since}" if since else "")
            headers["Next_Page"] = f"http://{request.headers['host']}{request.path}?{query}"
        return http_json(200, {"data": chosen[start : start + self.page]}, **headers)

    def records_etag(self) -> str:
        return f'"{max((c["last_modified"] for c in self.state.changes), default=self.state.timestamp)}"'

    def changeset(self, request: Request) -> Pieces:
        if not self.changes:
            return self.missing(request)
        since = int(request.query.get("_since", "0").strip('"'))
        chosen = [c for c in self.state.changes if c["last_modified"] > since and (since or not c.get("deleted"))]
        body = {"metadata": dict(self.state.metadata), "timestamp": self.state.timestamp, "changes": chosen}
        return http_json(200, body, ETag=f'"{self.state.timestamp}"')
