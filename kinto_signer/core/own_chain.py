"""The certificate chain of a signer of one's own: what readers will say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from kinto_signer.core.chain import Chain, Fault, load_chain
from kinto_signer.core.public_key import PublicKey
from kinto_signer.core.trust import PinnedRoot, certified_key
from kinto_signer.errors import BadChainError


@dataclass(frozen=True)
class Certified:
    """A chain that readers accept who pin its root and its signer.

    begins, ends: epoch seconds, of the shortest of its certificates' times, both included.
    """

    key: PublicKey
    pinned: PinnedRoot
    begins: int
    ends: int


def check_own(pem: bytes, *, at: int, roots: Sequence[PinnedRoot] = ()) -> Certified:
    """What a chain file says, if it is valid at the time `at` (epoch seconds) for whoever pins its root and the signer it names.

    roots: where there are any, it has to lead to one of them. Raises BadChainError, ExpiredError or NotYetValidError.
    """
    chain = load_chain(pem)
    pinned = PinnedRoot(chain[-1].fingerprint(hashes.SHA256()), _name(chain))
    return Certified(
        certified_key(chain, roots or (pinned,), at=at),
        pinned,
        max(int(one.not_valid_before_utc.timestamp()) for one in chain),
        min(int(one.not_valid_after_utc.timestamp()) for one in chain),
    )


def _name(chain: Chain) -> str:
    """Whose the signer's certificate is; the checks see to it that all of its names agree."""
    common = [str(one.value) for one in chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    for extension in chain[0].extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            common += extension.value.get_values_for_type(x509.DNSName)
    if not common or not common[0]:
        said = "the certificate chain cannot be used: the signer's certificate names nobody"
        raise BadChainError(said, fault=Fault.OTHER_SIGNER)
    return common[0]
