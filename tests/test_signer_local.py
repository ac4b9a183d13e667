"""The local signer: a PEM file, open or encrypted, and what happens when somebody replaces it."""

import logging
import os

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kinto_signer.core.trust import PublicKey
from kinto_signer.errors import ConfigurationError
from kinto_signer.signers.backends import BACKENDS
from kinto_signer.signers.local import from_settings
from tests.support.keys import write_key_pair
from tests.support.signers import SignerContract, random_content, read_from, sign

PASSPHRASE = "Tr0ub4dor&3 is not it"
PKCS8, SEC1 = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
NAME = "kinto.signer.ecdsa.private_key"


def write_key(path, key=None, passphrase=None, form=PKCS8, mode=0o600):
    """Put a key in the place of whatever is there, as `mv` does."""
    encryption = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    key = key or ec.generate_private_key(ec.SECP384R1())
    temporary = path.with_suffix(".new")
    temporary.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    temporary.chmod(mode)
    temporary.replace(path)
    return PublicKey(key.public_key()) if isinstance(key, ec.EllipticCurvePrivateKey) else None


def made_from(path, **settings):
    return from_settings(read_from({"ecdsa.private_key": path} | {f"ecdsa.{name}": value for name, value in settings.items()}))


class TestOpenFile(SignerContract):
    @pytest.fixture(params=[name for name in BACKENDS if "local" in name])
    def signer(self, request, key_pair):
        return BACKENDS[request.param](read_from({"ecdsa.private_key": key_pair.private}))

    @pytest.fixture
    def secrets(self, key_pair):
        return [line for line in key_pair.private.read_text().splitlines() if "-----" not in line]


class TestEncryptedFile(SignerContract):
    @pytest.fixture(params=[PKCS8, SEC1])
    def signer(self, request, tmp_path):
        write_key(tmp_path / "key.pem", passphrase=PASSPHRASE, form=request.param)
        return made_from(tmp_path / "key.pem", passphrase=PASSPHRASE)

    @pytest.fixture
    def secrets(self):
        return [PASSPHRASE]


def test_a_passphrase_in_a_file(tmp_path):
    write_key(tmp_path / "key.pem", passphrase=PASSPHRASE)
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    file.chmod(0o600)
    sign(made_from(tmp_path / "key.pem", passphrase_file=file), random_content())


# --- start-up errors --------------------------------------------------------------------------------------------------------


def refused(path, **settings):
    with pytest.raises(ConfigurationError) as error:
        made_from(path, **settings)
    assert PASSPHRASE not in str(error.value)
    return error.value.message


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "not a key on the curve P-384"),
        (ec.generate_private_key(ec.SECP521R1()), "not a key on the curve P-384"),
        (rsa.generate_private_key(65537, 2048), "not a key on the curve P-384"),
    ],
    ids=["P-256", "P-521", "RSA"],
)
def test_a_key_of_another_kind(tmp_path, key, words):
    path = tmp_path / "key.pem"
    write_key(path, key)
    assert refused(path) == f"{NAME} = {path}: {words}."


def test_files_that_are_not_there_or_hold_something_else(tmp_path, key_pair):
    assert refused("").startswith(f"{NAME} is not set: the signer needs a P-384 private key (PEM). Make one with")
    assert refused(tmp_path / "none") == f"{NAME} = {tmp_path}/none: cannot be read (No such file or directory)."
    assert refused(tmp_path) == f"{NAME} = {tmp_path}: cannot be read (Is a directory)."
    path = tmp_path / "key.pem"
    path.touch(0o600)
    for body in (b"", b"\xff\xfe", key_pair.public.read_bytes(), key_pair.private.read_bytes()[:100]):
        path.write_bytes(body)
        assert refused(path) == f"{NAME} = {path}: not a private key in PEM form."


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_a_key_that_every_user_can_read(tmp_path, mode, monkeypatch):
    path = tmp_path / "key.pem"
    write_key(path, mode=mode)
    assert refused(path) == f"{NAME} = {path}: every user of this machine can read or change it; `chmod 600` it."
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "other"))
    refused(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    made_from(path)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    path.chmod(0o640)
    made_from(path)


def test_passphrases_that_do_not_fit(tmp_path):
    path, file = tmp_path / "key.pem", tmp_path / "passphrase"
    write_key(path, passphrase=PASSPHRASE)
    assert "is encrypted; set kinto.signer.ecdsa.passphrase_file" in refused(path)
    assert refused(path, passphrase=PASSPHRASE + "!") == f"{NAME} = {path}: cannot be decrypted with the given passphrase."
    assert "passphrase_file" in refused(path, passphrase_file=file)
    file.write_text(PASSPHRASE)
    file.chmod(0o644)
    assert "every user of this machine" in refused(path, passphrase_file=file)
    file.chmod(0o600)
    assert "kinto.signer.ecdsa.passphrase is set as well" in refused(path, passphrase_file=file, passphrase=PASSPHRASE)
    write_key(path)
    assert "is not encrypted; remove kinto.signer.ecdsa.passphrase" in refused(path, passphrase=PASSPHRASE)


# --- replaced while running ---------------------------------------------------------------------------------------------------


@pytest.fixture
def replaced(tmp_path):
    """A signer, its key, and its file."""
    path = tmp_path / "key.pem"
    before = write_key(path)
    return made_from(path), before, path


def test_a_new_key_is_taken_and_the_former_stays_accepted(replaced, caplog):
    signer, before, path = replaced
    after = write_key(path)
    with caplog.at_level(logging.WARNING, "kinto_signer"):
        assert signer.public_keys() == (after, before)
    assert signer.public_keys() == (after, before)
    assert [after.fingerprint in line and before.fingerprint in line for line in caplog.messages] == [True]
    last = write_key(path)
    assert signer.public_keys() == (last, after, before)
    assert sign(signer, random_content())[0].public_key != ""


@pytest.mark.parametrize("how", ["removed", "cut", "another curve", "open to all", "encrypted"])
def test_a_broken_replacement_keeps_the_key_and_is_logged_once(replaced, caplog, how):
    signer, before, path = replaced
    kept = path.read_bytes()
    match how:
        case "removed":
            path.unlink()
        case "cut":
            path.write_bytes(kept[:150])
        case "another curve":
            write_key(path, ec.generate_private_key(ec.SECP256R1()))
        case "open to all":
            write_key(path, mode=0o644)
        case "encrypted":
            write_key(path, passphrase=PASSPHRASE)
    with caplog.at_level(logging.ERROR, "kinto_signer"):
        for _ in range(3):
            sign(signer, random_content())
            assert signer.public_keys() == (before,)
    (message,) = caplog.messages
    assert message.startswith(f"{NAME} = {path}: ")
    assert f"{before.fingerprint} is kept" in message
    after = write_key(path)
    assert signer.public_keys() == (after, before)


def test_writing_the_same_key_again_changes_nothing(replaced, caplog):
    signer, before, path = replaced
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))
    with caplog.at_level(logging.DEBUG, "kinto_signer"):
        assert signer.public_keys() == (before,)
    assert not caplog.messages


def test_a_new_key_with_a_new_passphrase(tmp_path):
    path, file = tmp_path / "key.pem", tmp_path / "passphrase"
    file.touch(0o600)
    file.write_text("one")
    before = write_key(path, passphrase="one")
    signer = made_from(path, passphrase_file=file)
    after = write_key(path, passphrase="two")
    assert signer.public_keys() == (before,)
    file.write_text("two")
    assert signer.public_keys() == (after, before)


def test_the_accepted_key_is_read_again_too(tmp_path):
    path, pair = tmp_path / "key.pem", write_key_pair(tmp_path, "other")
    own = write_key(path)
    signer = made_from(path, public_key=pair.public)
    assert len(signer.public_keys()) == 2
    pair.public.write_bytes(own.pem)
    assert signer.public_keys() == (own,)


def test_the_key_is_not_read_for_every_signature(replaced, monkeypatch):
    signer, _, path = replaced
    path.chmod(0o600)  # its time of change is another: read once more
    sign(signer, random_content())
    monkeypatch.setattr("kinto_signer.signers.local.read_guarded", None)
    sign(signer, random_content())
