"""Tokens of SoftHSM2 in a temporary folder, and keys on them."""

import os
import shutil
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core.trust import PublicKey

MISSING = "NO SOFTHSM2 (tools/install_softhsm.sh)"
PIN, OFFICER_PIN = "4711-geheim", "0000-officer"
_PLACES = ("/usr/lib/softhsm", "/usr/lib64/pkcs11", "/usr/local/lib/softhsm", "/opt/homebrew/lib/softhsm")


def find_module() -> str | None:
    """The library's path; None where SoftHSM2 is not installed."""
    found = [Path(place) / "libsofthsm2.so" for place in _PLACES]
    return next((str(path) for path in found if path.is_file() and shutil.which("softhsm2-util")), None)


class SoftHsm:
    """A folder of tokens. SOFTHSM2_CONF has to name ``conf`` when the library is initialised."""

    def __init__(self, folder: Path) -> None:
        self.module = find_module() or ""
        self.folder = folder
        self.tokens = folder / "tokens"
        self.conf = folder / "softhsm2.conf"
        self.tokens.mkdir()
        self.conf.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")

    def make_token(self, label: str) -> None:
        self._run("--init-token", "--free", "--label", label, "--so-pin", OFFICER_PIN, "--pin", PIN)

    def put_key(self, token: str, label: str, id_: str, curve: ec.EllipticCurve | None = None) -> PublicKey:
        """A new key pair, known by a label and an id (hexadecimal)."""
        key = ec.generate_private_key(curve or ec.SECP384R1())
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file = self.folder / "key.pem"
        file.write_bytes(pem)
        self._run("--import", str(file), "--token", token, "--label", label, "--id", id_, "--pin", PIN, "--force")
        file.unlink()
        return PublicKey(key.public_key())

    def settings(self, **changes):
        """What the signer is configured with, by the names below ``pkcs11.``."""
        found = {"module": self.module, "token": "main", "key_label": "signer", "pin": PIN} | changes
        return {f"pkcs11.{name}": value for name, value in found.items()}

    def _run(self, *arguments: str) -> None:
        environment = os.environ | {"SOFTHSM2_CONF": str(self.conf)}
        subprocess.run(["softhsm2-util", *arguments], env=environment, check=True, capture_output=True)
