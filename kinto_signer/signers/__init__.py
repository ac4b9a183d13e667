"""Signers: digest in, signatures out, one error type.

A signer keeps one or more P-384 keys somewhere. Which kinds there are is in `kinto_signer.signers.backends`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kinto_signer.core.signature import MODE
from kinto_signer.core.trust import Chains, PinnedRoot, PublicKey, Trust
from kinto_signer.errors import SigningError

DIGEST_BYTES = 48
NO_END_S = 100 * 366 * 86_400
"""By how much a certificate may have ended where a signer recognises what it published itself."""


@dataclass(frozen=True)
class Signature:
    """One signature as it is published in ``signatures``.

    x5u: names the certificate chain. chain: the text of that chain file, to be published beside it; empty where there is none.
    signer_id: the name of the key at an Autograph server. ref: what that server's own log calls this signature.
    """

    signature: str
    public_key: str = ""
    x5u: str = ""
    mode: str = MODE
    type: str = "contentsignature"
    signer_id: str = ""
    ref: str = ""
    chain: str = field(default="", repr=False)

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
    """Something that keeps P-384 keys. Its repr, its errors and what it logs show no secret.

    It may have a method ``trust()`` too, which returns a `Trust` with certificate chains (see `recognising`). Without it, its
    ``public_keys()`` are what is trusted.
    """

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


def trust_of(signer: Signer) -> Trust:
    """By what a signer's publications, past and present, are recognised. Raises SigningError, as `Signer.public_keys` does."""
    made: Callable[[], Trust] | None = getattr(signer, "trust", None)
    return Trust(signer.public_keys()) if made is None else made()


def recognising(keys: Iterable[PublicKey], roots: Sequence[PinnedRoot] = (), chains: Chains | None = None) -> Trust:
    """A policy by which a signer recognises its publications: by keys, and by chains that lead to `roots`, ended or not.

    A certificate that has ended must not keep its signer from renewing what was signed with it.
    """
    if not roots:
        return Trust(tuple(keys))
    return Trust(tuple(keys), roots=tuple(roots), tolerance_s=NO_END_S, chains=chains, now=time.time)


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
