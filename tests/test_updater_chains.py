"""Certificate chains as the updater finds, keeps and judges them, over real connections."""

import dataclasses
import json
import sqlite3

import pytest

from kinto_signer.cli import output, updater
from kinto_signer.core.trust import PublicKey
from kinto_signer.errors import ConfigurationError, ExpiredError, OffOriginError
from kinto_signer.transport import Deadline, Origin
from kinto_signer.transport.chains import AGAIN_AFTER_S, KEPT, AllowedHost, ChainFetcher, check_address
from kinto_signer.updater import open_cache
from tests.support.certificates import DAY, LEAF_END, SIGNER, START, make_pki
from tests.support.hostile import FakeKinto, HostileServer, drip, http
from tests.support.keys import write_key_pair
from tests.support.states import NAME, make_records, signed_state

PKI = make_pki()
HOSTILE = make_pki()
AT = START + 40 * DAY
ROOT = PKI.root.sha256.hex(":")
RECORDS = make_records(3)


def chained(key, x5u, chains=None, records=RECORDS):
    state = signed_state(key, records)
    entry = {**state.metadata["signature"], "x5u": x5u}
    carried = {"chains": chains} if chains else {}
    return dataclasses.replace(state, metadata={**state.metadata, "signature": entry, "signatures": [entry], **carried})


class Site(FakeKinto):
    """A Kinto that also serves /a.chain; what it answers there can be changed."""

    chain = staticmethod(lambda request: http(200, PKI.pem))

    def missing(self, request):
        return self.chain(request) if request.path == "/a.chain" else super().missing(request)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))


@pytest.fixture
def site():
    with HostileServer(Site(chained(PKI.leaf.key, ""))) as server:
        server.answer.state = chained(PKI.leaf.key, f"{server.origin}/a.chain")
        yield server


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = output.run(updater.cli, [str(argument) for argument in (*arguments, "--format", "json")])
        return code, json.loads(capsys.readouterr().out)

    return run


TRUSTED = ("--x5u-root", ROOT, "--signer-id", SIGNER)


@pytest.fixture
def gather(run, site, tmp_path):
    """``gather(at)``: one collection of a run, and the exit code."""

    def gather(at=AT, *more, trusted=TRUSTED):
        cache = ("--cache", tmp_path / "cache", "--at", at)
        code, found = run("gather-changes", site.url, "-c", NAME, *trusted, *cache, *more)
        return code, found["collections"][0]

    return gather


def asked_for_chains(site):
    return sum(request.path == "/a.chain" for request in site.requests)


# --- where it is found -----------------------------------------------------------------------------------------------------


def test_fetched_once_and_kept(gather, run, site, tmp_path):
    code, found = gather()
    assert (code, found["status"], found["records"]) == (0, "updated", 3)
    assert found["key"] == PublicKey(PKI.leaf.key.public_key()).fingerprint
    assert asked_for_chains(site) == 1

    site.answer.chain = lambda request: http(500)
    code, found = gather()
    assert (code, found["status"], asked_for_chains(site)) == (0, "unchanged", 1)
    site.answer.state = chained(PKI.leaf.key, f"{site.origin}/a.chain", records=make_records(5))
    code, found = gather()
    assert (code, found["records"], asked_for_chains(site)) == (0, 5, 1)  # a new publication, the chain is the old one

    with open_cache(tmp_path / "cache", now=lambda: AT) as cache:
        assert len(cache.records(NAME)) == 5
        assert cache.chains(NAME) == {f"{site.origin}/a.chain": PKI.pem}
    assert run("show", "--cache", tmp_path / "cache", "--at", AT)[0] == 0
    assert run("verify", "--cache", tmp_path / "cache", "--at", AT, *TRUSTED)[0] == 0


def test_carried(gather, site):
    x5u = "https://nowhere.example/a.chain"
    site.answer.state = chained(PKI.leaf.key, x5u, {x5u: PKI.pem.decode()})
    for status in ("updated", "unchanged"):
        code, found = gather()
        assert (code, found["status"], asked_for_chains(site)) == (0, status, 0)


def test_carried_and_of_no_use(gather, run, site, tmp_path):
    """What led to the signer is kept, though the collection carries something else."""
    site.answer.state = chained(PKI.leaf.key, f"{site.origin}/a.chain", {f"{site.origin}/a.chain": HOSTILE.pem.decode()})
    assert gather(AT, "--json", tmp_path / "json")[0] == 0
    site.answer.chain = lambda request: http(500)
    assert gather()[0] == 0
    assert asked_for_chains(site) == 1
    assert run("show", "--cache", tmp_path / "cache", "--at", AT)[0] == 0
    assert run("verify", "--file", tmp_path / "json" / f"{NAME}.json", "--at", AT, *TRUSTED)[0] == 0


def test_from_a_file(gather, site, tmp_path):
    (tmp_path / "a.chain").write_bytes(PKI.pem)
    site.answer.state = chained(PKI.leaf.key, "")
    assert gather()[0] == 3
    assert gather(AT, "--chain", tmp_path / "a.chain")[0] == 0
    site.answer.state = chained(PKI.leaf.key, "https://nowhere.example/a.chain", records=make_records(4))
    assert gather(AT, "--chain", tmp_path / "a.chain")[0] == 0
    assert gather()[0] == 0  # it was kept


def test_from_another_host(gather, site):
    with HostileServer(lambda request: http(200, PKI.pem)) as elsewhere:
        site.answer.state = chained(PKI.leaf.key, f"{elsewhere.origin}/x.chain")
        code, found = gather()
        assert (code, found["error"]["reason"]) == (3, "off-origin")
        assert f"--x5u-host {'127.0.0.1'}" in found["error"]["message"]
        assert not elsewhere.requests
        for wrong in ("127.0.0.1", f"localhost:{elsewhere.port}", f"127.0.0.1:{site.port}"):
            assert gather(AT, "--x5u-host", wrong)[0] == 3
        assert not elsewhere.requests
        assert gather(AT, "--x5u-host", f"127.0.0.1:{elsewhere.port}")[0] == 0
        assert [request.path for request in elsewhere.requests] == ["/x.chain"]


def test_a_saved_file_verifies_without_a_network(gather, run, site, tmp_path):
    assert gather(AT, "--json", tmp_path / "json")[0] == 0
    file = tmp_path / "json" / f"{NAME}.json"
    assert json.loads(file.read_text())["chains"] == {f"{site.origin}/a.chain": PKI.pem.decode()}
    before = len(site.requests)
    assert run("verify", "--file", file, "--at", AT, *TRUSTED)[0] == 0
    code, found = run("verify", "--file", file, "--at", LEAF_END + 1, *TRUSTED)
    assert (code, found["files"][0]["error"]["reason"]) == (3, "expired")
    assert len(site.requests) == before
    content = json.loads(file.read_text())
    del content["chains"]
    file.write_text(json.dumps(content))
    code, found = run("verify", "--file", file, "--at", AT, *TRUSTED)
    assert (code, found["files"][0]["error"]["reason"], len(site.requests)) == (3, "off-origin", before)
    assert run("verify", "--file", file, "--at", AT, *TRUSTED, "--x5u-host", f"127.0.0.1:{site.port}")[0] == 0


def test_a_saved_answer_with_carried_chains_as_well(run, tmp_path):
    one, other = "https://x.example/1", "https://x.example/2"
    state = chained(PKI.leaf.key, one, {other: "other"})
    content = {"metadata": dict(state.metadata), "timestamp": state.timestamp, "changes": state.records}
    file = tmp_path / "saved.json"
    for chains, code in (({one: PKI.pem.decode()}, 0), ({}, 3), ([], 3), ("x", 3)):
        file.write_text(json.dumps({**content, "chains": chains}))
        assert run("verify", "--file", file, "--at", AT, *TRUSTED)[0] == code


# --- time ------------------------------------------------------------------------------------------------------------------


def test_judged_anew_at_every_run_also_from_the_cache(gather, run, tmp_path):
    assert gather(LEAF_END)[0] == 0
    for at, reason in ((LEAF_END + 1, "expired"), (START - 1, "not-yet-valid")):
        code, found = gather(at)
        assert (code, found["status"], found["error"]["reason"]) == (3, "failed", reason)
        assert found["timestamp"] == RECORDS[-1]["last_modified"]  # what was held is kept
        for command in (("show",), ("verify", *TRUSTED)):
            code, found = run(*command, "--cache", tmp_path / "cache", "--at", at)
            assert (code, found["collections"][0]["error"]["reason"]) == (3, reason)
        with open_cache(tmp_path / "cache", now=lambda at=at: at) as cache, pytest.raises(Exception, match="tolerance"):
            cache.records(NAME)
        assert gather(at, "--tolerance", 1)[0] == 0
        assert gather(AT)[0] == 0  # as before, also the tolerance
    with open_cache(tmp_path / "cache") as cache, pytest.raises(ExpiredError):  # today
        cache.records(NAME)


def test_renewed_under_the_same_address(gather, site):
    assert gather()[0] == 0
    renewed = make_pki(root_issued=PKI.root, leaf={"key": PKI.leaf.key, "begin": LEAF_END - DAY, "end": LEAF_END + 90 * DAY})
    site.answer.chain = lambda request: http(200, renewed.pem)
    assert gather()[0] == 0
    assert asked_for_chains(site) == 1
    assert gather(LEAF_END + 1)[0] == 0  # the one that was kept has ended
    assert asked_for_chains(site) == 2
    assert gather(LEAF_END + 2)[0] == 0
    assert asked_for_chains(site) == 2  # and the new one is kept


def test_times_as_people_write_them(gather, run, capsys):
    assert gather("2023-12-24T22:13:20Z")[0] == 0
    assert gather("2023-12-24T22:13:20+00:00")[0] == 0
    assert gather("2024-02-12T22:13:20")[0] == 0
    assert gather("2024-02-12T23:13:21+01:00")[0] == 3
    for wrong in ("yesterday", "", "12:00", "1e400", "9" * 30, "-1"):
        assert run("show", "--at", wrong)[0] == 2


# --- a hostile server ------------------------------------------------------------------------------------------------------

ADDRESSES = [
    "file:///etc/passwd",
    "ftp://127.0.0.1/a.chain",
    "http://169.254.169.254/latest/meta-data",
    "http://chains.example/a.chain",
    "https://chains.example/a.chain",
    "https://chains.example@127.0.0.1/a.chain",
    "//127.0.0.1/a.chain",
    "/a.chain",
    "a.chain",
    "https://[::1/a.chain",
    "https:///a.chain",
    "https://127.0.0.1:99999/a.chain",
    "https://127.0.0.1\\@chains.example/a.chain",
    "https://127.0.0.1/a chain",
    "https://127.0.0.1/\n",
    "https://127.0.0.1/" + "a" * 3000,
    "https://ünicode.example/",
    "https://127.0.0.1/ü",
]


@pytest.mark.parametrize("x5u", ADDRESSES)
def test_addresses_that_are_not_asked(x5u):
    with pytest.raises(OffOriginError, match="x5u"):
        check_address(x5u, [AllowedHost("127.0.0.1"), AllowedHost("::1")])


def test_addresses_that_are_asked():
    allowed = [AllowedHost.parse(text) for text in ("Chains.Example.", "a.example:8443", "[::1]:80", "localhost", "127.0.0.2")]
    fine = ["https://chains.example/a?b=c", "https://CHAINS.example:443/a", "https://a.example:8443/", "http://[::1]/x"]
    for url in (*fine, "http://localhost/x", "http://127.0.0.2:80/x"):
        assert isinstance(check_address(url, allowed), Origin)
    for url in ("https://chains.example:444/", "https://a.example/", "http://localhost:81/", "https://b.chains.example/"):
        with pytest.raises(OffOriginError, match="not fetched from there"):
            check_address(url, allowed)
    with pytest.raises(OffOriginError, match="without https"):
        check_address("http://chains.example/", allowed)


@pytest.mark.parametrize("text", ["", "https://x", "x/y", "x?y", "a@x", "x:y", "x:99999", "x y", " ", "[::1", "x\n", "#"])
def test_hosts_that_are_none(text):
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        AllowedHost.parse(text)


FLOOD = b"-----BEGIN CERTIFICATE-----\n" + b"A" * 65_536


def endless(_request):
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    while True:
        yield FLOOD


ANSWERS = {
    "a redirect": (lambda request: http(302, Location="/v1/"), 3, "off-origin"),
    "a redirect elsewhere": (lambda request: http(301, Location="http://169.254.169.254/"), 3, "off-origin"),
    "nothing there": (lambda request: http(404), 3, "bad-chain"),
    "forbidden": (lambda request: http(403), 3, "bad-chain"),
    "broken": (lambda request: http(500), 5, "unreachable"),
    "busy": (lambda request: http(503, Retry_After="5"), 5, "unreachable"),
    "cut off": (lambda request: [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", PKI.pem[:100]], 5, "unreachable"),
    "too large": (lambda request: http(200, PKI.pem + b"\n" * 65_536), 3, "too-large"),
    "endless": (endless, 3, "too-large"),
    "no chain": (lambda request: http(200, b"<html>"), 3, "bad-chain"),
    "empty": (lambda request: http(200, b""), 3, "bad-chain"),
    "another's": (lambda request: http(200, HOSTILE.pem), 3, "bad-chain"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_answers_that_are_no_chain(gather, site, what):
    assert gather()[0] == 0
    site.answer.state = chained(PKI.leaf.key, f"{site.origin}/a.chain?new", records=make_records(4))
    site.answer.chain, code, reason = ANSWERS[what]
    refused, found = gather()
    assert (refused, found["error"]["reason"]) == (code, reason)
    assert found["timestamp"] == RECORDS[-1]["last_modified"]
    site.answer.chain = Site.chain
    assert gather()[0] == 0


def test_a_drip_ends_with_the_run(gather, site):
    site.answer.chain = lambda request: drip(http(200, PKI.pem))
    code, found = gather(AT, "--deadline", 1.5)
    assert (code, found["error"]["reason"]) == (5, "deadline")


def test_a_server_that_signs_everything_itself(gather, site):
    """Its own key, its own chain at its own address, carried or not: the copy is kept."""
    assert gather()[0] == 0
    other, x5u = make_records(6), f"{site.origin}/a.chain"
    site.answer.chain = lambda request: http(200, HOSTILE.pem)
    for state in (
        chained(HOSTILE.leaf.key, x5u, records=other),
        chained(HOSTILE.leaf.key, x5u, {x5u: HOSTILE.pem.decode()}, records=other),
        chained(HOSTILE.leaf.key, x5u + "?", {x5u + "?": PKI.pem.decode()}, records=other),
        chained(HOSTILE.leaf.key, "", records=other),
    ):
        site.answer.state = state
        code, found = gather()
        assert (code, found["status"], found["timestamp"]) == (3, "failed", RECORDS[-1]["last_modified"])
        assert found["error"]["reason"] in ("bad-chain", "unknown-key")
    code, found = gather(AT, trusted=("--x5u-root", HOSTILE.root.sha256.hex(), "--signer-id", SIGNER))
    assert found["error"]["reason"] == "unknown-key"
    assert code == 3
    site.answer.state = chained(HOSTILE.leaf.key, x5u, records=other)
    assert gather(AT, trusted=("--x5u-root", HOSTILE.root.sha256.hex(), "--signer-id", SIGNER))[0] == 0


def test_the_faults_word_is_in_the_answer(gather, site):
    site.answer.chain = lambda request: http(200, HOSTILE.pem)
    assert gather()[1]["error"] | {"message": ""} == {"reason": "bad-chain", "message": "", "exit_code": 3, "fault": "other-root"}


# --- policies --------------------------------------------------------------------------------------------------------------


def test_each_collection_by_its_own_policy(run, site, tmp_path):
    pair = write_key_pair(tmp_path)
    config = tmp_path / "config.toml"
    config.write_text(
        f'server = "{site.url}"\ncollections = ["{NAME}"]\npublic_keys = ["{pair.public}"]\ncache = "cache"\n'
        f'[trust."{NAME}"]\nx5u_roots = ["{ROOT}"]\nsigner_ids = ["{SIGNER}"]\n'
    )
    assert run("gather-changes", "--config", config, "--at", AT)[0] == 0
    assert run("verify", "--config", config, "--at", AT)[0] == 0
    config.write_text(config.read_text().replace(NAME + '"]\nx5u', 'main/other"]\nx5u'))
    code, found = run("verify", "--config", config, "--at", AT)
    assert (code, found["collections"][0]["error"]["reason"]) == (3, "unknown-key")


def test_a_key_by_its_digest(gather, run, tmp_path):
    digest = PublicKey(PKI.leaf.key.public_key()).fingerprint
    assert gather(AT, trusted=("--public-key", digest))[0] == 0
    assert run("show", "--cache", tmp_path / "cache")[0] == 0
    assert gather(AT, trusted=("--public-key", HOSTILE.leaf.sha256.hex()))[0] == 3


def test_a_cache_of_the_first_format(gather, run, site, tmp_path):
    """It knew keys only: it is read, and written as the new one."""
    pair = write_key_pair(tmp_path)
    site.answer.state = signed_state(pair.key(), RECORDS)
    trusted = ("--public-key", pair.public)
    assert gather(AT, trusted=trusted)[0] == 0
    path = tmp_path / "cache" / "collections.sqlite"

    def format_of():
        connection = sqlite3.connect(path)
        try:
            return connection.execute("PRAGMA user_version").fetchone()[0]
        finally:
            connection.close()

    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    assert gather(AT, trusted=trusted)[1]["status"] == "unchanged"
    assert format_of() == 1
    site.answer.state = signed_state(pair.key(), make_records(4))
    code, found = gather(AT, trusted=trusted)
    assert (code, found["changes"], format_of()) == (0, 1, 3)


# --- the fetcher by itself, as a server that runs for long uses it -----------------------------------------------------------


def test_an_address_is_asked_once_a_minute(site):
    now = [0.0]
    fetch = ChainFetcher([AllowedHost("127.0.0.1", site.port)], lambda: Deadline(10), clock=lambda: now[0])
    x5u = f"{site.origin}/a.chain"
    assert list(fetch("")) == []
    assert list(fetch(x5u)) == [PKI.pem]
    assert list(fetch(x5u)) == [PKI.pem]
    site.answer.chain = lambda request: http(200, HOSTILE.pem)
    assert list(fetch(x5u)) == [PKI.pem]
    now[0] = AGAIN_AFTER_S
    assert next(fetch(x5u)) == PKI.pem
    assert asked_for_chains(site) == 1  # who takes what is kept causes no request
    assert list(fetch(x5u)) == [PKI.pem, HOSTILE.pem]
    site.answer.chain = lambda request: http(404)
    now[0] = 2 * AGAIN_AFTER_S
    for _ in range(2):
        with pytest.raises(Exception, match="answered 404"):
            list(fetch(x5u))
    assert asked_for_chains(site) == 3


def test_what_is_kept_is_bounded(site):
    fetch = ChainFetcher([AllowedHost("127.0.0.1", site.port)], lambda: Deadline(10))
    for number in range(KEPT + 2):
        assert list(fetch(f"{site.origin}/a.chain?{number}")) == [PKI.pem]
    assert len(fetch._kept) == len(fetch._asked) == KEPT


# --- Mozilla's published states --------------------------------------------------------------------------------------------


def test_published_states_through_the_command(shared, run):
    root = "C8:A8:0E:9A:FA:EF:4E:21:9B:6F:B5:D7:A7:1D:0F:10:12:23:BA:C5:00:1A:C2:8F:9B:0D:43:DC:59:A1:06:DB"
    trusted = ("--x5u-root", root, "--signer-id", "remote-settings.content-signature.mozilla.org")
    times = {  # each leaf's first and last second
        "main-regions-1600363002708": [
            ("2026-06-16-11-43-46", 1774698226, 1781610226),
            ("2026-02-16-09-44-35", 1764323075, 1771235075),
        ],
        "main-search-telemetry-v2-1757010621729": [("2025-11-28-09-13-49", 1757409229, 1764321229)],
        "main-summarizer-models-config-1755604678567": [("2026-03-08-09-54-23", 1766051663, 1772963663)],
    }
    folder = shared / "vectors"
    assert {file.stem for file in (folder / "signatures").glob("*.json")} == set(times)
    for stem, chains in times.items():
        for name, first, last in chains:
            chain = folder / "chains" / f"remote-settings.content-signature.mozilla.org-{name}.chain"

            def judged(at, stem=stem, chain=chain):
                code, found = run(
                    "verify", "--file", folder / "signatures" / f"{stem}.json", *trusted, "--chain", chain, "--at", at
                )
                return code, found["files"][0].get("error", {}).get("reason")

            assert [judged(at) for at in (first, first + 40 * DAY, last)] == [(0, None)] * 3
            assert [judged(at) for at in (first - 1, last + 1)] == [(3, "not-yet-valid"), (3, "expired")]
