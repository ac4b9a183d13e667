"""All that has secrets, as processes at debug level: S with all kinds of signers, A with accounts, a webhook, both commands."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.autograph.standin import StandIn
from tests.support.receiver import Receiver
from tests.support.searching import Search
from tests.support.servers import ROOT, LiveKinto, write_ini
from tests.support.settings import guarded_settings, signer_settings
from tests.support.softhsm import OFFICER_PIN, PIN, SoftHsm

PASSPHRASE = "Tr0ub4dor&3 is % not it"
HMAC = "only-for-these-tests-8e1c"
DATABASE, ACCOUNT, EDITOR, READER = "db+pässwörd/1", "acc0unt:of S", 'edit"or\\s-pa55', "reader's-own-0815"
WEBHOOK_SECRET, WEBHOOK_TOKEN = "correct-horse-battery", "T0KEN-in-the-path"
WRONG = {"passphrase": "not the passphrase 77", "PIN": "99887766", "Hawk secret": "0f1e2d3c4b5a69788796a5b4c3d2e1f0"}
TELLTALE = "told-on-purpose-4242"
SOURCE = "/buckets/main-workspace/collections/regions"
LABELS = "file autograph token"


class Run:
    """The servers, the commands, and what all of them say."""

    def __init__(self, folder: Path, hsm: SoftHsm, standin: StandIn, receiver: Receiver, databases: list[str]) -> None:
        self.folder, self.hsm, self.standin, self.receiver = folder, hsm, standin, receiver
        self.search = Search()
        self.key = ec.generate_private_key(ec.SECP384R1())
        encryption = serialization.BestAvailableEncryption(PASSPHRASE.encode())
        pem = self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        self.file("local.pem", pem.decode())
        self.public = [folder / "local-public.pem", folder / "token-public.pem"]
        self.public[0].write_bytes(public_pem(self.key.public_key()))
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


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
