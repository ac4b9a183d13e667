"""What the record of a real Autograph says, point by point: asked of the stand-in, or of a real server where one is set."""

import base64
import hashlib
import hmac
import json
import re
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from kinto_signer.core import signature
from kinto_signer.signers.hawk import fresh_nonce
from tests.support.autograph.keys import DOMAIN
from tests.support.autograph.server import Autograph, running_autograph
from tests.support.autograph.standin import StandIn
from tests.support.signers import digest_of

CONTENT = b'{"data":[],"last_modified":"0"}'
INPUT = base64.b64encode(CONTENT).decode()
AUTH = "authorization verification failed: "


@pytest.fixture(scope="module")
def autograph():
    with running_autograph() as found:
        yield found


@pytest.fixture
def standin(autograph):
    """For what needs to know the server's secrets, or its other users."""
    if autograph.standin is None:
        pytest.skip("a real server's keys and users are its own")
    return autograph


def body_of(*key_ids, **fields):
    return json.dumps([{"input": INPUT, "keyid": key_id} | fields for key_id in key_ids]).encode()


def refused(answer, status, message):
    assert (answer.status, answer.text.startswith(message)) == (status, True), answer.text
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert re.search(r"\r\nrequest-id: [0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\n\Z", answer.text)
    assert not {"Server-Authorization", "WWW-Authenticate"} & set(answer.headers)


# --- signing ----------------------------------------------------------------------------------------------------------------


def test_an_answer(autograph):
    answer = autograph.ask("/sign/data", body_of(*autograph.key_ids))
    assert (answer.status, answer.headers["Content-Type"]) == (201, "application/json")
    assert b": " not in answer.body
    assert not answer.body.endswith(b"\n")
    entries = answer.json()
    assert [entry["signer_id"] for entry in entries] == list(autograph.key_ids)
    for entry in entries:
        optional = [name for name in ("x5u",) if name in entry]
        assert list(entry) == ["ref", "type", "mode", "signer_id", "public_key", "signature", *optional]
        assert "" not in (entry["ref"], entry["signature"], entry.get("x5u", "x"))
        assert "=" not in entry["signature"]


def test_data_and_hash_are_signed_alike(autograph, standin):
    digest = base64.b64encode(digest_of(CONTENT)).decode()
    answers = [autograph.ask("/sign/data", body_of("appkey1")), autograph.ask("/sign/hash", body_of("appkey1", input=digest))]
    (data,), (hashed,) = (answer.json() for answer in answers)
    key = serialization.load_der_public_key(base64.b64decode(data["public_key"]))
    assert data["signature"] != hashed["signature"]
    for entry in (data, hashed):
        assert signature.verifies(key, digest_of(CONTENT), entry["signature"])


@pytest.mark.parametrize(("name", "hash_", "length"), [("p256", hashes.SHA256(), 86), ("p521", hashes.SHA512(), 176)])
def test_other_curves_show_that_there_is_no_padding(standin, name, hash_, length):
    (entry,) = standin.ask("/sign/data", body_of(name)).json()
    assert (len(entry["signature"]), "=" in entry["signature"]) == (length, False)
    raw = base64.urlsafe_b64decode(entry["signature"] + "=" * (-length % 4))
    r, s = (int.from_bytes(half, "big") for half in (raw[: len(raw) // 2], raw[len(raw) // 2 :]))
    key = serialization.load_der_public_key(base64.b64decode(entry["public_key"]))
    key.verify(encode_dss_signature(r, s), b"Content-Signature:\x00" + CONTENT, ec.ECDSA(hash_))


def test_the_default_key_has_no_x5u(standin):
    (entry,) = standin.ask("/sign/data", json.dumps([{"INPUT": INPUT, "other": 1}]).encode()).json()
    assert (entry["signer_id"], "x5u" in entry) == ("appkey1", False)


def test_a_chain(standin):
    (entry,) = standin.ask("/sign/data", body_of("remote-settings")).json()
    assert entry["public_key"] == ""
    pem = standin.ask(entry["x5u"].removeprefix(standin.url), method="GET", header=None).body
    leaf, intermediate, root = x509.load_pem_x509_certificates(pem)
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    assert root.fingerprint(hashes.SHA256()).hex() == standin.standin.pki.root_sha256
    name = f"remote-settings.{DOMAIN}"
    assert leaf.subject.rfc4514_string() == f"CN={name}"
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == x509.SubjectAlternativeName(
        [x509.DNSName(name)]
    )
    assert signature.verifies(leaf.public_key(), digest_of(CONTENT), entry["signature"])
    standin.standin.rotate()
    (rotated,) = standin.ask("/sign/data", body_of("remote-settings")).json()
    assert rotated["x5u"] != entry["x5u"]
    assert not signature.verifies(leaf.public_key(), digest_of(CONTENT), rotated["signature"])


# --- who may ask ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "missing Authorization header"),
        ("Basic YWxpY2U6eA==", "hawk: invalid scheme, must be Hawk"),
        ('Hawk id="alice", ts="1", nonce="x"', "hawk: invalid mac, missing or empty"),
        ('Hawk id="alice", ts="1", mac="eA=="', "hawk: invalid nonce, missing or empty"),
        ('Hawk id="alice", ts="1", nonce="x", mac="?"', "hawk: invalid mac, malformed base64 encoding"),
        ("Hawk nonsense", "hawk: invalid header, cannot parse header"),
    ],
)
def test_headers_that_are_none(autograph, header, message):
    refused(autograph.ask("/sign/data", body_of(autograph.key_ids[0]), header=header), 401, AUTH + message)


def test_macs_that_are_wrong(autograph):
    body, path = body_of(autograph.key_ids[0]), "/sign/data"
    wrong = [
        autograph.header(path, body, secret="other"),
        autograph.header("/sign/hash", body),
        autograph.header(path, body, method="PUT"),
        autograph.header(path, body, host=("autograph.example.org", 80)),
    ]
    for header in wrong:
        refused(autograph.ask(path, body, header=header), 401, AUTH + "hawk: invalid MAC")
    header = autograph.header(path, body, user="mallory")
    refused(autograph.ask(path, body, header=header), 401, AUTH + "hawk: credential error with id mallory and app : unknown id")


def test_a_payload_that_is_another(autograph):
    body, path = body_of(autograph.key_ids[0]), "/sign/data"
    refused(autograph.ask(path, body, sent=body + b" "), 401, AUTH + "payload validation failed")
    header = autograph.header(path, body, content_type="text/plain")
    refused(autograph.ask(path, body, header=header), 401, AUTH + "payload validation failed")


def test_a_header_without_a_payload_hash(standin):
    host, port = standin.url.removeprefix("http://").split(":")
    ts, nonce = int(time.time()), fresh_nonce()
    lines = ["hawk.1.header", str(ts), nonce, "POST", "/sign/data", host, port, "", ""]
    mac = hmac.digest(standin.secret.encode(), "".join(f"{line}\n" for line in lines).encode(), hashlib.sha256)
    header = f'Hawk id="alice", ts="{ts}", nonce="{nonce}", mac="{base64.b64encode(mac).decode()}"'
    refused(standin.ask("/sign/data", body_of("appkey1"), header=header), 401, AUTH + "payload validation failed")


def test_replays(autograph):
    body, path, nonce = body_of(autograph.key_ids[0]), "/sign/data", fresh_nonce()
    header = autograph.header(path, body, nonce=nonce)
    assert autograph.ask(path, body, header=header).status == 201
    replayed = AUTH + "hawk: request nonce is being replayed"
    refused(autograph.ask(path, body, header=header), 401, replayed)
    refused(
        autograph.ask(path, body, header=autograph.header(path, body, nonce=nonce, timestamp=int(time.time()) - 1)), 401, replayed
    )


def test_nonces_are_burned_before_the_mac_is_checked_unless_the_user_is_unknown(autograph):
    body, path, nonce = body_of(autograph.key_ids[0]), "/sign/data", fresh_nonce()
    autograph.ask(path, body, header=autograph.header(path, body, nonce=nonce, user="mallory"))
    autograph.ask(path, body, header=autograph.header(path, body, nonce=nonce, secret="other"))
    refused(autograph.ask(path, body, header=autograph.header(path, body, nonce=nonce)), 401, AUTH + "hawk: request nonce is")


def test_a_nonce_that_another_user_had(standin):
    body, nonce = body_of("appkey2"), fresh_nonce()
    bob = {"user": "bob", "secret": standin.standin.hawk_ids["bob"]}
    assert standin.ask("/sign/data", body, header=standin.header("/sign/data", body, nonce=nonce, **bob)).status == 201
    refused(
        standin.ask("/sign/data", body, header=standin.header("/sign/data", body, nonce=nonce)), 401, AUTH + "hawk: request nonce"
    )


@pytest.mark.parametrize(("off_s", "status"), [(-58, 201), (58, 201), (-62, 401), (62, 401)])
def test_clocks(standin, off_s, status):
    body = body_of("appkey1")
    header = standin.header("/sign/data", body, timestamp=int(time.time()) + off_s)
    answer = standin.ask("/sign/data", body, header=header)
    assert answer.status == status
    if status == 401:
        refused(answer, 401, AUTH + "hawk: timestamp skew too high")


# --- what may be asked --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"[]", 400, "empty or invalid request request body"),
        (b"not JSON at all", 400, "failed to parse request body: "),
        (b'{"input": "eA=="}', 400, "failed to parse request body: "),
        (b'[{"input": "eA==", "keyid": 3}]', 400, "failed to parse request body: "),
        (b'[{"input": ""}]', 400, "missing input in signature request 0"),
        (json.dumps([{"input": "e_-="}]).encode(), 400, "illegal base64 data at input byte "),
        (json.dumps([{"input": INPUT.rstrip("=")}]).encode(), 400, "illegal base64 data at input byte "),
        (json.dumps([{"input": base64.b64encode(b"123456789").decode()}]).encode(), 500, "signing request "),
    ],
)
def test_bodies_that_are_refused(autograph, body, status, message):
    refused(autograph.ask("/sign/data", body), status, message)


def test_keys_that_are_not_granted(autograph):
    message = f"{autograph.hawk_id} is not authorized to sign with key ID nope"
    refused(autograph.ask("/sign/data", body_of("nope")), 401, message)
    refused(autograph.ask("/sign/data", body_of(autograph.key_ids[0], "nope")), 401, message)


def test_ten_bytes_line_breaks_and_nothing_at_all(autograph):
    lines = base64.encodebytes(b"1234567890").decode().replace("\n", "\r\n")
    assert autograph.ask("/sign/data", body_of(autograph.key_ids[0], input=lines)).status == 201
    for body in (b"[        ]", b"null      "):
        answer = autograph.ask("/sign/data", body)
        assert (answer.status, answer.body) == (201, b"[]")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "text/plain", ""])
def test_content_types(autograph, content_type):
    answer = autograph.ask("/sign/data", body_of(autograph.key_ids[0]), content_type=content_type)
    refused(answer, 400, "invalid content type, expected application/json")


def test_a_body_that_is_too_large():
    with StandIn(max_body_bytes=1000) as standin:
        small = Autograph(standin.url, "alice", standin.hawk_ids["alice"], ("appkey1",), standin)
        fitting, larger = (body_of("appkey1", input=base64.b64encode(b"x" * size).decode()) for size in (700, 740))
        assert (len(fitting) <= 1000 < len(larger), small.ask("/sign/data", fitting).status) == (True, 201)
        refused(small.ask("/sign/data", larger), 400, "request exceeded max size of 1000 B")


# --- traps --------------------------------------------------------------------------------------------------------------------


def test_a_query_is_answered_without_a_signature(autograph):
    answer = autograph.ask("/sign/data?x=1", body_of(autograph.key_ids[0]))
    assert answer.status == 201
    assert "signature" not in answer.json()[0]


@pytest.mark.parametrize("path", ["/sign/data/", "//sign/data"])
def test_another_path_is_a_redirect(autograph, path):
    answer = autograph.ask(path, body_of(autograph.key_ids[0]), header=None)
    assert (answer.status, answer.headers["Location"]) == (301, "/sign/data")


def test_a_host_without_a_port_means_443(standin):
    body = body_of("appkey1")
    for port, status in ((80, 401), (443, 201)):
        header = standin.header("/sign/data", body, host=("127.0.0.1", port))
        assert standin.ask("/sign/data", body, header=header, host_header="127.0.0.1").status == status


def test_other_addresses(autograph):
    answers = {
        path: autograph.ask(path, method="GET", header=None) for path in ("/__heartbeat__", "/__lbheartbeat__", "/sign/data")
    }
    assert (answers["/__heartbeat__"].status, answers["/__heartbeat__"].headers["Content-Type"]) == (200, "application/json")
    assert answers["/__lbheartbeat__"].body == b"ohai"
    assert (answers["/sign/data"].status, answers["/sign/data"].body) == (405, b"")
    assert autograph.ask("/nothing", method="GET", header=None).text.startswith("404 page not found")
    path = f"/auths/{autograph.hawk_id}/keyids"
    listed = autograph.ask(path, method="GET", content_type="", hawked="").json()
    assert listed == sorted(listed)
    assert set(autograph.key_ids) <= set(listed)


def test_the_monitor(standin):
    path = "/__monitor__"
    refused(standin.ask(path, method="GET", content_type="", hawked=""), 401, "user is not permitted to call this endpoint")
    monitor = {"user": "monitor", "secret": standin.standin.hawk_ids["monitor"]}
    header = standin.header(path, b"", method="GET", content_type="", **monitor)
    answer = standin.ask(path, method="GET", header=header, content_type="")
    entries = [json.loads(line) for line in answer.body.splitlines()]
    assert (answer.status, answer.headers["Content-Type"], len(entries)) == (201, "application/json", len(standin.standin.keys))
    entry = next(entry for entry in entries if entry["signer_id"] == "appkey1")
    key = serialization.load_der_public_key(base64.b64decode(entry["public_key"]))
    assert signature.verifies(key, digest_of(b"AUTOGRAPH MONITORING"), entry["signature"])
    header = standin.header("/sign/data", b'[{"input": "' + INPUT.encode() + b'"}]', **monitor)
    answer = standin.ask("/sign/data", b'[{"input": "' + INPUT.encode() + b'"}]', header=header)
    refused(answer, 401, '"monitor" does not have a default signing key')
