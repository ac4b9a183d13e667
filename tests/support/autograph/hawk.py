"""The server's side of Hawk, as Autograph does it: what it checks, in which order, and what it then says.

Written from the record of the protocol, without the code under test: each is the other's judge.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from dataclasses import dataclass, field


class Refused(Exception):
    """An answer that is no success. The body is text."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status
        self.message = message


def unauthorized(message):
    return Refused(401, f"authorization verification failed: {message}")


@dataclass
class Hawk:
    """What one server process remembers. skew_s: how far a client's clock may be off, both ways."""

    secrets: dict[str, bytes]
    skew_s: float = 60
    seen: set[str] = field(default_factory=set)

    def check_header(self, header, method, uri, host_header):
        """Everything before the body is read; returns the user and the header's payload hash."""
        attributes = _parse(header)
        user = attributes.get("id", "")
        for name in ("mac", "nonce"):
            if not attributes.get(name):
                raise unauthorized(f"hawk: invalid {name}, missing or empty")
        try:
            mac = base64.b64decode(attributes["mac"], validate=True)
        except binascii.Error:
            raise unauthorized("hawk: invalid mac, malformed base64 encoding") from None
        if user not in self.secrets:
            raise unauthorized(f"hawk: credential error with id {user} and app {attributes.get('app', '')}: unknown id")
        if attributes["nonce"] in self.seen:
            raise unauthorized("hawk: request nonce is being replayed")
        self.seen.add(attributes["nonce"])
        if not attributes.get("ts", "").isdigit() or abs(time.time() - int(attributes["ts"])) > self.skew_s:
            raise unauthorized("hawk: timestamp skew too high")
        if not hmac.compare_digest(mac, _mac(self.secrets[user], attributes, method, uri, host_header)):
            raise unauthorized("hawk: invalid MAC")
        return user, attributes.get("hash", "")

    def check_payload(self, announced, content_type, body):
        found = hashlib.sha256(b"hawk.1.payload\n" + content_type.encode() + b"\n" + body + b"\n").digest()
        if not hmac.compare_digest(base64.b64encode(found), announced.encode()):
            raise unauthorized("payload validation failed")


def _parse(header):
    if header is None:
        raise unauthorized("missing Authorization header")
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "hawk":
        raise unauthorized("hawk: invalid scheme, must be Hawk")
    found = {}
    for part in rest.split(","):
        match = re.fullmatch(r'\s*(id|ts|nonce|hash|ext|mac|app|dlg)="([^"\\]*)"\s*', part)
        if not match:
            raise unauthorized("hawk: invalid header, cannot parse header")
        found[match[1]] = match[2]
    return found


def _mac(secret, attributes, method, uri, host_header):
    host, _, port = host_header.rpartition(":") if ":" in host_header else (host_header, "", "443")
    lines = ["hawk.1.header", attributes["ts"], attributes["nonce"], method, uri, host, port]
    lines += [attributes.get("hash", ""), attributes.get("ext", "")]
    if "app" in attributes:
        lines += [attributes["app"], attributes.get("dlg", "")]
    return hmac.digest(secret, "".join(line + "\n" for line in lines).encode(), "sha256")
