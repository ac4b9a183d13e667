"""S's connection to an authority: kinto-http's session on our bounded transport, one deadline for a whole publication."""

from __future__ import annotations

import gzip
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import kinto_http
import requests
from kinto_http.exceptions import KintoException

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import validate
from kinto_signer.errors import BadAnswerError, DeadlineError, OffOriginError, UnreachableError
from kinto_signer.server.signing import AuthoritySettings
from kinto_signer.transport import Deadline, Limits, bounded_session
from kinto_signer.transport.session import authorization_header

COMPRESS_FROM_BYTES = 64 * 1024
GZIP = {"Content-Encoding": "gzip"}


@dataclass(frozen=True)
class Answer:
    """An answer of any status. body: its JSON object, empty if it is none."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]


class _Requests:
    """Our bounded session as kinto-http calls it; a large body is compressed where `GZIP` among the headers asks for it."""

    def __init__(self, settings: AuthoritySettings, remaining_s: float) -> None:
        self._bounded = bounded_session(
            settings.url,
            Deadline(remaining_s),
            Limits(max_size_bytes=Limits.max_collection_bytes, idle_s=settings.timeout_s),
            authorization=authorization_header(settings.auth) if settings.auth else None,
        )

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        if "Content-Encoding" in options["headers"]:
            body = options["data"].encode("utf-8")
            if len(body) > COMPRESS_FROM_BYTES:
                options["data"] = gzip.compress(body, compresslevel=1)
            else:
                del options["headers"]["Content-Encoding"]
        return self._bounded.request(method, url, **options)


class _Session(kinto_http.Session):
    """kinto-http without its retries, and on a transport that keeps to one origin and one deadline."""

    def __init__(self, settings: AuthoritySettings, remaining_s: float) -> None:
        super().__init__(server_url=settings.url, retry=0)
        self._requests = _Requests(settings, remaining_s)

    @property
    def _session(self) -> _Requests:
        return self._requests


class Connection:
    """Requests to one authority. Never shows its credentials."""

    def __init__(self, settings: AuthoritySettings) -> None:
        self.url = settings.url
        self.settings = settings
        self.authenticated = settings.auth is not None
        self._spent_s = 0.0
        self._session = _Session(settings, settings.timeout_s)

    def __repr__(self) -> str:
        return f"<Connection {self.url}>"

    def resume(self) -> None:
        """Go on after a pause that counts for nobody: while other authorities were served."""
        self._session = _Session(self.settings, max(self.settings.timeout_s - self._spent_s, 0.001))

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        compress: bool = False,
    ) -> Answer:
        """One request; answers of any status are returned. compress: the server takes a large body gzipped.

        Raises UnreachableError, DeadlineError, or an integrity error about an answer that is not acceptable.
        """
        started = time.monotonic()
        sent = {**(headers or {}), **(GZIP if compress else {})}
        try:
            found, got = self._session.request(method, path, payload=dict(body or {}), headers=sent)
        except KintoException as error:
            if error.response is None:
                raise UnreachableError(f"{self.url}: {error}.") from error
            return Answer(error.response.status_code, error.response.headers, _body(error.response))
        except DeadlineError as error:
            raise DeadlineError(
                f"{self.url} did not finish within the {self.settings.timeout_s:g} s of {self.settings.line('timeout_seconds')}. "
                "S is as before; asking again is safe."
            ) from error
        except ValueError as error:
            raise BadAnswerError(f"{self.url}: the answer to {method} {path} is not JSON.") from error
        finally:
            self._spent_s += time.monotonic() - started
        return Answer(200, got, found if isinstance(found, dict) else {})

    def listing(self, path: str) -> tuple[list[Record], int]:
        """All pages of a list of records, and its ETag."""
        found: list[Record] = []
        etag = None
        url: str | None = path
        while url:
            answer = self.request("GET", url)
            page = answer.body.get("data")
            if answer.status != 200 or not isinstance(page, list):
                raise UnreachableError(f"{self.url}: GET {path} answered {answer.status}.")
            found += page
            first = answer.headers.get("ETag", "").strip('"')
            if etag is not None and first != etag:
                raise UnreachableError(f"{self.url}: {path} changed while it was read; somebody else writes there.")
            etag = first
            url = answer.headers.get("Next-Page")
            if url and not url.startswith(self.url + "/"):
                raise OffOriginError(f"{self.url} names a next page elsewhere.")
        if etag is None or not etag.isdigit():
            raise BadAnswerError(f"{self.url}: {path} has no timestamp in its ETag.")
        return list(validate(path, found)), int(etag)


def _body(response: Any) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def as_object(value: object) -> dict[str, Any]:
    """`value` if it is a JSON object, else an empty one: what another server says may have any shape."""
    return value if isinstance(value, dict) else {}
