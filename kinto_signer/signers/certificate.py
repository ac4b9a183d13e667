"""The certificate chain of a signer: read from a file, checked before anything is published with it, and followed to its end."""

from __future__ import annotations

import base64
import datetime
import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from kinto_signer.core import signature
from kinto_signer.core.own_chain import Certified, check_own
from kinto_signer.core.trust import PinnedRoot, PublicKey
from kinto_signer.errors import ConfigurationError, OffOriginError, SigningError, VerificationError
from kinto_signer.signers import Given, Read, Signature
from kinto_signer.signers.secret import read_file, stamp
from kinto_signer.transport.chains import NAME_OF_CONTENT, AllowedHost, check_address
from kinto_signer.trusting import Pins

logger = logging.getLogger(__name__)

ROOTS, SIGNER_IDS = "x5u_roots", "signer_ids"
DIGEST = "{sha256}"
DAY_S = 86_400
WARN_BEFORE_S = 15 * DAY_S
RETRY_S = 60.0
"""How often a replacement that could not be taken is looked at again: it may begin later."""


@dataclass(frozen=True)
class OwnChain:
    """A chain that belongs to a key of the signer's. x5u: what signatures call it. text: of the file."""

    x5u: str
    text: str = field(repr=False)
    certified: Certified


class ChainFile:
    """The file that a setting names, and where readers find it.

    chain, x5u: the settings. roots: where there are any, the chain has to lead to one of them.
    """

    def __init__(self, chain: Given, x5u: Given, roots: Sequence[PinnedRoot] = ()) -> None:
        """Raises ConfigurationError for an address that is none."""
        self.chain = chain
        self.roots = tuple(roots)
        self._x5u = x5u
        if x5u:
            _check_x5u(x5u)

    @classmethod
    def from_settings(cls, read: Read, kind: str) -> ChainFile | None:
        """From ``KIND.chain`` and ``KIND.x5u``; None where there is none. Raises ConfigurationError."""
        chain, x5u = read(f"{kind}.chain"), read(f"{kind}.x5u")
        if chain:
            return cls(chain, x5u, roots_from_settings(read))
        if x5u:
            raise ConfigurationError(f"{x5u.line} names a certificate chain, and {chain.line} is not set: name the file too.")
        return None

    def load(self, key: PublicKey) -> OwnChain:
        """What the file holds now. Raises ConfigurationError if readers would refuse it now, or if it is not of this key."""
        body = read_file(self.chain)
        try:
            found = check_own(body, at=int(time.time()), roots=self.roots)
        except VerificationError as error:
            raise ConfigurationError(f"{self.chain.line}: {error.message} [{error.reason}].") from error
        if found.key != key:
            raise ConfigurationError(
                f"{self.chain.line}: the certificate is of the key {found.key.fingerprint}, and {key.fingerprint} signs."
            )
        return OwnChain(self._name(body), body.decode("ascii"), found)

    def stamp(self) -> object:
        return stamp(self.chain)

    def _name(self, body: bytes) -> str:
        """What signatures call it: its address; where it has none, the name that its content has (RFC 6920)."""
        digest = hashlib.sha256(body)
        if self._x5u:
            return self._x5u.value.replace(DIGEST, digest.hexdigest())
        return f"{NAME_OF_CONTENT}///sha-256;" + base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")


class FollowedChain:
    """The chain of a key that is kept elsewhere. A file that is replaced is taken once it fits the key."""

    def __init__(self, file: ChainFile, key: PublicKey) -> None:
        """Raises what `ChainFile.load` raises."""
        self.file = file
        self._retry = Retry()
        self._seen = file.stamp()
        self._chain = file.load(key)

    def current(self, key: PublicKey) -> OwnChain:
        """The chain for this key. Raises SigningError (``bad-chain``) where there is none."""
        seen = self.file.stamp()
        if self._chain.certified.key != key or seen != self._seen or self._retry.due():
            self._seen = seen
            try:
                self._chain = self.file.load(key)
                self._retry.succeeded()
            except ConfigurationError as error:
                self._retry.failed(error, "The former chain is kept until the file is right.")
        if self._chain.certified.key != key:
            raise SigningError(f"{self._retry.problem} Nothing was signed: readers would refuse it.", reason="bad-chain")
        return self._chain


class Retry:
    """Whether the last attempt to take a replacement failed, and when to try it again. Each problem is logged once."""

    def __init__(self) -> None:
        self.problem = ""
        self._at = 0.0

    def due(self) -> bool:
        return bool(self.problem) and time.monotonic() >= self._at

    def failed(self, error: ConfigurationError, kept: str) -> None:
        if error.message != self.problem:
            logger.error("%s %s", error.message, kept)
        self.problem, self._at = error.message, time.monotonic() + RETRY_S

    def succeeded(self) -> None:
        self.problem = ""


class Ends:
    """Refuses certificates that have ended, and says in the log that one will, once a day."""

    def __init__(self) -> None:
        self._said: dict[tuple[bytes, int], float] = {}

    def check(self, where: str, found: Certified, more: str = "") -> None:
        """where: what the chain is called in messages. more: a sentence. Raises SigningError (``expired``)."""
        now, which = time.time(), (found.key.der, found.ends)
        if now > found.ends:
            said = f"{where}: the certificate ended at {_moment(found.ends)}. Nothing was signed; renew it. {more}"
            raise SigningError(said.rstrip(), reason="expired")
        if not ends_soon(found) or now - self._said.get(which, 0.0) < DAY_S:
            return
        self._said = {one: at for one, at in self._said.items() if now - at < DAY_S} | {which: now}
        logger.warning("%s: the certificate of %s: readers will refuse what it signed. Renew it.", where, described(found))


def ends_soon(found: Certified) -> bool:
    return found.ends - time.time() <= WARN_BEFORE_S


def described(found: Certified) -> str:
    """Whose it is and when it ends."""
    days = (found.ends - time.time()) / DAY_S
    return f"{found.pinned.signer_id} ends at {_moment(found.ends)}, in {days:.1f} days"


def _moment(at: int) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat()


def check_chain_of(made: Signature, digest: bytes, roots: Sequence[PinnedRoot] = ()) -> Certified:
    """What the chain beside a signature says, if readers accept it now and it made the signature.

    roots: where there are any, it has to lead to one of them. Raises a VerificationError.
    """
    found = check_own(made.chain.encode("utf-8"), at=int(time.time()), roots=roots)
    if not signature.verifies(found.key.key, digest, made.signature):
        raise UnfitChainError(f"the certificate chain {made.x5u} is of another key than the one that signed")
    return found


class UnfitChainError(VerificationError):
    """A chain that does not belong to the signature it stands beside."""

    reason = "bad-chain"


def roots_from_settings(read: Read) -> tuple[PinnedRoot, ...]:
    """``x5u_roots`` and ``signer_ids``: what the signer's own certificates have to lead to. Raises ConfigurationError."""
    roots, ids = read(ROOTS), read(SIGNER_IDS)
    if not roots and not ids:
        return ()
    try:
        return Pins(x5u_roots=tuple(roots.value.split()), signer_ids=tuple(ids.value.split())).trust().roots
    except ConfigurationError as error:
        raise ConfigurationError(f"{(roots or ids).line}: {error.message}") from error


def _check_x5u(given: Given) -> None:
    address = given.value.replace(DIGEST, "0")
    host = AllowedHost.of_server(address)
    try:
        check_address(address, [host] if host else [])
    except OffOriginError as error:
        raise ConfigurationError(f"{given.line}: no https address from which readers can fetch the chain.") from error
