"""The Authorization header of Hawk, with a payload hash: what Autograph asks of its clients.

Written here instead of taken from a library: the one that exists, mohawk, had its last release in 2019, takes nonces of 36 bits
(which a busy server refuses as replayed now and then), and gets the port wrong that Autograph assumes without one in ``Host``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kinto_signer.errors import ConfigurationError

DEFAULT_PORTS = {"http": 80, "https": 443}
_QUOTABLE = re.compile(r"[ !#-\[\]-~]+\Z")


@dataclass(frozen=True)
class Credentials:
    """A Hawk user and the key that is shared with the server."""

    id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _QUOTABLE.match(self.id):
            raise ConfigurationError(f"{self.id!r} is no Hawk user: a quotation mark or a backslash cannot be sent.")


@dataclass(frozen=True)
class Target:
    """An address as Hawk sees it. port: always a number; Autograph takes 443 for a ``Host`` without one, also over http."""

    uri: str
    host: str
    port: int
    host_header: str

    @classmethod
    def of(cls, url: str) -> Target:
        """Raises ConfigurationError for what is no http(s) address."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
        except ValueError:
            host, port = "", 0
        if not host or not port:
            raise ConfigurationError(f"{url} is no http or https address.")
        host = f"[{host}]" if ":" in host else host
        shown = host if port == DEFAULT_PORTS["https"] and parts.scheme == "https" else f"{host}:{port}"
        return cls((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), host, port, shown)


def fresh_nonce() -> str:
    """96 random bits: no two requests have the same, however many are remembered."""
    return secrets.token_urlsafe(12)


def payload_hash(body: bytes, content_type: str) -> str:
    """Over exactly the bytes that are sent; content_type: without parameters, in small letters."""
    return _base64(hashlib.sha256(b"hawk.1.payload\n%s\n%s\n" % (content_type.encode("ascii"), body)).digest())


def authorization(
    credentials: Credentials,
    target: Target,
    body: bytes,
    content_type: str,
    *,
    method: str,
    timestamp: int,
    nonce: str,
    ext: str = "",
) -> str:
    """The header's value for one request; it can be used once. timestamp: epoch seconds."""
    hash_ = payload_hash(body, content_type)
    signed = f"hawk.1.header\n{timestamp}\n{nonce}\n{method}\n{target.uri}\n{target.host}\n{target.port}\n{hash_}\n{ext}\n"
    mac = _base64(hmac.new(credentials.secret, signed.encode("utf-8"), hashlib.sha256).digest())
    extra = f', ext="{ext}"' if ext else ""
    return f'Hawk id="{credentials.id}", ts="{timestamp}", nonce="{nonce}", hash="{hash_}"{extra}, mac="{mac}"'


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
