"""Which key an Autograph server signs with, and why this server believes it.

What is trusted is decided by the operator where ``autograph.public_key`` is set, or ``x5u_roots``: those keys, and those whose
certificates lead to these roots, and no others. Where neither is set, the operator has named a server, by an https address (or
one of this machine), and told S to publish what that server signs. Its answers are authenticated by TLS; a key that such an
answer names is trusted once a signature in the same answer, over a digest that S chose itself, verifies under it. Where the
answer names no key but a certificate chain (``x5u``), the same holds for the chain's leaf. Wherever the file comes from: nobody
can put another key there under which that very signature verifies and whose private key he has. Keys are learned from answers to
S only, never from what a collection, an authority or the database holds. Over http from another machine nothing is learned: there
the keys or the roots have to be set.

A chain that an answer names is fetched, checked as readers would check it now, and published beside the signature.
"""

from __future__ import annotations

import base64
import ipaddress
import logging
import threading
from collections.abc import Collection, Iterator, Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core import signature
from kinto_signer.core.own_chain import Certified
from kinto_signer.core.trust import PinnedRoot, PublicKey
from kinto_signer.errors import KintoSignerError, OffOriginError, SigningError, VerificationError
from kinto_signer.signers import Signature, distinct
from kinto_signer.signers.autograph_api import FINE, Entry
from kinto_signer.signers.certificate import Ends, check_chain_of
from kinto_signer.transport.bounded import Origin
from kinto_signer.transport.chains import AllowedHost, check_address, fetch_chain
from kinto_signer.transport.deadline import Deadline

logger = logging.getLogger(__name__)

KEPT = 64
"""How many chain files are kept: a server announces one for each key at a time."""


class AnnouncedKeys:
    """The keys that are accepted of one Autograph server.

    pinned, roots: by the operator; both empty to learn keys. hosts: from which chains are fetched.
    """

    def __init__(
        self, pinned: Sequence[PublicKey], roots: Sequence[PinnedRoot] = (), hosts: Collection[AllowedHost] = ()
    ) -> None:
        self.pinned = tuple(pinned)
        self.roots = tuple(roots)
        self.hosts = tuple(hosts)
        self._ends = Ends()
        self._lock = threading.Lock()
        self._present: dict[str, PublicKey] = {}
        self._former: tuple[PublicKey, ...] = ()
        self._chains: dict[str, bytes] = {}

    def known(self, key_ids: Sequence[str]) -> tuple[PublicKey, ...]:
        """The present keys in the order of their names, then the former ones; nothing if one of them was never seen."""
        if self.pinned:
            return self.pinned
        with self._lock:
            if not all(key_id in self._present for key_id in key_ids):
                return ()
            return distinct((*(self._present[key_id] for key_id in key_ids), *self._former))

    def chains(self, x5u: str) -> Iterator[bytes]:
        """The chain file that was fetched for this address last, if there is one."""
        with self._lock:
            found = self._chains.get(x5u)
        if found is not None:
            yield found

    def verify(self, entry: Entry, digest: bytes, deadline: Deadline) -> str:
        """Check one signature of an answer, and learn its key where none is pinned. Raises SigningError.

        Returns the text of the certificate chain that the answer names; empty where it names none.
        """
        text, certified = self._chain(entry, digest, deadline) if entry.x5u else ("", None)
        if self.pinned and any(signature.verifies(key.key, digest, entry.signature) for key in self.pinned):
            return text
        if self.roots and certified is not None:  # it was found to lead to one of them
            self._learn(entry.signer_id, certified.key)
        elif self.roots and not self.pinned:
            raise SigningError(
                f"Autograph names no certificate chain for {entry.signer_id}, and only what leads to x5u_roots counts. {FINE}",
                reason="bad-chain",
            )
        elif self.pinned:
            raise SigningError(
                f"Autograph's key {entry.signer_id} is none of those in autograph.public_key. {FINE}", reason="unknown-key"
            )
        else:
            self._learn(entry.signer_id, self._named_key(entry, digest, certified))
        return text

    def _named_key(self, entry: Entry, digest: bytes, certified: Certified | None) -> PublicKey:
        if not entry.public_key:
            if certified is None:
                raise SigningError(
                    f"Autograph names no key for {entry.signer_id}, neither public_key nor x5u. {FINE} Set autograph.public_key."
                )
            return certified.key
        key = _load(entry)
        if not signature.verifies(key.key, digest, entry.signature):
            raise SigningError(
                f"Autograph's signature by {entry.signer_id} does not verify under the key that it names. {FINE}",
                reason="bad-signature",
            )
        return key

    def _chain(self, entry: Entry, digest: bytes, deadline: Deadline) -> tuple[str, Certified]:
        """The chain that is announced; kept by its address, and fetched again where it does not fit any more."""
        for kept in self.chains(entry.x5u):
            try:
                return self._checked(entry, digest, kept)
            except (VerificationError, SigningError):
                logger.info("The certificate chain %s does not fit any more, and is fetched again.", entry.x5u)
        body = self._fetch(entry.x5u, deadline)
        try:
            found = self._checked(entry, digest, body)
        except VerificationError as error:
            raise SigningError(
                f"Autograph's certificate chain for {entry.signer_id} ({entry.x5u}): {error.message}. {FINE}", reason=error.reason
            ) from error
        with self._lock:
            self._chains.pop(entry.x5u, None)
            self._chains[entry.x5u] = body
            while len(self._chains) > KEPT:
                del self._chains[next(iter(self._chains))]
        return found

    def _checked(self, entry: Entry, digest: bytes, body: bytes) -> tuple[str, Certified]:
        text = body.decode("utf-8", "replace")
        found = check_chain_of(Signature(entry.signature, x5u=entry.x5u, chain=text), digest, self.roots)
        self._ends.check(entry.x5u, found)
        return text, found

    def _fetch(self, x5u: str, deadline: Deadline) -> bytes:
        try:
            return fetch_chain(x5u, check_address(x5u, self.hosts), deadline)
        except OffOriginError as error:
            raise SigningError(
                f"Autograph: {error.message.partition('. If that')[0]}. {FINE} They are fetched over https from "
                f"{', '.join(host.host for host in self.hosts) or 'nowhere'}; name other hosts in autograph.x5u_hosts.",
                reason=error.reason,
            ) from error
        except KintoSignerError as error:
            raise SigningError(
                f"Autograph's certificate chain: {error.message.rstrip('.')}. {FINE}", reason=error.reason
            ) from error

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
            "Autograph's key %s was replaced; it is now %s. Signatures by %s are accepted until this process ends%s.",
            key_id,
            key.fingerprint,
            before.fingerprint,
            ", and after that by their certificates" if self.roots else "",
        )


def is_loopback(url: str) -> bool:
    """Whether it is an http address of this machine."""
    origin = Origin.of(url)
    if origin is None or origin.scheme != "http":
        return False
    try:
        return ipaddress.ip_address(origin.host).is_loopback
    except ValueError:
        return origin.host == "localhost"


def _load(entry: Entry) -> PublicKey:
    try:
        key = serialization.load_der_public_key(base64.b64decode(entry.public_key, validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(f"Autograph sent a public_key of {entry.signer_id} that is none. {FINE}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise SigningError(f"Autograph's key {entry.signer_id} is of another kind than P-384. {FINE}")
    return PublicKey(key)
