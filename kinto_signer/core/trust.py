"""Whom a reader trusts: keys that were given beforehand, never one that a server sends."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core import signature
from kinto_signer.core.canonical import Digests
from kinto_signer.core.changeset import Changeset
from kinto_signer.errors import (
    BadAnswerError,
    BadSignatureError,
    ConfigurationError,
    HashMismatchError,
    OtherCollectionError,
    UnknownKeyError,
    UnsignableValue,
    UnsignedError,
    VerificationError,
)


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
    def fingerprint(self) -> str:
        """SHA-256 of the DER form, as colon-separated hexadecimal, the way it is read out over a telephone."""
        return hashlib.sha256(self.der).digest().hex(":").upper()


@dataclass(frozen=True)
class Trust:
    """A policy: any one of several pinned keys suffices."""

    keys: tuple[PublicKey, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise ConfigurationError("No trusted key was given: without one nothing can be verified.")


def load_public_key(pem: bytes, *, where: str) -> PublicKey:
    """Parse a PEM public key. Raises ConfigurationError, naming `where`, for anything but a P-384 public key."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{where}: not a public key in PEM form.") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ConfigurationError(f"{where}: not a key on the curve P-384, the only one that Content-Signature uses here.")
    return PublicKey(key)


def check(name: str, state: Changeset, trust: Trust) -> PublicKey:
    """Verify the complete `state` of the collection `name` (``bucket/collection``); returns the key that signed it.

    1. the answer is about this collection; 2. there is a signature; 3. the content has a canonical form; 4. the published
    hash, where there is one, is the content's (for a clear message: a right hash never replaces the signature); 5. one
    signature of a known mode verifies under one trusted key.
    Raises a VerificationError whose `reason` says which of them failed.
    """
    _refuse_unsigned(name, state.metadata)
    try:
        content = state.digests()
    except UnsignableValue as error:
        raise BadAnswerError(f"{name}: {error.message}. Nothing was accepted.") from error
    return check_content(name, state.metadata, content, trust, timestamp=state.timestamp)


def check_content(name: str, metadata: Mapping[str, Any], content: Digests, trust: Trust, *, timestamp: int) -> PublicKey:
    """The same for a state whose digests are known: nothing of the records is looked at. timestamp: for the message."""
    found = _refuse_unsigned(name, metadata)
    published = metadata.get("hash")
    if published is not None and published != content.hash:
        raise HashMismatchError(
            f"{name}: the content at {timestamp} hashes to {content.hash}, but {str(published)[:80]} was published. "
            "Nothing was accepted; it was altered or mixed up on the way."
        )
    return check_signed(name, found, content.signed, trust)


def _refuse_unsigned(name: str, metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    _check_name(name, metadata)
    found = signature.entries(metadata)
    if not found:
        raise UnsignedError(f"{name}: no signature. Nothing was accepted; ask the publisher to sign the collection.")
    return found


def check_signed(name: str, found: Iterable[Mapping[str, Any]], digest: bytes, trust: Trust) -> PublicKey:
    """The trusted key that made one of the signatures `found` over `digest`.

    Raises UnknownKeyError if somebody else did, BadSignatureError if nobody did.
    """
    problem: VerificationError = BadSignatureError(f"{name}: no signature of the mode p384ecdsa. Nothing was accepted.")
    for entry in found:
        if entry.get("mode", signature.MODE) != signature.MODE:
            continue
        try:
            signature.decode(entry.get("signature"))
        except BadSignatureError as error:
            problem = BadSignatureError(f"{name}: {error.message}. Nothing was accepted.")
            continue
        for trusted in trust.keys:
            if signature.verifies(trusted.key, digest, entry["signature"]):
                return trusted
        if _signed_by_its_own_key(entry, digest):
            problem = UnknownKeyError(f"{name}: signed by a key that is not trusted. Nothing was accepted.")
        else:
            problem = BadSignatureError(
                f"{name}: the signature was not made over this content by a trusted key. Nothing was accepted."
            )
    raise problem


def _signed_by_its_own_key(entry: Mapping[str, Any], digest: bytes) -> bool:
    """Whether the key that the entry names made the signature: tells a strange key from altered content, never trusted."""
    try:
        key = serialization.load_der_public_key(base64.b64decode(str(entry.get("public_key") or "")))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        return False
    return signature.verifies(key, digest, entry["signature"])


def _check_name(name: str, metadata: Mapping[str, Any]) -> None:
    bucket, _, collection = name.partition("/")
    for field, asked in (("bucket", bucket), ("id", collection)):
        said = metadata.get(field)
        if said is not None and said != asked:
            raise OtherCollectionError(
                f"{name}: this is about the {'bucket' if field == 'bucket' else 'collection'} {str(said)[:80]!r}. "
                "Nothing was accepted."
            )
