"""The Autograph server that the tests speak to: the stand-in, or a real one.

It is the one in AUTOGRAPH_URL, with AUTOGRAPH_HAWK_ID and AUTOGRAPH_HAWK_SECRET.
"""

import contextlib
import http.client
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kinto_signer.signers.hawk import Credentials, Target, authorization, fresh_nonce
from tests.support.autograph.standin import StandIn

VARIABLES = ("AUTOGRAPH_URL", "AUTOGRAPH_HAWK_ID", "AUTOGRAPH_HAWK_SECRET")
JSON = "application/json"


@dataclass(frozen=True)
class Autograph:
    """key_ids: keys on P-384, two where there are two. standin: None for a real server."""

    url: str
    hawk_id: str
    secret: str = field(repr=False)
    key_ids: tuple[str, ...] = ()
    standin: StandIn | None = None

    def settings(self, **changes):
        """What the signer is configured with, by the names below ``autograph.``."""
        found = {"server_url": self.url, "hawk_id": self.hawk_id, "hawk_secret": self.secret, "key_ids": " ".join(self.key_ids)}
        return {f"autograph.{name}": value for name, value in (found | changes).items()}

    def header(self, path, body, *, method="POST", content_type=JSON, host=None, **changes):
        """A right Authorization header, or one that is wrong in one respect."""
        target = Target.of(self.url + path)
        if host:
            target = Target(target.uri, *host, target.host_header)
        credentials = Credentials(changes.pop("user", self.hawk_id), changes.pop("secret", self.secret).encode())
        values = {"timestamp": int(time.time()), "nonce": fresh_nonce()} | changes
        return authorization(credentials, target, body, content_type, method=method, **values)

    def ask(self, path, body=b"", *, method="POST", header="", content_type=JSON, sent=None, host_header=None, hawked=JSON):
        """One request; `header` instead of a right one, `sent` instead of `body` after the header was made."""
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=20)
        value = self.header(path, body, method=method, content_type=hawked) if header == "" else header
        headers = {"Host": host_header or Target.of(self.url).host_header}
        headers |= {"Content-Type": content_type} if content_type else {}
        headers |= {"Authorization": value} if value else {}
        with contextlib.closing(connection):
            connection.request(method, parts.path.rstrip("/") + path, sent if sent is not None else body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()


def described() -> str:
    """Which server the tests use, for the report."""
    url = os.environ.get("AUTOGRAPH_URL")
    return f"the real server at {url}" if url else "the stand-in of tests/support/autograph (AUTOGRAPH_URL is not set)"


@contextlib.contextmanager
def running_autograph() -> Iterator[Autograph]:
    """The server, which was asked what it is: a stand-in says so in ``Server:``, a real one sends no such header."""
    if os.environ.get("AUTOGRAPH_URL"):
        missing = [name for name in VARIABLES if not os.environ.get(name)]
        assert not missing, f"AUTOGRAPH_URL is set, and {' and '.join(missing)} is not."
        url, user, secret = (os.environ[name] for name in VARIABLES)
        found = Autograph(url.rstrip("/"), user, secret)
        server = found.ask("/__heartbeat__", method="GET", header=None).headers.get("Server")
        assert server is None, f"AUTOGRAPH_URL is said to be a real Autograph, but calls itself {server!r}"
        yield Autograph(found.url, user, secret, _usable(found))
        return
    with StandIn() as standin:
        found = Autograph(standin.url, "alice", standin.hawk_ids["alice"], ("remote-settings", "appkey1"), standin)
        assert found.ask("/__heartbeat__", method="GET", header=None).headers["Server"].startswith("standin")
        yield found


def _usable(autograph: Autograph) -> tuple[str, ...]:
    path = f"/auths/{autograph.hawk_id}/keyids"
    names = autograph.ask(
        path, method="GET", header=autograph.header(path, b"", method="GET", content_type=""), content_type=""
    ).json()
    found = []
    for name in sorted(names, key=lambda name: name != "remote-settings"):
        body = json.dumps([{"input": "A" * 64, "keyid": name}]).encode()
        answer = autograph.ask("/sign/hash", body)
        if answer.status == 201 and answer.json()[0]["mode"] == "p384ecdsa":
            found.append(name)
    return tuple(found[:2])
