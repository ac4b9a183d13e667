"""Whom the updater trusts: what a configuration file or the flags say about keys and roots, as policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from kinto_signer.core.chain import load_chain
from kinto_signer.core.public_key import parse_fingerprint
from kinto_signer.core.trust import PinnedRoot, Trust, load_public_key
from kinto_signer.errors import BadChainError, ConfigurationError
from kinto_signer.transport.credentials import read_file
from kinto_signer.updater.chain_sources import given_files

MAX_TOLERANCE_S = 30 * 86_400


@dataclass(frozen=True)
class Pins:
    """What makes a policy, as it was written; None where nothing was. The names are the file's keys.

    public_keys: files, or SHA-256 in hexadecimal. x5u_roots: SHA-256. signer_ids: each counts below each root. chains: files.
    """

    public_keys: tuple[Path, ...] | None = None
    x5u_roots: tuple[str, ...] | None = None
    signer_ids: tuple[str, ...] | None = None
    chains: tuple[Path, ...] | None = None

    def trust(self, tolerance_s: float = 0, where: str = "") -> Trust:
        """The policy, its files loaded. where: the place it is for. Raises ConfigurationError that names what is wrong."""
        if where and not (self.public_keys or self.x5u_roots):
            raise ConfigurationError(f'[trust."{where}"] names no key and no root: nothing could be verified with it.')
        files = [(path, parse_fingerprint(str(path))) for path in self.public_keys or ()]
        keys = tuple(load_public_key(read_file(path), where=str(path)) for path, digest in files if digest is None)
        digests = tuple(digest for _, digest in files if digest is not None)
        return Trust(keys, digests, self._roots(), _tolerance(tolerance_s), given_files(self._chains()))

    def _roots(self) -> tuple[PinnedRoot, ...]:
        roots, signers = self.x5u_roots or (), self.signer_ids or ()
        if roots and not signers:
            raise ConfigurationError(
                "A root was given without the signer that is expected below it: use `--signer-id NAME`, or `signer_ids` in the "
                "configuration."
            )
        if (signers or self.chains) and not roots:
            raise ConfigurationError(
                "A signer id or a chain was given without a root: use `--x5u-root SHA256`, or `x5u_roots` in the configuration. "
                "A chain is never trusted by itself."
            )
        return tuple(PinnedRoot(_digest(root), signer) for root in roots for signer in signers)

    def _chains(self) -> tuple[bytes, ...]:
        found = []
        for path in self.chains or ():
            body = read_file(path)
            try:
                load_chain(body)
            except BadChainError as error:
                raise ConfigurationError(f"{path}: {error.message}.") from error
            found.append(body)
        return tuple(found)


PIN_NAMES = tuple(option.name for option in fields(Pins))
TRUSTED = ("public_keys", "x5u_roots", "signer_ids")
"""Those that trust something; chains are trusted for nothing."""


@dataclass(frozen=True)
class Policies:
    """Policies by place: ``""`` for all, a bucket, or ``bucket/collection``. The most specific one counts, as a whole."""

    by_place: Mapping[str, Trust] = field(default_factory=dict)

    def __call__(self, name: str) -> Trust:
        """The policy for a collection. Raises ConfigurationError if there is none."""
        for place in (name, name.partition("/")[0], ""):
            if place in self.by_place:
                return self.by_place[place]
        raise ConfigurationError(
            f"{name}: no trusted key was given for it, and no root: use `--public-key FILE` or `--x5u-root SHA256`, or a table "
            f'`[trust."{name}"]` in the configuration.'
        )


def _digest(text: str) -> bytes:
    digest = parse_fingerprint(text)
    if digest is None:
        raise ConfigurationError(
            f"{text!r} is not the SHA-256 of a root certificate: 64 hexadecimal digits, with or without colons. "
            "`openssl x509 -noout -fingerprint -sha256 -in root.pem` shows it."
        )
    return digest


def _tolerance(seconds: float) -> int:
    if not 0 <= seconds <= MAX_TOLERANCE_S:
        raise ConfigurationError(
            f"A tolerance of {seconds:g} seconds: give 0 to {MAX_TOLERANCE_S}. A longer one would end the end of certificates."
        )
    return int(seconds)
