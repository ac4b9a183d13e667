"""Everything at debug level, everything that can fail failing: no key, PIN, passphrase, password or token is said anywhere.

One S with all kinds of signers, an A with accounts, a webhook and both commands, as processes. What they log, print, answer and
show in the list of processes is searched for every secret in every form.
"""

import base64
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.autograph.standin import StandIn
from tests.support.receiver import Receiver
from tests.support.searching import Search, forms
from tests.support.servers import ROOT, LiveKinto, write_ini
from tests.support.settings import guarded_settings, signer_settings
from tests.support.softhsm import MISSING, OFFICER_PIN, PIN, SoftHsm, find_module
from tests.test_signer_local import write_key

PASSPHRASE = "Tr0ub4dor&3 is % not it"
HMAC = "only-for-these-tests-8e1c"
DATABASE, ACCOUNT, EDITOR, READER = "db+pässwörd/1", "acc0unt:of S", 'edit"or\\s-pa55', "reader's-own-0815"
WEBHOOK_SECRET, WEBHOOK_TOKEN = "correct-horse-battery", "T0KEN-in-the-path"
WRONG = {"passphrase": "not the passphrase 77", "PIN": "99887766", "Hawk secret": "0f1e2d3c4b5a69788796a5b4c3d2e1f0"}
TELLTALE = "told-on-purpose-4242"
SOURCE = "/buckets/main-workspace/collections/regions"
LABELS = "file autograph token"


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
    search.said = [("nobody", _pem(key.public_key()) + _pem(ec.generate_private_key(ec.SECP384R1()).public_key()))]
    assert not search.found()


# --- the run -------------------------------------------------------------------------------------------------------------------


class Run:
    """The servers, the commands, and what all of them say."""

    def __init__(self, folder: Path, hsm: SoftHsm, standin: StandIn, receiver: Receiver, databases: list[str]) -> None:
        self.folder, self.hsm, self.standin, self.receiver = folder, hsm, standin, receiver
        self.search = Search()
        self.key = ec.generate_private_key(ec.SECP384R1())
        write_key(folder / "local.pem", self.key, passphrase=PASSPHRASE)
        self.public = [folder / "local-public.pem", folder / "token-public.pem"]
        self.public[0].write_bytes(_pem(self.key.public_key()))
        self.public[1].write_bytes(hsm.public.pem)
        self._know_secrets()
        here, there = (url.replace("postgres:@", f"postgres:{quote(DATABASE, safe='')}@") for url in databases)
        self.authority = LiveKinto(self._authority_settings(there), name="authority", level="DEBUG", environment=_hmac())
        self.signer = LiveKinto(
            self._signer_settings(here), name="signer", level="DEBUG", environment=self.environment, includes=self.includes
        )

    includes = "tests.support.telltale kinto_signer"

    def _know_secrets(self) -> None:
        secret = self.search.secret
        self.search.private_key("the local key", self.key)
        for name, value in {
            "passphrase": PASSPHRASE,
            "PIN": PIN,
            "officer's PIN": OFFICER_PIN,
            "Hawk secret": self.standin.hawk_ids["alice"],
            "password of the database": DATABASE,
            "password of S's account": ACCOUNT,
            "password of the editor": EDITOR,
            "password of the reader": READER,
            "secret of the webhook": WEBHOOK_SECRET,
            "token of the webhook": WEBHOOK_TOKEN,
            "secret of the user ids": HMAC,
            "told on purpose": TELLTALE,
            **{f"wrong {name}": value for name, value in WRONG.items()},
        }.items():
            secret(name, value)

    def file(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(content + "\n")
        return path

    @property
    def environment(self) -> dict[str, str]:
        """Of S: what has to come from there. PIN, passphrase and Hawk secret come from files."""
        return _hmac() | {
            "SOFTHSM2_CONF": str(self.hsm.conf),
            "KINTO_SIGNER_AUTHORITY_AUTH": f"signer:{ACCOUNT}",
            "KINTO_SIGNER_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "TELLTALE": TELLTALE,
        }

    def _authority_settings(self, database: str) -> dict[str, str]:
        settings = guarded_settings(self.public[0], database)
        settings["kinto.authority.public_keys"] = " ".join(map(str, self.public))
        del settings["kinto.userid_hmac_secret"]
        return settings | {
            "kinto.includes": "kinto.plugins.accounts kinto_signer.authority",
            "multiauth.policies": "account",
            "multiauth.policy.account.use": "kinto.plugins.accounts.AccountsPolicy",
            "kinto.account_create_principals": "system.Everyone",
            "kinto.bucket_create_principals": "account:signer",
        }

    def _signer_settings(self, database: str) -> dict[str, str]:
        settings = signer_settings(self.folder / "local.pem", database=database, authority=self.authority.url)
        for name in ("kinto.signer.ecdsa.private_key", "kinto.signer.authority.auth", "kinto.userid_hmac_secret"):
            del settings[name]
        start = "kinto.signer.signer"
        token = {f"{start}.token.{name}": str(value) for name, value in self.hsm.settings().items() if name != "pkcs11.pin"}
        return settings | token | {
            "kinto.signer.signer_backend": "",
            "kinto.signer.signers": LABELS,
            f"{start}.file.backend": "local",
            f"{start}.file.ecdsa.private_key": str(self.folder / "local.pem"),
            f"{start}.file.ecdsa.passphrase_file": str(self.file("passphrase", PASSPHRASE)),
            f"{start}.autograph.backend": "autograph",
            f"{start}.autograph.autograph.server_url": self.standin.url,
            f"{start}.autograph.autograph.hawk_id": "alice",
            f"{start}.autograph.autograph.hawk_secret_file": str(self.file("hawk", self.standin.hawk_ids["alice"])),
            f"{start}.autograph.autograph.key_ids": "appkey1",
            f"{start}.autograph.autograph.timeout_seconds": "1",
            f"{start}.token.backend": "pkcs11",
            f"{start}.token.pkcs11.pin_file": str(self.file("pin", PIN)),
            "kinto.signer.webhook.url": f"{self.receiver.url}/{WEBHOOK_TOKEN}?a=b",
            "kinto.signer.status_principals": "system.Authenticated",
        }  # fmt: skip

    def ask(self, server, method, path, status, auth=("editor", EDITOR), **options):
        """One request; what is answered is heard."""
        answer = requests.request(method, server.url + path, auth=auth, timeout=60, **options)
        self.search.hear(f"{method} {path}", f"{answer.headers}\n{answer.text}")
        assert answer.status_code // 100 == status, answer.text
        return answer

    def approve(self, status):
        """Ask S to publish. What fails is told by the heartbeat, too."""
        answer = self.ask(self.signer, "PATCH", SOURCE, status, json={"data": {"status": "to-sign"}})
        for path in ("/__heartbeat__", "/", SOURCE):
            self.search.hear(path, requests.get(self.signer.url + path, auth=("editor", EDITOR), timeout=60).text)
        return answer

    def command(self, module, *arguments, expected, **environment):
        """A command at its most talkative; what it prints, and what the list of processes shows of it, is heard."""
        given = os.environ | {name.upper(): str(value) for name, value in environment.items()}
        line = [sys.executable, "-m", f"kinto_signer.cli.{module}", "-vv", *map(str, arguments)]
        process = subprocess.Popen(line, cwd=ROOT, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        who = f"kinto-{module} {arguments[0]}"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            self.search.hear_process(who, process.pid, "cmdline", *(() if environment else ("environ",)))
        printed, _ = process.communicate(timeout=120)
        self.search.hear(who, printed)
        assert expected in (None, process.returncode), printed.decode()
        return printed.decode()

    def check(self, changes=(), expected=2, **environment):
        """``kinto-signer check`` of S's file with other lines."""
        path = self.folder / "checked.ini"
        write_ini(path, self.signer.settings | dict(changes), "DEBUG")
        given = self.environment | environment
        self.command("signer", "check", "--ini", path, expected=expected, **given)


def _hmac() -> dict[str, str]:
    return {"KINTO_USERID_HMAC_SECRET": HMAC}


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


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
