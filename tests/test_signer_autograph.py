"""The Autograph signer: the contract, what it sends, and every answer that it must not believe."""

import base64
import dataclasses
import datetime
import hashlib
import json
import logging
import time

import pytest

from kinto_signer.core.signature import verifies
from kinto_signer.core.trust import PublicKey, check_signed, load_public_key
from kinto_signer.errors import BadChainError, ConfigurationError, ExpiredError, SigningError, VerificationError
from kinto_signer.signers.autograph import from_settings
from kinto_signer.signers.backends import BACKENDS
from kinto_signer.signers.several import Named, SignerSet
from tests.support.autograph.keys import DOMAIN, Pki, SigningKey
from tests.support.autograph.server import running_autograph
from tests.support.autograph.standin import StandIn
from tests.support.signers import SignerContract, digest_of, random_content, read_from, sign

DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def server():
    with running_autograph() as found:
        yield found


class AutographContract(SignerContract):
    endpoint = "/sign/hash"

    @pytest.fixture
    def signer(self, server):
        names = " ".join(server.key_ids[: self.keys])
        return from_settings(read_from(server.settings(key_ids=names, endpoint=self.endpoint)))

    @pytest.fixture
    def secrets(self, server):
        return [server.secret, base64.b64encode(server.secret.encode()).decode()]


class TestOneKey(AutographContract):
    """In a real server this is `remote-settings` where there is one."""


class TestSeveralKeysInOneCall(AutographContract):
    keys = 2


class TestSigningData(AutographContract):
    keys = 2
    endpoint = "/sign/data"


class TestEveryName(AutographContract):
    @pytest.fixture(params=[name for name in BACKENDS if "autograph" in name])
    def signer(self, request, server):
        return BACKENDS[request.param](read_from(server.settings(key_ids=server.key_ids[-1])))


# --- what is sent -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def standin():
    """A stand-in of the test's own."""
    with StandIn() as found:
        yield found


def signer_of(standin, **changes):
    settings = {"server_url": standin.url, "hawk_id": "alice", "hawk_secret": standin.hawk_ids["alice"], "key_ids": "appkey1"}
    return from_settings(read_from({f"autograph.{name}": value for name, value in (settings | changes).items()}))


def test_a_digest_is_48_bytes_for_all_keys_in_one_request(standin):
    content = random_content()
    made = sign(signer_of(standin, key_ids="appkey2  remote-settings\nappkey1"), content)
    ((path, headers, body),) = standin.requests
    assert path == "/sign/hash"
    digest = base64.b64encode(digest_of(content)).decode()
    assert json.loads(body) == [{"input": digest, "keyid": name} for name in ("appkey2", "remote-settings", "appkey1")]
    assert headers["Content-Type"] == "application/json"
    assert [each.signer_id for each in made] == ["appkey2", "remote-settings", "appkey1"]
    assert [bool(each.x5u) for each in made] == [False, True, False]
    assert [bool(each.public_key) for each in made] == [True, False, True]
    assert all(each.ref for each in made)


def test_data_is_the_content_that_the_digest_was_made_of(standin):
    signer, content = signer_of(standin, endpoint="/sign/data"), b'{"data":[],"last_modified":"0"}'
    sign(signer, content)
    ((path, _, body),) = standin.requests
    assert (path, base64.b64decode(json.loads(body)[0]["input"])) == ("/sign/data", content)
    with pytest.raises(SigningError, match="altered meanwhile"):
        signer.sign(digest_of(content), lambda: content + b" ")
    with pytest.raises(SigningError, match="shorter than 10 bytes"):
        sign(signer, b"123456789")
    assert len(standin.requests) == 1


def test_a_path_in_the_address_and_a_final_slash(standin):
    with pytest.raises(SigningError, match=r"answered 404 .*redirects are not followed"):
        sign(signer_of(standin, server_url=standin.url + "/a/b/"), random_content())
    assert [path for path, _, _ in standin.requests] == ["/a/b/sign/hash"]
    sign(signer_of(standin, server_url=standin.url + "/"), random_content())


# --- asking again -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["replay", "reset"])
def test_a_replay_or_a_broken_connection_is_asked_again_with_a_fresh_header(standin, fault, caplog):
    standin.faults = [fault]
    with caplog.at_level(logging.WARNING, "kinto_signer"):
        sign(signer_of(standin), random_content())
    first, second = (headers["Authorization"] for _, headers, _ in standin.requests)
    assert first != second
    assert "Asked again." in caplog.messages[0]


@pytest.mark.parametrize("fault", ["replay", "reset"])
def test_it_is_asked_again_once_only(standin, fault):
    standin.faults = [fault, fault]
    with pytest.raises(SigningError):
        sign(signer_of(standin), random_content())
    assert len(standin.requests) == 2


@pytest.mark.parametrize("fault", ["503", "skew", "200", "wrong signature", lambda entries: []])
def test_nothing_else_is_asked_again(standin, fault):
    standin.faults = [fault]
    with pytest.raises(SigningError):
        sign(signer_of(standin), random_content())
    assert len(standin.requests) == 1


def test_nobody_listens(standin):
    signer = signer_of(standin, server_url="http://127.0.0.1:9")
    with pytest.raises(SigningError, match="cannot be reached") as error:
        sign(signer, random_content())
    assert error.value.reason == "signer"


def test_a_server_that_hangs(standin):
    standin.faults = ["hang"]
    before = time.monotonic()
    with pytest.raises(SigningError, match=r"The 0\.3 seconds"):
        sign(signer_of(standin, timeout_seconds="0.3"), random_content())
    assert time.monotonic() - before < 5
    assert len(standin.requests) == 1


# --- answers that are not what was asked ----------------------------------------------------------------------------------------


def altered(**changes):
    return lambda entries: [{**entries[0], **changes}]


def without(name):
    return lambda entries: [{key: value for key, value in entries[0].items() if key != name}]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("503", "answered 503 with text/html"),
        ("skew", "(authorization verification failed: hawk: timestamp skew too high), request-id "),
        ("200", "answered 200"),
        ("wrong signature", "does not verify under the key that it names"),
        (lambda entries: [], "no list of 1"),
        (lambda entries: entries * 2, "no list of 1"),
        (lambda entries: entries[0], "no list of 1"),
        (lambda entries: ["x"], "no object"),
        (altered(signer_id="appkey2"), "the signature of 'appkey2' where 'appkey1' was asked for"),
        (without("signer_id"), "the signature of '' where"),
        (without("signature"), "no signature of 'appkey1'"),
        (altered(signature=""), "no signature of 'appkey1'"),
        (altered(signature=7), "something else than texts"),
        (altered(signature="A" * 127), "something malformed"),
        (altered(signature="A" * 128), "something malformed"),
        (altered(mode="p256ecdsa"), "not p384ecdsa"),
        (without("mode"), "not p384ecdsa"),
        (altered(public_key=""), "names no key for appkey1"),
        (altered(public_key="?"), "a public_key of appkey1 that is none"),
        (altered(public_key="AAAA"), "a public_key of appkey1 that is none"),
        (altered(public_key=SigningKey("x", "p256ecdsa").public_key), "of another kind than P-384"),
        (altered(public_key=SigningKey("x").public_key), "does not verify under the key that it names"),
        (altered(public_key="", x5u="http://example.org/chain"), "without https:// it is not fetched"),
        (altered(public_key="", x5u="file:///etc/passwd"), "which is no https:// address"),
    ],
)
def test_an_answer_that_is_not_what_was_asked(standin, fault, words):
    standin.faults = [fault]
    with pytest.raises(SigningError) as error:
        sign(signer_of(standin), random_content())
    assert words in str(error.value)
    assert "Nothing was published" in error.value.message
    assert standin.hawk_ids["alice"] not in str(error.value)


def test_what_a_server_says_is_quoted_with_its_request_id(standin):
    with pytest.raises(SigningError) as error:
        sign(signer_of(standin, key_ids="nope"), random_content())
    assert "answered 401 (alice is not authorized to sign with key ID nope), request-id " in error.value.message
    assert error.value.request_id in error.value.message
    assert len(error.value.request_id) == 36
    with pytest.raises(SigningError, match="invalid MAC"):
        sign(signer_of(standin, hawk_secret="other"), random_content())
    with pytest.raises(SigningError, match=r"not p384ecdsa|hash of this length"):
        sign(signer_of(standin, key_ids="p256"), random_content())


def test_one_key_of_several_that_fails_fails_the_call(standin):
    for names in ("appkey1 nope", "nope appkey1"):
        with pytest.raises(SigningError):
            sign(signer_of(standin, key_ids=names), random_content())


# --- whom it believes -----------------------------------------------------------------------------------------------------------


def public(standin, name):
    return PublicKey(standin.keys[name].key.public_key())


def test_nobody_is_asked_before_a_key_is_needed_and_then_once(standin):
    signer = signer_of(standin, key_ids="remote-settings appkey1")
    assert not standin.requests
    expected = (public(standin, "remote-settings"), public(standin, "appkey1"))
    assert signer.public_keys() == expected
    assert signer.public_keys() == expected
    assert len(standin.requests) == 1


def test_the_leaf_of_a_chain_is_fetched_once(standin):
    signer = signer_of(standin, key_ids="remote-settings")
    sign(signer, random_content())
    standin.chains_gone = True
    sign(signer, random_content())
    assert signer.public_keys() == (public(standin, "remote-settings"),)


def test_a_rotated_key_is_learned_and_the_former_one_stays(standin, caplog):
    signer = signer_of(standin, key_ids="remote-settings appkey1")
    before = signer.public_keys()
    standin.rotate()
    with caplog.at_level(logging.WARNING, "kinto_signer"):
        sign(signer, random_content())
    assert signer.public_keys() == (public(standin, "remote-settings"), before[1], before[0])
    assert public(standin, "remote-settings").fingerprint in caplog.messages[0]


def test_another_chain_at_the_same_address(standin):
    signer = signer_of(standin, key_ids="remote-settings")
    before, file, x5u = signer.public_keys(), standin.keys["remote-settings"].file, standin.keys["remote-settings"].x5u
    standin.rotate()
    standin.keys["remote-settings"].file, standin.keys["remote-settings"].x5u = file, x5u
    sign(signer, random_content())
    assert signer.public_keys() == (public(standin, "remote-settings"), *before)


def test_a_chain_that_cannot_be_fetched(standin):
    standin.chains_gone = True
    with pytest.raises(SigningError, match="answered 404: there is no certificate chain") as error:
        sign(signer_of(standin, key_ids="remote-settings"), random_content())
    assert error.value.reason == "bad-chain"


@pytest.mark.parametrize(
    ("validity", "reason"), [((-2 * DAY, -DAY), "expired"), ((DAY, 2 * DAY), "not-yet-valid")], ids=["ended", "not yet begun"]
)
def test_a_chain_that_is_not_valid_now(standin, validity, reason):
    standin.rotate(validity=validity)
    with pytest.raises(SigningError, match="Nothing was published") as error:
        sign(signer_of(standin, key_ids="remote-settings"), random_content())
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ("chain", "words"),
    [(b"", "not a file of certificates"), (b"<html>", "not a file of certificates"), (b"x" * 70_000, "more than 65536 bytes")],
)
def test_a_chain_that_is_none(standin, chain, words):
    standin.keys["remote-settings"].chain = chain
    with pytest.raises(SigningError, match=words):
        sign(signer_of(standin, key_ids="remote-settings"), random_content())


def test_a_chain_of_another_key_is_not_believed(standin):
    own = standin.keys["remote-settings"]
    own.chain = standin.pki.chain(f"x.{DOMAIN}", SigningKey("x").key, (-DAY, DAY))
    signer = signer_of(standin, key_ids="remote-settings")
    with pytest.raises(SigningError, match="of another key than the one that signed") as error:
        sign(signer, random_content())
    assert error.value.reason == "bad-chain"
    with pytest.raises(SigningError):
        signer.public_keys()


def test_with_pinned_keys_no_other_is_believed(standin, tmp_path):
    files = []
    for name in ("appkey1", "remote-settings"):
        files.append(tmp_path / f"{name}.pem")
        files[-1].write_bytes(public(standin, name).pem)
    signer = signer_of(standin, key_ids="appkey1 remote-settings", public_key=f"{files[0]} {files[1]}")
    assert signer.public_keys() == tuple(load_public_key(file.read_bytes(), where="x") for file in files)
    assert not standin.requests
    sign(signer, random_content())
    standin.rotate()
    with pytest.raises(SigningError, match="none of those in autograph") as error:
        sign(signer, random_content())
    assert error.value.reason == "unknown-key"


# --- chains are published, and believed where a root is pinned ---------------------------------------------------------------


def certified(standin, key_ids="remote-settings", **changes):
    settings = {"x5u_roots": standin.pki.root_sha256, "signer_ids": " ".join(f"{name}.{DOMAIN}" for name in key_ids.split())}
    named = {f"autograph.{name}": value for name, value in changes.items()}
    own = {"server_url": standin.url, "hawk_id": "alice", "hawk_secret": standin.hawk_ids["alice"], "key_ids": key_ids}
    return from_settings(read_from(settings | {f"autograph.{name}": value for name, value in own.items()} | named))


def test_the_chain_is_beside_the_signature(standin):
    content = random_content()
    plain, chained = sign(signer_of(standin, key_ids="appkey1 remote-settings"), content)
    assert plain.chain == ""
    assert chained.chain == standin.keys["remote-settings"].chain.decode()
    assert "chain" not in chained.as_json()


@pytest.mark.parametrize(("days", "warnings"), [(14, 1), (16, 0)])
def test_a_certificate_that_ends_soon(standin, caplog, days, warnings):
    standin.rotate(validity=(-DAY, days * DAY))
    signer = signer_of(standin, key_ids="remote-settings")
    with caplog.at_level(logging.WARNING, "kinto_signer"):
        sign(signer, random_content())
        sign(signer, random_content())
    assert [f"remote-settings.{DOMAIN} ends at" in message for message in caplog.messages] == [True] * warnings


def test_a_key_that_was_never_seen_is_believed_by_its_chain(standin):
    """As after a restart of both: what was signed before is recognised, and so is what is new."""
    content = random_content()
    signatures = sign(certified(standin), content)
    carried = {"chains": {one.x5u: one.chain for one in signatures}}
    standin.rotate()
    anew = SignerSet([Named("it", certified(standin))])
    requests = len(standin.requests)
    entries = [one.as_json() for one in signatures]
    check_signed("main/regions", entries, digest_of(content), anew.trust(), metadata=carried)
    with pytest.raises(BadChainError):  # by the chain alone: the server forgot it, and nobody is asked for the key
        check_signed("main/regions", entries, digest_of(content), anew.trust())
    assert len(standin.requests) == requests
    sign(anew, content)
    known = SignerSet([Named("it", certified(standin))])  # what carries no chain, as a peer's publications: it is fetched
    fresh = [one.as_json() for one in sign(anew, content)]
    check_signed("main/regions", fresh, digest_of(content), known.trust())
    without_root = SignerSet([Named("it", signer_of(standin, key_ids="remote-settings"))])
    with pytest.raises(VerificationError):
        check_signed("main/regions", entries, digest_of(content), without_root.trust(), metadata=carried)


def test_what_was_signed_long_ago_is_recognised(standin):
    """The end of a certificate must not keep S from signing again what it published."""
    content = random_content()
    (made,) = sign(certified(standin), content)
    old = standin.pki.chain(f"remote-settings.{DOMAIN}", standin.keys["remote-settings"].key, (-300 * DAY, -200 * DAY))
    standin.rotate()
    trust = SignerSet([Named("it", certified(standin))]).trust()
    carried = {"chains": {made.x5u: old.decode()}}
    check_signed("main/regions", [made.as_json()], digest_of(content), trust, metadata=carried)
    with pytest.raises(ExpiredError):  # a reader
        check_signed(
            "main/regions", [made.as_json()], digest_of(content), dataclasses.replace(trust, tolerance_s=0), metadata=carried
        )


def test_with_a_root_nothing_else_is_believed(standin):
    with pytest.raises(SigningError, match="names no certificate chain for appkey1") as error:
        sign(certified(standin, "appkey1"), random_content())
    assert error.value.reason == "bad-chain"
    sign(signer_of(standin, key_ids="appkey1"), random_content())  # control
    standin.pki = Pki()
    standin.rotate()
    other = certified(standin)
    standin.pki = Pki()
    standin.rotate()
    with pytest.raises(SigningError, match="which is not pinned") as error:
        sign(other, random_content())
    assert error.value.reason == "bad-chain"
    sign(signer_of(standin, key_ids="remote-settings"), random_content())  # control


def test_a_pinned_key_or_a_pinned_root(standin, tmp_path):
    file = tmp_path / "appkey1.pem"
    file.write_bytes(public(standin, "appkey1").pem)
    signer = certified(standin, "appkey1 remote-settings", public_key=file)
    made = SignerSet([Named("it", signer)]).sign(digest_of(b"something"))
    assert [bool(one.chain) for one in made] == [False, True]
    with pytest.raises(SigningError, match="none of those in autograph"):
        sign(certified(standin, "appkey2", public_key=file), random_content())


def test_chains_from_hosts_that_are_named(standin):
    with StandIn() as elsewhere:
        key = standin.keys["remote-settings"]
        elsewhere.keys["remote-settings"] = key
        key.x5u = f"{elsewhere.url}/x5u/remote-settings/{key.file}"
        with pytest.raises(SigningError, match=r"name other hosts in autograph\.x5u_hosts") as error:
            sign(signer_of(standin, key_ids="remote-settings"), random_content())
        assert error.value.reason == "off-origin"
        host = f"127.0.0.1:{elsewhere.server.server_port}"
        sign(signer_of(standin, key_ids="remote-settings", x5u_hosts=f"other.example.org {host}"), random_content())
    with pytest.raises(ConfigurationError, match=r"autograph\.x5u_hosts"):
        signer_of(standin, x5u_hosts="https://x")


def test_the_local_check_is_over_the_digest_that_was_asked_for(standin):
    """A server that signs something else than it was sent."""
    content, other = random_content(), random_content()
    forged = standin.keys["appkey1"].sign_data(other)
    standin.faults = [altered(signature=forged)]
    with pytest.raises(SigningError):
        sign(signer_of(standin), content)
    assert verifies(public(standin, "appkey1").key, digest_of(other), forged)


# --- start-up errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"server_url": ""}, "autograph.server_url is not set"),
        ({"hawk_id": ""}, "autograph.hawk_id is not set"),
        ({"hawk_secret": ""}, "autograph.hawk_secret (or kinto.signer.autograph.hawk_secret_file) is not set"),
        ({"hawk_id": 'a"b'}, "no Hawk user"),
        ({"server_url": "autograph:8000"}, "autograph.server_url is no http(s) address"),
        ({"server_url": "https://u:hunter2@autograph.example.org"}, "no credentials"),
        ({"server_url": "https://autograph.example.org/?x=1"}, "query"),
        ({"server_url": "https://autograph.example.org:0x/"}, "no http(s) address"),
        ({"server_url": "http://autograph.example.org"}, "over http anybody on the way can answer"),
        ({"endpoint": "/sign/file"}, "neither /sign/hash nor /sign/data"),
        ({"key_ids": "a b a"}, "stands there twice"),
        ({"timeout_seconds": "0"}, "more than 0"),
        ({"timeout_seconds": "soon"}, "not a number"),
        ({"public_key": "/nowhere.pem"}, "cannot be read"),
        ({"hawk_secret": "", "hawk_secret_file": "/nowhere"}, "cannot be read"),
    ],
)
def test_settings_that_cannot_be(standin, changes, words):
    with pytest.raises(ConfigurationError) as error:
        signer_of(standin, **changes)
    assert words in error.value.message
    assert "hunter2" not in error.value.message
    assert not standin.requests


def test_http_on_another_machine_needs_pinned_keys(standin, key_pair):
    signer_of(standin, server_url="http://autograph:8000", public_key=key_pair.public)
    for loopback in ("http://localhost:1", "http://127.9.9.9", "http://[::1]:8000"):
        signer_of(standin, server_url=loopback)
    for other in ("http://localhost.example.org", "http://127.0.0.1.example.org:8000"):
        with pytest.raises(ConfigurationError, match="over http"):
            signer_of(standin, server_url=other)


def test_a_secret_in_a_file(standin, tmp_path):
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text(standin.hawk_ids["alice"] + "\n")
    sign(signer_of(standin, hawk_secret="", hawk_secret_file=file), random_content())


def test_the_digest_has_the_prefix():
    assert digest_of(b"x") == hashlib.sha384(b"Content-Signature:\x00x").digest()
