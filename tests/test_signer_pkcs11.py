"""The PKCS#11 signer, with SoftHSM2: the contract, which key it takes, what it says, and sessions that are lost."""

import logging
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core.signature import verifies
from kinto_signer.errors import ConfigurationError, SigningError
from kinto_signer.signers.backends import BACKENDS
from kinto_signer.signers.pkcs11 import from_settings
from kinto_signer.signers.several import Named, SignerSet
from tests.support.certificates import DAY, make_pki
from tests.support.signers import SignerContract, digest_of, random_content, read_from, sign
from tests.support.softhsm import MISSING, OFFICER_PIN, PIN, SoftHsm, find_module

if find_module() is None:
    pytest.skip(MISSING, allow_module_level=True)

import pkcs11

from kinto_signer.signers import pkcs11_token


def _start_anew(module):
    """Make the library forget the folder of tokens that it knows."""
    library = pkcs11.lib(module)
    library.finalize()
    library.initialize()
    return library


@pytest.fixture(scope="module")
def hsm(tmp_path_factory):
    """Two tokens. On `main`: `signer` (id 01), `twice` (02 and 03), `small` on another curve, `both` with one id, `lonely`."""
    patch = pytest.MonkeyPatch()
    found = SoftHsm(tmp_path_factory.mktemp("softhsm"))
    patch.setenv("SOFTHSM2_CONF", str(found.conf))
    found.make_token("main")
    found.make_token("other")
    found.public = {
        name: found.put_key("main", name.partition(" ")[0], id_, curve)
        for name, id_, curve in (
            ("signer", "01", None),
            ("twice a", "02", None),
            ("twice b", "03", None),
            ("small", "04", ec.SECP256R1()),
        )
    }
    _start_anew(found.module)
    yield found
    patch.undo()


def signer_of(hsm, **changes):
    return from_settings(read_from(hsm.settings(**changes)))


class TestByLabel(SignerContract):
    @pytest.fixture(params=[name for name in BACKENDS if "pkcs11" in name])
    def signer(self, request, hsm):
        return BACKENDS[request.param](read_from(hsm.settings()))

    @pytest.fixture
    def secrets(self):
        return [PIN]


class TestById(TestByLabel):
    @pytest.fixture
    def signer(self, hsm):
        return signer_of(hsm, key_label="", key_id="01")


@pytest.fixture
def chain(hsm, tmp_path):
    """A file with the chain of the key `signer`."""
    file = tmp_path / "signer.chain"
    file.write_bytes(chain_of(hsm.public["signer"]).pem)
    return file


def chain_of(public):
    now = int(time.time())
    return make_pki(leaf={"key": SimpleNamespace(public_key=lambda: public.key), "begin": now - DAY, "end": now + 60 * DAY})


class TestWithAChain(TestByLabel):
    @pytest.fixture
    def signer(self, hsm, chain):
        return signer_of(hsm, chain=chain)


def test_its_chain(hsm, chain):
    signer = signer_of(hsm, chain=chain, x5u="https://chains.example.org/a.chain")
    (made,) = SignerSet([Named("it", signer)]).sign(digest_of(b"x"))
    assert (made.chain, made.x5u) == (chain.read_text(), "https://chains.example.org/a.chain")
    former = chain.read_text()
    chain.write_bytes(chain_of(hsm.public["twice a"]).pem)
    assert signer.sign(digest_of(b"x"))[0].chain == former
    assert "kinto.signer.pkcs11.chain = " in refused(hsm, chain=chain)


# --- which key ----------------------------------------------------------------------------------------------------------------


def test_a_label_an_id_or_both(hsm):
    for changes, name in (
        ({"key_label": "signer"}, "signer"),
        ({"key_label": "", "key_id": "03"}, "twice b"),
        ({"key_label": "twice", "key_id": "02"}, "twice a"),
        ({"key_label": "twice", "key_id": "03"}, "twice b"),
    ):
        signer = signer_of(hsm, **changes)
        assert signer.public_keys() == (hsm.public[name],)
        assert "key with" not in repr(signer)


def refused(hsm, **changes):
    with pytest.raises(ConfigurationError) as error:
        signer_of(hsm, **changes)
    assert PIN not in str(error.value)
    return error.value.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"module": ""}, "kinto.signer.pkcs11.module is not set"),
        ({"module": "/nowhere.so"}, "kinto.signer.pkcs11.module = /nowhere.so: there is no such file"),
        ({"module": "/etc/hostname"}, "cannot be used"),
        ({"token": ""}, "kinto.signer.pkcs11.token is not set"),
        ({"token": "nowhere"}, "there is no such token"),
        ({"key_label": ""}, "Neither kinto.signer.pkcs11.key_label nor kinto.signer.pkcs11.key_id is set"),
        ({"key_label": "nothing"}, "label 'nothing' on the token 'main': there is no such private key"),
        ({"key_id": "02"}, "label 'signer' and id 02 on the token 'main': there is no such private key"),
        ({"key_id": "xyz"}, "kinto.signer.pkcs11.key_id: not the hexadecimal id of a key"),
        ({"key_label": "twice"}, "label 'twice' on the token 'main': 2 private keys have it"),
        ({"key_label": "small"}, "it is not on the curve P-384"),
        ({"pin": ""}, "kinto.signer.pkcs11.pin (or kinto.signer.pkcs11.pin_file) is not set"),
        ({"pin": "", "pin_file": "/nowhere"}, "kinto.signer.pkcs11.pin_file = /nowhere: cannot be read"),
        ({"public_key": "/nowhere"}, "kinto.signer.pkcs11.public_key = /nowhere: cannot be read"),
    ],
)
def test_what_stops_the_server(hsm, changes, words):
    assert words in refused(hsm, **changes)


def test_a_pin_in_a_file(hsm, tmp_path):
    file = tmp_path / "pin"
    file.touch(0o600)
    file.write_text(PIN + "\n")
    sign(signer_of(hsm, pin="", pin_file=file), random_content())
    file.chmod(0o644)
    assert "every user of this machine" in refused(hsm, pin="", pin_file=file)
    file.chmod(0o600)
    file.write_bytes(b"\xff\xfe")
    assert "not text in UTF-8" in refused(hsm, pin="", pin_file=file)


def test_a_public_key_that_is_not_on_the_token(hsm, tmp_path, key_pair):
    file = tmp_path / "public.pem"
    file.write_bytes(hsm.public["signer"].pem)
    assert signer_of(hsm, public_key=file).public_keys() == (hsm.public["signer"],)
    assert "its signatures do not verify under the public key" in refused(hsm, public_key=key_pair.public)


def test_a_token_without_the_public_key_needs_a_file(hsm):
    hsm.put_key("other", "alone", "0a")
    library = _start_anew(hsm.module)
    session = library.get_token(token_label="other").open(rw=True, user_pin=PIN)
    (public,) = session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY})
    public.destroy()
    session.close()
    assert "no such public key; name a file with the public key" in refused(hsm, token="other", key_label="alone")


def test_two_tokens_of_one_label(hsm):
    hsm.make_token("double")
    hsm.make_token("double")
    _start_anew(hsm.module)
    assert "several tokens have this label" in refused(hsm, token="double")


# --- the PIN --------------------------------------------------------------------------------------------------------------------


def test_a_wrong_pin_stops_the_server(hsm):
    _start_anew(hsm.module)
    message = refused(hsm, pin="wrong-pin-1")
    assert "the token refuses the PIN" in message
    assert "kinto.signer.pkcs11.pin" in message
    assert "wrong-pin-1" not in message


def test_a_pin_that_was_refused_is_not_tried_again_and_a_new_one_is(hsm, tmp_path, monkeypatch):
    """A token locks itself after a few wrong PINs: a heartbeat every minute would see to that."""
    hsm.make_token("pins")
    hsm.put_key("pins", "signer", "01")
    _start_anew(hsm.module)
    file = tmp_path / "pin"
    file.touch(0o600)
    file.write_text(PIN)
    signer = signer_of(hsm, token="pins", pin="", pin_file=file)
    _start_anew(hsm.module)
    officer = pkcs11.lib(hsm.module).get_token(token_label="pins").open(rw=True, so_pin=OFFICER_PIN)
    officer.init_pin("another-pin")
    officer.close()
    logins = []
    real = pkcs11_token.TokenKey._session
    monkeypatch.setattr(pkcs11_token.TokenKey, "_session", lambda self, library: logins.append(1) or real(self, library))
    with pytest.raises(SigningError, match="the token refuses the PIN"):
        sign(signer, random_content())
    assert len(logins) == 1
    for _ in range(3):
        with pytest.raises(SigningError, match="is not tried again") as error:
            sign(signer, random_content())
        assert PIN not in str(error.value)
    file.write_text("another-pin")
    sign(signer, random_content())


# --- lost sessions --------------------------------------------------------------------------------------------------------------


def lose_by_finalizing(hsm, signer):
    _start_anew(hsm.module)


def lose_by_not_initializing(hsm, signer):
    pkcs11.lib(hsm.module).finalize()


def lose_by_closing(hsm, signer):
    signer._key._open.session.close()


@pytest.mark.parametrize("lose", [lose_by_finalizing, lose_by_not_initializing, lose_by_closing])
def test_a_lost_session_is_opened_again(hsm, lose, caplog):
    signer = signer_of(hsm)
    for _ in range(3):
        lose(hsm, signer)
        content = random_content()
        with caplog.at_level(logging.WARNING, "kinto_signer"):
            (made,) = sign(signer, content)
        assert verifies(hsm.public["signer"].key, digest_of(content), made.signature)
    assert "was lost" in caplog.text
    assert PIN not in caplog.text


def test_a_token_that_went_away_and_came_back(hsm):
    signer = signer_of(hsm)
    away = hsm.tokens.with_name("away")
    hsm.tokens.rename(away)
    hsm.tokens.mkdir()
    try:
        _start_anew(hsm.module)
        for _ in range(2):
            with pytest.raises(SigningError, match=r"there is no such token\. Nothing was signed"):
                sign(signer, random_content())
    finally:
        hsm.tokens.rmdir()
        away.rename(hsm.tokens)
    sign(signer, random_content())


def test_two_signers_with_one_token_do_not_log_each_other_out_for_ever(hsm, monkeypatch):
    real, began_anew = pkcs11_token._library, []
    monkeypatch.setattr(pkcs11_token, "_library", lambda module, *, anew: began_anew.append(anew) or real(module, anew=anew))
    one, two = signer_of(hsm), signer_of(hsm, key_label="twice", key_id="02")
    for signer in (one, two, one):
        sign(signer, random_content())
    assert True not in began_anew  # the second found the user logged in
    several = SignerSet([Named("one", one), Named("two", two)])  # verifies: handles of one must not mean the other's key
    for lose in (lambda: None, lambda: lose_by_closing(hsm, one), lambda: lose_by_finalizing(hsm, one)):
        lose()
        for _ in range(2):
            sign(several, random_content())


def test_signers_that_fail_leave_no_sessions_open(hsm, monkeypatch):
    """A heartbeat a minute would use up those that the token has."""
    sessions = []
    real = pkcs11_token.TokenKey._session
    monkeypatch.setattr(
        pkcs11_token.TokenKey, "_session", lambda self, library: sessions.append(real(self, library)) or sessions[-1]
    )
    for changes in ({"key_label": "nothing"}, {"key_label": "small"}):
        refused(hsm, **changes)
    signer = signer_of(hsm)
    monkeypatch.setattr(signer._key, "_sign", fails_once(signer._key._sign))
    sign(signer, random_content())
    assert len(sessions) == 4
    for session in sessions[:3]:
        with pytest.raises(pkcs11.SessionHandleInvalid):
            session.close()
    sessions[3].close()


def fails_once(real):
    answers = [pkcs11.DeviceError()]

    def sign_(digest):
        if answers:
            raise answers.pop()
        return real(digest)

    return sign_


def test_a_forked_process_opens_its_own(hsm, tmp_path):
    """Servers load the application and fork then: what the library knew before is of no use to the children."""
    program = """
import os, sys
from kinto_signer.signers.pkcs11 import from_settings
from kinto_signer.signers.several import Named, SignerSet
from tests.support.signers import random_content, read_from, sign
from kinto_signer.signers.several import Named, SignerSet
signer = from_settings(read_from(eval(sys.argv[1])))
several = SignerSet([Named("it", signer)])
sign(several, random_content())
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        try:
            for _ in range(3):
                sign(several, random_content())
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    children.append(child)
sign(several, random_content())
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, repr(hsm.settings())],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_a_forked_process_initialises_the_library(hsm, monkeypatch):
    """SoftHSM2 would put up with what it inherited; other libraries do not."""
    signer, calls = signer_of(hsm), []
    real = pkcs11_token._library
    monkeypatch.setattr(pkcs11_token, "_library", lambda module, *, anew: calls.append(anew) or real(module, anew=anew))
    sign(signer, random_content())
    monkeypatch.setattr("kinto_signer.signers.pkcs11_token.os.getpid", lambda: -1)
    for _ in range(2):
        sign(signer, random_content())
    assert calls == [True]


def test_without_the_library_it_says_what_to_install(hsm, monkeypatch):
    monkeypatch.delitem(sys.modules, "kinto_signer.signers.pkcs11_token")
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    assert "pip install 'kinto-signer[pkcs11]'" in refused(hsm)


def test_a_token_that_answers_nonsense(hsm, monkeypatch):
    signer = signer_of(hsm)
    monkeypatch.setattr(pkcs11_token, "_signed", lambda key, digest: "A" * 128)
    with pytest.raises(SigningError, match="numbers are out of range"):
        sign(signer, random_content())
    assert "the signature's numbers are out of range" in refused(hsm)


@pytest.mark.parametrize(("failures", "reached"), [(1, 2), (2, 3), (3, 3)])
def test_a_library_that_fails_at_first_is_initialised_again(hsm, monkeypatch, failures, reached):
    """SoftHSM2 does that when several processes begin at once."""
    monkeypatch.setattr(pkcs11_token, "PAUSES_S", (0, 0))
    tried = []
    real = pkcs11_token.TokenKey._session

    def session(self, library):
        tried.append(library)
        if len(tried) <= failures:
            raise pkcs11.GeneralError
        return real(self, library)

    monkeypatch.setattr(pkcs11_token.TokenKey, "_session", session)
    if failures < 3:
        sign(signer_of(hsm), random_content())
    else:
        assert "cannot be used: GeneralError" in refused(hsm)
    assert len(tried) == reached
