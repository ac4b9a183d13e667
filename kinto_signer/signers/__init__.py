"""Signers: digest in, signatures out, one error type.

A signer keeps one or more P-384 keys somewhere. Which kinds there are is in `kinto_signer.signers.backends`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from kinto_signer.core.signature import MODE
from kinto_signer.core.trust import PublicKey
from kinto_signer.errors import SigningError

DIGEST_BYTES = 48


@dataclass(frozen=True)
class Signature:
    """One signature as it is published in ``signatures``.

    signer_id: the name of the key at an Autograph server. ref: what that server's own log calls this signature.
    """

    signature: str
    public_key: str = ""
    x5u: str = ""
    mode: str = MODE
    type: str = "contentsignature"
    signer_id: str = ""
    ref: str = ""

    def as_json(self) -> dict[str, Any]:
        published = {
            "signature": self.signature,
            "mode": self.mode,
            "x5u": self.x5u,
            "public_key": self.public_key,
            "type": self.type,
        }
        named = {"signer_id": self.signer_id, "ref": self.ref}
        return published | {name: value for name, value in named.items() if value}


Content = Callable[[], bytes]
"""Makes the bytes that a digest was made of, without the prefix of Content-Signature; for signers that hash themselves."""


class Signer(Protocol):
    """Something that keeps P-384 keys. Its repr, its errors and what it logs show no secret."""

    @property
    def needs_content(self) -> bool:
        """Whether `sign` has to be given the content, since the digest is made where the key is."""
        ...

    def sign(self, digest: bytes, content: Content | None = None) -> tuple[Signature, ...]:
        """Sign the 48 bytes of `canonical.Digests.signed`; one signature for each key, in the order of the keys.

        Raises SigningError, for whatever goes wrong.
        """
        ...

    def public_keys(self) -> tuple[PublicKey, ...]:
        """The keys under which its signatures, past and present, are accepted; the present ones first.

        Raises SigningError where they have to be asked for and nobody answers.
        """
        ...


def check_digest(digest: bytes) -> None:
    """Raises SigningError for what is not 48 bytes: a signer that hashed it again would sign something else."""
    if len(digest) != DIGEST_BYTES:
        raise SigningError(f"{len(digest)} bytes are no SHA-384 digest. Nothing was signed.")


def distinct(keys: Iterable[PublicKey]) -> tuple[PublicKey, ...]:
    """Each key once, in their order."""
    return tuple({key.der: key for key in reversed(tuple(keys))}.values())[::-1]


@dataclass(frozen=True)
class Given:
    """A setting's value, and the line that gave it, for messages: the line of a secret does not show it.

    A setting that is not set has the value ``""``, and its name for a line.
    """

    value: str = field(repr=False)
    line: str

    def __bool__(self) -> bool:
        return bool(self.value)


Read = Callable[[str], Given]
"""Reads a setting of the backend's own by its name, e.g. ``ecdsa.private_key``."""

Make = Callable[[Read], Signer]
"""Makes a signer from its settings. Raises ConfigurationError that names the setting and never a secret."""
