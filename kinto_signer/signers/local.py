"""A P-384 key in a PEM file; for development and small sites."""

from __future__ import annotations

import base64
import logging
import re
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core import signature
from kinto_signer.core.trust import PublicKey, load_public_key
from kinto_signer.errors import ConfigurationError
from kinto_signer.signers import Given, Read, Signature, Signer

logger = logging.getLogger(__name__)

PRIVATE_KEY = "ecdsa.private_key"
PUBLIC_KEY = "ecdsa.public_key"


class LocalSigner:
    """Signs with a key held in memory. Its repr shows the public key's fingerprint only."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, accepted: tuple[PublicKey, ...] = ()) -> None:
        self._key = key
        self._public = PublicKey(key.public_key())
        self._accepted = accepted

    def __repr__(self) -> str:
        return f"<LocalSigner {self._public.fingerprint}>"

    def sign(self, digest: bytes) -> Signature:
        return Signature(signature.sign(self._key, digest), base64.b64encode(self._public.der).decode("ascii"))

    def public_keys(self) -> tuple[PublicKey, ...]:
        return (self._public, *self._accepted)


def from_settings(read: Read) -> Signer:
    """Make the signer from ``ecdsa.private_key`` (and ``ecdsa.public_key``, whose signatures are accepted too).

    Raises ConfigurationError that names the setting and the file, never the key.
    """
    private = read(PRIVATE_KEY)
    if private is None or not private.value:
        raise ConfigurationError(
            f"kinto.signer.{PRIVATE_KEY} is not set: the signer needs a P-384 private key (PEM). "
            "Make one with `kinto-signer keygen PRIVATE PUBLIC`."
        )
    key = load_private_key(_read(private), where=private.line)
    if stat.S_IMODE(Path(private.value).stat().st_mode) & stat.S_IROTH:
        logger.warning("%s can be read by every user of this machine; `chmod 600` it.", private.line)
    public = read(PUBLIC_KEY)
    if public is None or not public.value:
        return LocalSigner(key)
    return LocalSigner(key, (load_public_key(_read(public), where=public.line),))


def load_private_key(pem: bytes, *, where: str) -> ec.EllipticCurvePrivateKey:
    """Parse a PEM private key, PKCS#8 or SEC 1. Raises ConfigurationError for anything but an open P-384 key."""
    pem = re.sub(rb"-----BEGIN EC PARAMETERS-----.*?-----END EC PARAMETERS-----\s*", b"", pem, flags=re.DOTALL)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{where}: not an unencrypted private key in PEM form.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ConfigurationError(f"{where}: not a key on the curve P-384.")
    return key


def _read(given: Given) -> bytes:
    try:
        return Path(given.value).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{given.line}: cannot be read ({error.strerror}).") from error


def generate_key_pair() -> tuple[bytes, PublicKey]:
    """A new P-384 key: the private key as unencrypted PKCS#8 PEM, and the public key."""
    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, PublicKey(key.public_key())
