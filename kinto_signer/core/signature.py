"""Content-Signature: the wire format of one P-384 signature, making and verifying it.

Wire format (Autograph, Firefox): ECDSA with P-384 over SHA-384, ``r`` and ``s`` as 48 bytes each, base64url without padding:
always 128 characters. ECDSA is malleable ((r, n - s) verifies too) and real signatures use both halves, so nothing may be
keyed by a signature's bytes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from kinto_signer.errors import BadSignatureError

MODE = "p384ecdsa"
HALF = 48
P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
PREHASHED = ec.ECDSA(utils.Prehashed(hashes.SHA384()))

_WIRE = re.compile(r"[A-Za-z0-9_-]{128}\Z")


def encode(der: bytes) -> str:
    """The wire format of a DER signature."""
    r, s = utils.decode_dss_signature(der)
    return encode_raw(r.to_bytes(HALF, "big") + s.to_bytes(HALF, "big"))


def encode_raw(raw: bytes) -> str:
    """The wire format of the 96 bytes r‖s."""
    return base64.urlsafe_b64encode(raw).decode("ascii")


def decode(text: object) -> bytes:
    """The DER signature of a wire text.

    Raises BadSignatureError for anything but 128 characters of base64url with 0 < r, s < n.
    """
    if not isinstance(text, str) or not _WIRE.match(text):
        raise BadSignatureError("the signature is not 128 characters of base64url, as every P-384 signature is")
    raw = base64.urlsafe_b64decode(text)
    r, s = int.from_bytes(raw[:HALF], "big"), int.from_bytes(raw[HALF:], "big")
    if not (0 < r < P384_ORDER and 0 < s < P384_ORDER):
        raise BadSignatureError("the signature's numbers are out of range")
    return utils.encode_dss_signature(r, s)


def sign(key: ec.EllipticCurvePrivateKey, digest: bytes) -> str:
    """Sign the 48 bytes of `canonical.Digests.signed`; returns the wire format."""
    return encode(key.sign(digest, PREHASHED))


def verifies(key: ec.EllipticCurvePublicKey, digest: bytes, text: object) -> bool:
    """Whether `text` is a signature over `digest` by `key`. Raises BadSignatureError if `text` is malformed."""
    try:
        key.verify(decode(text), digest, PREHASHED)
    except InvalidSignature:
        return False
    return True


def entries(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The signature objects of a collection's metadata: ``signatures``, else ``signature`` alone, else none.

    Raises BadSignatureError where they are there but of another shape.
    """
    found = metadata.get("signatures")
    if found is None:
        single = metadata.get("signature")
        found = [] if single is None else [single]
    if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
        raise BadSignatureError("`signature` or `signatures` is not an object or a list of objects")
    return found
