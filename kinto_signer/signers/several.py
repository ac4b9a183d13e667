"""Several signers for one collection: all of them sign, or nothing is published."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kinto_signer.core.canonical import SIGNATURE_PREFIX
from kinto_signer.core.own_chain import Certified
from kinto_signer.core.trust import CARRIED, PublicKey, Trust, check_signed
from kinto_signer.errors import SigningError, VerificationError
from kinto_signer.signers import Content, Signature, Signer, distinct, recognising, trust_of
from kinto_signer.signers.certificate import check_chain_of
from kinto_signer.trusting import several

MAX_CARRIED_BYTES = 262_144


@dataclass(frozen=True)
class Named:
    """A signer, and what the settings call it."""

    label: str
    signer: Signer


class SignerSet:
    """The signers of one collection, in the order of the setting ``signers``. It is a Signer itself.

    What is trusted is the keys of all of them, so that a state which the old signer signed is still ours while the new one is
    being introduced.
    """

    def __init__(self, members: Sequence[Named]) -> None:
        if not members:
            raise ValueError("a collection without a signer")
        self.members = tuple(members)

    def __repr__(self) -> str:
        return f"<SignerSet {', '.join(f'{member.label}: {member.signer!r}' for member in self.members)}>"

    @property
    def needs_content(self) -> bool:
        return any(member.signer.needs_content for member in self.members)

    def sign(self, digest: bytes, content: Content | None = None) -> tuple[Signature, ...]:
        """One signature of each key of each signer; the first is the collection's ``signature``.

        Each was verified here, under a key of the signer that made it. Raises SigningError if any of them fails: a
        publication with some of the signatures would lock out those readers who know another key.
        """
        found: list[Signature] = []
        for member in self.members:
            made = member.signer.sign(digest, content)
            if not made:
                raise SigningError(f"The signer {member.label} made no signature. Nothing was published.")
            for each in made:
                _verify(member, each, digest)
            found += made
        return tuple(found)

    def trial(self) -> tuple[Verified, ...]:
        """Who signs now, found out by having something random signed. Raises what `sign` raises."""
        content = os.urandom(32)
        digest = hashlib.sha384(SIGNATURE_PREFIX + content).digest()
        return tuple(
            _verify(member, each, digest) for member in self.members for each in member.signer.sign(digest, lambda: content)
        )

    def public_keys(self) -> tuple[PublicKey, ...]:
        return distinct(key for member in self.members for key in member.signer.public_keys())

    def trust(self) -> Trust:
        """By what this server recognises its own publications: whatever one of the signers made."""
        policies = [trust_of(member.signer) for member in self.members]
        roots = dict.fromkeys(root for policy in policies for root in policy.roots)
        chains = several(*(policy.chains for policy in policies))
        return recognising(distinct(key for policy in policies for key in policy.keys), tuple(roots), chains)


@dataclass(frozen=True)
class Verified:
    """By whom a signature is. certified: of its chain, where it has one."""

    key: PublicKey
    certified: Certified | None = None


def _verify(member: Named, made: Signature, digest: bytes) -> Verified:
    trust, carried = trust_of(member.signer), carried_by([made])
    try:
        key = check_signed(f"the signer {member.label}", [made.as_json()], digest, trust, metadata={CARRIED: carried})
        return Verified(key, check_chain_of(made, digest, trust.roots) if made.chain else None)
    except VerificationError as error:
        raise SigningError(
            f"What the signer {member.label} made does not verify under its key. Nothing was published; look at its key.",
            reason=error.reason,
        ) from error


def carried_by(made: Iterable[Signature]) -> dict[str, str]:
    """The chains that are published beside these signatures: their texts, by the name that the signatures have for them.

    Raises SigningError where they are more than MAX_CARRIED_BYTES, which every reader would have to load each time.
    """
    found = {each.x5u: each.chain for each in made if each.chain}
    size = sum(map(len, found.values()))
    if size > MAX_CARRIED_BYTES:
        raise SigningError(
            f"The certificate chains of the signers have {size} bytes together, more than {MAX_CARRIED_BYTES}. "
            "Nothing was published.",
            reason="too-large",
        )
    return found
