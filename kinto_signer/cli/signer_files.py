"""The files of a signer's key and certificates: one folder for each that was issued, so that old and new stand side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kinto_signer.cli.new_files import PUBLIC, SECRET, NewFile, make_folder
from kinto_signer.core.chain import load_chain
from kinto_signer.core.public_key import PublicKey
from kinto_signer.errors import BadChainError, ConfigurationError

PRIVATE_KEY = "key.pem"
PUBLIC_KEY = "public.pem"


@dataclass(frozen=True)
class NewSigner:
    """What was issued. private_pem: None for a key that stays elsewhere. chain: from the signer's certificate to the root's."""

    private_pem: bytes | None = field(repr=False)
    key: PublicKey
    chain: tuple[x509.Certificate, ...]

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]


def write_signer(where: Path, signer_id: str, made: NewSigner) -> dict[str, Path]:
    """Write it into the new folder ``SIGNER_ID-N`` of `where`; returns the files by what they are.

    N is one more than the highest so far. Raises ConfigurationError or StorageError; nothing is left behind then.
    """
    label = f"{signer_id}-{max((number for number, _ in _earlier(where, signer_id)), default=0) + 1}"
    chain = f"{label}.chain"
    files = {PUBLIC_KEY: NewFile(made.key.pem, PUBLIC), chain: NewFile(as_pem(*made.chain), PUBLIC)}
    if made.private_pem is not None:
        files[PRIVATE_KEY] = NewFile(made.private_pem, SECRET)
    make_folder(where / label, files)
    names = {"public_key": PUBLIC_KEY, "chain": chain} | ({"private_key": PRIVATE_KEY} if made.private_pem else {})
    return {what: where / label / name for what, name in names.items()}


def ends_of_earlier(where: Path, signer_id: str) -> list[int]:
    """When the certificates end that were issued for this signer before, epoch seconds. Raises ConfigurationError."""
    found = []
    for _, folder in _earlier(where, signer_id):
        path = folder / f"{folder.name}.chain"
        try:
            found.append(int(load_chain(path.read_bytes())[0].not_valid_after_utc.timestamp()))
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be read ({error.strerror}), which tells how long the certificate before is good. "
                "Nothing was made; put the file back, or remove its folder."
            ) from error
        except BadChainError as error:
            raise ConfigurationError(f"{path}: {error.message}. Nothing was made; put the right file there.") from error
    return found


def as_pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def _earlier(where: Path, signer_id: str) -> Iterator[tuple[int, Path]]:
    """The folders of what was issued for this signer, with their numbers."""
    pattern = re.compile(rf"{re.escape(signer_id)}-([1-9][0-9]{{0,8}})")
    for folder in where.glob("*/") if where.is_dir() else ():
        if found := pattern.fullmatch(folder.name):
            yield int(found[1]), folder
