"""A's guard where signatures come with certificate chains: judged when something is written, by the policy for that place."""

import dataclasses
import time
from types import SimpleNamespace

import pytest
from pyramid.exceptions import ConfigurationError

from kinto_signer.core.trust import PublicKey
from tests.support.certificates import DAY, SIGNER, make_pki
from tests.support.hostile import HostileServer, http
from tests.support.keys import write_key_pair
from tests.support.publications import URI, body_of, post, refreshed, successive_states
from tests.support.servers import webtest_app
from tests.support.settings import guarded_settings

NOW = int(time.time())
VALID = {"leaf": {"begin": NOW - DAY, "end": NOW + 10 * DAY}}
PKI = make_pki(**VALID)
RENEWED = make_pki(root_issued=PKI.root, leaf={"begin": NOW - DAY, "end": NOW + 100 * DAY})
HOSTILE = make_pki(**VALID)
X5U = "https://chains.example/a.chain"
LATER = NOW + 20 * DAY


def settings_of(database=None, **changed):
    settings = guarded_settings("", database) | {
        "kinto.authority.x5u_roots": PKI.root.sha256.hex(":"),
        "kinto.authority.signer_ids": SIGNER,
    }
    del settings["kinto.authority.public_keys"]
    named = {f"kinto.authority.{name}": value for name, value in changed.items()}
    return {name: value for name, value in (settings | named).items() if value is not None}


def with_chain(state, pki, x5u=X5U, carried=True):
    entry = {**state.metadata["signature"], "x5u": x5u}
    chains = {"chains": {x5u: pki.pem.decode()}} if carried else {}
    return dataclasses.replace(state, metadata={**state.metadata, "signature": entry, "signatures": [entry], **chains})


def states_of(pki, count=2, **options):
    return [with_chain(state, pki, **options) for state in successive_states(pki.leaf.key, count)]


@pytest.fixture
def clock(monkeypatch):
    now = [float(NOW)]
    monkeypatch.setattr("kinto_signer.authority.settings.time", SimpleNamespace(time=lambda: now[0]))
    return now


@pytest.fixture
def app(storage_url, clock):
    return webtest_app(settings_of(storage_url))


def reason(answer):
    return answer.json["details"]["reason"]


def test_accepted_with_a_chain_that_leads_to_the_root(app):
    first, second = states_of(PKI)
    post(app, body_of(first), status=201)
    post(app, body_of(second, first.timestamp), status=200)
    assert app.get(URI).json["data"]["chains"] == {X5U: PKI.pem.decode()}
    assert app.get("/__heartbeat__").json["authority"]


def test_refused_without_one(app):
    state = successive_states(PKI.leaf.key, 1)[0]
    hostile = successive_states(HOSTILE.leaf.key, 1)[0]
    for sent, why in (
        (state, "unknown-key"),  # it names no chain
        (with_chain(state, PKI, carried=False), "bad-chain"),
        (with_chain(state, HOSTILE), "bad-chain"),
        (with_chain(hostile, HOSTILE), "bad-chain"),
        (with_chain(hostile, PKI), "unknown-key"),
    ):
        assert reason(post(app, body_of(sent), status=403)) == why
        app.get(URI, status=403)  # nothing was made
    post(app, body_of(with_chain(state, PKI)), status=201)


def test_judged_at_the_time_of_writing(app, clock):
    first, second = states_of(PKI)
    for at, why in ((NOW - 2 * DAY, "not-yet-valid"), (LATER, "expired")):
        clock[0] = at
        assert reason(post(app, body_of(first), status=403)) == why
    clock[0] = NOW
    post(app, body_of(first), status=201)
    clock[0] = LATER
    assert reason(post(app, body_of(second, first.timestamp), status=403)) == "expired"


def test_what_is_stored_may_expire_and_is_renewed(app, clock):
    """Its end is no damage: the heartbeat tells, and what mends it is let in."""
    first, second = states_of(PKI)
    post(app, body_of(first), status=201)
    clock[0] = LATER
    assert "does not verify [expired]" in str(app.get("/__heartbeat__", status=503).json["authority"])
    refused = post(app, body_of(with_chain(second, HOSTILE), first.timestamp), status=403)  # and not: damaged, 503
    assert reason(refused) == "bad-chain"
    fresh = with_chain(refreshed(RENEWED.leaf.key, first), RENEWED, "https://chains.example/b.chain")
    post(app, body_of(fresh, first.timestamp), status=200)
    assert app.get("/__heartbeat__").json["authority"]
    assert list(app.get(URI).json["data"]["chains"]) == ["https://chains.example/b.chain"]


def test_the_tolerance(storage_url, clock):
    app = webtest_app(settings_of(storage_url, certificate_tolerance_seconds="60"))
    state = states_of(PKI)[0]
    clock[0] = NOW + 10 * DAY + 61
    assert reason(post(app, body_of(state), status=403)) == "expired"
    clock[0] -= 1
    post(app, body_of(state), status=201)


def test_from_a_file(tmp_path, clock):
    (tmp_path / "a.chain").write_bytes(PKI.pem)
    app = webtest_app(settings_of(chains=str(tmp_path / "a.chain")))
    post(app, body_of(states_of(PKI, carried=False)[0]), status=201)


def test_fetched_from_an_allowed_host(clock):
    answers = [http(500), http(200, PKI.pem)]
    with HostileServer(lambda request: answers[len(server.requests) > 1]) as server:
        state = states_of(PKI, x5u=f"{server.origin}/a.chain", carried=False)[0]
        assert reason(post(webtest_app(settings_of()), body_of(state), status=403)) == "bad-chain"
        app = webtest_app(settings_of(x5u_hosts="chains.example"))
        assert reason(post(app, body_of(state), status=403)) == "off-origin"
        assert not server.requests
        app = webtest_app(settings_of(x5u_hosts=f"chains.example 127.0.0.1:{server.port}"))
        assert reason(post(app, body_of(state), status=503)) == "unreachable"
        app = webtest_app(settings_of(x5u_hosts=f"127.0.0.1:{server.port}"))
        post(app, body_of(state), status=201)
        assert app.get("/__heartbeat__").json["authority"]
        assert len(server.requests) == 2  # it was kept


def test_a_key_by_its_digest(clock):
    app = webtest_app(settings_of(x5u_roots=None, signer_ids=None, public_keys=PublicKey(PKI.leaf.key.public_key()).fingerprint))
    post(app, body_of(successive_states(PKI.leaf.key, 1)[0]), status=201)
    assert app.get("/").json["capabilities"]["authority"]["resources"][0]["public_keys"] == [
        PublicKey(PKI.leaf.key.public_key()).fingerprint
    ]


def test_the_most_specific_place_counts_as_a_whole(tmp_path, clock):
    """A key for one collection is not joined by the root for all of them."""
    pair = write_key_pair(tmp_path)
    for place in ("main", "main.regions", "main.reg.*"):
        app = webtest_app(settings_of(**{f"{place}.public_keys": str(pair.public)}))
        assert reason(post(app, body_of(states_of(PKI)[0]), status=403)) == "unknown-key"
        post(app, body_of(successive_states(pair.key(), 1)[0]), status=201)
    app = webtest_app(settings_of(**{"main.other.public_keys": str(pair.public)}))
    post(app, body_of(states_of(PKI)[0]), status=201)
    root = {"main.regions.x5u_roots": HOSTILE.root.sha256.hex(), "main.regions.signer_ids": SIGNER}
    app = webtest_app(settings_of(**{"main.public_keys": str(pair.public)}, **root))
    assert reason(post(app, body_of(states_of(PKI)[0]), status=403)) == "bad-chain"
    assert reason(post(app, body_of(successive_states(pair.key(), 1)[0]), status=403)) == "unknown-key"
    post(app, body_of(states_of(HOSTILE)[0]), status=201)


def test_the_capability_names_the_roots(clock):
    shown = webtest_app(settings_of()).get("/").json["capabilities"]["authority"]["resources"][0]
    assert shown["public_keys"] == []
    assert shown["x5u_roots"] == [{"sha256": PKI.root.sha256.hex(":").upper(), "signer_id": SIGNER}]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"signer_ids": None}, r"kinto.authority.x5u_roots = .*: A root was given without the signer"),
        ({"x5u_roots": None}, r"kinto.authority.signer_ids = .*: A signer id or a chain was given without a root"),
        ({"x5u_roots": None, "signer_ids": None}, "kinto.authority.public_keys is not set for main, nor x5u_roots"),
        ({"x5u_roots": "", "signer_ids": ""}, "kinto.authority.x5u_roots = ; .*No trusted key was given"),
        ({"x5u_roots": "nonsense"}, "kinto.authority.x5u_roots = nonsense; .*'nonsense' is not the SHA-256"),
        ({"chains": "/nowhere"}, "kinto.authority.chains = /nowhere: /nowhere cannot be read"),
        ({"chains": __file__}, "the certificate chain cannot be used"),
        ({"x5u_hosts": "https://x"}, "kinto.authority.x5u_hosts = https://x: 'https://x' is not a host"),
        ({"certificate_tolerance_seconds": "-1"}, "certificate_tolerance_seconds = -1"),
        ({"certificate_tolerance_seconds": "99999999"}, "would end the end of certificates"),
        ({"main.other.x5u_roots": PKI.root.sha256.hex()}, "kinto.authority.main.other.x5u_roots = .*without the signer"),
        ({"main.other.public_keys": ""}, "kinto.authority.main.other.public_keys = : No trusted key was given"),
    ],
)
def test_a_bad_setting_stops_the_server_and_is_named(changed, message):
    with pytest.raises(ConfigurationError, match=message):
        webtest_app(settings_of(**changed))
