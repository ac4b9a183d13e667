"""The workflow over the signer's HTTP API, through kinto-http."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kinto_http
import requests
from kinto_http.exceptions import KintoException

from kinto_signer.core.workflow import TRACKING_FIELDS
from kinto_signer.errors import (
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
        data = self._call(self._client.get_collection, bucket=bucket, id=collection)["data"]
        found = {"name": name, "status": data.get("status")}
        found |= {key: data[key] for key in (*TRACKING_FIELDS, "hash") if key in data}
        destination = self._destination(bucket, collection)
        if destination:
            found["destination"] = destination
        return found

    def names(self) -> list[str]:
        """The source collections of the signer's capability."""
        found = []
        for resource in self._resources():
            bucket, collection = resource["source"]["bucket"], resource["source"]["collection"]
            if collection is None:
                listed = self._call(self._client.get_collections, bucket=bucket)
                found += sorted(f"{bucket}/{entry['id']}" for entry in listed)
            else:
                found.append(f"{bucket}/{collection}")
        return list(dict.fromkeys(found))

    def _resources(self) -> list[dict[str, Any]]:
        capabilities = self._call(self._client.server_info).get("capabilities", {})
        if "signer" not in capabilities:
            raise ConfigurationError(f"{self.server} is no signer: kinto_signer is not in its kinto.includes.")
        resources: list[dict[str, Any]] = capabilities["signer"]["resources"]
        return resources

    def _destination(self, bucket: str, collection: str) -> str | None:
        for resource in self._resources():
            source, destination = resource["source"], resource["destination"]
            if source["bucket"] == bucket and source["collection"] in (None, collection):
                name = f"{destination['bucket']}/{destination['collection'] or collection}"
                try:
                    data = self._call(self._client.get_collection, bucket=destination["bucket"], id=name.partition("/")[2])[
                        "data"
                    ]
                except NotFoundError:
                    return f"{name}, nothing signed yet"
                return f"{name}, signed_timestamp {data.get('signed_timestamp')}, {data.get('hash')}"
        return None

    def _call(self, method: Any, **arguments: Any) -> Any:
        try:
            return method(**arguments)
        except KintoException as error:
            raise _refusal(self.server, error) from error
        except requests.RequestException as error:
            raise UnreachableError(
                f"{self.server} cannot be reached ({type(error).__name__}). Nothing is known to be done."
            ) from error


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
