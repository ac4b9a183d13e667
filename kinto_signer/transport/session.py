"""One Kinto server over bounded HTTP: requests by path, answers as bytes, statuses as our errors."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from kinto_signer import __version__
from kinto_signer.core.strict_json import parse_json
from kinto_signer.errors import (
    BackoffError,
    BadAnswerError,
    ConfigurationError,
    ConflictError,
    CredentialsError,
    GuardRefusedError,
    KintoSignerError,
    NotFoundError,
    UnreachableError,
)
from kinto_signer.transport.bounded import DEFAULT_LIMITS, Limits, bounded_session
from kinto_signer.transport.deadline import Deadline

READING = ("GET", "HEAD")
MAX_BACKOFF_S = 3600
DEFAULT_BACKOFF_S = 30
USER_AGENT = f"kinto-signer/{__version__}"


@dataclass(frozen=True)
class Answer:
    """A complete answer with a status below 400.

    url: where it came from, after redirects. headers: names in any case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str = ""

    def json(self) -> Any:
        """The body, parsed strictly. Raises BadAnswerError."""
        return parse_json(self.body, where=f"the answer of {self.url}")


class Session:
    """Requests to one server, all of them together within one deadline.

    server_url: with the version, e.g. ``https://kinto.example/v1``; a final slash does not matter.
    auth: ``user:password``, ``Bearer TOKEN``, or None. It goes to this server only, and into no message.
    on_bytes: called with the size of each piece of an answer that arrived.
    """

    def __init__(
        self,
        server_url: str,
        auth: str | None = None,
        *,
        deadline: Deadline,
        limits: Limits = DEFAULT_LIMITS,
        on_bytes: Callable[[int], None] | None = None,
    ) -> None:
        self.server_url = check_server_url(server_url)
        self.deadline = deadline
        self.limits = limits
        self.authenticated = auth is not None
        authorization = None if auth is None else authorization_header(auth)
        self._http = bounded_session(self.server_url, deadline, limits, authorization=authorization, on_bytes=on_bytes)
        self._http.headers["User-Agent"] = USER_AGENT

    def __repr__(self) -> str:
        return f"Session({self.server_url!r})"

    def url(self, path: str) -> str:
        """The address of a path below the server's URL; an absolute URL (``Next-Page``) stays as it is."""
        return path if urlsplit(path).scheme else f"{self.server_url}/{path.lstrip('/')}"

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> Answer:
        """Send one request. Redirects are followed where they stay on this server and the request only reads.

        Raises OffOriginError before anything is sent elsewhere, and what `raise_for_status` raises.
        """
        response = self._http.request(
            method,
            self.url(path),
            headers=dict(headers or {}),
            data=body,
            params=dict(params or {}),
            allow_redirects=method in READING,
        )
        answer = Answer(response.status_code, response.headers, response.content, response.url)
        raise_for_status(answer, method, time.time())
        return answer

    def get(
        self, path: str, params: Mapping[str, str | int] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Read `path`, with `params` as its query."""
        return self.request("GET", path, headers=headers, params=params)

    def absolute(self, base: str, reference: str) -> str:
        """A URL from a header of the answer of `base`. Raises BadAnswerError."""
        try:
            return urljoin(base, reference)
        except ValueError as error:
            raise BadAnswerError(f"{self.server_url} sends us to an address that is none. Nothing was accepted.") from error

    def close(self) -> None:
        self._http.close()


def check_server_url(url: str) -> str:
    """`url` without its final slash. Raises ConfigurationError, which quotes it unless it holds a password."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError("The server's address cannot be understood; write it like https://kinto.example/v1.") from error
    if "@" in parts.netloc:
        raise ConfigurationError("The server's address holds credentials; put them into a file and give `--auth-file`.")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{url!r} is not the address of a server, such as https://kinto.example/v1.")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{url!r} has a query or a fragment; give the address of the server alone.")
    return url.rstrip("/")


def authorization_header(auth: str) -> str:
    """The Authorization header for ``user:password`` or ``Bearer TOKEN``. Raises ConfigurationError, not quoting it."""
    kind, _, token = auth.partition(" ")
    if not auth.isprintable():
        raise ConfigurationError("The credentials hold characters that cannot be printed.")
    if kind.lower() == "bearer" and token.strip() and auth.isascii():
        return f"Bearer {token.strip()}"
    if ":" in auth:
        return "Basic " + base64.b64encode(auth.encode("utf-8")).decode("ascii")
    raise ConfigurationError("The credentials are neither `user:password` nor `Bearer TOKEN`.")


def raise_for_status(answer: Answer, method: str, now: float) -> None:
    """Raise our error for a status that is no success. now: epoch seconds."""
    if answer.status < 300 or answer.status == 304:
        return
    said = f"{answer.url} answered {answer.status}{_explanation(answer.body)}"
    raise _error_for(answer, method, now, said)


def _error_for(answer: Answer, method: str, now: float, said: str) -> KintoSignerError:
    status = answer.status
    if status in (429, 503) and (status == 429 or "Retry-After" in answer.headers):
        return _backoff(answer, now, said)
    if status >= 500 or status == 408:
        return UnreachableError(f"{said}. What was held was kept. Try again later.")
    if status in (401, 403):
        return CredentialsError(
            f"{said}. Look at the name, since Kinto answers so for what does not exist too, and at what the credentials may do."
        )
    if status == 404:
        return NotFoundError(f"{said}. Look at the server's address and at the name.")
    if status in (409, 412):
        return ConflictError(f"{said}: somebody changed it meanwhile. Try again.")
    if status < 400:
        return BadAnswerError(f"{said}: a redirect that is not followed. Nothing was accepted; correct the address.")
    if method in READING:
        return BadAnswerError(f"{said}. Nothing was accepted.")
    return GuardRefusedError(f"{said}.")


def _backoff(answer: Answer, now: float, said: str) -> BackoffError:
    text = answer.headers.get("Retry-After", "")
    asked = _seconds(text, now)
    seconds = min(max(asked, 0), MAX_BACKOFF_S)
    until = now + seconds
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(until))
    capped = f" (it asked for {text[:40]!r}; we wait {MAX_BACKOFF_S} s at most)" if asked > MAX_BACKOFF_S else ""
    return BackoffError(f"{said}. What was held was kept. Try again after {stamp}{capped}.", until=until)


def _seconds(text: str, now: float) -> float:
    """``Retry-After``: seconds or a date; DEFAULT_BACKOFF_S for anything else."""
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 300 else float("inf")
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return DEFAULT_BACKOFF_S


def _explanation(body: bytes) -> str:
    """What a Kinto says about an error, shortened."""
    try:
        said = parse_json(body[:100_000])
    except BadAnswerError:
        return ""
    message = said.get("message") if isinstance(said, dict) else None
    if not isinstance(message, str) or not message:
        return ""
    return f" ({''.join(c if c.isprintable() else ' ' for c in message[:300])})"
