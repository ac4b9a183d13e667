"""The limits of the transport, against a server that keeps none."""

import gzip
import socket
import ssl
import threading
import time
import zlib
from collections import deque
from datetime import UTC, datetime, timedelta

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kinto_signer.errors import (
    BackoffError,
    BadAnswerError,
    ConfigurationError,
    ConflictError,
    CredentialsError,
    DeadlineError,
    GuardRefusedError,
    NotFoundError,
    OffOriginError,
    TooLargeError,
    UnreachableError,
)
from kinto_signer.transport import Deadline, Limits, Session, bounded_session
from kinto_signer.transport.session import MAX_BACKOFF_S
from tests.support.hostile import HostileServer, drip, endless, http, http_json

GENEROUS_S = 5
SECRET = "s3cr3t-pa55word"
AUTH = f"alice:{SECRET}"


def session_for(url, *, seconds=10, auth=None, **limits):
    return Session(url, auth, deadline=Deadline(seconds), limits=Limits(**limits))


def ask(answer, *, path="/x", method="GET", seconds=10, auth=None, **limits):
    """One request to a server that answers so."""
    with HostileServer(answer) as server:
        return session_for(server.url, seconds=seconds, auth=auth, **limits).request(method, path)


def test_a_plain_answer():
    with HostileServer(lambda request: http_json(200, {"path": request.target}, ETag='"12"')) as server:
        answer = session_for(server.url + "/").get("/buckets/main", {"_since": '"5"'})

    assert (answer.status, answer.headers["etag"]) == (200, '"12"')
    assert answer.json() == {"path": "/v1/buckets/main?_since=%225%22"}
    assert answer.url == f"{server.url}/buckets/main?_since=%225%22"


def test_progress_is_told():
    counted = []
    with HostileServer(lambda _: http(200, b"x" * 200_000)) as server:
        Session(server.url, deadline=Deadline(10), on_bytes=counted.append).get("/")
    assert sum(counted) == 200_000


# --- one total deadline ---------------------------------------------------------------------------------------------

SLOW = {
    "drips the headers": lambda _: drip(http(200, b"{}")),
    "drips the body": lambda _: _dripped_body(),
    "drips chunks": lambda _: _dripped_chunks(),
    "says nothing": lambda _: drip([b"x"], every_s=20),
    "continues for ever": lambda _: endless([], b"HTTP/1.1 100 Continue\r\n\r\n"),
    "compresses nothing for ever": lambda _: endless(
        [http(200, Content_Length=None, Content_Encoding="gzip")[0]], gzip.compress(b"")
    ),
    "sends headers for ever": lambda _: drip([b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 90]),
}


def _dripped_body():
    yield http(200, b"x" * 5000)[0]
    yield from drip([b"x" * 5000])


def _dripped_chunks():
    yield http(200, Content_Length=None, Transfer_Encoding="chunked")[0]
    yield from drip([b"1\r\nx\r\n"] * 2000)


@pytest.mark.parametrize("how", SLOW)
def test_the_deadline_ends_what_drips(how):
    started = time.monotonic()
    with pytest.raises(DeadlineError, match=r"0\.7 seconds"):
        ask(SLOW[how], seconds=0.7)
    assert time.monotonic() - started < 0.7 + GENEROUS_S


def test_the_deadline_is_one_for_all_requests():
    def answer(request):
        time.sleep(0.3)
        return http(200, b"{}")

    with HostileServer(answer) as server:
        session = session_for(server.url, seconds=1)
        with pytest.raises(DeadlineError):
            deque((session.get("/") for _ in range(20)), maxlen=0)
    assert len(server.requests) < 6


def test_the_deadline_covers_connecting(monkeypatch):
    """Resolving a name cannot be interrupted; it happens where nobody waits for it longer than the deadline."""
    release = threading.Event()

    def never(*_arguments, **_options):
        release.wait(30)
        raise OSError("too late")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        session_for("http://kinto.example/v1", seconds=0.5).get("/")
    release.set()
    assert time.monotonic() - started < 0.5 + GENEROUS_S


def sleep_and_close(connection):
    with connection:
        time.sleep(3)


def test_the_deadline_covers_a_tls_handshake():
    with HostileServer(lambda _: []) as server:
        server.serve = sleep_and_close  # accepts and never shakes hands
        with pytest.raises(DeadlineError):
            session_for(server.url.replace("http:", "https:"), seconds=0.5).get("/")


def test_the_deadline_covers_sending():
    with HostileServer(lambda _: []) as server:
        server.serve = sleep_and_close  # accepts and never reads
        with pytest.raises(DeadlineError):
            session_for(server.url, seconds=0.5).request("POST", "/batch", body=b"x" * 50_000_000)


def test_a_silent_server_is_left_before_the_deadline():
    started = time.monotonic()
    with pytest.raises(UnreachableError, match=r"silent for 0\.3 seconds"):
        ask(lambda _: drip([b"x"], every_s=4), seconds=60, idle_s=0.3)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e300])
def test_an_impossible_deadline(seconds):
    with pytest.raises(ConfigurationError):
        Deadline(seconds)


# --- how much -------------------------------------------------------------------------------------------------------


def bomb(megabytes):
    compressor = zlib.compressobj(9, wbits=31)
    parts = [compressor.compress(bytes(2**20)) for _ in range(megabytes)]
    return b"".join(parts) + compressor.flush()


LARGE = {
    "endless": lambda _: endless([http(200, Content_Length=None)[0]], b"x" * 65536),
    "endless chunks": lambda _: endless(
        [http(200, Content_Length=None, Transfer_Encoding="chunked")[0]], b"10000\r\n" + b"x" * 65536 + b"\r\n"
    ),
    "announced": lambda _: http(200, b"x", Content_Length="1" + "0" * 15),
    "gzip bomb": lambda _: http(200, bomb(50), Content_Encoding="gzip"),
    "one byte more": lambda _: http(200, b"x" * 1_000_001),
}


@pytest.mark.parametrize("how", LARGE)
def test_too_large(how):
    with pytest.raises(TooLargeError, match="1000000 bytes"):
        ask(LARGE[how], max_size_bytes=1_000_000)


def test_as_large_as_allowed():
    assert len(ask(lambda _: http(200, b"x" * 1_000_000), max_size_bytes=1_000_000).body) == 1_000_000
    packed = gzip.compress(b"y" * 1_000_000)
    assert len(ask(lambda _: http(200, packed, Content_Encoding="gzip"), max_size_bytes=1_000_000).body) == 1_000_000


# --- cut and malformed ----------------------------------------------------------------------------------------------

CUT = {
    "before the status": lambda _: [],
    "in the body": lambda _: [http(200, b"x" * 100)[0], b"x" * 50],
    "no byte of the body": lambda _: [http(200, b"x" * 100)[0]],
    "in a chunk": lambda _: [http(200, Content_Length=None, Transfer_Encoding="chunked")[0], b"64\r\nxxx"],
    "before the last chunk": lambda _: [http(200, Content_Length=None, Transfer_Encoding="chunked")[0], b"1\r\nx\r\n"],
    "no HTTP": lambda _: [b"SSH-2.0-OpenSSH_9.2\r\n\r\n"],
}


@pytest.mark.parametrize("how", CUT)
def test_cut_answers_are_no_answers(how):
    with pytest.raises(UnreachableError, match="Try again later"):
        ask(CUT[how])


@pytest.mark.parametrize("encoding", ["deflate", "br", "gzip, gzip", "nonsense"])
def test_encodings_that_were_not_asked_for(encoding):
    with pytest.raises(BadAnswerError, match="not asked for"):
        ask(lambda _: http(200, zlib.compress(b"{}"), Content_Encoding=encoding))


def test_what_cannot_be_decompressed():
    with pytest.raises(BadAnswerError, match="cannot be decompressed"):
        ask(lambda _: http(200, b"no gzip at all", Content_Encoding="gzip"))


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableError, match="refused"):
            session_for(f"http://127.0.0.1:{taken.getsockname()[1]}/v1").get("/")


def test_a_name_that_does_not_resolve():
    with pytest.raises(UnreachableError):
        session_for("http://no-such-host.invalid/v1").get("/")


# --- one origin -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_elsewhere_are_refused_before_anything_is_sent(status):
    with HostileServer(lambda _: http(200, b"{}")) as other:
        answer = [http(status, Location=f"{other.url}/x")]
        with pytest.raises(OffOriginError, match=other.origin), HostileServer(lambda _: answer[0]) as server:
            session_for(server.url, auth=AUTH).get("/x")
    assert other.requests == []


@pytest.mark.parametrize(
    "location", ["https://127.0.0.1:{port}/x", "http://localhost:{port}/x", "//127.0.0.2:{port}/x", "http://127.0.0.1/x",
                 "ftp://127.0.0.1:{port}/x", "file:///etc/passwd", "http://127.0.0.1:{port}@127.0.0.2/x"]
)  # fmt: skip
def test_another_scheme_host_or_port_is_another_origin(location):
    with HostileServer(lambda _: http(302, Location=location.format(port=server.port))) as server:
        with pytest.raises(OffOriginError):
            session_for(server.url, auth=AUTH).get("/x")
        if not location.startswith("//"):
            with pytest.raises(OffOriginError):
                session_for(server.url, auth=AUTH).request("GET", location.format(port=server.port))
    assert len(server.requests) == 1


@pytest.mark.parametrize("location", ["http://[::1", "http://127.0.0.1:port/", "http://\x00/"])
def test_locations_that_are_no_address(location):
    with pytest.raises((OffOriginError, BadAnswerError)):
        ask(lambda _: http(302, Location=location))


def test_redirects_on_the_same_origin_are_followed_with_the_credentials():
    def answer(request):
        return http(307, Location="/v1/there?a=1") if request.path == "/v1/here" else http(200, b"[]")

    with HostileServer(answer) as server:
        assert session_for(server.url, auth=AUTH).get("/here").url == f"{server.url}/there?a=1"
    assert [request.headers.get("authorization", "")[:6] for request in server.requests] == ["Basic "] * 2


def test_redirects_are_bounded():
    with pytest.raises(BadAnswerError, match="more than 5 redirects"):
        ask(lambda _: http(302, Location="/v1/again"))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_writes_are_not_redirected(method):
    server = HostileServer(lambda _: http(307, Location="/v1/there"))
    with server, pytest.raises(BadAnswerError, match="not followed"):
        session_for(server.url).request(method, "/here", body=b"{}")
    assert len(server.requests) == 1


# --- credentials ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "header"),
    [("alice:pä:ss", "Basic YWxpY2U6cMOkOnNz"), ("Bearer abc.def", "Bearer abc.def"), ("bearer x:y", "Bearer x:y"), (None, None)],
)
def test_authorization(auth, header, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login mallory password from-netrc")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with HostileServer(lambda request: http(200, b"{}") if "there" in request.path else http(302, Location="/there")) as server:
        session_for(server.url, auth=auth).get("/")
    assert [request.headers.get("authorization") for request in server.requests] == [header, header]


def test_cookies_are_not_kept():
    with HostileServer(lambda _: http(200, b"{}", Set_Cookie="a=b")) as server:
        session = session_for(server.url)
        session.get("/")
        session.get("/")
    assert all("cookie" not in request.headers for request in server.requests)


@pytest.mark.parametrize("auth", ["alice", "Bearer  ", "Digest x", "", "a:b\nX-Header: c", "Bearer ü"])
def test_credentials_that_are_none_are_not_quoted(auth):
    with pytest.raises(ConfigurationError) as caught:
        session_for("http://localhost/v1", auth=auth)
    assert not auth or auth not in str(caught.value)


def test_secrets_are_in_no_text():
    with HostileServer(lambda _: http_json(401, {"message": "no"})) as server:
        session = session_for(server.url, auth=AUTH)
        with pytest.raises(CredentialsError) as caught:
            session.get("/")
    seen = repr(session) + repr(vars(session)) + str(caught.value) + repr(session._http.auth)
    assert SECRET not in seen


NO_ADDRESSES = ["", "kinto.example", "ftp://x/v1", "http://", "http://x/v1?a=b", "http://x/#y", "http://[::1/v1", "http://x:y/v1"]


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_addresses_that_are_none(url):
    with pytest.raises(ConfigurationError):
        session_for(url)


def test_next_pages_that_are_no_address():
    with pytest.raises(BadAnswerError, match="an address that is none"):
        session_for("http://localhost/v1").absolute("http://localhost/v1/", "http://[::1")


def test_closing():
    with HostileServer(lambda _: http(200, b"{}")) as server:
        session = session_for(server.url)
        session.get("/")
        session.close()


def test_an_address_with_a_password_is_refused_and_not_quoted():
    with pytest.raises(ConfigurationError) as caught:
        session_for(f"https://{AUTH}@kinto.example/v1")
    assert SECRET not in str(caught.value)


# --- statuses -------------------------------------------------------------------------------------------------------

STATUSES = [
    ("GET", 400, BadAnswerError), ("GET", 401, CredentialsError), ("GET", 403, CredentialsError), ("GET", 404, NotFoundError),
    ("GET", 405, BadAnswerError), ("GET", 410, BadAnswerError), ("GET", 412, ConflictError), ("PUT", 409, ConflictError),
    ("PUT", 400, GuardRefusedError), ("PATCH", 405, GuardRefusedError), ("POST", 413, GuardRefusedError),
    ("GET", 408, UnreachableError), ("GET", 500, UnreachableError), ("GET", 502, UnreachableError),
    ("GET", 503, UnreachableError),
    ("GET", 599, UnreachableError), ("GET", 429, BackoffError), ("GET", 300, BadAnswerError), ("GET", 305, BadAnswerError),
]  # fmt: skip


@pytest.mark.parametrize(("method", "status", "error"), STATUSES)
def test_statuses(method, status, error):
    with pytest.raises(error, match=f"answered {status} \\(because of it\\)") as caught:
        ask(lambda _: http_json(status, {"message": "because of it"}), method=method)
    assert type(caught.value) is error


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"message": 5}', b'{"message": "\\u001b[31m"}', b"\xff"])
def test_an_error_with_any_body(body):
    with pytest.raises(UnreachableError) as caught:
        ask(lambda _: http(500, body))
    assert str(caught.value).isprintable()


def test_not_modified_is_an_answer():
    assert ask(lambda _: http(304, Content_Length=None)).status == 304


RETRY_AFTER = [
    ("5", 5), ("0", 0), ("100000000", MAX_BACKOFF_S), ("9" * 400, MAX_BACKOFF_S), ("-5", 30), ("soon", 30), ("1.5", 30),
    ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_BACKOFF_S), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("²", 30), ("", 30),
    ("Mon, 99 Foo 2020 99:99:99 GMT", 30),
]  # fmt: skip


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("text", "seconds"), RETRY_AFTER)
def test_retry_after_is_reported_bounded_and_never_obeyed(status, text, seconds):
    started = time.time()
    with pytest.raises(BackoffError) as caught:
        ask(lambda _: http(status, b"", Retry_After=text))
    assert time.time() - started < 20
    assert started + seconds - 1 <= caught.value.until <= time.time() + seconds + 1
    assert datetime.fromtimestamp(int(caught.value.until), UTC).isoformat() in str(caught.value)


# --- TLS ------------------------------------------------------------------------------------------------------------


def test_a_certificate_that_nobody_vouches_for(tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path))
    asked = []
    with HostileServer(lambda _: http(200, b"{}")) as server:
        plain = server.serve

        def serve(connection):
            try:
                secure = context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
            asked.append(secure)
            plain(secure)

        server.serve = serve
        url = server.url.replace("http:", "https:").replace("127.0.0.1", "localhost")
        with pytest.raises(UnreachableError, match="certificate"):
            session_for(url, auth=AUTH).get("/")
        assert server.requests == []

        trusting = bounded_session(url, Deadline(10))
        assert trusting.get(f"{url}/", verify=str(tmp_path / "certificate.pem")).content == b"{}"


def self_signed(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


# --- the bounded session for others ---------------------------------------------------------------------------------


def test_the_bounded_session_bounds_whoever_uses_it():
    with HostileServer(lambda request: http(302, Location="http://127.0.0.2/") if "x" in request.path else http(500)) as server:
        session = bounded_session(server.url, Deadline(10), authorization="Bearer t")
        assert isinstance(session, requests.Session)
        assert session.get(server.url).status_code == 500
        with pytest.raises(OffOriginError):
            session.get(f"{server.url}/x")
    with pytest.raises(UnreachableError):
        session.get(server.url)


def test_through_a_proxy(monkeypatch):
    with HostileServer(lambda request: http(200, request.target.encode())) as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin)
        assert session_for("http://kinto.example/v1").get("/x").body == b"http://kinto.example/v1/x"
    with HostileServer(lambda _: drip(http(200, b"{}"))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.origin)
        with pytest.raises(DeadlineError):
            session_for("http://kinto.example/v1", seconds=0.5).get("/x")
