"""Certificate chains from the address that a signature names (x5u): allow-listed hosts only, small files, no redirects.

What is kept is a file's content and never a verdict on it: whoever uses it verifies it each time, at the time of that day.
Nothing here is trusted, so that a file may come from anywhere; the list of hosts keeps a server from sending readers to places
that it cannot reach itself.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from kinto_signer.core.chain import MAX_CHAIN_BYTES, Fault
from kinto_signer.errors import (
    BadChainError,
    ConfigurationError,
    KintoSignerError,
    OffOriginError,
    TooLargeError,
    TryLaterError,
    UnreachableError,
    VerificationError,
)
from kinto_signer.transport.bounded import DEFAULT_PORTS, Limits, Origin, bounded_session
from kinto_signer.transport.deadline import Deadline

_T = TypeVar("_T")

KEPT = 64
AGAIN_AFTER_S = 60.0
IDLE_S = 10.0
MAX_URL = 2_000
NAME_OF_CONTENT = "ni:"
"""What the x5u of a chain begins with that is at no address (RFC 6920): it is carried by the collection, or in a file."""


@dataclass(frozen=True)
class AllowedHost:
    """A host that chains may be fetched from. port: None for the one that belongs to the scheme."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> AllowedHost:
        """From ``HOST`` or ``HOST:PORT``. Raises ConfigurationError that quotes it."""
        origin = Origin.of(f"https://{text}")
        try:
            parts = urlsplit(f"https://{text}")
            proper = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc) and text.isprintable()
            if origin is None or not proper or " " in text:
                raise ValueError(text)
            return cls(origin.host, parts.port)
        except ValueError as error:
            raise ConfigurationError(
                f"{text!r} is not a host to fetch certificate chains from: write HOST or HOST:PORT, without https:// before it."
            ) from error

    @classmethod
    def of_server(cls, url: str) -> AllowedHost | None:
        """The host of a server's address."""
        origin = Origin.of(url)
        return cls(origin.host, origin.port) if origin else None

    def covers(self, origin: Origin) -> bool:
        return self.host == origin.host and (self.port or DEFAULT_PORTS[origin.scheme]) == origin.port


class ChainFetcher:
    """Chain files by x5u: what it keeps first, then what is there now. To be used as `core.trust.Chains`.

    deadline: makes the time limit of one fetch, or returns that of the whole run. An address is asked at most once in
    AGAIN_AFTER_S.
    """

    def __init__(
        self,
        hosts: Collection[AllowedHost],
        deadline: Callable[[], Deadline],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hosts = tuple(hosts)
        self._deadline = deadline
        self._clock = clock
        self._kept: dict[str, bytes] = {}
        self._asked: dict[str, tuple[float, KintoSignerError | None]] = {}

    def __call__(self, x5u: str) -> Iterator[bytes]:
        """Raises OffOriginError for an address that is not allowed, a TryLaterError, TooLargeError, or BadChainError."""
        if not x5u or x5u.startswith(NAME_OF_CONTENT):
            return
        kept = self._kept.get(x5u)
        if kept is not None:
            yield kept
        asked_at, problem = self._asked.get(x5u, (float("-inf"), None))
        if self._clock() - asked_at >= AGAIN_AFTER_S:
            problem = self._ask(x5u)
        if problem is not None:
            raise problem
        if self._kept.get(x5u, kept) != kept:
            yield self._kept[x5u]

    def _ask(self, x5u: str) -> KintoSignerError | None:
        """Fetch it and keep what came; returns what went wrong."""
        problem = None
        try:
            origin = check_address(x5u, self._hosts)
            found = fetch_chain(x5u, origin, self._deadline())
            _remember(self._kept, x5u, found)
        except (VerificationError, TryLaterError) as error:
            problem = error
        _remember(self._asked, x5u, (self._clock(), problem))
        return problem


def check_address(x5u: str, hosts: Collection[AllowedHost]) -> Origin:
    """The origin of an x5u, if it may be asked. Raises OffOriginError: nothing is sent to any other."""
    shown = "".join(character if character.isprintable() else " " for character in x5u[:200])
    origin = Origin.of(x5u)
    proper = x5u.isascii() and x5u.isprintable() and len(x5u) <= MAX_URL and not set(' \\"<>^`{|}') & set(x5u)
    if origin is None or not proper or "@" in urlsplit(x5u).netloc:
        raise OffOriginError(f"the signature names {shown!r} for its certificate chain (x5u), which is no https:// address")
    if origin.scheme != "https" and not _is_loopback(origin.host):
        raise OffOriginError(f"the certificate chain is at {shown!r} (x5u): without https:// it is not fetched")
    if not any(host.covers(origin) for host in hosts):
        raise OffOriginError(
            f"the certificate chain is at {shown!r} (x5u), and chains are not fetched from there. If that is where the publisher "
            f"has them, allow the host: `--x5u-host {origin.host}`, or `x5u_hosts` in the configuration"
        )
    return origin


def fetch_chain(x5u: str, origin: Origin, deadline: Deadline) -> bytes:
    """The file at `x5u`, unverified. Raises a TryLaterError, BadChainError where there is none, TooLargeError."""
    limits = Limits(max_size_bytes=MAX_CHAIN_BYTES, idle_s=IDLE_S)
    try:
        with bounded_session(str(origin), deadline, limits) as session:
            response = session.get(x5u, allow_redirects=False)
    except TooLargeError as error:
        raise TooLargeError(f"{origin} sends more than {MAX_CHAIN_BYTES} bytes as a certificate chain") from error
    status = response.status_code
    if status == 200:
        return response.content
    if status >= 500 or status in (408, 429):
        raise UnreachableError(f"{x5u} answered {status}: the certificate chain is not to be had. Try again later.")
    if 300 <= status < 400:
        raise OffOriginError(f"{x5u} answered {status}: a certificate chain is not fetched from elsewhere (a redirect)")
    raise BadChainError(f"{x5u} answered {status}: there is no certificate chain", fault=Fault.MISSING)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _remember(memory: dict[str, _T], key: str, value: _T) -> None:
    memory.pop(key, None)
    memory[key] = value
    while len(memory) > KEPT:
        del memory[next(iter(memory))]
