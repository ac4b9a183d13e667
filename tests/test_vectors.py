"""Known answers made by others: every positive is accepted, every negative refused with a typed reason."""

import base64
import hashlib
import itertools
import json

import pytest
from cryptography import x509

from kinto_signer.cli import output, updater
from kinto_signer.core import signature
from kinto_signer.core.canonical import SIGNATURE_PREFIX, canonical_json, signed_bytes
from kinto_signer.core.changeset import Changeset, validate
from kinto_signer.core.repository import MemoryRepository, Verify
from kinto_signer.core.strict_json import parse_json
from kinto_signer.core.trust import PublicKey, Trust, check, check_signed
from kinto_signer.errors import BadAnswerError, BadSignatureError, VerificationError
from kinto_signer.updater.saved import load


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def digest_of(content: bytes) -> bytes:
    return hashlib.sha384(SIGNATURE_PREFIX + content).digest()


def keys_of(path):
    return [PublicKey(c.public_key()) for c in x509.load_pem_x509_certificates(path.read_bytes())]


def key_from(text):
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    return PublicKey(load_der_public_key(base64.b64decode(text)))


# --- Mozilla's published states -------------------------------------------------------------------------------------


@pytest.fixture
def published(shared):
    files = sorted((shared / "vectors" / "signatures").glob("*.json"))
    assert len(files) == 3
    return files


def trust_of(state):
    return [Trust((key_from(entry["public_key"]),)) for entry in state.metadata["signatures"]]


def test_published_states(published):
    count = 0
    for file in published:
        name, state = load(file)
        assert name == f"{read(file)['bucket']}/{read(file)['collection']}"
        for trust in trust_of(state):
            assert check(name, state, trust) == trust.keys[0]
            count += 1
    assert count >= 4


def test_published_states_altered(published):
    """One thing changed in each: always refused, always with a reason."""
    for file in published:
        name, state = load(file)
        trust = trust_of(state)[0]
        alterations = [
            Changeset(state.timestamp + 1, state.changes, state.metadata),
            Changeset(state.timestamp, state.changes[1:], state.metadata),
            Changeset(state.timestamp, [*state.changes, {"id": "zz", "last_modified": 1}], state.metadata),
            Changeset(state.timestamp, state.changes, {}),
        ]
        for number, record in enumerate(state.changes):
            altered = {**record, "last_modified": record["last_modified"] + 1}
            alterations.append(
                Changeset(state.timestamp, [*state.changes[:number], altered, *state.changes[number + 1 :]], state.metadata)
            )
        for altered in alterations:
            with pytest.raises(VerificationError) as caught:
                check(name, altered, trust)
            assert caught.value.reason in ("bad-signature", "unsigned")


def test_published_states_mixed_up(published):
    """The signature of one collection does not fit another, and other collections' keys are not ours."""
    loaded = [load(file) for file in published]
    for (name, state), (_, other) in itertools.permutations(loaded, 2):
        mixed = Changeset(state.timestamp, state.changes, {"signatures": other.metadata["signatures"]})
        for trust in trust_of(other):
            with pytest.raises(VerificationError):
                check(name, mixed, trust)


def test_published_states_through_the_command(published, tmp_path, capsys):
    for file in published:
        _, state = load(file)
        for number, trust in enumerate(trust_of(state)):
            pem = tmp_path / f"{number}.pem"
            pem.write_bytes(trust.keys[0].pem)
            arguments = ["verify", "--file", str(file), "--public-key", str(pem), "--format", "json"]
            assert output.run(updater.cli, arguments) == 0
            assert json.loads(capsys.readouterr().out)["files"][0]["key"] == trust.keys[0].fingerprint
        altered = tmp_path / file.name
        altered.write_bytes(
            file.read_bytes().replace(b'"data"', b'"data" ').replace(b"https", b"http", 1).replace(b"world", b"w0rld")
        )
        arguments = ["verify", "--file", str(altered), "--public-key", str(pem)]
        assert output.run(updater.cli, arguments) == 3
        assert "[bad-signature]" in capsys.readouterr().err


# --- Mozilla's stage, 2021 ------------------------------------------------------------------------------------------


def test_rc_crypto(shared):
    folder = shared / "vectors" / "rc_crypto"
    vector = read(folder / "vector.json")
    leaf = keys_of(folder / "remote-settings-stage-2021.chain")[0]
    trust = Trust((leaf,))
    entry = {"signature": vector["signature"]}

    assert check_signed("x", [entry], digest_of(vector["input"].encode()), trust) == leaf
    state = Changeset(1603992731957, (), {"signature": entry})
    assert signed_bytes((), state.timestamp).decode() == vector["input"]
    assert check("x/y", state, trust) == leaf

    # Those of the negatives that are about more than the certificate chain, which has rules of its own.
    seen = 0
    for negative in vector["negatives"]:
        content = negative.get("input", vector["input"]).encode()
        text = negative.get("signature", vector["signature"])
        if not {"input", "signature"} & set(negative):
            continue
        seen += 1
        with pytest.raises(BadSignatureError):
            check_signed("x", [{"signature": text}], digest_of(content), trust)
    assert seen == 4


# --- Firefox's tests ------------------------------------------------------------------------------------------------


@pytest.fixture
def gecko(shared):
    folder = shared / "vectors" / "gecko"
    return read(folder / "vector.json"), Trust(tuple(keys_of(folder / "collection_signing_ee.pem")))


def test_gecko_raw(gecko):
    vector, trust = gecko
    for raw in vector["raw"]:
        content = raw["input"] if "input" in raw else canonical_json(raw["input_records"])
        assert check_signed("x", [{"signature": raw["signature"]}], digest_of(content.encode()), trust)
        with pytest.raises(BadSignatureError):
            check_signed("x", [{"signature": raw["signature"]}], digest_of(content.encode() + b" "), trust)


def gecko_state(state, **changed):
    values = {"timestamp": state["timestamp"], "changes": state["data"], "since": 0} | changed
    return Changeset(values["timestamp"], values["changes"], {"signature": {"signature": state["signature"]}}, values["since"])


def test_gecko_states_whole(gecko):
    vector, trust = gecko
    assert len(vector["states"]) == 3
    for state in vector["states"]:
        validate("x/y", state["data"])
        check("x/y", gecko_state(state), trust)


def test_gecko_states_as_differences(gecko):
    vector, trust = gecko
    repository = Verify(MemoryRepository(), trust)
    before = 0
    for state in vector["states"]:
        repository.apply("x/y", gecko_state(state, changes=validate("x/y", state["changes"]), since=before))
        before = state["timestamp"]
        assert {r["id"]: r for r in repository.changeset("x/y").records} == {r["id"]: r for r in state["data"]}


def test_gecko_states_mixed_up(gecko):
    """The signature of one state, the content of another."""
    vector, trust = gecko
    for one, other in itertools.permutations(vector["states"], 2):
        for timestamp in (one["timestamp"], other["timestamp"]):
            with pytest.raises(BadSignatureError):
                check("x/y", gecko_state({**one, "signature": other["signature"]}, timestamp=timestamp), trust)


def test_gecko_bad_signatures(gecko):
    vector, trust = gecko
    assert len(vector["bad_signatures"]) == 8
    for text in vector["bad_signatures"]:
        with pytest.raises(BadSignatureError):
            check("x/y", gecko_state({**vector["states"][0], "signature": text}), trust)
        with pytest.raises(BadSignatureError):
            signature.decode(text)


# --- canonical form -------------------------------------------------------------------------------------------------


def test_canonical_fixtures(shared):
    fixtures = read(shared / "vectors" / "python-canonicaljson-rs" / "fixtures.json")["fixtures"]
    assert len(fixtures) == 15
    for value, expected in fixtures:
        assert canonical_json(value) == expected


# --- JSON -----------------------------------------------------------------------------------------------------------


def test_json_that_must_parse(shared):
    """All but duplicate keys, of which RFC 8259 says that they make behaviour unpredictable: a signature must not."""
    files = sorted((shared / "vectors" / "json-parsing").glob("y_*"))
    assert len(files) == 47
    refused = []
    for file in files:
        try:
            assert parse_json(file.read_bytes()) == json.loads(file.read_bytes())
        except BadAnswerError:
            refused.append(file.name)
    assert refused == ["y_object_duplicated_key_and_value.json"]


def test_json_that_must_be_refused(shared):
    files = sorted((shared / "vectors" / "json-parsing").glob("n_*"))
    assert len(files) == 94
    for file in files:
        with pytest.raises(BadAnswerError):
            parse_json(file.read_bytes())


def test_json_that_may_be_either(shared):
    """Lone surrogates, overflow and everything that is not UTF-8 are refused, the rest parses; nothing crashes."""
    files = sorted((shared / "vectors" / "json-parsing").glob("i_*"))
    assert len(files) == 18
    parsed = set()
    for file in files:
        try:
            parse_json(file.read_bytes())
            parsed.add(file.name)
        except BadAnswerError:
            pass
    assert parsed == {
        "i_number_double_huge_neg_exp.json",
        "i_number_real_underflow.json",
        "i_number_too_big_pos_int.json",
    }
