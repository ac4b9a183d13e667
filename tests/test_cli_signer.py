"""kinto-signer: what it prints and its exit codes, against a live signer or a server that answers as one."""

import json
import stat

import pytest
from cryptography.hazmat.primitives import serialization

from kinto_signer.cli import output
from kinto_signer.cli.signer import cli
from tests.support.hostile import HostileServer
from tests.support.settings import PASSWORD, signer_settings

NAME = "main-workspace/regions"


@pytest.fixture
def run(capsys, monkeypatch):
    """``run("approve", …, auth=…)`` -> exit code, stdout, stderr, in this process."""

    def run(*arguments, server=None, auth=f"alice:{PASSWORD}"):
        monkeypatch.delenv("KINTO_SERVER", raising=False)
        monkeypatch.delenv("KINTO_AUTH", raising=False)
        if server:
            monkeypatch.setenv("KINTO_SERVER", server)
        if auth:
            monkeypatch.setenv("KINTO_AUTH", auth)
        code = output.run(cli, [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert PASSWORD not in captured.out + captured.err
        return code, captured.out, captured.err

    return run


# --- keygen -------------------------------------------------------------------------------------------------------------


def test_keygen(run, tmp_path):
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    code, out, _ = run("keygen", private, public)
    assert code == 0
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    assert key.curve.name == "secp384r1"
    assert serialization.load_pem_public_key(public.read_bytes()) == key.public_key()
    assert "Fingerprint (SHA-256): " in out
    assert "PRIVATE" not in out


@pytest.mark.parametrize("existing", ["private.pem", "public.pem"])
def test_keygen_overwrites_nothing(run, tmp_path, existing):
    (tmp_path / existing).write_text("precious")
    code, _, err = run("keygen", tmp_path / "private.pem", tmp_path / "public.pem")
    assert code == 2
    assert existing in err
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "precious"


def test_keygen_where_nothing_can_be_written(run, tmp_path):
    code, _, _ = run("keygen", tmp_path / "no" / "private.pem", tmp_path / "public.pem", "--format", "json")
    assert code == 2
    assert not list(tmp_path.iterdir())
    code, out, _ = run("keygen", tmp_path / "private.pem", tmp_path / "public.pem", "--format", "json")
    assert json.loads(out)["fingerprint"].count(":") == 31


# --- approve and status -----------------------------------------------------------------------------------------------------


@pytest.fixture
def signer(live_kinto, key_pair):
    server = live_kinto(signer_settings(key_pair.private), name="signer")
    client = server.client("alice")
    client.create_bucket(id="main-workspace")
    client.create_collection(bucket="main-workspace", id="regions")
    client.create_record(bucket="main-workspace", collection="regions", id="r1", data={"n": 1})
    return server


def test_approve_and_status(run, signer, tmp_path):
    code, out, _ = run("status", server=signer.url)
    assert code == 0
    assert f"{NAME}: work-in-progress" in out
    code, out, _ = run("approve", NAME, server=signer.url)
    assert code == 0
    assert f"{NAME}: signed and published." in out
    file = tmp_path / "auth"
    file.write_text(f"alice:{PASSWORD}\n")
    file.chmod(0o600)
    code, out, _ = run("status", NAME, "--format", "json", "--auth-file", file, "--server", signer.url + "/", auth=None)
    (state,) = json.loads(out)["collections"]
    assert (code, state["status"]) == (0, "signed")
    assert state["destination"].startswith("main/regions, signed_timestamp")
    code, out, _ = run("approve", NAME, "--format", "json", server=signer.url)
    assert json.loads(out)["collection"]["status"] == "signed"


def test_refusals_of_a_live_signer(run, signer):
    code, _, err = run("approve", "main-workspace/nothing", server=signer.url)
    assert (code, "[not-found]" in err) == (1, True)
    code, _, err = run("approve", NAME, server=signer.url, auth="mallory:x")
    assert (code, "[refused]" in err) == (4, True)


def test_usage(run, signer, tmp_path):
    assert run("approve", NAME, auth=f"a:{PASSWORD}")[0] == 2
    assert run("approve", NAME, server=signer.url, auth=None)[0] == 2
    assert run("approve", NAME, server=signer.url, auth=PASSWORD)[0] == 2
    assert run("approve", "no-slash", server=signer.url)[0] == 2
    assert run("approve", server=signer.url)[0] == 2
    assert run("approve", NAME, "--auth", f"alice:{PASSWORD}", server=signer.url)[0] == 2
    wide = tmp_path / "auth"
    wide.write_text(f"alice:{PASSWORD}")
    wide.chmod(0o644)
    code, _, err = run("approve", NAME, "--auth-file", wide, server=signer.url)
    assert (code, "chmod 600" in err) == (2, True)


def answering(status, body, content_type=b"application/json"):
    def answer(_request):
        head = b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
        yield head % (status, content_type, len(body)) + body

    return answer


def kinto_error(status, reason=None):
    body = {"code": status, "message": "because"} | ({"details": {"reason": reason}} if reason else {})
    return answering(status, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (kinto_error(503, "unreachable"), 5, "unreachable"),
        (kinto_error(503, "deadline"), 5, "deadline"),
        (kinto_error(503, "bad-signature"), 3, "bad-signature"),
        (kinto_error(503, "configuration"), 2, "configuration"),
        (kinto_error(503, "refused"), 4, "refused"),
        (kinto_error(503, "something new"), 5, "something new"),
        (kinto_error(503), 5, "unreachable"),
        (kinto_error(500), 5, "unreachable"),
        (kinto_error(401), 4, "refused"),
        (kinto_error(403), 4, "refused"),
        (kinto_error(403, "refused"), 6, "refused"),
        (kinto_error(400, "refused"), 6, "refused"),
        (kinto_error(409, "conflict"), 6, "conflict"),
        (kinto_error(412), 6, "conflict"),
        (answering(502, b"<html>", b"text/html"), 5, "unreachable"),
        (answering(502, b"[]"), 5, "unreachable"),
    ],
)
def test_exit_codes(run, answer, code, reason):
    with HostileServer(answer) as server:
        found, out, _ = run("approve", NAME, "--format", "json", server=server.url)
    assert (found, json.loads(out)["error"]["reason"]) == (code, reason)


def test_nobody_answers(run):
    code, _, err = run("approve", NAME, server="http://127.0.0.1:9/v1")
    assert (code, "[unreachable]" in err) == (5, True)


def test_a_kinto_without_the_plugin(run, live_kinto):
    from tests.support.settings import kinto_settings

    server = live_kinto(kinto_settings(), name="kinto")
    code, _, err = run("status", server=server.url)
    assert (code, "is no signer" in err) == (2, True)


def test_single_collections_and_bearer_tokens(run, live_kinto, key_pair):
    resources = "main-workspace/regions;main/regions"
    server = live_kinto(signer_settings(key_pair.private, resources=resources), name="signer")
    client = server.client("alice")
    client.create_bucket(id="main-workspace")
    client.create_collection(bucket="main-workspace", id="regions")
    client.create_collection(bucket="main-workspace", id="unsigned")
    code, out, _ = run("status", "--format", "json", server=server.url)
    assert [state["name"] for state in json.loads(out)["collections"]] == [NAME]
    code, out, _ = run("status", "main-workspace/unsigned", server=server.url)
    assert (code, out.splitlines()[0]) == (0, "main-workspace/unsigned: no status")
    assert run("status", server=server.url, auth="Bearer abc")[0] == 4


# --- odd answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b"3",
        b"null",
        b'{"data": 1}',
        b'{"data": {}, "capabilities": []}',
        b'{"capabilities": {"signer": 1}}',
        b"<html>",
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["status", NAME],
        ["approve", NAME],
        ["push"],
        ["adopt", NAME],
        ["diff", NAME],
        ["log", NAME],
        ["request-review", NAME],
    ],
)
def test_odd_answers_are_errors(run, command, body):
    with HostileServer(answering(200, body)) as server:
        code, out, err = run(*command, "--format", "json", server=server.url)
    assert code in (2, 3), out + err
    assert json.loads(out)["error"]["reason"] in ("bad-answer", "configuration")


def test_the_next_page_is_never_on_another_server(run):
    def answer(request):
        page = int(request.query.get("page", 1))
        following = b"Next-Page: http://127.0.0.1:9/stolen?page=2\r\n" if page == 1 else b""
        body = json.dumps({"data": [{"action": f"page {page}"}]}).encode()
        head = b"HTTP/1.1 200 OK\r\n%sConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        yield head % (following, len(body)) + body

    with HostileServer(answer) as server:
        code, out, _ = run("log", NAME, "--format", "json", server=server.url)
    assert (code, [entry["action"] for entry in json.loads(out)["log"]]) == (0, ["page 1", "page 2"])
    assert [request.target for request in server.requests] == [
        f"/v1/buckets/main-workspace/collections/regions/log?{query}" for query in ("_limit=50", "page=2")
    ]


def test_a_message_of_a_server_does_not_move_the_cursor(run):
    with HostileServer(answering(400, json.dumps({"message": "\x1b[2Jgone"}).encode())) as server:
        code, _, err = run("diff", NAME, server=server.url)
    assert (code, "\\u001b[2Jgone" in err, "\x1b" in err) == (6, True, False)


# --- authorities ------------------------------------------------------------------------------------------------------------


def test_status_push_and_adopt(run, live_kinto, key_pair):
    from tests.support.settings import authority_settings

    authority = live_kinto(authority_settings(), name="authority")
    settings = signer_settings(key_pair.private, authority=authority.url)
    settings |= {"kinto.signer.status_principals": "system.Authenticated", "kinto.signer.authority.timeout_seconds": "10"}
    server = live_kinto(settings, name="signer")
    client = server.client("alice")
    client.create_bucket(id="main-workspace", permissions={"read": ["system.Authenticated"]})
    client.create_collection(bucket="main-workspace", id="regions")
    client.create_record(bucket="main-workspace", collection="regions", id="r1", data={"n": 1})
    assert run("approve", NAME, server=server.url)[0] == 0
    code, out, _ = run("status", NAME, server=server.url)
    assert (code, "readers get the last approval" in out, "last success: " in out) == (0, True, True)
    code, out, err = run("adopt", NAME, server=server.url)
    assert (code, "Nothing to take over" in err) == (6, True)
    assert run("adopt", NAME, "--authority", "xx", server=server.url)[0] == 2
    authority.sigkill()
    code, out, _ = run("status", NAME, server=server.url)
    assert (code, "not known whether" in out) == (1, True)
    code, out, err = run("push", NAME, server=server.url)
    assert (code, "[unreachable]" in err) == (5, True)
    code, out, _ = run("status", NAME, "--format", "json", server=server.url)
    (seen,) = json.loads(out)["collections"][0]["authorities"]
    assert (seen["failing"], seen["last_error"]["reason"]) == (True, "unreachable")
    authority.start()
    code, out, _ = run("status", server=server.url)
    assert (code, "do NOT get the last approval" in out, "kinto-signer push" in out or "does not have" in out) == (1, True, True)
    code, out, _ = run("push", "--to", "authority", server=server.url)
    assert (code, "main/regions to authority: it had nothing; 1 records" in out) == (0, True)
    code, out, _ = run("status", NAME, server=server.url)
    assert (code, "(mended since)" in out) == (0, True)


def test_status_says_when_the_authorities_are_not_shown(run, signer):
    code, out, _ = run("status", NAME, server=signer.url)
    assert (code, "kinto.signer.status_principals" in out) == (0, True)
    code, _, err = run("push", server=signer.url)
    assert (code, "kinto.signer.status_principals" in err) == (6, True)
