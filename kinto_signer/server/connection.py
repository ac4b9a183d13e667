"""S's connection to an authority: kinto-http's session on our bounded transport, one deadline for everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
from kinto_http.exceptions import KintoException
from kinto_http.session import create_session

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import validate
from kinto_signer.errors import BadAnswerError, DeadlineError, OffOriginError, UnreachableError
from kinto_signer.server.signing import AuthoritySettings


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]


class Connection:
    """Requests to one authority. Never shows its credentials."""

    def __init__(self, settings: AuthoritySettings) -> None:
        self.url = settings.url
        self.authenticated = settings.auth is not None
        self._session = create_session(settings.url, settings.auth, retry=0, timeout=settings.timeout_s)

    def __repr__(self) -> str:
        return f"<Connection {self.url}>"

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request; answers of any status are returned. Raises UnreachableError, DeadlineError, BadAnswerError."""
        try:
            found, got = self._session.request(method, path, payload=dict(body or {}), headers=dict(headers or {}))
        except KintoException as error:
            if error.response is None:
                raise UnreachableError(f"{self.url}: {error}.") from error
            return Answer(error.response.status_code, error.response.headers, _body(error.response))
        except requests.Timeout as error:
            raise DeadlineError(f"{self.url} did not answer in time.") from error
        except requests.RequestException as error:
            raise UnreachableError(f"{self.url} cannot be reached: {type(error).__name__}.") from error
        return Answer(200, got, found or {})

    def listing(self, path: str) -> tuple[list[Record], int]:
        """All pages of a list of records, and its ETag."""
        found: list[Record] = []
        etag = None
        url: str | None = path
        while url:
            answer = self.request("GET", url)
            if answer.status != 200:
                raise UnreachableError(f"{self.url}: GET {path} answered {answer.status}.")
            found += answer.body.get("data") or []
            first = answer.headers.get("ETag", "").strip('"')
            if etag is not None and first != etag:
                raise UnreachableError(f"{self.url}: {path} changed while it was read; somebody else writes there.")
            etag = first
            url = answer.headers.get("Next-Page")
            if url and not url.startswith(self.url + "/"):
                raise OffOriginError(f"{self.url} names a next page elsewhere.")
        if not (etag or "").isdigit():
            raise BadAnswerError(f"{self.url}: {path} has no timestamp in its ETag.")
        return list(validate(path, found)), int(etag or 0)


def _body(response: Any) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
