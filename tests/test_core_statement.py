"""The publication statement by itself: its bytes, what is refused of it, and that others understand it."""

import base64
import copy
import dataclasses
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib import dsse
from securesystemslib.exceptions import VerificationError as TheirVerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from kinto_signer.core import envelope, signature
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.statement import (
    PAYLOAD_TYPE,
    Statement,
    attributes_digest,
    check_published,
    key_id,
    open_statement,
    parse,
    peek,
    seal,
)
from kinto_signer.core.trust import PublicKey
from kinto_signer.errors import (
    BadAnswerError,
    BadSignatureError,
    HashMismatchError,
    OtherCollectionError,
    UnknownKeyError,
    VerificationError,
)
from tests.support.statements import sealed, stated, statement_for, unstated
from tests.support.states import NAME, START, make_records, new_key, signed_state, trust_in

KEY, OTHER = new_key(), new_key()
TRUST = trust_in(KEY)
NOW = 1_790_000_000_000
STATE = signed_state(KEY, make_records(3), schema={"type": "object", "minimum": 0.5}, displayFields=["text"])


@pytest.fixture
def state() -> Changeset:
    return stated(KEY, STATE, now=NOW)


def changed(state: Changeset, **attributes: object) -> Changeset:
    return dataclasses.replace(state, metadata={**copy.deepcopy(dict(state.metadata)), **attributes})


def with_envelope(state: Changeset, **fields: object) -> Changeset:
    return changed(state, publication={**copy.deepcopy(state.metadata["publication"]), **fields})


def with_payload(state: Changeset, **said: object) -> Changeset:
    """The payload altered, and not signed again."""
    payload = json.loads(base64.b64decode(state.metadata["publication"]["payload"])) | said
    return with_envelope(state, payload=base64.b64encode(json.dumps(payload).encode()).decode())


def with_signature(state: Changeset, **fields: object) -> Changeset:
    return with_envelope(state, signatures=[{**state.metadata["publication"]["signatures"][0], **fields}])


def test_an_honest_statement_is_accepted(state):
    key, found = check_published(NAME, state, TRUST)

    assert key == PublicKey(KEY.public_key())
    assert found.statement == statement_for(STATE, now=NOW)
    assert found.statement == parse("", found.statement.payload())
    assert peek(state.metadata) == found


def test_a_state_without_one_is_left_to_the_rules():
    assert check_published(NAME, STATE, TRUST)[1] is None
    assert peek({}) is peek({"publication": "x"}) is None


def test_the_pre_authentication_encoding_is_the_one_in_the_specification():
    assert envelope.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert envelope.pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


ATTACKS = {
    "another bucket": lambda s: stated(KEY, STATE, bucket="other"),
    "another collection": lambda s: stated(KEY, STATE, collection="other"),
    "another timestamp": lambda s: stated(KEY, STATE, timestamp=START),
    "another hash": lambda s: stated(KEY, STATE, hash=signed_state(KEY, make_records(2)).digests().hash),
    "another number of records": lambda s: stated(KEY, STATE, records=4),
    "other records, signed, and the old statement": lambda s: changed(
        signed_state(KEY, make_records(4)), publication=s.metadata["publication"]
    ),
    "a changed attribute": lambda s: changed(s, schema={"type": "object", "minimum": 0}),
    "an added attribute": lambda s: changed(s, flags=["startup"]),
    "a removed attribute": lambda s: dataclasses.replace(s, metadata={k: v for k, v in s.metadata.items() if k != "schema"}),
    "true for one": lambda s: changed(stated(KEY, changed(STATE, flags=[1])), flags=[True]),
    "another signed_timestamp beside it": lambda s: changed(s, signed_timestamp=START + 5),
    "an altered payload": lambda s: with_payload(s, records=4),
    "a longer payload": lambda s: with_payload(s, more=1),
    "another payload type": lambda s: with_envelope(s, payloadType="application/json"),
    "no payload type": lambda s: with_envelope(s, payloadType=None),
    "a key that nobody trusts": lambda s: changed(s, publication=sealed(OTHER, statement_for(STATE))),
    "a key that nobody trusts, brought along": lambda s: changed(
        s,
        publication={
            **(found := sealed(OTHER, statement_for(STATE))),
            "signatures": [
                {**found["signatures"][0], "public_key": base64.b64encode(PublicKey(OTHER.public_key()).der).decode()}
            ],
        },
    ),
    "the data's signature": lambda s: with_signature(
        s, sig=base64.b64encode(signature.decode(s.metadata["signature"]["signature"])).decode()
    ),
    "a signature over the bare payload": lambda s: with_signature(
        s,
        sig=base64.b64encode(
            KEY.sign(base64.b64decode(s.metadata["publication"]["payload"]), ec.ECDSA(hashes.SHA384()))
        ).decode(),
    ),
    "no DER": lambda s: with_signature(s, sig=base64.b64encode(bytes(96)).decode()),
    "no base64": lambda s: with_signature(s, sig="*"),
    "url-safe base64": lambda s: with_envelope(s, payload="-_-_"),
    "base64 with a line break": lambda s: with_envelope(s, payload=s.metadata["publication"]["payload"] + "\n"),
    "bits left over": lambda s: with_envelope(s, payload="QR=="),
    "no signatures": lambda s: with_envelope(s, signatures=[]),
    "a signature that is no object": lambda s: with_envelope(s, signatures=["x"]),
    "no object": lambda s: changed(s, publication=[]),
    "null": lambda s: changed(s, publication=None),
    "an enormous payload": lambda s: with_envelope(s, payload=base64.b64encode(bytes(envelope.MAX_PAYLOAD_BYTES + 1)).decode()),
    "too many signatures": lambda s: with_envelope(s, signatures=s.metadata["publication"]["signatures"] * 40),
}
REASONS = {
    "another bucket": OtherCollectionError,
    "another collection": OtherCollectionError,
    "another timestamp": HashMismatchError,
    "another hash": HashMismatchError,
    "another number of records": HashMismatchError,
    "other records, signed, and the old statement": HashMismatchError,
    "a changed attribute": HashMismatchError,
    "an added attribute": HashMismatchError,
    "a removed attribute": HashMismatchError,
    "true for one": HashMismatchError,
    "another signed_timestamp beside it": HashMismatchError,
    "an altered payload": BadSignatureError,
    "a longer payload": BadSignatureError,
    "a key that nobody trusts": BadSignatureError,
    "a key that nobody trusts, brought along": UnknownKeyError,
    "the data's signature": BadSignatureError,
    "a signature over the bare payload": BadSignatureError,
    "no DER": BadSignatureError,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_refused(attack, state):
    forged = ATTACKS[attack](state)
    with pytest.raises(REASONS.get(attack, BadAnswerError), match=r"(?s)main/regions.*Nothing was accepted"):
        check_published(NAME, forged, TRUST)
    # The control: the classic signature stops none of them.
    assert check_published(NAME, unstated(forged), TRUST)


PROPER = json.loads(statement_for(STATE, now=NOW).payload())
IMPROPER = {
    "bucket": [None, "", 1, ["main"]],
    "collection": [None, ""],
    "audience": [None, "", 5],
    "timestamp": [None, "1", 1.0, True, -1, 2**53],
    "hash": [None, "", "sha384-", "sha256-" + "A" * 64, PROPER["hash"] + "\n", PROPER["hash"].upper()],
    "records": [None, -1, True],
    "attributes": [None, [], {}, {"names": ["a"]}, {**PROPER["attributes"], "names": "schema"}]
    + [{**PROPER["attributes"], "names": names} for names in (["a", "a"], [""], [1], [str(n) for n in range(201)])]
    + [{**PROPER["attributes"], "digest": "x"}],
    "serial": [None, 0, "1", 2**60],
    "signed_at": [None, -1],
    "expires": [None, NOW, NOW - 1],
    "previous": ["", 0, "x"],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in IMPROPER.items() for value in values])
def test_a_payload_of_another_shape(field, value):
    with pytest.raises(BadAnswerError, match="Nothing was accepted"):
        parse("here", json.dumps({**PROPER, field: value}).encode())


@pytest.mark.parametrize("field", [*PROPER])
def test_every_field_has_to_be_there(field):
    said = {name: value for name, value in PROPER.items() if name != field}
    with pytest.raises(BadAnswerError):
        parse("here", json.dumps(said).encode())


def test_a_signer_may_say_more():
    assert parse("here", json.dumps({**PROPER, "more": 1}).encode()) == statement_for(STATE, now=NOW)


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"a": 1, "a": 1}', b"\xff", b"{", b"[" * 100])
def test_a_payload_that_is_no_object(payload):
    with pytest.raises(VerificationError):
        parse("here", payload)


def test_a_statement_that_does_not_verify_under_its_own_signer_is_not_made():
    with pytest.raises(BadSignatureError):
        seal(statement_for(STATE), lambda digest: [{"signature": signature.sign(OTHER, digest)}], TRUST)


def test_attributes_that_are_not_covered_say_nothing():
    names = ("schema",)
    assert attributes_digest(STATE.metadata, names) == attributes_digest({**STATE.metadata, "other": 1}, names)


def test_whose_collection_is_not_asked_for_a_file_without_a_name(state):
    assert open_statement("/", state.metadata, TRUST).statement.name == NAME


# --- others -----------------------------------------------------------------------------------------------------------------


def their_key(key) -> SSlibKey:
    return SSlibKey.from_crypto(key.public_key(), keyid=key_id(PublicKey(key.public_key())))


def test_securesystemslib_verifies_what_is_made_here(state):
    theirs = dsse.Envelope.from_dict(copy.deepcopy(state.metadata["publication"]))

    assert theirs.verify([their_key(OTHER), their_key(KEY)], 1).keys() == {key_id(PublicKey(KEY.public_key()))}
    assert (theirs.payload_type, json.loads(theirs.payload)["hash"]) == (PAYLOAD_TYPE, STATE.digests().hash)
    assert theirs.pae() == envelope.pae(PAYLOAD_TYPE, theirs.payload)
    with pytest.raises(TheirVerificationError):
        theirs.verify([their_key(OTHER)], 1)


def test_what_securesystemslib_makes_is_verified_here(state):
    theirs = dsse.Envelope(statement_for(STATE, now=NOW).payload(), PAYLOAD_TYPE, {})
    theirs.sign(CryptoSigner(KEY, their_key(KEY)))

    _, found = check_published(NAME, changed(state, publication=theirs.to_dict()), TRUST)
    assert found.statement == statement_for(STATE, now=NOW)


def test_two_signatures_of_which_one_is_trusted(state):
    theirs = dsse.Envelope(statement_for(STATE, now=NOW).payload(), PAYLOAD_TYPE, {})
    rsa_like = {"keyid": "somebody", "sig": base64.b64encode(b"another kind of signature").decode()}
    for key in (OTHER, KEY):
        theirs.sign(CryptoSigner(key, their_key(key)))
    made = theirs.to_dict()
    made["signatures"].insert(0, rsa_like)

    assert check_published(NAME, changed(state, publication=made), TRUST)[1]
    assert isinstance(peek(changed(state, publication=made).metadata).statement, Statement)
