"""Certificate chains: one thing wrong at a time, each refused in its own words; and those that others made."""

import asyncio
import base64
import json
import warnings

import autograph_utils
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kinto_signer.core.chain import MAX_CERTIFICATES, MAX_CHAIN_BYTES, Fault, check_chain, load_chain
from kinto_signer.errors import BadChainError, ExpiredError, NotYetValidError
from tests.support.certificates import (
    CODE_SIGNING,
    DAY,
    LEAF_END,
    SIGNER,
    START,
    issue,
    key_usage,
    make_pki,
    moment,
    name,
    pem,
)
from tests.support.servers import ROOT as ROOT_FOLDER

PKI = make_pki()
LEAF, INTERMEDIATE, ROOT = PKI.certificates
AT = START + 40 * DAY
OTHER = make_pki()
EXTRA = issue("Somebody Else").certificate


def check(chain, roots=(PKI.root.sha256,), signer_id=SIGNER, at=AT, tolerance_s=0):
    return check_chain(chain, root_sha256=frozenset(roots), signer_id=signer_id, at=at, tolerance_s=tolerance_s)


def test_the_control():
    assert load_chain(PKI.pem) == (LEAF, INTERMEDIATE, ROOT)
    assert check(load_chain(PKI.pem)).key == PKI.leaf.key.public_key()
    assert check(load_chain(PKI.pem), roots=(OTHER.root.sha256, PKI.root.sha256)).key == PKI.leaf.key.public_key()


# --- which certificates, and in which order --------------------------------------------------------------------------------

ARRANGED = {
    "reversed": ([ROOT, INTERMEDIATE, LEAF], Fault.ORDER, "another order"),
    "the issuers first": ([INTERMEDIATE, LEAF, ROOT], Fault.ORDER, "another order"),
    "the issuers swapped": ([LEAF, ROOT, INTERMEDIATE], Fault.ORDER, "another order"),
    "no intermediate": ([LEAF, ROOT], Fault.MISSING, "'Example Intermediate', who issued '.*regions.*', is missing"),
    "no root": ([LEAF, INTERMEDIATE], Fault.MISSING, "'Example Root', who issued 'Example Intermediate', is missing"),
    "no leaf": ([INTERMEDIATE, ROOT], Fault.MISSING, "the signer's own certificate is missing"),
    "the leaf alone": ([LEAF], Fault.MISSING, "who issued"),
    "the root alone": ([ROOT], Fault.MISSING, "single certificate"),
    "nothing": ([], Fault.MISSING, "no certificate"),
    "one more at the end": ([LEAF, INTERMEDIATE, ROOT, EXTRA], Fault.EXTRA, "'Somebody Else' does not belong"),
    "one more in between": ([LEAF, EXTRA, INTERMEDIATE, ROOT], Fault.EXTRA, "'Somebody Else' does not belong"),
    "one more in front": ([EXTRA, LEAF, INTERMEDIATE, ROOT], Fault.EXTRA, "'Somebody Else' does not belong"),
    "the root twice": ([LEAF, INTERMEDIATE, ROOT, ROOT], Fault.EXTRA, "twice"),
    "the leaf twice": ([LEAF, LEAF, INTERMEDIATE, ROOT], Fault.EXTRA, "twice"),
    "two intermediates of one name": ([LEAF, INTERMEDIATE, OTHER.intermediate.certificate, ROOT], Fault.EXTRA, "does not belong"),
    "two roots of one name": ([LEAF, INTERMEDIATE, ROOT, OTHER.root.certificate], Fault.EXTRA, "does not belong"),
    "another root": (OTHER.certificates, Fault.OTHER_ROOT, "'Example Root' .*, which is not pinned"),
    "another leaf of that name": ([OTHER.leaf.certificate, INTERMEDIATE, ROOT], Fault.BROKEN_LINK, "did not sign"),
    "another intermediate of that name": ([LEAF, OTHER.intermediate.certificate, ROOT], Fault.BROKEN_LINK, "did not sign"),
    "another root of that name": ([LEAF, INTERMEDIATE, OTHER.root.certificate], Fault.OTHER_ROOT, "not pinned"),
}


@pytest.mark.parametrize("what", ARRANGED)
def test_arrangements(what):
    chain, fault, said = ARRANGED[what]
    with pytest.raises(BadChainError, match=said) as caught:
        check(chain)
    assert (caught.value.fault, caught.value.reason, caught.value.exit_code) == (fault, "bad-chain", 3)


def test_a_root_that_is_not_pinned_is_refused_whatever_is_pinned():
    for roots in ((), (b"\0" * 32,), (PKI.intermediate.sha256, PKI.leaf.sha256)):
        with pytest.raises(BadChainError) as caught:
            check(PKI.certificates, roots=roots)
        assert caught.value.fault is Fault.OTHER_ROOT


def test_a_longer_and_a_shorter_chain():
    """What decides is who issued what, not how many there are."""
    root = issue("Example Root", path_length=1)
    upper = issue("Upper", root, path_length=1)
    lower = issue("Lower", upper, path_length=0)
    wanted = {"ca": None, "usage": key_usage(digital_signature=True), "names": [SIGNER]}
    leaf, direct = issue(SIGNER, lower, **wanted), issue(SIGNER, root, **wanted)
    check([direct.certificate, root.certificate], roots=(root.sha256,))
    chain = [leaf.certificate, lower.certificate, upper.certificate, root.certificate]
    with pytest.raises(BadChainError, match="2 authorities stand below 'Example Root', which allows 1"):
        check(chain, roots=(root.sha256,))


# --- what the certificates say ---------------------------------------------------------------------------------------------


def dns(*names):
    return [x509.DNSName(name) for name in names]


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
POLICY = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])
TWO_NAMES = x509.Name([*name(SIGNER), x509.NameAttribute(NameOID.COMMON_NAME, "other.content-signature.example.org")])
FOREIGN = "regions.example.com"

WRONG = {
    "intermediate: no CA": ({"intermediate": {"ca": False}}, Fault.CA_FLAG, "'Example Intermediate' is no cert"),
    "intermediate: no constraints": ({"intermediate": {"ca": None}}, Fault.CA_FLAG, "'Example Intermediate' is no cert"),
    "root: no CA": ({"root": {"ca": False}}, Fault.CA_FLAG, "'Example Root' is no cert"),
    "leaf: CA": ({"leaf": {"ca": True}}, Fault.CA_FLAG, "which no signer is"),
    "root: path length": ({"root": {"path_length": 0}}, Fault.PATH_LENGTH, "1 authorities stand below 'Example Root'"),
    "intermediate: key usage": ({"intermediate": {"usage": key_usage(crl_sign=True)}}, Fault.KEY_USAGE, "signing certificates"),
    "intermediate: no key usage": ({"intermediate": {"usage": None}}, Fault.KEY_USAGE, "signing certificates"),
    "root: key usage": ({"root": {"usage": key_usage(digital_signature=True)}}, Fault.KEY_USAGE, "'Example Root' is not for"),
    "leaf: key usage": ({"leaf": {"usage": key_usage(key_agreement=True)}}, Fault.KEY_USAGE, "digital signatures"),
    "leaf: no key usage": ({"leaf": {"usage": None}}, Fault.KEY_USAGE, "digital signatures"),
    "leaf: may sign certificates": (
        {"leaf": {"usage": key_usage(digital_signature=True, key_cert_sign=True)}, "intermediate": {}},
        Fault.KEY_USAGE,
        "digital signatures alone",
    ),
    "leaf: server": ({"leaf": {"purposes": [ExtendedKeyUsageOID.SERVER_AUTH]}}, Fault.EXTENDED_KEY_USAGE, "signing code"),
    "leaf: also server": (
        {"leaf": {"purposes": [*CODE_SIGNING, ExtendedKeyUsageOID.SERVER_AUTH]}},
        Fault.EXTENDED_KEY_USAGE,
        "not for it alone",
    ),
    "leaf: anything": (
        {"leaf": {"purposes": [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]}},
        Fault.EXTENDED_KEY_USAGE,
        "signing code",
    ),
    "leaf: no purpose": ({"leaf": {"purposes": None}}, Fault.EXTENDED_KEY_USAGE, "signing code"),
    "intermediate: server": (
        {"intermediate": {"purposes": [ExtendedKeyUsageOID.SERVER_AUTH]}},
        Fault.EXTENDED_KEY_USAGE,
        "'Example Intermediate' issues is not for signing code",
    ),
    "root: server": (
        {"root": {"purposes": [ExtendedKeyUsageOID.SERVER_AUTH]}},
        Fault.EXTENDED_KEY_USAGE,
        "'Example Root' issues is not for signing code",
    ),
    "leaf: unknown critical": ({"leaf": {"more": [(UNKNOWN, True)]}}, Fault.CRITICAL_EXTENSION, r"\(1.3.6.1.4.1.99999.1\)"),
    "intermediate: unknown critical": ({"intermediate": {"more": [(UNKNOWN, True)]}}, Fault.CRITICAL_EXTENSION, "unknown here"),
    "root: known and not processed": ({"root": {"more": [(POLICY, True)]}}, Fault.CRITICAL_EXTENSION, "'Example Root'"),
    "leaf: outside": ({"leaf": {"names": [SIGNER, FOREIGN]}}, Fault.NAME_CONSTRAINT, f"{FOREIGN} is in none of the permitted"),
    "excluded": ({"intermediate": {"excluded": dns(SIGNER)}}, Fault.NAME_CONSTRAINT, "is in an excluded subtree"),
    "excluded above": ({"root": {"excluded": dns("example.org")}}, Fault.NAME_CONSTRAINT, "'Example Root' may not issue for"),
    "other": ({"intermediate": {"permitted": dns("content-signature.example.com")}}, Fault.NAME_CONSTRAINT, "in none of"),
    "ends alike": ({"intermediate": {"permitted": dns("ature.example.org")}}, Fault.NAME_CONSTRAINT, "in none of"),
    "nothing": ({"intermediate": {"excluded": dns("")}}, Fault.NAME_CONSTRAINT, "in an excluded"),
    "below only": ({"intermediate": {"permitted": dns(f".{SIGNER}")}}, Fault.NAME_CONSTRAINT, "in none of"),
    "the subject": (
        {"intermediate": {"permitted": [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "CH")]))]}},
        Fault.NAME_CONSTRAINT,
        "in none of",
    ),
    "the subject of an authority": (
        {"root": {"excluded": [x509.DirectoryName(name("EXAMPLE  intermediate"))]}},
        Fault.NAME_CONSTRAINT,
        "CN=Example Intermediate.* is in an excluded",
    ),
    "a kind that is not understood": (
        {
            "intermediate": {"permitted": [x509.UniformResourceIdentifier("example.org")]},
            "leaf": {"names": [SIGNER, x509.UniformResourceIdentifier("https://example.org/")]},
        },
        Fault.NAME_CONSTRAINT,
        "cannot be judged",
    ),
    "an address in the subject": (
        {
            "intermediate": {"permitted": [x509.RFC822Name("example.org")]},
            "leaf": {"subject": x509.Name([*name(SIGNER), x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@example.com")])},
        },
        Fault.NAME_CONSTRAINT,
        "RFC822Name",
    ),
    "another common name": (
        {"leaf": {"subject": "other.content-signature.example.org"}},
        Fault.OTHER_SIGNER,
        f"'{SIGNER}' was expected",
    ),
    "another alternative name": ({"leaf": {"names": ["x.content-signature.example.org"]}}, Fault.OTHER_SIGNER, "was expected"),
    "two common names": ({"leaf": {"subject": TWO_NAMES}}, Fault.OTHER_SIGNER, "was expected"),
    "no name": ({"leaf": {"subject": x509.Name([]), "names": ()}}, Fault.OTHER_SIGNER, "'nobody'"),
    "a wildcard": (
        {"leaf": {"subject": name(None), "names": ["*.content-signature.example.org"]}},
        Fault.OTHER_SIGNER,
        "was expected",
    ),
    "P-256": ({"leaf": {"key": ec.generate_private_key(ec.SECP256R1())}}, Fault.KEY_TYPE, "P-384"),
    "P-521": ({"leaf": {"key": ec.generate_private_key(ec.SECP521R1())}}, Fault.KEY_TYPE, "P-384"),
    "Ed25519": ({"leaf": {"key": ed25519.Ed25519PrivateKey.generate()}}, Fault.KEY_TYPE, "P-384"),
    "RSA": ({"leaf": {"key": rsa.generate_private_key(65537, 2048)}}, Fault.KEY_TYPE, "P-384"),
    "a short RSA key above": ({"intermediate": {"key": rsa.generate_private_key(65537, 1024)}}, Fault.ALGORITHM, "1024 bits"),
    "an odd curve above": ({"intermediate": {"key": ec.generate_private_key(ec.SECP256K1())}}, Fault.ALGORITHM, "neither RSA"),
    "a weak digest": ({"leaf": {"algorithm": hashes.SHA224}}, Fault.ALGORITHM, "not signed with SHA-256"),
}


@pytest.mark.parametrize("what", WRONG)
def test_certificates_that_say_something_wrong(what):
    changed, fault, said = WRONG[what]
    wrong = make_pki(**changed)
    with pytest.raises(BadChainError, match=said) as caught:
        check(wrong.certificates, roots=(wrong.root.sha256,))
    assert (caught.value.fault, caught.value.reason) == (fault, "bad-chain")


RIGHT = {
    "no alternative names": {"leaf": {"names": ()}},
    "no common name": {"leaf": {"subject": name(None)}},
    "several alternative names": {"leaf": {"names": ["a.content-signature.example.org", SIGNER]}},
    "no path length": {"intermediate": {"path_length": None}},
    "path length": {"root": {"path_length": 1}},
    "no name constraints": {"intermediate": {"permitted": None}},
    "constraint to the domain": {"intermediate": {"permitted": dns("content-signature.example.org")}},
    "constraint to the name": {"intermediate": {"permitted": dns(SIGNER)}},
    "constraint in capitals": {"intermediate": {"permitted": dns("EXAMPLE.ORG")}},
    "one of several": {"intermediate": {"permitted": dns("a.example", "example.org")}},
    "others excluded": {"intermediate": {"excluded": dns("other.example.org", f".{SIGNER}")}},
    "constraint to the subject": {"root": {"permitted": [x509.DirectoryName(name(None))]}},
    "a kind that nobody has": {"intermediate": {"permitted": [x509.RFC822Name("example.org")]}},
    "unknown and not critical": {"leaf": {"more": [(UNKNOWN, False)]}, "root": {"more": [(POLICY, False)]}},
    "RSA above": {"intermediate": {"key": rsa.generate_private_key(65537, 2048)}},
    "other curves above": {
        "root": {"key": ec.generate_private_key(ec.SECP521R1())},
        "intermediate": {"key": ec.generate_private_key(ec.SECP256R1()), "algorithm": hashes.SHA256},
    },
    "no purpose above": {"root": {"purposes": None}, "intermediate": {"purposes": None}},
}


@pytest.mark.parametrize("what", RIGHT)
def test_controls(what):
    right = make_pki(**RIGHT[what])
    assert check(right.certificates, roots=(right.root.sha256,)).key == right.leaf.key.public_key()


@pytest.mark.parametrize("signer_id", ["kinto signer 7", "Büro", "x"])
def test_signer_ids_that_are_no_names_of_hosts(signer_id):
    anything = make_pki(leaf={"subject": signer_id, "names": ()}, intermediate={"permitted": None})
    check(anything.certificates, roots=(anything.root.sha256,), signer_id=signer_id)
    with pytest.raises(BadChainError, match="was expected"):
        check(anything.certificates, roots=(anything.root.sha256,), signer_id=signer_id + "y")


# --- time ------------------------------------------------------------------------------------------------------------------


def test_the_first_and_the_last_second():
    for at in (START, AT, LEAF_END):
        check(PKI.certificates, at=at)
    with pytest.raises(NotYetValidError, match=r"begins at 2023-11-14T22:13:20\+00:00, in 1 s, with no tolerance"):
        check(PKI.certificates, at=START - 1)
    with pytest.raises(ExpiredError, match=r"ended at 2024-02-12T22:13:20\+00:00, 1 s ago, with no tolerance") as caught:
        check(PKI.certificates, at=LEAF_END + 1)
    assert (caught.value.reason, caught.value.exit_code) == ("expired", 3)


def test_the_tolerance():
    check(PKI.certificates, at=START - 60, tolerance_s=60)
    check(PKI.certificates, at=LEAF_END + 60, tolerance_s=60)
    with pytest.raises(NotYetValidError, match="in 61 s, with a tolerance of 60 s") as caught:
        check(PKI.certificates, at=START - 61, tolerance_s=60)
    assert caught.value.reason == "not-yet-valid"
    with pytest.raises(ExpiredError, match="61 s ago, with a tolerance of 60 s"):
        check(PKI.certificates, at=LEAF_END + 61, tolerance_s=60)


@pytest.mark.parametrize("which", ["root", "intermediate"])
def test_every_certificate_has_its_time(which):
    short = make_pki(**{which: {"begin": START + DAY, "end": START + 2 * DAY}})
    roots = (short.root.sha256,)
    check(short.certificates, roots, at=START + DAY)
    with pytest.raises(NotYetValidError, match=f"'Example {which.capitalize()}'"):
        check(short.certificates, roots, at=START + DAY - 1)
    with pytest.raises(ExpiredError, match=f"'Example {which.capitalize()}'"):
        check(short.certificates, roots, at=START + 2 * DAY + 1)


def test_a_fault_is_told_before_the_time():
    with pytest.raises(BadChainError):
        check(PKI.certificates, at=LEAF_END + 1, signer_id="other")


# --- files -----------------------------------------------------------------------------------------------------------------

BODY = base64.b64encode(b"nonsense")
FILES = {
    "empty": b"",
    "blank": b"\n \n",
    "HTML": b"<html><body>404</body></html>",
    "cut": PKI.pem[:-40],
    "text before": b"the chain:\n" + PKI.pem,
    "text between": pem(LEAF) + b"and\n" + pem(INTERMEDIATE, ROOT),
    "text behind": PKI.pem + b"x",
    "NUL behind": PKI.pem + b"\0",
    "a private key": PKI.pem + b"-----BEGIN PRIVATE KEY-----\n" + BODY + b"\n-----END PRIVATE KEY-----\n",
    "no certificate": b"-----BEGIN CERTIFICATE-----\n" + BODY + b"\n-----END CERTIFICATE-----\n",
    "no base64": b"-----BEGIN CERTIFICATE-----\nA=A\n-----END CERTIFICATE-----\n",
    "one that is none": PKI.pem + b"-----BEGIN CERTIFICATE-----\n" + BODY + b"\n-----END CERTIFICATE-----\n",
    "not PEM": LEAF.public_bytes(Encoding.DER),
    "too large": PKI.pem + b"\n" * MAX_CHAIN_BYTES,
    "slow": b"-----BEGIN CERTIFICATE-----" + b" A" * 30_000,
}


@pytest.mark.parametrize("what", FILES)
def test_files_that_are_none(what):
    with pytest.raises(BadChainError) as caught:
        load_chain(FILES[what])
    assert caught.value.fault is Fault.MALFORMED


def test_files_with_other_line_ends_and_too_many():
    assert load_chain(PKI.pem.replace(b"\n", b"\r\n")) == load_chain(b"\n\n" + PKI.pem + b"\n")
    with pytest.raises(BadChainError) as caught:
        load_chain(pem(LEAF) * (MAX_CERTIFICATES + 1))
    assert caught.value.fault is Fault.EXTRA


def test_bytes_behind_a_certificate():
    longer = base64.encodebytes(LEAF.public_bytes(Encoding.DER) + b"\0")
    with pytest.raises(BadChainError) as caught:
        load_chain(b"-----BEGIN CERTIFICATE-----\n" + longer + b"-----END CERTIFICATE-----\n" + pem(INTERMEDIATE, ROOT))
    assert caught.value.fault is Fault.MALFORMED


@pytest.mark.parametrize("warnings_are", ["ignore", "error"])
def test_a_serial_number_that_is_none(warnings_are):
    der = make_pki(leaf={"serial": 0x4142434445464748}).leaf.certificate.public_bytes(Encoding.DER)
    assert der.count(b"ABCDEFGH") == 1
    text = base64.encodebytes(der.replace(b"ABCDEFGH", b"\xc1BCDEFGH"))
    with warnings.catch_warnings():
        warnings.simplefilter(warnings_are)
        with pytest.raises(BadChainError, match=r"number 1 has no proper serial number|cannot be parsed") as caught:
            load_chain(b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n")
    assert caught.value.fault is Fault.MALFORMED


def test_every_flipped_bit_of_the_leaf_is_refused():
    """Whatever it hits: names, times, key, extensions, signature. A crash would be another exception."""
    der = LEAF.public_bytes(Encoding.DER)
    refused = set()
    for position in range(len(der)):
        bits = bytearray(der)
        bits[position] ^= 1 << position % 8
        text = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(bytes(bits)) + b"-----END CERTIFICATE-----\n"
        with pytest.raises(BadChainError) as caught:
            check(load_chain(text + pem(INTERMEDIATE, ROOT)))
        refused.add(caught.value.fault)
    assert {Fault.MALFORMED, Fault.BROKEN_LINK, Fault.MISSING} <= refused


# --- those that others made ------------------------------------------------------------------------------------------------

MOZILLA = "remote-settings.content-signature.mozilla.org"
MOZILLA_ROOT = bytes.fromhex("C8A80E9AFAEF4E219B6FB5D7A71D0F101223BAC5001AC28F9B0D43DC59A106DB")


@pytest.fixture
def published(shared):
    files = sorted((shared / "vectors" / "chains").glob("*.chain"))
    assert len(files) == 4
    return [load_chain(file.read_bytes()) for file in files]


def times_of(chain):
    return int(chain[0].not_valid_before_utc.timestamp()), int(chain[0].not_valid_after_utc.timestamp())


def test_published_chains(published):
    for chain in published:
        first, last = times_of(chain)
        for at in (first, first + 40 * DAY, last):
            assert check(chain, (MOZILLA_ROOT,), MOZILLA, at).key == chain[0].public_key()
        with pytest.raises(NotYetValidError):
            check(chain, (MOZILLA_ROOT,), MOZILLA, first - 1)
        with pytest.raises(ExpiredError):
            check(chain, (MOZILLA_ROOT,), MOZILLA, last + 1)


def test_published_chains_altered(published):
    for chain, other in zip(published, published[1:] + published[:1], strict=True):
        at = times_of(chain)[0] + 40 * DAY
        alterations = {
            Fault.ORDER: [chain[::-1], (chain[1], chain[0], chain[2])],
            Fault.MISSING: [chain[:2], chain[1:], (chain[0], chain[2])],
            Fault.EXTRA: [(*chain, EXTRA), (*chain, chain[2]), (chain[0], other[0], *chain[1:])],
            Fault.OTHER_ROOT: [PKI.certificates],
        }
        for fault, altered in alterations.items():
            for one in altered:
                with pytest.raises(BadChainError) as caught:
                    check(one, (MOZILLA_ROOT,), MOZILLA, at)
                assert caught.value.fault is fault
        with pytest.raises(BadChainError) as caught:
            check(chain, (MOZILLA_ROOT,), "onecrl.content-signature.mozilla.org", at)
        assert caught.value.fault is Fault.OTHER_SIGNER


def test_the_stage_of_2021(shared):
    folder = shared / "vectors" / "rc_crypto"
    vector = json.loads((folder / "vector.json").read_text())
    chain, root = load_chain((folder / "remote-settings-stage-2021.chain").read_bytes()), vector["root_hash"]

    def judge(root_hash=root, hostname=vector["hostname"], epoch_seconds=vector["epoch_seconds"]):
        return check(chain, (bytes.fromhex(root_hash.replace(":", "")),), hostname, epoch_seconds)

    judge()
    refused = []
    for negative in vector["negatives"]:
        given = {key: negative[key] for key in ("root_hash", "hostname", "epoch_seconds") if key in negative}
        if given:
            with pytest.raises((BadChainError, ExpiredError, NotYetValidError)) as caught:
                judge(**given)
            refused.append(getattr(caught.value, "fault", caught.value.reason))
    assert refused == [Fault.OTHER_SIGNER, Fault.OTHER_ROOT, "not-yet-valid", "expired", Fault.OTHER_SIGNER]
    invalid = (folder / "invalid-certificate.pem").read_bytes()
    with pytest.raises(BadChainError):
        check(load_chain(invalid), (MOZILLA_ROOT,), MOZILLA)


def test_each_fault_is_explained():
    page = (ROOT_FOLDER / "docs" / "trust.rst").read_text()
    for fault in Fault:
        assert f"\n``{fault}`` " in page


# --- another verifier ------------------------------------------------------------------------------------------------------


class Answer:
    """What autograph-utils awaits from its HTTP client."""

    def __init__(self, body):
        self.body = body

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def raise_for_status(self):
        pass

    async def read(self):
        return self.body


class Web:
    def __init__(self, body):
        self.body = body

    def get(self, _url):
        return Answer(self.body)


def test_what_is_accepted_here_is_accepted_by_autograph_utils(published, monkeypatch):
    """An oracle for acceptances only: it accepts more than it should."""
    chains = [(chain, MOZILLA_ROOT, MOZILLA, times_of(chain)[0] + 40 * DAY) for chain in published]
    judged_by_the_common_name = [
        changed
        for what, changed in RIGHT.items()
        if what not in ("no common name", "constraint in capitals", "constraint to the subject", "a kind that nobody has")
    ]
    for changed in judged_by_the_common_name:
        right = make_pki(**changed)
        chains.append((tuple(right.certificates), right.root.sha256, SIGNER, AT))
    for chain, root, signer_id, at in chains:
        check(chain, (root,), signer_id, at)
        monkeypatch.setattr(autograph_utils, "_now", lambda at=at: moment(at))
        names = autograph_utils.ExactMatch(signer_id)
        verifier = autograph_utils.SignatureVerifier(
            Web(pem(*chain).replace(b"\n\n", b"\n")), autograph_utils.MemoryCache(), root, names
        )
        assert asyncio.run(verifier.verify_x5u("https://chain.example/")) == chain[0]
