"""Whom a program trusts, and what it asks of statements: as it was written down for it, made into a policy and into rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kinto_signer.core.chain import load_chain
from kinto_signer.core.public_key import parse_fingerprint
from kinto_signer.core.spans import parse_span_ms
from kinto_signer.core.trust import Chains, PinnedRoot, Trust, load_public_key
from kinto_signer.errors import BadChainError, ConfigurationError

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

    def trust(self, tolerance_s: float = 0) -> Trust:
        """The policy, its files loaded. Raises ConfigurationError that names what is wrong."""
        pinned = [(path, parse_fingerprint(str(path))) for path in self.public_keys or ()]
        keys = tuple(load_public_key(_read(path), where=str(path)) for path, digest in pinned if digest is None)
        digests = tuple(digest for _, digest in pinned if digest is not None)
        roots, files = self._roots(), self._chain_files()
        return Trust(keys, digests, roots, _tolerance(tolerance_s), lambda _x5u: files)

    def _roots(self) -> tuple[PinnedRoot, ...]:
        roots, signers = self.x5u_roots or (), self.signer_ids or ()
        if roots and not signers:
            raise ConfigurationError(
                "A root was given without the signer that is expected below it: name it in `signer_ids` (`--signer-id NAME`)."
            )
        if (signers or self.chains) and not roots:
            raise ConfigurationError(
                "A signer id or a chain was given without a root, and neither is trusted by itself: pin the root in `x5u_roots` "
                "(`--x5u-root SHA256`)."
            )
        return tuple(PinnedRoot(_digest(root), signer) for root in roots for signer in signers)

    def _chain_files(self) -> tuple[bytes, ...]:
        found = []
        for path in self.chains or ():
            body = _read(path)
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
class GivenRules:
    """What is asked of statements and of age, as it was written in one place; None where nothing was.

    The names are the file's keys. max_age: a span such as ``7d``.
    """

    require_statement: bool | None = None
    audience: str | None = None
    max_age: str | None = None

    def parsed(self) -> dict[str, Any]:
        """Those that were written, as fields of `Rules`. Raises ConfigurationError."""
        age = None if self.max_age is None else parse_span_ms(self.max_age)
        said = {"required": self.require_statement, "audience": self.audience, "max_age_ms": age}
        return {name: value for name, value in said.items() if value is not None}


RULE_NAMES = tuple(option.name for option in fields(GivenRules))


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


def several(*sources: Chains | None) -> Callable[[str], Iterator[bytes]]:
    """Chain files from one source after the other."""

    def ask(x5u: str) -> Iterator[bytes]:
        for source in sources:
            if isinstance(source, Mapping):
                yield from [source[x5u]] if x5u in source else []
            elif source is not None:
                yield from source(x5u)

    return ask


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}).") from error
