"""Signers: digest in, signature out, one error type. `BACKENDS` is the table of those that exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from kinto_signer.core.signature import MODE
from kinto_signer.core.trust import PublicKey


@dataclass(frozen=True)
class Signature:
    """One signature as it is published in ``signatures``."""

    signature: str
    public_key: str = ""
    x5u: str = ""
    mode: str = MODE
    type: str = "contentsignature"

    def as_json(self) -> dict[str, Any]:
        return {
            "signature": self.signature,
            "mode": self.mode,
            "x5u": self.x5u,
            "public_key": self.public_key,
            "type": self.type,
        }


class Signer(Protocol):
    """Something that keeps a P-384 key."""

    def sign(self, digest: bytes) -> Signature:
        """Sign the 48 bytes of `canonical.Digests.signed`. Raises SigningError."""
        ...

    def public_keys(self) -> tuple[PublicKey, ...]:
        """The keys under which its signatures, past and present, are accepted."""
        ...


@dataclass(frozen=True)
class Given:
    """A setting's value, and the line that gave it, for messages."""

    value: str
    line: str


Read = Callable[[str], Given | None]
"""Reads a setting of the backend's own by its name, e.g. ``ecdsa.private_key``; None where it is not set."""


def _local(read: Read) -> Signer:
    from kinto_signer.signers.local import from_settings

    return from_settings(read)


BACKENDS: dict[str, Callable[[Read], Signer]] = {
    "local": _local,
    "kinto_signer.signer.local_ecdsa": _local,
    "kinto_signer.signers.local": _local,
    "kinto_remote_settings.signer.backends.local_ecdsa": _local,
}
"""``signer_backend`` -> what makes the signer; the dotted names are those of kinto-signer and kinto-remote-settings."""
