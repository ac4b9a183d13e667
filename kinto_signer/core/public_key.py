"""P-384 public keys, and how they are named by a digest."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.errors import ConfigurationError

_SHA256 = re.compile(r"[0-9A-F]{64}|[0-9A-F]{2}(:[0-9A-F]{2}){31}", re.IGNORECASE)


@dataclass(frozen=True)
class PublicKey:
    """A P-384 public key."""

    key: ec.EllipticCurvePublicKey

    @property
    def der(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def pem(self) -> bytes:
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the DER form."""
        return hashlib.sha256(self.der).digest()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER form, as colon-separated hexadecimal, the way it is read out over a telephone."""
        return fingerprint(self.sha256)


def fingerprint(digest: bytes) -> str:
    """A digest as colon-separated hexadecimal."""
    return digest.hex(":").upper()


def parse_fingerprint(text: str) -> bytes | None:
    """The 32 bytes of a SHA-256 in hexadecimal, with or without colons, in any case; None for anything else."""
    return bytes.fromhex(text.replace(":", "")) if _SHA256.fullmatch(text) else None


def load_public_key(pem: bytes, *, where: str) -> PublicKey:
    """Parse a PEM public key. Raises ConfigurationError, naming `where`, for anything but a P-384 public key."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{where}: not a public key in PEM form.") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ConfigurationError(f"{where}: not a key on the curve P-384, the only one that Content-Signature uses here.")
    return PublicKey(key)


def sent_key(text: object) -> PublicKey | None:
    """The P-384 key in a signature's ``public_key`` (base64 of the DER form), trusted for nothing; None if there is none."""
    try:
        key = serialization.load_der_public_key(base64.b64decode(str(text or "")))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        return None
    return PublicKey(key)
