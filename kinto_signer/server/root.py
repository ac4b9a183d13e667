"""What an authority says about itself, and requests to it whose refusals are our errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kinto_signer.errors import (
    BadAnswerError,
    ConfigurationError,
    CredentialsError,
    KintoSignerError,
    UnreachableError,
    VerificationError,
    with_reason,
)
from kinto_signer.server.connection import Answer, Connection, as_object


@dataclass(frozen=True)
class Root:
    """``GET /v1/`` of an authority.

    max_requests: in one batch, 0 for no limit. guarded: ``(bucket, collection or None)`` to which changesets may be posted.
    max_changeset_bytes: 0 for no limit.
    """

    account: str
    max_requests: int = 0
    guarded: tuple[tuple[str, str | None], ...] = ()
    max_changeset_bytes: int = 0

    def takes_changesets(self, name: str) -> bool:
        bucket, _, collection = name.partition("/")
        return (bucket, None) in self.guarded or (bucket, collection) in self.guarded


def read_root(connection: Connection, instance: str) -> Root:
    """Refuse a server that cannot be published to. instance: of this signer, see the capability.

    Raises CredentialsError, ConfigurationError, or what reaching it raises.
    """
    return parse_root(connection, Sender(connection).send("GET", "/").body, instance)


def parse_root(connection: Connection, root: Mapping[str, Any], instance: str) -> Root:
    """The same, of the body of an answer."""
    user, capabilities = as_object(root.get("user")), as_object(root.get("capabilities"))
    settings = connection.settings
    if connection.authenticated and not user:
        raise CredentialsError(f"{connection.url} does not accept the account in {settings.line('auth')}. Nothing was published.")
    if instance and as_object(capabilities.get("signer")).get("instance") == instance:
        raise ConfigurationError(
            f"{settings.line('url')} = {connection.url} is this server itself. Name the server that readers use, "
            "or remove the line to let them read here."
        )
    if "attachments" in capabilities and "authority" not in capabilities:
        raise ConfigurationError(
            f"{connection.url} has kinto-attachment without kinto_signer.authority: it would refuse changed attachments "
            "and keep the rest. Add the plugin there. Nothing was published."
        )
    authority = as_object(capabilities.get("authority"))
    return Root(
        str(user.get("id", "an anonymous user")),
        _number(as_object(root.get("settings")).get("batch_max_requests")),
        _guarded(authority) if authority.get("changeset") is True else (),
        _number(authority.get("max_changeset_bytes")),
    )


def _guarded(authority: Mapping[str, Any]) -> tuple[tuple[str, str | None], ...]:
    resources = authority.get("resources")
    listed = [as_object(resource) for resource in resources] if isinstance(resources, list) else []
    return tuple((str(resource.get("bucket")), resource.get("collection")) for resource in listed)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


class Sender:
    """Requests to one authority, in the name of `account`; what it refuses is one of our errors."""

    def __init__(self, connection: Connection, account: str = "") -> None:
        self.connection = connection
        self.account = account or "the account"

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (200, 201),
        lacks: str = "write",
        compress: bool = False,
    ) -> Answer:
        """One request. lacks: the permission that a 401 or 403 is about, where the answer gives no reason of its own."""
        answer = self.connection.request(method, path, body, headers=headers, compress=compress)
        if answer.status in accept:
            return answer
        message = str(answer.body.get("message"))
        said = f"{method} {path} answered {answer.status} {message[:200]!r}"
        reason = as_object(answer.body.get("details")).get("reason")
        if isinstance(reason, str) and reason:
            raise with_reason(f"{self.connection.url} refused {method} {path}: {message[:1000]!r}. S is as before.", reason)
        if answer.status in (401, 403):
            raise CredentialsError(
                f"{self.connection.url}: {self.account} lacks the permission {lacks}: {said}. Nothing was published."
            )
        raise UnreachableError(f"{self.connection.url}: {said}. S is as before; asking again is safe.")

    def attributes(self, name: str, answer: Answer) -> Mapping[str, Any]:
        """The collection in an answer. Raises BadAnswerError."""
        data = answer.body.get("data")
        if not isinstance(data, dict):
            raise BadAnswerError(f"{self.connection.url}: the answer about {name} holds no collection.")
        return data


BY_HAND = "delete the collection there (docs/operating.rst says how), then set the status to `to-sign` again"
"""What mends a plain authority that was altered."""


def in_context(error: VerificationError, url: str, name: str, *, differs: str = "", mend: str = BY_HAND) -> KintoSignerError:
    """The same kind of error, saying where the state was found and what to do about it.

    differs: from S's own signed copy, a sentence. mend: what to do if it was altered.
    """
    found = VerificationError(
        f"{url} holds a state of {name} that the signer's keys do not verify: {error.message} {differs}"
        "S published nothing over it. If another signer publishes there, use another bucket; if an earlier key of this signer "
        f"did, name it in kinto.signer.ecdsa.public_key; if it was altered by hand, {mend}."
    )
    found.reason = error.reason
    return found
