"""A signer's own certificate chain: checked at start-up, replaced while running, and followed to its end."""

import base64
import dataclasses
import hashlib
import logging
import time
from types import SimpleNamespace

import pytest

from kinto_signer.core.trust import PublicKey, Trust, check_signed
from kinto_signer.errors import ConfigurationError, SigningError, VerificationError
from kinto_signer.signers import Signature
from kinto_signer.signers.certificate import RETRY_S, ChainFile, FollowedChain
from kinto_signer.signers.local import from_settings
from kinto_signer.signers.several import MAX_CARRIED_BYTES, Named, SignerSet, carried_by
from tests.support.certificates import DAY, SIGNER, make_pki, pem, write_pki
from tests.support.signers import SignerContract, digest_of, random_content, read_from, sign

NOW = int(time.time())
PKI = make_pki(leaf={"begin": NOW - DAY, "end": NOW + 60 * DAY})
NEXT = make_pki(root_issued=PKI.root, leaf={"begin": NOW - DAY, "end": NOW + 200 * DAY})
OTHER = make_pki(leaf={"begin": NOW - DAY, "end": NOW + 60 * DAY})
LINE = "kinto.signer.ecdsa.chain"
DIGEST = digest_of(b"something")


def made_from(files, **settings):
    own = {"ecdsa.private_key": files.key, "ecdsa.chain": files.chain}
    return from_settings(read_from(own | {name.replace("__", "."): value for name, value in settings.items()}))


@pytest.fixture
def files(tmp_path):
    return write_pki(tmp_path, PKI)


@pytest.fixture
def clock(monkeypatch):
    """``clock.now``: what the signers take for the time."""
    found = SimpleNamespace(now=float(NOW), ticks=0.0)
    patched = SimpleNamespace(time=lambda: found.now, monotonic=lambda: found.ticks)
    monkeypatch.setattr("kinto_signer.signers.certificate.time", patched)
    return found


def signed(signer):
    """What the signer makes, as S takes it: verified. Returns which of the chains above goes with it."""
    (made,) = SignerSet([Named("it", signer)]).sign(DIGEST)
    return {each.pem.decode(): each for each in (PKI, NEXT, OTHER)}[made.chain]


class TestWithAChain(SignerContract):
    @pytest.fixture
    def signer(self, files):
        return made_from(files, x5u_roots=PKI.root.sha256.hex(":"), signer_ids=SIGNER)

    @pytest.fixture
    def secrets(self, files):
        return [line for line in files.key.read_text().splitlines() if "-----" not in line]


def test_a_reader_of_the_root_accepts_what_is_carried(files):
    (made,) = made_from(files).sign(DIGEST)
    trust = Trust(roots=(PKI.pinned,), now=time.time)
    check_signed("main/regions", [made.as_json()], DIGEST, trust, metadata={"chains": carried_by([made])})
    with pytest.raises(VerificationError):
        check_signed("main/regions", [made.as_json()], DIGEST, trust)


def test_what_signatures_call_it(files):
    digest = hashlib.sha256(PKI.pem)
    named = "ni:///sha-256;" + base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
    assert made_from(files).sign(DIGEST)[0].x5u == named
    address = "https://chains.example.org/regions.chain"
    assert made_from(files, ecdsa__x5u=address).sign(DIGEST)[0].x5u == address
    pattern = "https://chains.example.org/{sha256}.chain"
    assert made_from(files, ecdsa__x5u=pattern).sign(DIGEST)[0].x5u == pattern.format(sha256=digest.hexdigest())


# --- start-up errors --------------------------------------------------------------------------------------------------------

ENDED = make_pki(leaf={"begin": NOW - 9 * DAY, "end": NOW - DAY})
LATER = make_pki(leaf={"begin": NOW + DAY, "end": NOW + 9 * DAY})
NO_CODE_SIGNING = make_pki(leaf={"begin": NOW - DAY, "end": NOW + DAY, "purposes": None})


@pytest.mark.parametrize(
    ("pki", "body", "words"),
    [
        (PKI, b"", "not a file of certificates"),
        (PKI, PKI.pem + b"x", "not a file of certificates"),
        (PKI, pem(*PKI.certificates[:2]), "is missing [bad-chain]"),
        (PKI, pem(*reversed(PKI.certificates)), "in another order"),
        (PKI, OTHER.pem, f"and {PublicKey(PKI.leaf.key.public_key()).fingerprint} signs"),
        (ENDED, ENDED.pem, "[expired]"),
        (LATER, LATER.pem, "[not-yet-valid]"),
        (NO_CODE_SIGNING, NO_CODE_SIGNING.pem, "not for signing code"),
    ],
    ids=["empty", "more", "no root", "order", "another key's", "ended", "not yet begun", "no code signing"],
)
def test_a_chain_that_readers_would_refuse_stops_the_server(tmp_path, pki, body, words):
    files = write_pki(tmp_path, pki)
    files.chain.write_bytes(body)
    with pytest.raises(ConfigurationError) as error:
        made_from(files)
    assert error.value.message.startswith(f"{LINE} = {files.chain}: ")
    assert words in error.value.message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ecdsa__chain": "/nowhere"}, f"{LINE} = /nowhere: cannot be read"),
        ({"ecdsa__x5u": "http://example.org/a"}, "ecdsa.x5u = http://example.org/a: no https address"),
        ({"ecdsa__x5u": "chains/a"}, "ecdsa.x5u = chains/a: no https address"),
        ({"ecdsa__chain": "", "ecdsa__x5u": "https://example.org/a"}, f"{LINE} is not set: name the file too"),
        ({"x5u_roots": PKI.root.sha256.hex()}, "x5u_roots: A root was given without the signer"),
        ({"signer_ids": SIGNER}, "signer_ids: A signer id or a chain was given without a root"),
        ({"x5u_roots": "x", "signer_ids": SIGNER}, "x5u_roots: 'x' is not the SHA-256"),
        ({"x5u_roots": OTHER.root.sha256.hex(), "signer_ids": SIGNER}, "which is not pinned [bad-chain]"),
        ({"x5u_roots": PKI.root.sha256.hex(), "signer_ids": "somebody.else"}, "'somebody.else' was expected [bad-chain]"),
    ],
)
def test_settings_that_cannot_be(files, settings, words):
    with pytest.raises(ConfigurationError) as error:
        made_from(files, **settings)
    assert words in error.value.message
    made_from(files)


# --- replaced while running -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["key", "chain"])
def test_key_and_chain_are_taken_together(tmp_path, caplog, first):
    """One replaced after the other: in between the former pair signs, and never one with the other's chain."""
    files = write_pki(tmp_path, PKI)
    signer = made_from(files)
    assert signed(signer) is PKI
    with caplog.at_level(logging.ERROR, "kinto_signer"):
        write_pki(tmp_path, NEXT, only=first)
        assert [signed(signer), signed(signer)] == [PKI, PKI]
    (message,) = caplog.messages
    assert "the certificate is of the key" in message
    assert "is kept until the files are right" in message
    write_pki(tmp_path, NEXT)
    assert signed(signer) is NEXT
    assert [key.der for key in signer.public_keys()] == [PublicKey(one.leaf.key.public_key()).der for one in (NEXT, PKI)]


def test_a_renewed_certificate_of_the_same_key(tmp_path):
    renewed = make_pki(root_issued=PKI.root, leaf={"key": PKI.leaf.key, "begin": NOW - DAY, "end": NOW + 300 * DAY})
    signer = made_from(write_pki(tmp_path, PKI))
    assert signed(signer) is PKI
    write_pki(tmp_path, renewed, only="chain")
    assert signer.sign(DIGEST)[0].chain == renewed.pem.decode()


def test_a_replacement_that_begins_later_is_taken_then(tmp_path, clock, caplog):
    later = make_pki(root_issued=PKI.root, leaf={"begin": NOW + DAY, "end": NOW + 200 * DAY})
    signer = made_from(write_pki(tmp_path, PKI))
    write_pki(tmp_path, later)
    with caplog.at_level(logging.ERROR, "kinto_signer"):
        assert signed(signer) is PKI
    assert "[not-yet-valid]" in caplog.messages[0]
    clock.now += 2 * DAY
    assert signed(signer) is PKI
    clock.ticks += RETRY_S
    assert signer.sign(DIGEST)[0].chain == later.pem.decode()


def test_a_token_whose_key_and_chain_do_not_fit(tmp_path, caplog):
    """The key is elsewhere and cannot be kept: without its chain nothing is signed."""
    before, after = (PublicKey(one.leaf.key.public_key()) for one in (PKI, NEXT))
    files = write_pki(tmp_path, PKI)
    given = read_from({"pkcs11.chain": files.chain, "x5u_roots": PKI.root.sha256.hex(), "signer_ids": SIGNER})
    chain = FollowedChain(ChainFile.from_settings(given, "pkcs11"), before)
    assert chain.current(before).text == PKI.pem.decode()
    with caplog.at_level(logging.ERROR, "kinto_signer"), pytest.raises(SigningError, match="the certificate is of") as error:
        chain.current(after)
    assert error.value.reason == "bad-chain"
    write_pki(tmp_path, NEXT)
    assert chain.current(after).text == NEXT.pem.decode()
    write_pki(tmp_path, PKI)
    assert chain.current(after).text == NEXT.pem.decode()  # the one that fits is kept
    write_pki(tmp_path, OTHER)
    assert chain.current(after).text == NEXT.pem.decode()
    with pytest.raises(ConfigurationError, match=r"pkcs11\.chain"):
        FollowedChain(ChainFile.from_settings(given, "pkcs11"), after)


def test_a_token_whose_next_chain_begins_later(tmp_path, clock):
    renewed = make_pki(root_issued=PKI.root, leaf={"key": PKI.leaf.key, "begin": NOW + DAY, "end": NOW + 200 * DAY})
    files, key = write_pki(tmp_path, PKI), PublicKey(PKI.leaf.key.public_key())
    chain = FollowedChain(ChainFile.from_settings(read_from({"pkcs11.chain": files.chain}), "pkcs11"), key)
    write_pki(tmp_path, renewed, only="chain")
    assert chain.current(key).text == PKI.pem.decode()
    clock.now += 2 * DAY
    clock.ticks += RETRY_S
    assert chain.current(key).text == renewed.pem.decode()


# --- its end ------------------------------------------------------------------------------------------------------------------


def test_nothing_is_signed_after_its_end(tmp_path, clock, caplog):
    files = write_pki(tmp_path, PKI)
    signer = made_from(files)
    clock.now = NOW + 60 * DAY
    assert signed(signer) is PKI
    write_pki(tmp_path, NEXT, only="key")
    clock.now += 1
    with pytest.raises(SigningError, match=r"the certificate ended at .* Nothing was signed; renew it\.") as error:
        signer.sign(DIGEST)
    assert error.value.reason == "expired"
    write_pki(tmp_path, NEXT)
    assert signed(signer) is NEXT


def test_a_warning_from_15_days_before_its_end_once_a_day(files, clock, caplog):
    signer = made_from(files)
    with caplog.at_level(logging.WARNING, "kinto_signer"):
        for hours in (0, 45 * 24 - 1, 45 * 24 + 1, 45 * 24 + 2, 45 * 24 + 24, 45 * 24 + 26):
            clock.now = NOW + hours * 3600
            signed(signer)
    first, second = caplog.messages
    assert first.startswith(f"{LINE} = {files.chain}: the certificate of {SIGNER} ends at ")
    assert (", in 15.0 days: readers will refuse" in first, ", in 13.9 days: " in second) == (True, True)


# --- whatever a signer says of itself ------------------------------------------------------------------------------------------


class Careless:
    """A signer of another package that gives any chain."""

    needs_content = False

    def __init__(self, files, chain, roots=()):
        self.inner = made_from(files)
        self.chain = chain
        self.roots = roots

    def sign(self, digest, content=None):
        (made,) = self.inner.sign(digest, content)
        return (dataclasses.replace(made, chain=self.chain.decode()),)

    def public_keys(self):
        return self.inner.public_keys()


@pytest.mark.parametrize(
    ("chain", "reason"), [(OTHER.pem, "bad-chain"), (b"x", "bad-chain"), (ENDED.pem, "expired")], ids=["another", "none", "ended"]
)
def test_no_chain_is_published_unverified(files, chain, reason):
    with pytest.raises(SigningError) as error:
        SignerSet([Named("it", Careless(files, chain))]).sign(DIGEST)
    assert error.value.reason == reason
    SignerSet([Named("it", Careless(files, PKI.pem))]).sign(DIGEST)


def test_how_much_is_carried():
    def made(number, size):
        return Signature("s", x5u=f"https://example.org/{number}", chain="x" * size)

    assert len(carried_by([made(0, 65_536), made(0, 65_536), made(1, 65_536), Signature("s")])) == 2
    with pytest.raises(SigningError, match=f"more than {MAX_CARRIED_BYTES}") as error:
        carried_by(made(number, 65_536) for number in range(5))
    assert error.value.reason == "too-large"


def test_without_a_chain_all_is_as_before(files):
    (made,) = sign(from_settings(read_from({"ecdsa.private_key": files.key})), random_content())
    assert (made.x5u, made.chain, carried_by([made])) == ("", "", {})
