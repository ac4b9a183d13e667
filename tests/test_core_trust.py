"""Policies: pinned keys, their digests, and roots; whatever a server sends along is trusted for nothing."""

import dataclasses
import hashlib
import json

import pytest

from kinto_signer.core.acceptance import attributes_digest, check_first
from kinto_signer.core.canonical import SIGNATURE_PREFIX
from kinto_signer.core.chain import Fault, load_chain
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.trust import PinnedRoot, PublicKey, Trust, check, check_signed
from kinto_signer.errors import (
    BadChainError,
    BadSignatureError,
    ConfigurationError,
    ExpiredError,
    NotFoundError,
    NotYetValidError,
    UnknownKeyError,
    UnreachableError,
)
from kinto_signer.updater.saved import load
from tests.support.certificates import DAY, LEAF_END, SIGNER, START, make_pki
from tests.support.states import NAME, make_records, new_key, sign, signed_state, trust_in

PKI = make_pki()
RENEWED = make_pki(root_issued=PKI.root)
HOSTILE = make_pki()
AT = START + 40 * DAY
X5U = "https://chains.example/a.chain"
TRUST = Trust(roots=(PKI.pinned,))
PINNED = Trust(key_digests=(PublicKey(PKI.leaf.key.public_key()).sha256,))
RECORDS = make_records(3)


def state_by(key, x5u=X5U, chains=None, **entry):
    state = signed_state(key, RECORDS)
    made = {**state.metadata["signature"], "x5u": x5u, **entry}
    carried = {} if chains is None else {"chains": chains}
    return dataclasses.replace(state, metadata={**state.metadata, "signature": made, "signatures": [made], **carried})


def with_entries(*entries, **attributes):
    state = signed_state(PKI.leaf.key, RECORDS)
    return dataclasses.replace(state, metadata={**state.metadata, "signatures": list(entries), **attributes})


def entry_by(key, x5u=X5U, **more):
    return {**sign(key, RECORDS, RECORDS[-1]["last_modified"]), "x5u": x5u, **more}


SIGNED = state_by(PKI.leaf.key)
CARRIED = state_by(PKI.leaf.key, chains={X5U: PKI.pem.decode()})
KEY = PublicKey(PKI.leaf.key.public_key())


# --- where chains come from ------------------------------------------------------------------------------------------------


def test_a_chain_from_anywhere():
    elsewhere = {X5U: PKI.pem}
    assert check(NAME, CARRIED, TRUST, at=AT) == KEY
    assert check(NAME, SIGNED, TRUST, at=AT, chains=elsewhere) == KEY
    assert check(NAME, SIGNED, dataclasses.replace(TRUST, chains=elsewhere), at=AT) == KEY
    assert check(NAME, SIGNED, TRUST, at=AT, chains=lambda x5u: [elsewhere[x5u]]) == KEY
    assert check(NAME, SIGNED, dataclasses.replace(TRUST, chains=elsewhere, now=lambda: AT + 0.9)) == KEY
    check_first(NAME, CARRIED.metadata, CARRIED.digests().signed, dataclasses.replace(TRUST, now=lambda: AT))


def test_one_after_the_other_until_one_fits():
    asked = []

    def source(x5u):
        for pem in (b"nonsense", HOSTILE.pem, RENEWED.pem, PKI.pem):
            asked.append(x5u)
            yield pem

    assert check(NAME, SIGNED, TRUST, at=AT, chains=source) == KEY
    assert asked == [X5U] * 4
    carried = state_by(PKI.leaf.key, chains={X5U: HOSTILE.pem.decode()})
    assert check(NAME, carried, TRUST, at=AT, chains={X5U: PKI.pem}) == KEY
    asked.clear()
    assert check(NAME, CARRIED, TRUST, at=AT, chains=source) == KEY
    assert asked == []  # what is carried is not fetched


def test_a_given_chain_does_for_a_signature_without_x5u():
    assert check(NAME, state_by(PKI.leaf.key, x5u=""), TRUST, at=AT, chains=lambda x5u: [PKI.pem]) == KEY


def test_a_chain_that_is_nowhere():
    for state in (SIGNED, state_by(PKI.leaf.key, chains={"https://chains.example/b.chain": PKI.pem.decode()})):
        with pytest.raises(BadChainError, match=f"^{NAME}: .*neither carried.* Nothing was accepted") as caught:
            check(NAME, state, TRUST, at=AT)
        assert caught.value.fault is Fault.MISSING


@pytest.mark.parametrize("chains", [[], "x", {X5U: None}, {X5U: [PKI.pem.decode()]}, {X5U: {}}])
def test_chains_carried_in_another_shape_are_none(chains):
    with pytest.raises(BadChainError, match="neither carried"):
        check(NAME, state_by(PKI.leaf.key, chains=chains), TRUST, at=AT)
    assert check(NAME, state_by(PKI.leaf.key, chains=chains), TRUST, at=AT, chains={X5U: PKI.pem}) == KEY


def test_a_chain_with_odd_characters_is_no_chain():
    with pytest.raises(BadChainError) as caught:
        check(NAME, state_by(PKI.leaf.key, chains={X5U: PKI.pem.decode() + "\udcff"}), TRUST, at=AT)
    assert caught.value.fault is Fault.MALFORMED


@pytest.mark.parametrize("error", [UnreachableError("The server is away."), NotFoundError("There is none.")])
def test_a_chain_that_cannot_be_fetched(error):
    def source(x5u):
        raise error
        yield b""

    with pytest.raises(type(error)) as caught:
        check(NAME, SIGNED, TRUST, at=AT, chains=source)
    assert caught.value is error
    other = entry_by(PKI.leaf.key, "https://chains.example/b.chain")
    both = with_entries(entry_by(HOSTILE.leaf.key), other, chains={other["x5u"]: PKI.pem.decode()})
    assert check(NAME, both, TRUST, at=AT, chains=source) == KEY
    fallback = dataclasses.replace(TRUST, chains={X5U: PKI.pem})
    assert check(NAME, SIGNED, fallback, at=AT, chains=source) == KEY


def test_chains_are_renewed_like_signatures():
    """They are no attribute that takes a new timestamp (A would refuse the refresh)."""
    assert attributes_digest(CARRIED.metadata) == attributes_digest(SIGNED.metadata)
    assert attributes_digest({**SIGNED.metadata, "chain": {}}) != attributes_digest(SIGNED.metadata)


# --- what a server sends ---------------------------------------------------------------------------------------------------

HOSTILE_STATES = {
    "its own key": (lambda: state_by(HOSTILE.leaf.key, x5u=""), UnknownKeyError, UnknownKeyError),
    "its own chain": (
        lambda: state_by(HOSTILE.leaf.key, chains={X5U: HOSTILE.pem.decode()}),
        BadChainError,
        UnknownKeyError,
    ),
    "the true chain": (lambda: state_by(HOSTILE.leaf.key, chains={X5U: PKI.pem.decode()}), UnknownKeyError, UnknownKeyError),
    "the true chain and key": (
        lambda: state_by(HOSTILE.leaf.key, chains={X5U: PKI.pem.decode()}, public_key=SIGNED.metadata["signature"]["public_key"]),
        BadSignatureError,
        BadSignatureError,
    ),
    "its own leaf on the true chain": (
        lambda: state_by(
            HOSTILE.leaf.key, chains={X5U: (HOSTILE.pem.split(b"-----END")[0] + PKI.pem[PKI.pem.index(b"-----END") :]).decode()}
        ),
        BadChainError,
        UnknownKeyError,
    ),
    "other content": (
        lambda: dataclasses.replace(CARRIED, changes=CARRIED.changes[1:]),
        BadSignatureError,
        BadSignatureError,
    ),
}


@pytest.mark.parametrize("what", HOSTILE_STATES)
def test_what_a_server_sends_is_not_trusted(what):
    make, by_root, by_digest = HOSTILE_STATES[what]
    for trust, refusal in ((TRUST, by_root), (PINNED, by_digest), (Trust((KEY,)), by_digest)):
        with pytest.raises(refusal, match=f"^{NAME}: .*Nothing was accepted") as caught:
            check(NAME, make(), trust, at=AT)
        assert type(caught.value) is refusal


def test_the_faults_of_chains_are_told():
    expired = make_pki(root_issued=PKI.root, leaf={"end": START + DAY})
    with pytest.raises(ExpiredError, match=f"^{NAME}: .*ended at.* Nothing was accepted"):
        check(NAME, state_by(expired.leaf.key, chains={X5U: expired.pem.decode()}), TRUST, at=AT)
    with pytest.raises(BadChainError, match="which is not pinned") as caught:
        check(NAME, state_by(HOSTILE.leaf.key, chains={X5U: HOSTILE.pem.decode()}), TRUST, at=AT)
    assert caught.value.fault is Fault.OTHER_ROOT
    # Of two signatures, that of a stranger and one whose chain ended: the second says more. And the other way round.
    entries = [entry_by(expired.leaf.key), entry_by(HOSTILE.leaf.key, "https://chains.example/b.chain")]
    chains = {X5U: expired.pem, "https://chains.example/b.chain": HOSTILE.pem}
    for ordered in (entries, entries[::-1]):
        with pytest.raises(ExpiredError):
            check(NAME, with_entries(*ordered), TRUST, at=AT, chains=chains)


# --- policies --------------------------------------------------------------------------------------------------------------


def test_an_empty_policy_is_an_error():
    with pytest.raises(ConfigurationError, match="No trusted key"):
        Trust()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Trust(key_digests=(b"short",)),
        lambda: Trust(roots=(PinnedRoot(b"", SIGNER),)),
        lambda: Trust(roots=(PinnedRoot(PKI.root.sha256, ""),)),
        lambda: Trust((KEY,), tolerance_s=-1),
    ],
)
def test_policies_that_are_none(wrong):
    with pytest.raises(ConfigurationError):
        wrong()


def test_without_a_time_no_chain_is_judged():
    with pytest.raises(ConfigurationError, match="none was given"):
        check(NAME, CARRIED, TRUST)
    assert check(NAME, CARRIED, Trust((KEY,), roots=TRUST.roots)) == KEY  # the key is enough


def test_a_pinned_digest():
    assert check(NAME, SIGNED, PINNED) == KEY
    with pytest.raises(BadSignatureError):
        check(NAME, state_by(PKI.leaf.key, public_key=""), PINNED)  # nobody says which key that is
    with pytest.raises(UnknownKeyError):
        check(NAME, SIGNED, Trust(key_digests=(PublicKey(HOSTILE.leaf.key.public_key()).sha256,)))


def test_any_one_of_several_suffices():
    keys = [new_key() for _ in range(3)]
    several = Trust(
        (PublicKey(keys[0].public_key()),),
        key_digests=(PublicKey(keys[1].public_key()).sha256,),
        roots=(PinnedRoot(HOSTILE.root.sha256, "nobody"), PKI.pinned),
    )
    for key in (keys[0], keys[1], PKI.leaf.key, RENEWED.leaf.key):
        issued = {PKI.leaf.key: PKI, RENEWED.leaf.key: RENEWED}.get(key)
        state = state_by(key, chains={X5U: issued.pem.decode()} if issued else None)
        assert check(NAME, state, several, at=AT).key == key.public_key()
    with pytest.raises(UnknownKeyError):
        check(NAME, state_by(keys[2], x5u=""), several, at=AT)


def test_a_root_counts_for_its_own_signer_only():
    """Two roots, two signers: not each signer below each root."""
    other = make_pki(leaf={"subject": "other", "names": ()}, intermediate={"permitted": None})
    trust = Trust(roots=(PKI.pinned, PinnedRoot(other.root.sha256, "other")))
    assert check(NAME, state_by(other.leaf.key, chains={X5U: other.pem.decode()}), trust, at=AT)
    crossed = Trust(roots=(PinnedRoot(PKI.root.sha256, "other"), PinnedRoot(other.root.sha256, SIGNER)))
    for pki in (PKI, other):
        with pytest.raises(BadChainError):
            check(NAME, state_by(pki.leaf.key, chains={X5U: pki.pem.decode()}), crossed, at=AT)


def test_unknown_modes_are_skipped_if_another_signature_verifies():
    strange = {**entry_by(PKI.leaf.key), "mode": "p521ecdsa"}
    good = entry_by(PKI.leaf.key, "https://chains.example/b.chain")
    for entries in ([strange, good], [good, strange]):
        for trust in (TRUST, PINNED, trust_in(PKI.leaf.key)):
            assert check(NAME, with_entries(*entries, chains={good["x5u"]: PKI.pem.decode()}), trust, at=AT) == KEY
    for trust in (TRUST, PINNED, trust_in(PKI.leaf.key)):
        with pytest.raises(BadSignatureError, match="p384ecdsa"):
            check(NAME, with_entries(strange, chains={X5U: PKI.pem.decode()}), trust, at=AT)


# --- time ------------------------------------------------------------------------------------------------------------------


def test_the_time_and_its_tolerance():
    tolerant = dataclasses.replace(TRUST, tolerance_s=60)
    for at, refusal in ((START - 1, NotYetValidError), (LEAF_END + 1, ExpiredError)):
        with pytest.raises(refusal, match="no tolerance"):
            check(NAME, CARRIED, TRUST, at=at)
        assert check(NAME, CARRIED, tolerant, at=at) == KEY
    for at, refusal in ((START - 61, NotYetValidError), (LEAF_END + 61, ExpiredError)):
        with pytest.raises(refusal, match="a tolerance of 60 s"):
            check(NAME, CARRIED, tolerant, at=at)


# --- Mozilla's published states --------------------------------------------------------------------------------------------

MOZILLA = PinnedRoot(
    bytes.fromhex("C8A80E9AFAEF4E219B6FB5D7A71D0F101223BAC5001AC28F9B0D43DC59A106DB"),
    "remote-settings.content-signature.mozilla.org",
)


def test_published_states_by_chain(shared):
    count = 0
    for file in sorted((shared / "vectors" / "signatures").glob("*.json")):
        name, state = load(file)
        for entry in json.loads(file.read_text())["signatures"]:
            body = (shared / "vectors" / "chains" / entry["chain_file"].rpartition("/")[2]).read_bytes()
            leaf = load_chain(body)[0]
            first, last = (int(time.timestamp()) for time in (leaf.not_valid_before_utc, leaf.not_valid_after_utc))
            one = Changeset(state.timestamp, state.changes, {"signatures": [entry], "chains": {entry["x5u"]: body.decode()}})
            for at in (first, first + 40 * DAY, last):
                assert check(name, one, Trust(roots=(MOZILLA,)), at=at).key == leaf.public_key()
            for at, refusal in ((first - 1, NotYetValidError), (last + 1, ExpiredError)):
                with pytest.raises(refusal):
                    check(name, one, Trust(roots=(MOZILLA,)), at=at)
            altered = dataclasses.replace(one, changes=one.changes[1:])
            with pytest.raises(BadSignatureError):
                check(name, altered, Trust(roots=(MOZILLA,)), at=first + 40 * DAY)
            count += 1
    assert count == 4


def test_the_stage_of_2021_by_chain(shared):
    folder = shared / "vectors" / "rc_crypto"
    vector = json.loads((folder / "vector.json").read_text())
    root = bytes.fromhex(vector["root_hash"].replace(":", ""))
    chains = {"u": (folder / "remote-settings-stage-2021.chain").read_bytes()}
    trust = Trust(roots=(PinnedRoot(root, vector["hostname"]),))
    digest = hashlib.sha384(SIGNATURE_PREFIX + vector["input"].encode()).digest()
    entry = {"signature": vector["signature"], "x5u": "u"}
    assert check_signed("x", [entry], digest, trust, at=vector["epoch_seconds"], chains=chains)
