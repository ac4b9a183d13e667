"""A root, an intermediate and signers as an organisation makes them: with `kinto-signer pki`."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from kinto_signer.cli import output
from kinto_signer.cli.signer import cli
from kinto_signer.core.chain import load_chain
from kinto_signer.core.trust import PinnedRoot, Trust

DOMAIN = "content-signature.example.org"
SIGNER_ID = f"regions.{DOMAIN}"
ROOT_PASSPHRASE = "correct horse battery staple"
INTERMEDIATE_PASSPHRASE = "another six words drawn at random"
VARIABLES = {
    "KINTO_PKI_ROOT_PASSPHRASE": ROOT_PASSPHRASE,
    "KINTO_PKI_INTERMEDIATE_PASSPHRASE": INTERMEDIATE_PASSPHRASE,
}


@dataclass(frozen=True)
class Ran:
    """What a command ended with, printed, and wrote to stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class Commands:
    """``commands("pki", "init", …)`` in this process; nothing that it prints may have a passphrase or a private key in it."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        for name, value in VARIABLES.items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments: object) -> Ran:
        self._capsys.readouterr()
        code = output.run(cli, [str(argument) for argument in arguments])
        found = self._capsys.readouterr()
        for secret in (ROOT_PASSPHRASE, INTERMEDIATE_PASSPHRASE, "PRIVATE KEY"):
            assert secret not in found.out + found.err
        return Ran(code, found.out, found.err)

    def init(self, folder: Path, *flags: object) -> Ran:
        return self("pki", "init", "--folder", folder, "--domain", DOMAIN, *flags)

    def issue(self, folder: Path, *flags: object, signer_id: str = SIGNER_ID) -> Ran:
        return self("pki", "issue", signer_id, "--folder", folder, *flags)


def chain_of(folder: Path, signer_id: str = SIGNER_ID, number: int = 1) -> tuple[x509.Certificate, ...]:
    """The chain that `kinto-signer pki issue` wrote."""
    return load_chain((folder / f"{signer_id}-{number}" / f"{signer_id}-{number}.chain").read_bytes())


def trust_of(folder: Path, signer_id: str = SIGNER_ID) -> Trust:
    """The policy of readers who pin that folder's root."""
    root = x509.load_pem_x509_certificate((folder / "root.pem").read_bytes())
    return Trust(roots=(PinnedRoot(root.fingerprint(hashes.SHA256()), signer_id),))
