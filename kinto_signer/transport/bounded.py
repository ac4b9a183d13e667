"""A `requests.Session` whose limits are real, whoever uses it.

The limits sit in the adapter, the one place that every request passes, those after a redirect too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.cookies import RequestsCookieJar
from urllib3 import exceptions as urllib3_errors
from urllib3.util import Retry

from kinto_signer.errors import (
    BadAnswerError,
    ConfigurationError,
    KintoSignerError,
    OffOriginError,
    TooLargeError,
    UnreachableError,
)
from kinto_signer.transport.deadline import Deadline, pool_classes

DEFAULT_PORTS = {"http": 80, "https": 443}
CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Limits:
    """How much a run takes from a server.

    max_size_bytes: of one answer, decoded. max_collection_bytes: of all pages of one collection. idle_s: silence on a
    connection, in seconds.
    """

    max_size_bytes: int = 64 * 2**20
    max_collection_bytes: int = 512 * 2**20
    max_redirects: int = 5
    max_pages: int = 10_000
    max_records: int = 1_000_000
    idle_s: float = 60.0


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port: the only ones that a session speaks to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin | None:
        """The origin of an absolute ``http`` or ``https`` URL; None for anything else."""
        try:
            parts = urlsplit(url)
            scheme, host = parts.scheme.lower(), (parts.hostname or "").lower().rstrip(".")
            port = parts.port or DEFAULT_PORTS.get(scheme, 0)
        except ValueError:
            return None
        return cls(scheme, host, port) if scheme in DEFAULT_PORTS and host else None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class OriginAuth(AuthBase):
    """Sends `header` as Authorization, to this origin only. Being set, it also keeps `requests` from reading ~/.netrc."""

    def __init__(self, origin: Origin, header: str | None) -> None:
        self.origin = origin
        self._header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._header is not None and Origin.of(request.url or "") == self.origin:
            request.headers["Authorization"] = self._header
        return request


class BoundedSession(requests.Session):
    """No retries, no cookies, no ~/.netrc, nothing from another origin; raises our errors. See `bounded_session`."""

    def __init__(
        self,
        origin: Origin,
        deadline: Deadline,
        limits: Limits,
        authorization: str | None = None,
        on_bytes: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        self.origin = origin
        self.deadline = deadline
        self.limits = limits
        self.auth = OriginAuth(origin, authorization)
        self.max_redirects = limits.max_redirects
        self.cookies = RequestsCookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
        self.headers["Accept-Encoding"] = "gzip"
        self.adapters.clear()
        self.mount("", BoundedAdapter(origin, deadline, limits, on_bytes))

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Keep the header as it is: the adapter refuses other origins before anything is sent."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        try:
            return super().send(request, **options)
        except requests.TooManyRedirects as error:
            raise BadAnswerError(
                f"{self.origin}: more than {self.max_redirects} redirects. Nothing was accepted; look at the server's address."
            ) from error
        except (requests.RequestException, ValueError) as error:  # ValueError: a Location that urllib cannot split
            raise _refusal(self.origin, self.deadline, error) from error


def bounded_session(
    server_url: str,
    deadline: Deadline,
    limits: Limits = DEFAULT_LIMITS,
    *,
    authorization: str | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> BoundedSession:
    """A `requests.Session` that speaks to the origin of `server_url` only and is over at the deadline.

    authorization: the value of the Authorization header, if any. on_bytes: called with the size of each piece that arrived,
    decoded. Answers are read completely, decoded and within
    `limits`, before they are returned. What cannot be is a KintoSignerError; a status 4xx or 5xx is not an error here.
    """
    origin = Origin.of(server_url)
    if origin is None:
        raise ConfigurationError("The server's address has to begin with http:// or https:// and name a host.")
    return BoundedSession(origin, deadline, limits, authorization, on_bytes)


class BoundedAdapter(HTTPAdapter):
    """Sends one request and reads its whole answer, within the limits."""

    def __init__(self, origin: Origin, deadline: Deadline, limits: Limits, on_bytes: Callable[[int], None] | None = None) -> None:
        self.origin = origin
        self.deadline = deadline
        self.limits = limits
        self.on_bytes = on_bytes
        super().__init__(max_retries=Retry(0, read=False, redirect=False))

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = pool_classes(self.deadline, self.limits.idle_s)

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = pool_classes(self.deadline, self.limits.idle_s)
        return manager

    def send(self, request: requests.PreparedRequest, *_arguments: Any, **options: Any) -> requests.Response:
        if Origin.of(request.url or "") != self.origin:
            raise OffOriginError(
                f"{self.origin} sends us to {_where(request.url)}, which is another server (or another scheme or port). "
                "Nothing was sent there and nothing was accepted. If the server is behind a proxy, look at its idea of its "
                "own address (`kinto.http_host`, `kinto.http_scheme`)."
            )
        # Each operation on the socket gets the time that is left; this one is for connecting.
        options |= {"stream": True, "timeout": min(self.deadline.remaining(), self.limits.idle_s)}
        try:
            response = super().send(request, **options)
            with response.raw:
                response._content = self._read(response)
        except KintoSignerError:
            raise
        except (requests.RequestException, urllib3_errors.HTTPError, OSError, ValueError) as error:
            raise _refusal(self.origin, self.deadline, error) from error
        response._content_consumed = True  # type: ignore[attr-defined]
        return response

    def _read(self, response: requests.Response) -> bytes:
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("identity", "gzip", ""):
            raise BadAnswerError(f"{self.origin} sent the encoding {encoding[:40]!r}, which was not asked for.")
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced[:20]) > self.limits.max_size_bytes:
            raise self._too_large()
        chunks, size = [], 0
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=True):
            size += len(chunk)
            if size > self.limits.max_size_bytes:
                raise self._too_large()
            chunks.append(chunk)
            if self.on_bytes:
                self.on_bytes(len(chunk))
        return b"".join(chunks)

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"{self.origin} sends more than {self.limits.max_size_bytes} bytes in one answer. Nothing of it was accepted; "
            "where a collection really is that large, raise `max_size_mib`."
        )


def _refusal(origin: Origin, deadline: Deadline, error: BaseException) -> KintoSignerError:
    """Our error for what `requests`, urllib3 and the operating system raise."""
    if deadline.expired:
        return deadline.error()
    chain = [error, *_causes(error)]
    if any(isinstance(link, (urllib3_errors.DecodeError, requests.exceptions.ContentDecodingError)) for link in chain):
        return BadAnswerError(f"{origin}: the answer cannot be decompressed. Nothing of it was accepted.")
    if isinstance(error, ValueError) and not isinstance(error, OSError):  # also InvalidURL, InvalidSchema
        return BadAnswerError(f"{origin} sends us to an address that is none. Nothing was accepted.")
    why = str(next((link for link in reversed(chain) if isinstance(link, OSError) and str(link)), error))
    return UnreachableError(f"{origin} cannot be reached or broke off: {why[:300]}. What was held was kept. Try again later.")


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    following: Any = error
    while following is not None and len(found) < 10:
        following = following.__cause__ or following.__context__ or getattr(following, "reason", None)
        if isinstance(following, BaseException):
            found.append(following)
        else:
            break
    return found


def _where(url: str | None) -> str:
    return str(Origin.of(url or "") or "an address that is no http:// or https:// URL")
