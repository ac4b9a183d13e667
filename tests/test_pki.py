"""`kinto-signer pki`: what is made, for whom it is good, and what is never half made, overwritten or shown."""

import asyncio
import base64
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import autograph_utils
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kinto_signer.cli import authority_files, output, signer_files
from kinto_signer.cli.signer import cli
from kinto_signer.core import issuing, signature
from kinto_signer.core.canonical import SIGNATURE_PREFIX
from kinto_signer.core.trust import PublicKey, check_signed
from kinto_signer.errors import BadChainError, ExpiredError, VerificationError
from tests.support.authorities import (
    DOMAIN,
    INTERMEDIATE_PASSPHRASE,
    ROOT_PASSPHRASE,
    SIGNER_ID,
    VARIABLES,
    Commands,
    chain_of,
    trust_of,
)
from tests.support.certificates import issue, pem
from tests.support.keys import write_key_pair
from tests.support.servers import ROOT
from tests.support.signers import digest_of
from tests.support.terminal import Terminal

CONTENT = b'{"data":[],"last_modified":"1700000000000"}'
DAY = 86_400
NODE = ROOT / "tests" / "clients" / "chain.mjs"


@pytest.fixture
def commands(capsys, monkeypatch):
    return Commands(capsys, monkeypatch)


@pytest.fixture
def clock(monkeypatch):
    """The time by which commands go, epoch seconds, in a list of one."""
    now = [float(int(time.time()))]
    monkeypatch.setattr("kinto_signer.cli.pki.time", SimpleNamespace(time=lambda: now[0]))
    return now


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder that `pki init` made, and one signer that `pki issue` made in it. Not to be changed."""
    folder = tmp_path_factory.mktemp("pki") / "pki"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        assert output.run(cli, ["pki", "init", "--folder", str(folder), "--domain", DOMAIN]) == 0
        assert output.run(cli, ["pki", "issue", SIGNER_ID, "--folder", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it, without the signer."""
    shutil.copytree(made, tmp_path / "pki", ignore=shutil.ignore_patterns("*-1"))
    return tmp_path / "pki"


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def modes(folder):
    return {path.name: path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")]}


def signed(folder, number=1, signer_id=SIGNER_ID):
    pem = (folder / f"{signer_id}-{number}" / "key.pem").read_bytes()
    key = serialization.load_pem_private_key(pem, None)
    return {"signature": signature.sign(key, digest_of(CONTENT)), "mode": "p384ecdsa", "x5u": "https://chains.example/a"}


def judged(folder, trust=None, number=1, signer_id=SIGNER_ID, days=0):
    """The key that made a signature with what was issued, as readers judge it who have its chain."""
    chain = (folder / f"{signer_id}-{number}" / f"{signer_id}-{number}.chain").read_bytes()
    return check_signed(
        "main/regions",
        [signed(folder, number, signer_id)],
        digest_of(CONTENT),
        trust or trust_of(folder, signer_id),
        at=int(time.time()) + days * DAY,
        chains={"https://chains.example/a": chain},
    )


# --- what is made -----------------------------------------------------------------------------------------------------------


def test_which_files_with_which_modes(made):
    name = f"{SIGNER_ID}-1"
    assert modes(made) == {
        "pki": 0o700,
        "root.pem": 0o644,
        "root-key.pem": 0o600,
        "intermediate.pem": 0o644,
        "intermediate-key.pem": 0o600,
        name: 0o700,
        "key.pem": 0o600,
        "public.pem": 0o644,
        f"{name}.chain": 0o644,
    }


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("root-key.pem", ROOT_PASSPHRASE, INTERMEDIATE_PASSPHRASE),
        ("intermediate-key.pem", INTERMEDIATE_PASSPHRASE, ROOT_PASSPHRASE),
    ],
)
def test_the_keys_of_authorities_are_encrypted(made, file, right, wrong):
    pem = (made / file).read_bytes()
    certificate = x509.load_pem_x509_certificate((made / file.replace("-key", "")).read_bytes())
    assert serialization.load_pem_private_key(pem, right.encode()).public_key() == certificate.public_key()
    for other in (None, wrong.encode()):
        with pytest.raises((TypeError, ValueError)):
            serialization.load_pem_private_key(pem, other)


def test_what_stands_in_the_certificates(made):
    leaf, intermediate, root = chain = chain_of(made)
    serials = [one.serial_number for one in chain]
    assert len(set(serials)) == 3
    assert all(0 < serial < 1 << 159 for serial in serials)
    for one, issuer in ((leaf, intermediate), (intermediate, root), (root, root)):
        assert one.issuer == issuer.subject
        assert isinstance(one.signature_hash_algorithm, hashes.SHA384)
        assert one.public_key().curve.name == "secp384r1"
        assert value(one, x509.AuthorityKeyIdentifier).key_identifier == value(issuer, x509.SubjectKeyIdentifier).digest
        usage = value(one, x509.KeyUsage, critical=True)
        assert (usage.digital_signature, usage.key_cert_sign, usage.crl_sign) == (one is leaf, one is not leaf, one is not leaf)
        assert time.time() - DAY - 600 < one.not_valid_before_utc.timestamp() <= time.time() - DAY
    constraints = [value(one, x509.BasicConstraints, critical=True) for one in chain]
    assert [(one.ca, one.path_length) for one in constraints] == [(False, None), (True, 0), (True, 1)]
    assert [list(value(one, x509.ExtendedKeyUsage)) for one in chain[:2]] == [[ExtendedKeyUsageOID.CODE_SIGNING]] * 2
    assert value(intermediate, x509.NameConstraints, critical=True).permitted_subtrees == [x509.DNSName(DOMAIN)]
    assert [one.value for one in leaf.subject] == [SIGNER_ID]
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert value(leaf, x509.SubjectAlternativeName).get_values_for_type(x509.DNSName) == [SIGNER_ID]
    ends = [round((one.not_valid_after_utc.timestamp() - time.time()) / DAY) for one in chain]
    assert ends == [90, 5 * 365, 20 * 365]


def value(certificate, kind, *, critical=False):
    found = certificate.extensions.get_extension_for_class(kind)
    assert found.critical is critical
    return found.value


def test_what_is_printed(commands, tmp_path):
    found = commands.init(tmp_path / "pki", "--organization", "Example Ltd")
    root = x509.load_pem_x509_certificate((tmp_path / "pki" / "root.pem").read_bytes())
    digest = root.fingerprint(hashes.SHA256()).hex(":").upper()
    assert found.code == 0
    assert f"Root (SHA-256): {digest}" in found.out
    assert "CN=Example Ltd root" in root.subject.rfc4514_string()
    issued = commands.issue(tmp_path / "pki")
    assert f"Root (SHA-256): {digest}" in issued.out
    assert "root-key.pem is still here: take it offline" in issued.out
    (tmp_path / "pki" / "root-key.pem").unlink()  # it is not needed
    issued = commands.issue(tmp_path / "pki", "--overlap", "--format", "json")
    leaf = chain_of(tmp_path / "pki", number=2)[0]
    assert issued.json == {
        "exit_code": 0,
        "private_key": str(tmp_path / "pki" / f"{SIGNER_ID}-2" / "key.pem"),
        "public_key": str(tmp_path / "pki" / f"{SIGNER_ID}-2" / "public.pem"),
        "chain": str(tmp_path / "pki" / f"{SIGNER_ID}-2" / f"{SIGNER_ID}-2.chain"),
        "begins": leaf.not_valid_before_utc.isoformat(),
        "ends": leaf.not_valid_after_utc.isoformat(),
        "old_ends": chain_of(tmp_path / "pki")[0].not_valid_after_utc.isoformat(timespec="milliseconds"),
        "serial": f"{leaf.serial_number:x}",
        "key_sha256": issued.json["key_sha256"],
        "root_sha256": digest,
        "root_key_is_here": False,
    }
    other = commands.init(tmp_path / "other", "--format", "json").json
    assert (other["exit_code"], other["domain"], other["folder"]) == (0, DOMAIN, str(tmp_path / "other"))
    assert other["root_sha256"].count(":") == 31


# --- for whom it is good ----------------------------------------------------------------------------------------------------


def test_readers_accept_what_it_signed(made):
    assert judged(made)
    with pytest.raises(ExpiredError):
        judged(made, days=91)
    with pytest.raises(VerificationError):
        judged(made, days=-2)
    with pytest.raises(BadChainError) as error:
        judged(made, trust_of(made, f"other.{DOMAIN}"))
    assert error.value.fault == "other-signer"


class Web:
    """What autograph-utils awaits from its HTTP client."""

    def __init__(self, body):
        self.body = body

    def get(self, _url):
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def raise_for_status(self):
        pass

    async def read(self):
        return self.body


def test_autograph_utils_verifies_it(made):
    root = x509.load_pem_x509_certificate((made / "root.pem").read_bytes()).fingerprint(hashes.SHA256())
    body = (made / f"{SIGNER_ID}-1" / f"{SIGNER_ID}-1.chain").read_bytes()
    names = autograph_utils.EndsWith(f".{DOMAIN}")
    verifier = autograph_utils.SignatureVerifier(Web(body), autograph_utils.MemoryCache(), root, names)
    made_signature = signed(made)["signature"]
    assert asyncio.run(verifier.verify(CONTENT, made_signature, "https://chains.example/a")) is True
    with pytest.raises(autograph_utils.SignatureDoesNotMatch):
        asyncio.run(verifier.verify(CONTENT + b" ", made_signature, "https://chains.example/a"))


def test_node_verifies_it(made):
    """The chain with Node's X509Certificate, the signature with its WebCrypto."""
    chain = made / f"{SIGNER_ID}-1" / f"{SIGNER_ID}-1.chain"
    root = x509.load_pem_x509_certificate((made / "root.pem").read_bytes()).fingerprint(hashes.SHA256())
    for content, expected in ((CONTENT, True), (CONTENT + b" ", False)):
        given = {
            "chain": chain.read_text(),
            "root": root.hex(),
            "signerId": SIGNER_ID,
            "signature": signed(made)["signature"],
            "content": base64.b64encode(SIGNATURE_PREFIX + content).decode(),
        }
        done = subprocess.run(["node", NODE], input=json.dumps(given), capture_output=True, text=True, check=False, timeout=60)
        assert json.loads(done.stdout) == {"chain": True, "signature": expected}, done.stderr


# --- names ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signer_id", ["regions.example.org", "example.org", f"x{DOMAIN}", f"{DOMAIN}.example.net", "regions"])
def test_an_id_that_the_intermediate_may_not_issue_for(commands, folder, signer_id, monkeypatch):
    before = files(folder)
    found = commands.issue(folder, signer_id=signer_id)
    assert found.code == 2
    assert f"{signer_id!r} is outside of what this intermediate authority may issue for" in found.err
    assert repr(DOMAIN) in found.err
    assert files(folder) == before
    # Control: without that check, and without the look at what was made, it is issued, and readers refuse it.
    monkeypatch.setattr(issuing, "permits", lambda *_: True)
    assert "Readers would refuse" in commands.issue(folder, signer_id=signer_id).err
    assert files(folder) == before
    monkeypatch.setattr(authority_files, "check_chain", lambda *_, **__: None)
    assert commands.issue(folder, signer_id=signer_id).code == 0
    with pytest.raises(BadChainError) as error:
        judged(folder, signer_id=signer_id)
    assert error.value.fault == "name-constraint"


@pytest.mark.parametrize(
    "signer_id", ["", f"Regions.{DOMAIN}", f"*.{DOMAIN}", f"a b.{DOMAIN}", f".{DOMAIN}", f"a-.{DOMAIN}", "a/../b"]
)
def test_an_id_that_is_none(commands, folder, signer_id):
    found = commands.issue(folder, signer_id=signer_id)
    assert (found.code, "is no signer id" in found.err) == (2, True)
    long = f"{'x' * (64 - len(DOMAIN))}.{DOMAIN}"
    assert "at most 64 characters" in commands.issue(folder, signer_id=long).err
    assert commands.issue(folder, signer_id=long[1:]).code == 0
    assert commands.issue(folder, signer_id=DOMAIN).code == 0


@pytest.mark.parametrize("domain", ["", ".example.org", "Example.org", "a..b", "x" * 64])
def test_a_domain_that_is_none(commands, tmp_path, domain):
    found = commands("pki", "init", "--folder", tmp_path / "pki", "--domain", domain, "--organization", "Example")
    assert (found.code, files(tmp_path)) == (2, set())
    found = commands.init(tmp_path / "pki", "--organization", "x" * 60)
    assert (found.code, "is no name for a certificate" in found.err, files(tmp_path)) == (2, True, set())


# --- renewal ----------------------------------------------------------------------------------------------------------------


def test_old_and_new_are_good_side_by_side(commands, folder):
    assert commands.issue(folder, "--days", "20").code == 0
    assert commands.issue(folder, "--overlap").code == 0
    assert judged(folder, number=1) != judged(folder, number=2)
    assert judged(folder, number=2, days=21)
    with pytest.raises(ExpiredError):
        judged(folder, number=1, days=21)


def test_renewals_that_are_refused(commands, folder, clock):
    found = commands.issue(folder, "--overlap")
    assert (found.code, "no certificate of it is here" in found.err) == (6, True)
    commands.issue(folder, "--days", "20")
    before = files(folder)
    refused = [
        ([], "good for another 20 days. Nothing was made; to renew it while it is, add --overlap"),
        (["--overlap", "--overlap-days", "21"], "good for another 20 days, and 21 days of overlap were asked for"),
    ]
    for flags, message in refused:
        found = commands.issue(folder, *flags)
        assert (found.code, files(folder)) == (6, before)
        assert message in found.err
    assert commands.issue(folder, "--overlap", "--overlap-days", "20").code == 0  # control
    assert judged(folder, number=2)

    clock[0] += 200 * DAY
    found = commands.issue(folder, "--overlap")
    assert (found.code, "ended 110 days ago" in found.err) == (6, True)
    assert commands.issue(folder).code == 0
    assert judged(folder, number=3, days=200)


def test_what_was_issued_before_cannot_be_read(commands, folder):
    commands.issue(folder)
    chain = folder / f"{SIGNER_ID}-1" / f"{SIGNER_ID}-1.chain"
    chain.write_text("broken")
    found = commands.issue(folder, "--overlap")
    assert (found.code, str(chain) in found.err) == (2, True)
    chain.unlink()
    assert "cannot be read" in commands.issue(folder, "--overlap").err


def test_nothing_outlives_its_issuer(commands, tmp_path, clock):
    found = commands.init(tmp_path / "pki", "--root-days", "100", "--intermediate-days", "101")
    assert (found.code, files(tmp_path)) == (2, set())
    assert "outlive its issuer" in found.err
    commands.init(tmp_path / "pki", "--root-days", "100", "--intermediate-days", "50")
    found = commands.issue(tmp_path / "pki")
    assert found.code == 2
    assert "ask for at most 50 days" in found.err
    assert commands.issue(tmp_path / "pki", "--days", "50").code == 0


def test_a_key_that_stays_where_it_is(commands, folder, tmp_path):
    """As that of a token: there is nothing private in what is made."""
    pair = write_key_pair(tmp_path)
    assert commands.issue(folder, "--public-key", pair.public).code == 0
    assert files(folder / f"{SIGNER_ID}-1") == {"public.pem", f"{SIGNER_ID}-1.chain"}
    assert chain_of(folder)[0].public_key() == pair.key().public_key()
    for path, message in ((tmp_path / "none", "cannot be read"), (pair.private, "not a public key")):
        found = commands.issue(folder, "--overlap", "--public-key", path)
        assert (found.code, message in found.err) == (2, True)


def test_another_intermediate_below_the_same_root(commands, folder, tmp_path):
    """For another domain: what was stolen of the first one is then good for nothing under the new signer id."""
    flags = ["--root", folder / "root.pem", "--root-key", folder / "root-key.pem"]
    found = commands("pki", "init", "--folder", tmp_path / "new", "--domain", "cs2.example.org", *flags)
    assert found.code == 0, found.err
    assert files(tmp_path / "new") == {"root.pem", "intermediate.pem", "intermediate-key.pem"}
    assert (tmp_path / "new" / "root.pem").read_bytes() == (folder / "root.pem").read_bytes()
    new_id = "regions.cs2.example.org"
    assert commands.issue(tmp_path / "new", "--out", tmp_path / "signers", signer_id=new_id).code == 2  # no such folder
    (tmp_path / "signers").mkdir()
    assert commands.issue(tmp_path / "new", "--out", tmp_path / "signers", signer_id=new_id).code == 0
    assert judged(tmp_path / "signers", trust_of(folder, new_id), signer_id=new_id)
    assert commands.issue(folder, signer_id=new_id).code == 2
    assert commands.init(tmp_path / "other", "--root", folder / "root.pem").code == 2
    shutil.copy(folder / "intermediate.pem", tmp_path / "wrong.pem")
    found = commands.init(tmp_path / "other", "--root", tmp_path / "wrong.pem", *flags[2:])
    assert "is not the key of the certificate beside it" in found.err
    found = commands.init(
        tmp_path / "other", "--root", folder / "intermediate.pem", "--root-key", folder / "intermediate-key.pem"
    )
    assert "cannot be decrypted" in found.err


def test_a_root_of_another_make(commands, folder, tmp_path):
    """What readers would refuse of it is refused before an intermediate stands below it."""
    for number, (changed, message) in enumerate(
        [({"path_length": 0}, "1 authorities stand below"), ({"ca": False}, "is no certificate authority"), ({}, "")]
    ):
        root = issue("Another root", begin=int(time.time()) - DAY, end=int(time.time()) + 9000 * DAY, **changed)
        (tmp_path / "root.pem").write_bytes(pem(root.certificate))
        encryption = serialization.BestAvailableEncryption(ROOT_PASSPHRASE.encode())
        key = root.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        (tmp_path / "key.pem").write_bytes(key)
        (tmp_path / "key.pem").chmod(0o600)
        flags = ["--root", tmp_path / "root.pem", "--root-key", tmp_path / "key.pem"]
        found = commands.init(tmp_path / f"made-{number}", *flags)
        assert (found.code, message in found.err) == (2 if message else 0, True)
        assert (tmp_path / f"made-{number}").exists() is not bool(message)
    assert commands.issue(tmp_path / "made-2", "--out", folder).code == 0
    assert judged(folder, trust_of(tmp_path / "made-2"))
    encryption = serialization.NoEncryption()
    key = root.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (tmp_path / "key.pem").write_bytes(key)
    found = commands.init(tmp_path / "open", *flags)
    assert (found.code, "it is no encrypted private key" in found.err) == (2, True)


# --- files that are not right -----------------------------------------------------------------------------------------------


def test_nothing_is_overwritten(commands, folder, tmp_path):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "away")
    for taken in (folder, tmp_path / "link"):
        found = commands.init(taken)
        assert (found.code, "is there already and is never overwritten" in found.err) == (2, True)
    assert commands.init(tmp_path / "file").code == 2
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    (tmp_path / "empty").mkdir()
    assert commands.init(tmp_path / "empty").code == 0


def test_two_at_once_do_not_take_the_same_name(commands, folder, monkeypatch):
    commands.issue(folder)
    before = (folder / f"{SIGNER_ID}-1" / "key.pem").read_bytes()
    monkeypatch.setattr(signer_files, "_earlier", lambda *_: iter(()))
    assert "is there already" in commands.issue(folder).err
    assert (folder / f"{SIGNER_ID}-1" / "key.pem").read_bytes() == before


@pytest.mark.parametrize("file", ["root.pem", "intermediate.pem", "intermediate-key.pem"])
def test_files_that_are_missing_or_broken(commands, folder, made, file):
    before = (folder / file).read_bytes()
    for content in (None, b"", b"broken", before * 2 if "key" not in file else before.replace(b"ENCRYPTED ", b"")):
        (folder / file).unlink(missing_ok=True)
        if content is not None:
            (folder / file).write_bytes(content)
            (folder / file).chmod(0o600)
        found = commands.issue(folder)
        assert (found.code, str(folder / file) in found.err) == (2, True)
    (folder / file).write_bytes(before)
    assert commands.issue(folder).code == 0


def test_the_intermediate_of_another_root(commands, folder, tmp_path):
    commands.init(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "root.pem", folder / "root.pem")
    found = commands.issue(folder)
    assert (found.code, "Readers would refuse" in found.err) == (2, True)
    shutil.copy(tmp_path / "other" / "intermediate.pem", folder / "intermediate.pem")
    found = commands.issue(folder)
    assert (found.code, "is not the key of the certificate" in found.err) == (2, True)


# --- nothing half -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def disk_with(limit):
    """A limit on the size of files stands for the disk: writes fail half-way."""
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old_handler)


@pytest.mark.parametrize("limit", [0, 100, 250, 400, 800, 950, 2000])
@pytest.mark.parametrize("command", ["init", "issue", "keygen"])
def test_a_full_disk(commands, folder, tmp_path, limit, command):
    place = tmp_path / "place"
    place.mkdir()
    arguments = {
        "init": ["pki", "init", "--folder", place / "pki", "--domain", DOMAIN],
        "issue": ["pki", "issue", SIGNER_ID, "--folder", folder, "--out", place],
        "keygen": ["keygen", place / "private.pem", place / "public.pem"],
    }[command]
    enough = {"init": 1100, "issue": 3000, "keygen": 310}[command]
    with disk_with(limit):
        found = commands(*arguments, "--format", "json")
    if limit >= enough:
        assert found.code == 0
        return
    assert (found.code, found.json["error"]["reason"]) == (1, "storage")
    assert "Nothing was made. Make room" in found.json["error"]["message"]
    assert not list(place.iterdir())
    assert commands(*arguments).code == 0


def killed(tmp_path, before, *arguments):
    command = [sys.executable, "-m", "tests.support.killed_keys", before, tmp_path / "work", *arguments]
    environment = {**os.environ, **VARIABLES}
    done = subprocess.run([*map(str, command)], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *kills, last = map(json.loads, done.stdout.splitlines())
    assert last["killed"] is False
    assert len(kills) > 8
    return kills, last


def hidden(path):
    return any(part.startswith(".") for part in Path(path).parts)


@pytest.mark.skipif(sys.platform != "linux", reason="ptrace")
@pytest.mark.parametrize("command", ["init", "issue"])
def test_killed_at_any_write(folder, tmp_path, command):
    """What is to be seen is there as a whole or not at all, and the next run removes what is left."""
    before = folder if command == "issue" else tmp_path / "empty"
    before.mkdir(exist_ok=True)
    arguments = ["issue", SIGNER_ID, "--folder", "{work}"] if command == "issue" else ["init", "--domain", DOMAIN]
    arguments += [] if command == "issue" else ["--folder", "{work}/pki"]
    old = files(before)
    kills, last = killed(tmp_path, before, "pki", *arguments)
    whole = {name for name in last["found"] if not hidden(name)}
    assert len(whole - old) == 3 if command == "issue" else 4
    seen = set()
    for kill in kills:
        visible = {name for name in kill["found"] if not hidden(name)}
        assert visible in (old, whole), kill
        seen.add(visible == whole)
        assert not any(hidden(name) for name in kill["after"]), kill
        assert kill["again"] == (0 if visible == old else 2 if command == "init" else 6), kill
    assert seen == {True, False}


@pytest.mark.skipif(sys.platform != "linux", reason="ptrace")
def test_keygen_killed_at_any_write(tmp_path):
    """Each file is there as a whole or not at all; where the first one is, the second can be made of it."""
    (tmp_path / "before").mkdir()
    kills, last = killed(tmp_path, tmp_path / "before", "keygen", "{work}/private.pem", "{work}/public.pem")
    sizes = last["found"]
    for kill in kills:
        visible = {name: size for name, size in kill["found"].items() if not hidden(name)}
        assert visible.items() <= sizes.items(), kill


def test_a_disk_without_links(commands, tmp_path, monkeypatch):
    """As most USB sticks are."""

    def refuse(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert commands("keygen", tmp_path / "private.pem", tmp_path / "public.pem").code == 0
    assert modes(tmp_path)["private.pem"] == 0o600
    assert files(tmp_path) == {"private.pem", "public.pem"}
    assert commands("keygen", tmp_path / "private.pem", tmp_path / "other.pem").code == 2


# --- passphrases ------------------------------------------------------------------------------------------------------------


def test_from_files(commands, tmp_path, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name)
    root, intermediate = tmp_path / "root", tmp_path / "intermediate"
    for file, text in ((root, ROOT_PASSPHRASE), (intermediate, INTERMEDIATE_PASSPHRASE)):
        file.write_text(text + "\n")
        file.chmod(0o600)
    flags = ["--root-passphrase-file", root, "--intermediate-passphrase-file", intermediate]
    assert commands.init(tmp_path / "pki", *flags).code == 0
    assert commands.issue(tmp_path / "pki", *flags[2:]).code == 0
    root.chmod(0o644)
    found = commands.init(tmp_path / "other", *flags)
    assert (found.code, f"--root-passphrase-file {root}: every user" in found.err) == (2, True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ROOT": ""}, "KINTO_PKI_ROOT_PASSPHRASE: the passphrase is empty"),
        ({"ROOT": "fifteen letters"}, "root's key is shorter than 16"),
        ({"INTERMEDIATE": "fifteen letters"}, "intermediate's key is shorter than 16"),
        ({"INTERMEDIATE": ROOT_PASSPHRASE}, "are the same"),
        ({"INTERMEDIATE": None}, "No passphrase for the intermediate's key. Give --intermediate-passphrase-file FILE or set"),
    ],
)
def test_passphrases_that_are_refused(commands, tmp_path, monkeypatch, changed, message):
    for name, text in changed.items():
        if text is None:
            monkeypatch.delenv(f"KINTO_PKI_{name}_PASSPHRASE")
        else:
            monkeypatch.setenv(f"KINTO_PKI_{name}_PASSPHRASE", text)
    found = commands.init(tmp_path / "pki")
    assert (found.code, message in found.err, files(tmp_path)) == (2, True, set())


def test_a_wrong_passphrase(commands, folder, monkeypatch):
    monkeypatch.setenv("KINTO_PKI_INTERMEDIATE_PASSPHRASE", "sixteen letters or more")
    before = files(folder)
    found = commands.issue(folder)
    assert (found.code, files(folder)) == (2, before)
    assert "cannot be decrypted with the given passphrase" in found.err
    assert "sixteen letters" not in found.err


def test_asked_at_a_terminal(tmp_path):
    """Twice for a new one, and nothing of it is to be seen: on the screen, in what is printed, in the process list."""
    with Terminal(["pki", "init", "--folder", tmp_path / "pki", "--domain", DOMAIN], {}) as terminal:
        for question, answer in (
            ("New passphrase for the root's key: ", ROOT_PASSPHRASE),
            ("The same again: ", ROOT_PASSPHRASE),
            ("New passphrase for the intermediate's key: ", INTERMEDIATE_PASSPHRASE),
        ):
            terminal.wait_for(question)
            terminal.type(answer)
        terminal.seen = terminal.seen.replace("The same again: ", "")
        terminal.wait_for("The same again: ")
        command_line = Path(f"/proc/{terminal.process.pid}/cmdline").read_text()
        terminal.type(INTERMEDIATE_PASSPHRASE)
        code, out = terminal.end()
    assert code == 0, terminal.seen
    for passphrase in (ROOT_PASSPHRASE, INTERMEDIATE_PASSPHRASE):
        assert passphrase not in command_line + out + terminal.seen
    with Terminal(["pki", "init", "--folder", tmp_path / "other", "--domain", DOMAIN], {}) as terminal:
        terminal.wait_for("New passphrase for the root's key: ")
        terminal.type(ROOT_PASSPHRASE)
        terminal.wait_for("The same again: ")
        terminal.type(INTERMEDIATE_PASSPHRASE)
        code, _ = terminal.end()
    assert (code, "The two passphrases differ. Nothing was made." in terminal.seen) == (2, True)
    assert not (tmp_path / "other").exists()


def test_keys_have_no_repr(made):
    root = authority_files.load_root(made / "root.pem", made / "root-key.pem", ROOT_PASSPHRASE.encode())
    new = signer_files.NewSigner(b"secret", PublicKey(root.key.public_key()), ())
    assert "secret" not in repr(new)
    assert "key=" not in repr(root)
