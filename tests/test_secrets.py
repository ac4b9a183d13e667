"""Everything at debug level, everything that can fail failing: no key, PIN, passphrase, password or token is said anywhere.

What servers and commands log, print, answer and show in the list of processes is searched for every secret in every form.
"""

import base64
import contextlib

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.autograph.standin import StandIn
from tests.support.receiver import Receiver
from tests.support.searching import Search, forms
from tests.support.servers import LiveKinto
from tests.support.softhsm import MISSING, PIN, SoftHsm, find_module
from tests.support.talking import ACCOUNT, DATABASE, EDITOR, PASSPHRASE, READER, SOURCE, WRONG, Run, public_pem
from tests.support.unmeasured import unmeasured  # noqa: F401

pytestmark = pytest.mark.usefixtures("unmeasured")

# --- the search ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("around", ["{}", "before{}", "be{}after", "<{}>"])
@pytest.mark.parametrize("raw", [PASSPHRASE, DATABASE, EDITOR, PIN, "x" * 48])
def test_every_form_is_found(raw, around):
    search = Search()
    search.secret("it", raw)
    longer = [base64.b64encode(around.format(raw).encode()), base64.urlsafe_b64encode(b"user:" + raw.encode())]
    for number, form in enumerate([*forms(raw.encode()), raw.encode().hex(":").upper().encode(), *longer]):
        search.said.clear()
        search.hear(str(number), b"said: " + form + b"\n")
        assert search.found() == {("it", str(number))}, form
    search.said.clear()
    search.hear("nobody", f"something else {base64.b64encode(raw[:-4].encode())!r} or {raw[1:]}")
    assert not search.found()


def test_a_private_key_is_found_in_pem_der_and_as_a_number():
    key = ec.generate_private_key(ec.SECP384R1())
    search = Search()
    search.private_key("key", key)
    none, pkcs8 = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, pkcs8, none)
    der = key.private_bytes(serialization.Encoding.DER, pkcs8, none)
    number = key.private_numbers().private_value
    for said in (pem, repr(pem).encode(), der, der.hex(":").encode(), str(number).encode(), b"%x" % number):
        search.said = [("somebody", said)]
        assert search.found() == {("key", "somebody")}
    search.said = [("nobody", public_pem(key.public_key()) + public_pem(ec.generate_private_key(ec.SECP384R1()).public_key()))]
    assert not search.found()


# --- the run -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, create_database):
    if find_module() is None:
        pytest.skip(MISSING)
    hsm = SoftHsm(tmp_path)
    hsm.make_token("main")
    hsm.public = hsm.put_key("main", "signer", "01")
    with contextlib.ExitStack() as stack:
        standin, receiver = stack.enter_context(StandIn()), stack.enter_context(Receiver(status=500))
        found = Run(tmp_path, hsm, standin, receiver, [create_database(), create_database()])
        for server in (found.authority, found.signer):
            stack.callback(server.close)
        yield found


def provoke_failures_at_start(run):
    """Each stops ``check``, and would stop the server."""
    start = "kinto.signer.signer"
    wrong = {name: run.file(f"wrong {name}", value) for name, value in WRONG.items()}
    run.check({f"{start}.file.ecdsa.passphrase_file": str(wrong["passphrase"])})
    run.check({f"{start}.autograph.autograph.hawk_secret_file": str(wrong["Hawk secret"])}, expected=None)
    both = {"KINTO_SIGNER_SIGNER_FILE_ECDSA_PASSPHRASE": PASSPHRASE, "KINTO_SIGNER_SIGNER_TOKEN_PKCS11_PIN": PIN}
    run.check(**both)
    server = LiveKinto(
        run.signer.settings | {f"{start}.token.pkcs11.pin_file": str(wrong["PIN"])},
        name="never",
        level="DEBUG",
        environment=run.environment,
    )
    with pytest.raises(RuntimeError, match="did not start") as error:
        server.start()
    server.close()
    run.search.hear("a server that does not start", str(error.value))


def provoke_failures_of_signers(run):
    for fault in ("503", "skew", "hang", "reset", "wrong signature", "200"):
        run.standin.faults = [fault] * 2
        assert run.approve(5).json()["details"]["reason"] in ("signer", "bad-signature", "deadline"), fault
        run.standin.faults = []
    known, run.standin.hawk.secrets["alice"] = run.standin.hawk.secrets["alice"], b"another one, so that the MAC is wrong"
    assert "invalid MAC" in run.approve(5).text
    run.standin.hawk.secrets["alice"] = known
    run.hsm.tokens.rename(run.folder / "away")
    key = (run.folder / "local.pem").read_bytes()
    (run.folder / "local.pem").write_text("broken")
    run.approve(5)
    (run.folder / "away").rename(run.hsm.tokens)
    (run.folder / "local.pem").write_bytes(key)


def test_nothing_says_a_secret(run):
    search, signer, authority = run.search, run.signer, run.authority
    provoke_failures_at_start(run)
    authority.start()
    signer.start()
    # A does not know S's account, then it does; the webhook fails all the time.
    run.ask(signer, "PUT", "/buckets/main-workspace", 2, json={"data": {}})
    assert run.ask(signer, "PUT", SOURCE, 5, json={"data": {}}).json()["details"]["reason"] == "refused"
    for name, password in (("signer", ACCOUNT), ("reader", READER)):
        run.ask(authority, "PUT", f"/accounts/{name}", 2, auth=None, json={"data": {"password": password}})
    for path in (SOURCE, f"{SOURCE}/records/r1"):
        run.ask(signer, "PUT", path, 2, json={"data": {}})
    run.approve(2)
    assert len(run.ask(signer, "GET", "/buckets/main/collections/regions", 2).json()["data"]["signatures"]) == 3
    provoke_failures_of_signers(run)

    # The commands, with credentials that are right, wrong, and asked of nobody.
    editor = {"kinto_server": signer.url, "kinto_auth": f"editor:{EDITOR}"}
    for arguments in (["status", "--format", "json"], ["refresh"]):
        run.command("signer", *arguments, expected=0, **editor)
    policy = ["-c", "main/regions", "--public-key", run.public[0], "--cache", run.folder / "cache"]
    gather = ["gather-changes", authority.url, *policy, "--auth-file"]
    run.command("updater", *gather, run.file("reader", f"reader:{READER}"), expected=0)
    run.command("updater", *gather, run.file("wrong reader", f"reader:{WRONG['passphrase']}"), expected=4)
    run.command("updater", "show", "--cache", run.folder / "cache", expected=0)

    # A is not there.
    for server in (signer, authority):
        for path in ("/", "/__heartbeat__", "/__version__", "/__api__"):
            search.hear(path, requests.get(server.url + path, timeout=60).text)
    authority.stop()
    run.approve(5)
    run.command("signer", "status", expected=None, **editor)
    run.check(expected=None)
    run.command("updater", *gather, run.folder / "reader", expected=5)

    from_files = Search()
    for name, value in (("PIN", PIN), ("passphrase", PASSPHRASE), ("Hawk secret", run.standin.hawk_ids["alice"])):
        from_files.secret(name, value)
    for pid in (signer.pid, *signer.worker_pids()):
        search.hear_process("S", pid, "cmdline")
        from_files.hear_process("S", pid, "cmdline", "environ")
    assert not from_files.found()
    assert b"TELLTALE" in dict(from_files.said)["environ of S"]
    signer.stop()
    assert run.receiver.received
    for server in (signer, authority):
        search.hear(f"log of {server.name}", server.log_text())
    for logger in ("urllib3.connectionpool", "somebody.else", "kinto.core"):
        assert f" DEBUG {logger}" in signer.log_text()
    told = {"log of signer", "a server that does not start", "kinto-signer check"}
    assert search.found() == {("told on purpose", who) for who in told}
