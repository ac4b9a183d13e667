"""The stand-in for Autograph: a real HTTP server that checks Hawk and signs, and answers as the recorded one does."""

import base64
import json
import re
import secrets
import socket
import struct
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.autograph.hawk import Hawk, Refused
from tests.support.autograph.keys import ChainedKey, Pki, SigningKey, new_ref

MONITOR = "monitor"
MONITORED = b"AUTOGRAPH MONITORING"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; object-src 'none';",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Strict-Transport-Security": "max-age=31536000;",
}
JSON, TEXT = "application/json", "text/plain; charset=utf-8"


class StandIn:
    """One server. Use it as a context manager.

    faults: what happens to the next requests for signatures, one word each, in order: ``hang``, ``reset``, ``503``, ``200``,
    ``replay``, ``skew``, ``wrong signature``; or a function that alters the entries of the answer. Requests are counted.
    """

    def __init__(self, max_body_bytes=1500 * 10**6, skew_s=60):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.server.standin = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.pki = Pki()
        self.max_body_bytes = max_body_bytes
        self.hawk_ids = {"alice": secrets.token_hex(32), "bob": secrets.token_hex(32), MONITOR: secrets.token_hex(32)}
        self.hawk = Hawk({user: secret.encode() for user, secret in self.hawk_ids.items()}, skew_s)
        plain = [SigningKey("appkey1"), SigningKey("appkey2"), SigningKey("p256", "p256ecdsa"), SigningKey("p521", "p521ecdsa")]
        self.keys = {key.name: key for key in (*plain, ChainedKey("remote-settings", self.url, self.pki))}
        self.grants = {"alice": list(self.keys), "bob": ["appkey2"], MONITOR: []}
        self.faults = []
        self.requests = []
        self.chains_gone = False
        self.released = threading.Event()

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def rotate(self, name="remote-settings", **options):
        """A new key and chain, as a restart makes them; the nonces are forgotten too."""
        self.keys[name] = ChainedKey(name, self.url, self.pki, **options)
        self.hawk.seen.clear()

    def sign(self, user, body, endpoint, query):
        """The entries for a body of a request. Raises Refused."""
        entries = []
        for number, asked in enumerate(_requests(body)):
            if not asked["input"]:
                failed = f"signing request {new_ref()} failed with error: contentsignature: refusing to sign empty input"
                raise Refused(400, f"missing input in signature request {number}\n{failed}")
            payload = _decode(asked["input"])
            key = self._granted(user, asked["keyid"])
            if endpoint == "data" and len(payload) < 10:
                why = "contentsignature: refusing to sign input data shorter than 10 bytes"
                raise Refused(500, f"signing request {new_ref()} failed with error: {why}")
            if endpoint == "hash" and len(payload) != key.hash.digest_size:
                raise Refused(500, f"signing request {new_ref()} failed with error: refusing to sign a hash of this length")
            made = "" if query else key.sign_hash(payload) if endpoint == "hash" else key.sign_data(payload)
            entries.append(self.entry(key, made))
        return entries

    def entry(self, key, made):
        found = {"ref": new_ref(), "type": key.type, "mode": key.mode, "signer_id": key.name, "public_key": key.public_key}
        return found | {name: value for name, value in (("signature", made), ("x5u", key.x5u)) if value}

    def _granted(self, user, name):
        granted = self.grants[user]
        if not name:
            if not granted:
                raise Refused(401, f'"{user}" does not have a default signing key')
            return self.keys[granted[0]]
        if name not in granted:
            raise Refused(401, f"{user} is not authorized to sign with key ID {name}")
        return self.keys[name]


def _requests(body):
    try:
        found = json.loads(body)
    except ValueError as error:
        raise Refused(400, f"failed to parse request body: {error}") from None
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Refused(400, "failed to parse request body: json: cannot unmarshal into a list")
    return [_fields(each) for each in found]


def _fields(given):
    found = {name.lower(): value for name, value in given.items()}
    asked = {name: found.get(name) or "" for name in ("input", "keyid")}
    if not all(isinstance(value, str) for value in asked.values()):
        raise Refused(400, "failed to parse request body: json: cannot unmarshal number into a text")
    return asked


def _decode(text):
    text = re.sub(r"[\r\n]", "", text)
    odd = re.search(r"[^A-Za-z0-9+/=]|=(?=[^=])", text)
    if odd or len(text) % 4 or text.endswith("==="):
        raise Refused(400, f"illegal base64 data at input byte {odd.start() if odd else len(text)}")
    return base64.b64decode(text)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def standin(self):
        return self.server.standin

    def version_string(self):
        return "standin Autograph"

    def log_message(self, *_):
        """Nothing: what a test has to know is in ``requests``."""

    def do_GET(self):
        path, _, query = self.path.partition("?")
        try:
            self._get(path, query)
        except Refused as refused:
            self._refuse(refused)

    def _get(self, path, query):
        if path == "/__heartbeat__":
            self._answer(200, b"{}", JSON)
        elif path == "/__lbheartbeat__":
            self._answer(200, b"ohai", "text/plain")
        elif path == "/__version__":
            self._answer(200, b'{"source":"standin"}', JSON)
        elif path == "/__monitor__":
            self._monitor()
        elif match := re.fullmatch(r"/auths/([^/]+)/keyids", path):
            user, _ = self._authorized(b"", "")
            if user != match[1]:
                raise Refused(403, "Authorized user ID and path user ID do not match.")
            self._answer(200, _compact(sorted(self.standin.grants[user])), JSON)
        elif match := re.fullmatch(r"/x5u/([^/]+)/([^/]+)", path):
            key = self.standin.keys.get(match[1])
            if self.standin.chains_gone or getattr(key, "file", "") != match[2]:
                self._answer(404, b"404 page not found\n", TEXT)
            else:
                self._answer(200, key.chain, "application/octet-stream")
        elif path in ("/sign/data", "/sign/hash", "/sign/file", "/sign/files"):
            self._answer(405, b"", None)
        else:
            self._answer(404, b"404 page not found\n", TEXT)

    def do_POST(self):
        body = self._body()
        self.path = self.requestline.split()[1]  # the base class makes one slash of several
        path, _, query = self.path.partition("?")
        self.standin.requests.append((self.path, dict(self.headers), body))
        if re.fullmatch(r"/+sign/(data|hash)/*", path) and not re.fullmatch(r"/sign/(data|hash)", path):
            return self._answer(301, b"", None, Location=f"/sign/{path.strip('/').rpartition('/')[2]}")
        if path not in ("/sign/data", "/sign/hash", "/sign/file", "/sign/files"):
            return self._answer(404, b"404 page not found\n", TEXT)
        try:
            self._sign(path.rpartition("/")[2], query, body)
        except Refused as refused:
            self._refuse(refused)

    def _sign(self, endpoint, query, body):
        fault = self.standin.faults.pop(0) if self.standin.faults else ""
        if fault == "replay":
            self.standin.hawk.seen.update(re.findall(r'nonce="([^"]*)"', self.headers.get("Authorization", "")))
        user, announced = self._authorized(None, None)
        if fault == "skew":
            raise Refused(401, "authorization verification failed: hawk: timestamp skew too high")
        content_type = self.headers.get("Content-Type", "")
        if content_type != JSON:
            raise Refused(400, "invalid content type, expected application/json")
        if len(body) < 10:
            raise Refused(400, "empty or invalid request request body")
        if len(body) > self.standin.max_body_bytes:
            raise Refused(400, f"request exceeded max size of {self.standin.max_body_bytes} B")
        self.standin.hawk.check_payload(announced, content_type, body)
        if endpoint in ("file", "files"):
            raise Refused(400, f'requested signer "{self.standin.grants[user][0]}" does not implement file signing')
        entries = self.standin.sign(user, body, endpoint, query)
        self._fault(fault, entries)

    def _fault(self, fault, entries):
        if callable(fault):
            entries = fault(entries)
        if fault == "wrong signature":
            entries[0]["signature"] = self.standin.keys[entries[0]["signer_id"]].sign_data(b"something else altogether")
        match fault:
            case "hang":
                self.standin.released.wait(20)
                self.close_connection = True
            case "reset":
                self.send_response(201)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'[{"ref":')
                self.wfile.flush()
                time.sleep(0.02)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            case "503":
                self._answer(503, b"<html>no backend</html>", "text/html")
            case "200":
                self._answer(200, _compact(entries), JSON)
            case _:
                self._answer(201, _compact(entries), JSON)

    def _monitor(self):
        user, _ = self._authorized(b"", "")
        if user != MONITOR:
            raise Refused(401, "user is not permitted to call this endpoint")
        keys = self.standin.keys.values()
        lines = [_compact(self.standin.entry(key, key.sign_data(MONITORED))) + b"\n" for key in keys]
        self._answer(201, b"".join(lines), JSON)

    def _authorized(self, body, content_type):
        """The user and the payload hash of the header, which is checked here where there is no body to wait for."""
        hawk = self.standin.hawk
        user, announced = hawk.check_header(
            self.headers.get("Authorization"), self.command, self.path, self.headers.get("Host", "")
        )
        if body is not None:
            hawk.check_payload(announced, content_type, body)
        return user, announced

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _refuse(self, refused):
        self._answer(refused.status, f"{refused.message}\r\nrequest-id: {_uuid7()}\n".encode(), TEXT)

    def _answer(self, status, body, content_type, **headers):
        self.send_response(status)
        for name, value in {**HEADERS, **headers}.items():
            self.send_header(name, value)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def _uuid7():
    """Version 7: the time in milliseconds in front."""
    bits = int(time.time() * 1000) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return uuid.UUID(int=bits)
