"""Which key an Autograph server signs with, and why this server believes it.

What is trusted is decided by the operator where ``autograph.public_key`` is set: those keys and no others. Where it is not set,
the operator has named a server, by an https address (or one of this machine), and told S to publish what that server signs. Its
answers are authenticated by TLS; a key that such an answer names is trusted once a signature in the same answer, over a
digest that S chose itself, verifies under it. Where the answer names no key but a certificate chain (``x5u``), the same holds for
the chain's leaf. Wherever the file comes from: nobody can put another key there under which that very signature verifies and
whose private key he has. Keys are learned from answers to S only, never from what a collection, an authority or the database
holds. Over http from another machine nothing is learned: there the keys have to be set.
"""

from __future__ import annotations

import base64
import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core import signature
from kinto_signer.core.trust import PublicKey
from kinto_signer.errors import KintoSignerError, SigningError
from kinto_signer.signers import distinct
from kinto_signer.signers.autograph_api import FINE, Entry
from kinto_signer.transport.bounded import Limits, Origin, bounded_session
from kinto_signer.transport.deadline import Deadline

logger = logging.getLogger(__name__)

CHAIN_BYTES = 65536


@dataclass(frozen=True)
class Leaf:
    """The end-entity certificate of a chain. not_before, not_after: epoch seconds, both included."""

    key: PublicKey
    not_before: float
    not_after: float

    def valid_at(self, now: float) -> bool:
        return self.not_before <= now <= self.not_after


Fetch = Callable[[str, Deadline], Leaf]


class AnnouncedKeys:
    """The keys that are accepted of one Autograph server. pinned: by the operator; empty to learn them."""

    def __init__(self, pinned: Sequence[PublicKey], fetch: Fetch | None = None, clock: Callable[[], float] = time.time) -> None:
        self.pinned = tuple(pinned)
        self._fetch = fetch or fetch_leaf
        self._clock = clock
        self._lock = threading.Lock()
        self._present: dict[str, PublicKey] = {}
        self._former: tuple[PublicKey, ...] = ()
        self._leaves: dict[str, Leaf] = {}

    def known(self, key_ids: Sequence[str]) -> tuple[PublicKey, ...]:
        """The present keys in the order of their names, then the former ones; nothing if one of them was never seen."""
        if self.pinned:
            return self.pinned
        with self._lock:
            if not all(key_id in self._present for key_id in key_ids):
                return ()
            return distinct((*(self._present[key_id] for key_id in key_ids), *self._former))

    def verify(self, entry: Entry, digest: bytes, deadline: Deadline) -> None:
        """Check one signature of an answer, and learn its key where none is pinned. Raises SigningError."""
        if self.pinned:
            if not any(signature.verifies(key.key, digest, entry.signature) for key in self.pinned):
                raise SigningError(
                    f"Autograph's key {entry.signer_id} is none of those in autograph.public_key. {FINE}", reason="unknown-key"
                )
            return
        self._learn(entry.signer_id, self._public_key(entry, digest, deadline))

    def _public_key(self, entry: Entry, digest: bytes, deadline: Deadline) -> PublicKey:
        if entry.public_key:
            key = _load(entry)
        elif entry.x5u:
            key = self._leaf(entry, digest, deadline).key
        else:
            raise SigningError(
                f"Autograph names no key for {entry.signer_id}, neither public_key nor x5u. {FINE} Set autograph.public_key."
            )
        if not signature.verifies(key.key, digest, entry.signature):
            raise SigningError(
                f"Autograph's signature by {entry.signer_id} does not verify under the key that it names. {FINE}",
                reason="bad-signature",
            )
        return key

    def _leaf(self, entry: Entry, digest: bytes, deadline: Deadline) -> Leaf:
        """The leaf of the chain that is announced; kept by its address, and fetched again where it does not fit any more."""
        with self._lock:
            leaf = self._leaves.get(entry.x5u)
        if leaf is None or not leaf.valid_at(self._clock()) or not signature.verifies(leaf.key.key, digest, entry.signature):
            leaf = self._fetch(entry.x5u, deadline)
        if not leaf.valid_at(self._clock()):
            raise SigningError(
                f"Autograph's certificate for {entry.signer_id} ({entry.x5u}) is not valid now: readers would refuse it. {FINE}",
                reason="expired",
            )
        with self._lock:
            kept = {x5u: other for x5u, other in self._leaves.items() if other.valid_at(self._clock())}
            self._leaves = kept | {entry.x5u: leaf}
        return leaf

    def _learn(self, key_id: str, key: PublicKey) -> None:
        with self._lock:
            before = self._present.get(key_id)
            if before == key:
                return
            self._present[key_id] = key
            if before is not None:
                self._former = distinct((before, *self._former))
        if before is None:
            logger.info("Autograph's key %s is %s", key_id, key.fingerprint)
            return
        logger.warning(
            "Autograph's key %s was replaced; it is now %s. Signatures by %s are accepted until this process ends.",
            key_id,
            key.fingerprint,
            before.fingerprint,
        )


def fetch_leaf(x5u: str, deadline: Deadline) -> Leaf:
    """The leaf of a chain file. Raises SigningError.

    Nothing is believed of it that a signature does not confirm, so that no chain is verified here.
    """
    if not x5u.startswith("https://") and not is_loopback(x5u):
        raise SigningError(
            f"Autograph announces the chain {x5u[:200]}, which is no https address. {FINE} Set autograph.public_key."
        )
    limits = Limits(max_size_bytes=CHAIN_BYTES, max_redirects=0, idle_s=2 * deadline.seconds)
    try:
        with bounded_session(x5u, deadline, limits) as session:
            answer = session.get(x5u, allow_redirects=False)
    except KintoSignerError as error:
        raise SigningError(f"The certificate chain {x5u}: {error.message} {FINE}") from error
    if answer.status_code != 200:
        raise SigningError(f"The certificate chain {x5u} is not there (status {answer.status_code}). {FINE}")
    return _parse(x5u, answer.content)


def is_loopback(url: str) -> bool:
    """Whether it is an http address of this machine."""
    origin = Origin.of(url)
    if origin is None or origin.scheme != "http":
        return False
    try:
        return ipaddress.ip_address(origin.host).is_loopback
    except ValueError:
        return origin.host == "localhost"


def _parse(x5u: str, pem: bytes) -> Leaf:
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(f"The certificate chain {x5u} holds no certificate in PEM form. {FINE}", reason="bad-chain") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise SigningError(f"The certificate chain {x5u} is of another kind of key than P-384. {FINE}", reason="bad-chain")
    return Leaf(PublicKey(key), certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())


def _load(entry: Entry) -> PublicKey:
    try:
        key = serialization.load_der_public_key(base64.b64decode(entry.public_key, validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(f"Autograph sent a public_key of {entry.signer_id} that is none. {FINE}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise SigningError(f"Autograph's key {entry.signer_id} is of another kind than P-384. {FINE}")
    return PublicKey(key)
