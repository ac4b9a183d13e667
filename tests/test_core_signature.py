"""Signatures: the wire format under abuse, keys, and whom a reader trusts."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils

from kinto_signer.core import signature
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.signature import HALF, P384_ORDER, decode, encode_raw
from kinto_signer.core.trust import PublicKey, Trust, check, check_signed, load_public_key
from kinto_signer.errors import (
    BadAnswerError,
    BadSignatureError,
    ConfigurationError,
    HashMismatchError,
    OtherCollectionError,
    UnknownKeyError,
    UnsignedError,
)
from tests.support.states import NAME, START, make_records, new_key, sign, signed_state, trust_in

KEY = new_key()
TRUST = trust_in(KEY)
STATE = signed_state(KEY, make_records(3))
TEXT = STATE.metadata["signature"]["signature"]
RAW = base64.urlsafe_b64decode(TEXT)
R, S = int.from_bytes(RAW[:HALF], "big"), int.from_bytes(RAW[HALF:], "big")


def raw(r, s):
    return encode_raw(r.to_bytes(HALF, "big") + s.to_bytes(HALF, "big"))


ABUSE = {
    "empty": "",
    "None": None,
    "number": 5,
    "list": [TEXT],
    "object": {"a": TEXT},
    "true": True,
    "bytes": TEXT.encode(),
    "shorter": TEXT[:-1],
    "shorter by four": TEXT[:-4],
    "longer": TEXT + "A",
    "longer by four": TEXT + "AAAA",
    "padded": TEXT + "==",
    "newline after": TEXT + "\n",
    "newline before": "\n" + TEXT,
    "newline inside": TEXT[:64] + "\n" + TEXT[64:],
    "space": TEXT[:-1] + " ",
    "other alphabet": "+" + TEXT[1:],
    "slash": TEXT[:5] + "/" + TEXT[6:],
    "not ASCII": "é" + TEXT[1:],
    "digit of another script": "\u0664" + TEXT[1:],
    "NUL": "\0" + TEXT[1:],
    "DER": base64.urlsafe_b64encode(utils.encode_dss_signature(R, S)).decode(),
    "hexadecimal": RAW.hex(),
    "twice": TEXT * 2,
    "r zero": raw(0, S),
    "s zero": raw(R, 0),
    "both zero": raw(0, 0),
    "r = n": raw(P384_ORDER, S),
    "s = n": raw(R, P384_ORDER),
    "r + n": raw((R + P384_ORDER) % 2**384, S) if R + P384_ORDER < 2**384 else raw(2**384 - 1, S),
    "largest": raw(2**384 - 1, 2**384 - 1),
    "swapped": raw(S, R),
    "one bit": raw(R, S ^ 1) if S > 1 else raw(R, 2),
    "one": raw(1, 1),
}


@pytest.mark.parametrize("abuse", ABUSE)
def test_abused_signatures(abuse):
    with pytest.raises(BadSignatureError, match="Nothing was accepted"):
        check_signed(NAME, [{"signature": ABUSE[abuse]}], STATE.digests().signed, TRUST)


MALFORMED = [name for name in ABUSE if name not in ("swapped", "one bit", "one")]


@pytest.mark.parametrize("abuse", MALFORMED)
def test_malformed_signatures_are_not_even_decoded(abuse):
    with pytest.raises(BadSignatureError):
        decode(ABUSE[abuse])


def test_the_other_half_verifies_too():
    """ECDSA is malleable and real signatures use both halves, so both are accepted."""
    assert signature.verifies(KEY.public_key(), STATE.digests().signed, raw(R, P384_ORDER - S))


def test_signing_gives_what_verifies():
    digest = STATE.digests().signed
    texts = {signature.sign(KEY, digest) for _ in range(20)}
    assert len(texts) == 20
    assert {len(text) for text in texts} == {128}
    assert all(signature.verifies(KEY.public_key(), digest, text) for text in texts)


def test_small_numbers_keep_their_length():
    der = utils.encode_dss_signature(1, 2)
    assert signature.encode(der) == raw(1, 2)
    assert decode(raw(1, 2)) == der


# --- whom to trust --------------------------------------------------------------------------------------------------


def altered(**metadata):
    return Changeset(STATE.timestamp, STATE.changes, {**STATE.metadata, **metadata})


def test_any_trusted_key_and_any_signature_suffices():
    other = new_key()
    both = [sign(other, STATE.records, STATE.timestamp), STATE.metadata["signature"]]
    for entries in (both, both[::-1]):
        for trust in (TRUST, trust_in(other, KEY), trust_in(KEY, other)):
            assert check(NAME, altered(signatures=entries), trust) in trust.keys
    assert check(NAME, altered(signatures=both), trust_in(other)) == trust_in(other).keys[0]
    odd = [{"mode": "rs256", "signature": "x"}, {"signature": "malformed"}, {}, *both]
    assert check(NAME, altered(signatures=odd), TRUST) == TRUST.keys[0]


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"signature": None, "signatures": None}, UnsignedError),
        ({"signature": None, "signatures": []}, UnsignedError),
        ({"signature": TEXT, "signatures": None}, BadSignatureError),
        ({"signatures": {"a": 1}}, BadSignatureError),
        ({"signatures": [TEXT]}, BadSignatureError),
        ({"signatures": [None]}, BadSignatureError),
        ({"signatures": [{}]}, BadSignatureError),
        ({"signatures": [{"mode": "p256ecdsa", "signature": TEXT}]}, BadSignatureError),
        ({"signatures": [{"mode": None, "signature": TEXT}]}, BadSignatureError),
        ({"signatures": [{"mode": ["p384ecdsa"], "signature": TEXT}]}, BadSignatureError),
        ({"signatures": [{"signature": TEXT, "public_key": "not base64"}]}, None),
        ({"hash": "sha384-AAAA"}, HashMismatchError),
        ({"hash": 5}, HashMismatchError),
        ({"hash": STATE.digests().hash}, None),
        ({"id": "languages"}, OtherCollectionError),
        ({"bucket": "blog"}, OtherCollectionError),
        ({"bucket": "main"}, None),
    ],
)
def test_attributes(metadata, error):
    if error is None:
        assert check(NAME, altered(**metadata), TRUST) == TRUST.keys[0]
        return
    with pytest.raises(error):
        check(NAME, altered(**metadata), TRUST)


def test_an_empty_collection_needs_a_signature_too():
    with pytest.raises(UnsignedError):
        check(NAME, Changeset(START), TRUST)
    assert check(NAME, signed_state(KEY, [], START), TRUST)


def test_a_right_hash_does_not_replace_the_signature():
    forged = [{"id": "forged", "last_modified": START}]
    state = Changeset(STATE.timestamp, forged, {**STATE.metadata, "hash": Changeset(STATE.timestamp, forged).digests().hash})
    with pytest.raises(BadSignatureError):
        check(NAME, state, TRUST)


def test_content_without_a_canonical_form():
    with pytest.raises(BadAnswerError, match="surrogate"):
        check(NAME, Changeset(1, [{"id": "a", "last_modified": 1, "x": "\ud800"}], STATE.metadata), TRUST)


def der_of(key):
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(public).decode()


CLAIMS = {
    "empty": lambda: "",
    "short": lambda: "AAAA",
    "null": lambda: None,
    "number": lambda: 5,
    "P-256": lambda: der_of(ec.generate_private_key(ec.SECP256R1())),
    "RSA": lambda: der_of(rsa.generate_private_key(65537, 2048)),
    "another": lambda: der_of(new_key()),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_key_that_the_server_sends_is_never_trusted(claim):
    stranger = new_key()
    entry = sign(stranger, STATE.records, STATE.timestamp)
    with pytest.raises(UnknownKeyError):
        check(NAME, altered(signatures=[entry]), TRUST)
    with pytest.raises(BadSignatureError):
        check(NAME, altered(signatures=[{**entry, "public_key": CLAIMS[claim]()}]), TRUST)


def test_no_key_is_no_trust():
    with pytest.raises(ConfigurationError, match="No trusted key"):
        Trust(())


# --- keys -----------------------------------------------------------------------------------------------------------


def pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


NO_KEYS = {
    "empty": lambda: b"",
    "nonsense": lambda: b"nonsense",
    "cut": lambda: pem(KEY)[:-40],
    "binary": lambda: b"\xff" * 50,
    "P-256": lambda: pem(ec.generate_private_key(ec.SECP256R1())),
    "P-521": lambda: pem(ec.generate_private_key(ec.SECP521R1())),
    "secp256k1": lambda: pem(ec.generate_private_key(ec.SECP256K1())),
    "RSA": lambda: pem(rsa.generate_private_key(65537, 2048)),
    "Ed25519": lambda: pem(ed25519.Ed25519PrivateKey.generate()),
}


@pytest.mark.parametrize("what", NO_KEYS)
def test_keys_that_are_none(what):
    with pytest.raises(ConfigurationError, match=r"^key\.pem: not a"):
        load_public_key(NO_KEYS[what](), where="key.pem")


def test_a_key_and_its_fingerprint():
    loaded = load_public_key(pem(KEY), where="key.pem")
    assert loaded == PublicKey(KEY.public_key())
    assert loaded.pem == pem(KEY)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(loaded.der)
    assert loaded.fingerprint == ":".join(f"{byte:02X}" for byte in digest.finalize())
