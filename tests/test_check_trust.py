"""``kinto-signer check URL`` with the flags of kinto-updater: roots and chains, and what it says of publication statements."""

import dataclasses

import pytest

from kinto_signer.core.freshness import DAY_MS
from kinto_signer.core.trust import PublicKey
from tests.support.certificates import DAY, LEAF_END, SIGNER, make_pki
from tests.support.certificates import START as CERTIFIED
from tests.support.checking import Command
from tests.support.hostile import FakeKinto, HostileServer, http
from tests.support.statements import stated
from tests.support.states import NAME, make_records, now_ms, signed_state

PKI = make_pki()
TRUSTED = ("--x5u-root", PKI.root.sha256.hex(":"), "--signer-id", SIGNER)
THEN = ("--at", CERTIFIED + 40 * DAY)
RECORDS = make_records(3, start=(CERTIFIED + DAY) * 1000)


def chained(x5u, *, chains=None):
    state = signed_state(PKI.leaf.key, RECORDS, **({"chains": chains} if chains else {}))
    entry = {**state.metadata["signature"], "x5u": x5u}
    return dataclasses.replace(state, metadata={**state.metadata, "signature": entry, "signatures": [entry]})


class Site(FakeKinto):
    """A Kinto that also serves the chain."""

    def missing(self, request):
        return http(200, PKI.pem) if request.path == "/a.chain" else super().missing(request)


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    return Command(capsys, monkeypatch, tmp_path)


@pytest.fixture
def server():
    with HostileServer(Site(chained(""))) as server:
        server.answer.state = chained(f"{server.origin}/a.chain")
        yield server


@pytest.fixture
def check(command, server):
    """``check(*flags)`` of the one collection."""
    return lambda *flags: command(None, server.url, "-c", NAME, *flags)


def test_a_chain_from_the_server_itself(check):
    report = check(*TRUSTED, *THEN)
    assert (report.code, len(report.of("ok"))) == (0, 1)
    assert check("--public-key", PublicKey(PKI.leaf.key.public_key()).fingerprint, *THEN).code == 0


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ((*TRUSTED[:3], "other.example.org", *THEN), "bad-chain"),
        (("--x5u-root", make_pki().root.sha256.hex(), *TRUSTED[2:], *THEN), "bad-chain"),
        ((*TRUSTED, "--at", LEAF_END + 1), "expired"),
        ((*TRUSTED, "--at", CERTIFIED - 1), "not-yet-valid"),
        (("--public-key", "00" * 32, *THEN), "unknown-key"),
    ],
)
def test_who_is_not_trusted(check, flags, reason):
    report = check(*flags)
    assert (report.code, report.one(reason)["collection"]) == (3, NAME)
    assert ("kinto-signer refresh" in report.summary) == (reason == "expired")


def test_the_tolerance_of_the_clock(check):
    assert check(*TRUSTED, "--at", LEAF_END + 5, "--tolerance", 5).code == 0
    assert check(*TRUSTED, "--at", LEAF_END + 6, "--tolerance", 5).code == 3


def test_a_chain_from_elsewhere(check, server, tmp_path):
    with HostileServer(lambda request: http(200, PKI.pem)) as elsewhere:
        server.answer.state = chained(f"{elsewhere.origin}/x.chain")
        report = check(*TRUSTED, *THEN)
        assert report.code == 3
        report.one("off-origin", "--x5u-host 127.0.0.1")
        assert not elsewhere.requests
        assert check(*TRUSTED, *THEN, "--x5u-host", f"127.0.0.1:{elsewhere.port}").code == 0
    file = tmp_path / "a.chain"
    file.write_bytes(PKI.pem)
    assert check(*TRUSTED, *THEN, "--chain", file).code == 0
    assert check(*TRUSTED, *THEN, "--x5u-host", f"127.0.0.1:{elsewhere.port}").code == 5  # it answers no more
    server.answer.state = chained("https://nowhere.example/a", chains={"https://nowhere.example/a": PKI.pem.decode()})
    assert check(*TRUSTED, *THEN).code == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (TRUSTED[:2], "without the signer"),
        (TRUSTED[2:], "without a root"),
        (("--x5u-host", "x.example"), "give the keys you trust"),
        ((*TRUSTED, "--x5u-host", "https://x/"), "is not a host"),
        ((*TRUSTED, "--tolerance", -1), "tolerance of -1"),
        ((*TRUSTED, "--max-age", "soon"), "no span of time"),
        ((*TRUSTED, "--at", "soon"), "is no time"),
    ],
)
def test_flags_that_cannot_be_used(command, server, flags, words):
    code, _, err = command.run("check", server.url, "-c", NAME, *flags)
    assert (code, words in err) == (2, True)
    assert not server.requests


# --- statements ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def publish(server, key_pair):
    """``publish(…)`` makes the server offer a state with such a statement; returns the flag that trusts its signer."""
    key = key_pair.key()
    state = signed_state(key, make_records(3, start=now_ms() - 2 * DAY_MS))

    def publish(*, statement=True, **said):
        server.answer.state = stated(key, state, **said) if statement else state
        return "--public-key", key_pair.public

    return publish


def test_how_long_it_is_good(check, publish):
    report = check(*publish(expires=4_000_000_000_000))
    assert (report.code, report.of("warning")) == (0, [])
    assert report.of("ok")[0]["message"].endswith("; its statement ends 2096-10-02T07:06:40.000+00:00")


def test_where_there_is_none(check, publish):
    trusted = publish(statement=False)
    report = check(*trusted)
    assert (report.code, len(report.of("ok"))) == (0, 1)
    found = report.one("no-statement", "kinto.signer.statement", level="warning")
    assert found["collection"] == NAME
    report = check(*trusted, "--require-statement")
    assert (report.code, report.of("ok"), report.one("no-statement")["collection"]) == (3, [], NAME)


@pytest.mark.parametrize(
    ("said", "flags", "reason"),
    [
        ({"now": now_ms() - DAY_MS, "expires": now_ms() - 1000}, (), "expired"),
        ({}, ("--at", "2090-01-01"), "expired"),
        ({"now": now_ms() + 3 * DAY_MS}, (), "not-yet-valid"),
        ({"collection": "languages"}, (), "other-collection"),
        ({"bucket": "blog"}, (), "other-collection"),
        ({"audience": "staging"}, ("--audience", "production"), "other-collection"),
        ({"now": now_ms() - DAY_MS}, ("--max-age", "23h"), "stale"),
        ({"records": 4}, (), "hash-mismatch"),
    ],
)
def test_what_is_wrong_with_it(check, publish, said, flags, reason):
    report = check(*publish(**said), *flags)
    assert (report.code, report.one(reason)["collection"]) == (3, NAME)
    assert ("kinto-signer refresh" in report.summary) == (reason in ("expired", "stale"))
    assert check(*publish(audience="production"), *([] if "--at" in flags else flags)).code == 0, "the control"
