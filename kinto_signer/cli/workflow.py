"""The workflow over the signer's HTTP API, through kinto-http."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import kinto_http
import requests
from kinto_http.exceptions import KintoException

from kinto_signer.core.workflow import TRACKING_FIELDS
from kinto_signer.errors import (
    BadAnswerError,
    ConfigurationError,
    ConflictError,
    CredentialsError,
    GuardRefusedError,
    KintoSignerError,
    NotFoundError,
    UnreachableError,
    with_reason,
)
from kinto_signer.transport.credentials import read_credentials
from kinto_signer.transport.session import check_server_url

T = TypeVar("T")

TIMEOUT_S = 360
"""Above the signer's own `authority.timeout_seconds`, so that it is the signer who says what took too long."""


@dataclass(frozen=True)
class Access:
    """Where the signer is, and who asks."""

    server: str
    auth: str = field(repr=False)


def read_access(server: str | None, auth_file: Path | None, environ: Mapping[str, str]) -> Access:
    """The server and the credentials from flags and environment. Raises ConfigurationError, which quotes no credentials."""
    if not server:
        raise ConfigurationError("No server: give --server URL or set KINTO_SERVER.")
    auth = read_credentials(auth_file) if auth_file else environ.get("KINTO_AUTH", "")
    if not auth:
        raise ConfigurationError("No credentials: give --auth-file FILE or set KINTO_AUTH to `user:password`.")
    return Access(check_server_url(server), auth)


class Signer:
    """A signer as its users see it."""

    def __init__(self, access: Access) -> None:
        self.server = access.server
        self._client = kinto_http.Client(server_url=access.server, auth=_auth(access.auth), retry=0, timeout=TIMEOUT_S)

    def approve(self, name: str) -> dict[str, Any]:
        """Set the status to `to-sign`; returns the state afterwards. Raises the refusal as one of our errors."""
        bucket, collection = _split(name)
        self._call(self._client.patch_collection, bucket=bucket, id=collection, data={"status": "to-sign"})
        return self.state(name)

    def state(self, name: str) -> dict[str, Any]:
        """Status and tracking fields of a source collection, and the signed copy on S."""
        bucket, collection = _split(name)
        data = self._collection(bucket, collection)
        found = {"name": name, "status": data.get("status")}
        found |= {key: data[key] for key in (*TRACKING_FIELDS, "hash") if key in data}
        destination = self._destination(bucket, collection)
        if destination:
            found["destination"] = destination
        return found

    def names(self) -> list[str]:
        """The source collections of the signer's capability."""
        found = []
        for source, _ in self._resources():
            bucket, collection = source
            if collection is None:
                listed = self._call(self._client.get_collections, bucket=bucket)
                found += self._expected("a list of collections", partial(_names, bucket, listed))
            else:
                found.append(f"{bucket}/{collection}")
        return list(dict.fromkeys(found))

    # --- what is for `kinto.signer.status_principals` ----------------------------------------------------------------

    def authorities(self, name: str) -> list[dict[str, Any]] | None:
        """What S tells of the authorities of a source collection; None where it does not tell us, nothing for no source."""
        try:
            listed = self._signer("GET", "/signer/status", params={"collection": name})
        except NotFoundError:
            return []
        except (CredentialsError, GuardRefusedError):
            return None
        found = self._expected("the status of one collection", lambda: listed[0])
        return self._expected("a list of authorities", lambda: [dict(authority) for authority in found["authorities"]])

    def push(self, name: str | None, label: str | None) -> list[dict[str, Any]]:
        """Bring the authorities up to date; returns what became of each collection on each."""
        asked = {"collection": name, "to": label}
        body = {key: value for key, value in asked.items() if value is not None}
        found = self._signer("POST", "/signer/push", payload=body)
        return self._expected("a list of what was pushed", lambda: [dict(one.items()) for one in _listed(found)])

    def adopt(self, name: str, label: str | None) -> dict[str, Any]:
        """Have S take over what an authority holds; returns what was taken."""
        body = {"collection": name} | ({"authority": label} if label else {})
        found = self._signer("POST", "/signer/adopt", payload=body)
        return self._expected("what was taken over", lambda: {"source": found["source"], **found})

    def _signer(self, method: str, path: str, **options: Any) -> Any:
        def call() -> Any:
            return self._client.session.request(method, path, **options)[0]

        found = self._call(call)
        return self._expected("an object with `data`", lambda: found["data"])

    # --- answers, whatever they are ----------------------------------------------------------------------------------

    def _resources(self) -> list[tuple[tuple[str, str | None], tuple[str, str | None]]]:
        """(bucket, collection or None) of source and destination, of each resource in the capability."""
        root = self._call(self._client.server_info)
        signer = self._expected("a Kinto's root", lambda: root.get("capabilities", {}).get("signer"))
        if signer is None:
            raise ConfigurationError(f"{self.server} is no signer: kinto_signer is not in its kinto.includes.")
        return self._expected(
            "a signer's resources",
            lambda: [(_place(resource["source"]), _place(resource["destination"])) for resource in signer["resources"]],
        )

    def _collection(self, bucket: str, collection: str) -> dict[str, Any]:
        found = self._call(self._client.get_collection, bucket=bucket, id=collection)
        return self._expected("a collection", lambda: dict(found["data"].items()))

    def _destination(self, bucket: str, collection: str) -> str | None:
        for source, destination in self._resources():
            if source[0] == bucket and source[1] in (None, collection):
                name = f"{destination[0]}/{destination[1] or collection}"
                try:
                    data = self._collection(destination[0], name.partition("/")[2])
                except NotFoundError:
                    return f"{name}, nothing signed yet"
                return f"{name}, signed_timestamp {data.get('signed_timestamp')}, {data.get('hash')}"
        return None

    def _expected(self, what: str, read: Callable[[], T]) -> T:
        """What `read` makes of an answer; whatever is wrong with its shape is one error."""
        try:
            return read()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise BadAnswerError(f"{self.server} did not answer {what}, as a signer does. Look at the address.") from error

    def _call(self, method: Any, **arguments: Any) -> Any:
        try:
            return self._expected("JSON", lambda: method(**arguments))
        except KintoException as error:
            raise _refusal(self.server, error) from error
        except requests.RequestException as error:
            raise UnreachableError(
                f"{self.server} cannot be reached ({type(error).__name__}). Nothing is known to be done."
            ) from error


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _names(bucket: str, listed: Any) -> list[str]:
    return sorted(f"{bucket}/{entry['id']}" for entry in listed)


def _place(value: Any) -> tuple[str, str | None]:
    collection = value["collection"]
    return str(value["bucket"]), None if collection is None else str(collection)


def _auth(auth: str) -> Any:
    kind, _, token = auth.partition(" ")
    if kind.lower() == "bearer" and token:
        return kinto_http.BearerTokenAuth(token)
    user, colon, password = auth.partition(":")
    if not colon:
        raise ConfigurationError("The credentials are neither `user:password` nor `Bearer TOKEN`.")
    return user, password


def _split(name: str) -> tuple[str, str]:
    bucket, slash, collection = name.partition("/")
    if not (bucket and slash and collection) or "/" in collection:
        raise ConfigurationError(f"{name!r} is not the name of a collection: write bucket/collection.")
    return bucket, collection


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
    said = f"{server} answered {status}: {body.get('message') or 'no reason given'}"
    details = body.get("details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if status == 503 and isinstance(reason, str):
        return with_reason(said, reason)
    if status == 401 or (status == 403 and reason is None):
        return CredentialsError(said)
    if status == 404:
        return NotFoundError(said)
    if status in (409, 412):
        return ConflictError(said)
    return GuardRefusedError(said) if status < 500 else UnreachableError(said)
