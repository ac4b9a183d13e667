"""Requests to a signer through kinto-http; its answers and refusals as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import kinto_http
import requests
from kinto_http.exceptions import KintoException

from kinto_signer.cli.access import Access
from kinto_signer.core.difference_text import visible
from kinto_signer.errors import (
    BadAnswerError,
    ConflictError,
    CredentialsError,
    GuardRefusedError,
    KintoSignerError,
    LockedError,
    NotFoundError,
    UnreachableError,
    with_reason,
)

T = TypeVar("T")

TIMEOUT_S = 360
"""Above the signer's own `authority.timeout_seconds`, so that it is the signer who says what took too long."""


class SignerSession:
    """One signer over HTTP. Nothing is sent twice, and nothing to another origin."""

    def __init__(self, access: Access) -> None:
        self.server = access.server
        self._client = kinto_http.Client(server_url=access.server, auth=_auth(access.auth), retry=0, timeout=TIMEOUT_S)

    def root(self) -> dict[str, Any]:
        """What the server says of itself; asked once."""
        found = self._call(self._client.server_info)
        return self.expected("a Kinto's root", lambda: dict(found.items()))

    def get(self, path: str, **params: str) -> dict[str, Any]:
        return self.send("GET", path, params=params)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer to one request, which is an object with ``data``. Raises our errors."""
        found, _ = self._send(method, path, params=dict(params or {}), payload=dict(body or {}), headers=dict(headers or {}))
        return found

    def pages(self, path: str, **params: str) -> Iterator[dict[str, Any]]:
        """The answers to a GET, page after page. Of ``Next-Page`` only the query is used: it never leads to another server."""
        found, query = self._send("GET", path, params=params)
        yield found
        while query:
            found, query = self._send("GET", f"{path}?{query}")
            yield found

    def entries(self, path: str, **params: str) -> Iterator[dict[str, Any]]:
        """The objects that a GET lists, of all pages."""
        for page in self.pages(path, **params):
            yield from self.expected("a list of objects", partial(objects, page["data"]))

    def total(self, path: str) -> int:
        """How many objects a list has."""
        _, headers = self._call(partial(self._client.session.request, "HEAD", path))
        return self.expected("the number of objects", lambda: int(headers["Total-Objects"]))

    def expected(self, what: str, read: Callable[[], T]) -> T:
        """What `read` makes of an answer; whatever is wrong with its shape is one error."""
        try:
            return read()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise BadAnswerError(f"{self.server} did not answer {what}, as a signer does. Look at the address.") from error

    def _send(self, method: str, path: str, **options: Any) -> tuple[dict[str, Any], str | None]:
        body, headers = self._call(partial(self._client.session.request, method, path, **options))
        found = self.expected("an object with `data`", lambda: {"data": body["data"], **body})
        return found, urlsplit(headers.get("Next-Page") or "").query or None

    def _call(self, request: Callable[[], Any]) -> Any:
        try:
            return self.expected("JSON", request)
        except KintoException as error:
            raise _refusal(self.server, error) from error
        except requests.RequestException as error:
            raise UnreachableError(
                f"{self.server} cannot be reached ({type(error).__name__}). Nothing is known to be done."
            ) from error


def objects(value: Any) -> list[dict[str, Any]]:
    """A list of JSON objects. Raises TypeError or AttributeError for anything else."""
    if not isinstance(value, list):
        raise TypeError("no list")
    return [dict(one.items()) for one in value]


def _auth(auth: str) -> Any:
    kind, _, token = auth.partition(" ")
    if kind.lower() == "bearer" and token:
        return kinto_http.BearerTokenAuth(token)
    user, _, password = auth.partition(":")
    return user, password


def _refusal(server: str, error: KintoException) -> KintoSignerError:
    """What the signer answered, as one of our errors."""
    if error.response is None:
        return UnreachableError(f"{server}: {error}")
    status = error.response.status_code
    try:
        body = error.response.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    said = f"{server} answered {status}: {visible(str(body.get('message') or 'no reason given'))}"
    details = body.get("details")
    reason = details.get("reason") if isinstance(details, dict) else None
    reason = reason if isinstance(reason, str) else None
    if status == 503 and reason:
        return with_reason(said, reason)
    if status == 401 or (status == 403 and reason is None):
        return CredentialsError(said)
    if status == 404:
        return NotFoundError(said)
    if status in (409, 412):
        return _conflict(said, reason, locked=isinstance(details, dict) and details.get("locked") is True)
    return GuardRefusedError(said, reason=reason or GuardRefusedError.reason) if status < 500 else UnreachableError(said)


def _conflict(said: str, reason: str | None, *, locked: bool) -> ConflictError:
    error = LockedError(said) if locked else ConflictError(said)
    error.reason = reason or error.reason
    return error
