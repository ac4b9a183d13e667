"""Whom a reader trusts: keys and roots that were given beforehand, never one that a server sends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kinto_signer.core import signature
from kinto_signer.core.canonical import Digests
from kinto_signer.core.chain import Chain, Fault, check_chain, load_chain
from kinto_signer.core.changeset import State
from kinto_signer.core.public_key import PublicKey, fingerprint, load_public_key, sent_key
from kinto_signer.core.published import CARRIED
from kinto_signer.errors import (
    BadAnswerError,
    BadChainError,
    BadSignatureError,
    ConfigurationError,
    ExpiredError,
    HashMismatchError,
    KintoSignerError,
    NotFoundError,
    NotYetValidError,
    OtherCollectionError,
    TryLaterError,
    UnknownKeyError,
    UnsignableValue,
    UnsignedError,
    VerificationError,
)

__all__ = ["CARRIED", "Chains", "PinnedRoot", "PublicKey", "Trust", "check", "check_content", "check_signed", "load_public_key"]

SHA256_BYTES = 32

Chains = Mapping[str, bytes] | Callable[[str], Iterable[bytes]]
"""Chain files for an ``x5u``, one after the other until one leads to a key that made the signature; none of them is trusted.

The function may raise a TryLaterError, a NotFoundError or a VerificationError where they come from. It is asked for ``""`` too.
"""


@dataclass(frozen=True)
class PinnedRoot:
    """A root certificate, by the SHA-256 of its DER form, and whose signatures are accepted below it."""

    sha256: bytes
    signer_id: str


@dataclass(frozen=True)
class Trust:
    """A policy. One signature by any one of the keys, or of the signers below the roots, suffices.

    Who verifies asks this module whether a state is trusted, and counts no keys: a threshold would be one more field here.

    keys: pinned. key_digests: SHA-256 of the DER form of keys that signatures may bring along. roots: for signatures with a
    certificate chain. tolerance_s: seconds by which the clock may miss a certificate's time. chains: where chains come from that
    the collection does not carry itself. now: the clock, epoch seconds; needed for roots where `check` is given no time.
    """

    keys: tuple[PublicKey, ...] = ()
    key_digests: tuple[bytes, ...] = ()
    roots: tuple[PinnedRoot, ...] = ()
    tolerance_s: int = 0
    chains: Chains | None = field(default=None, repr=False, compare=False)
    now: Callable[[], float] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (self.keys or self.key_digests or self.roots):
            raise ConfigurationError("No trusted key was given, and no root: without one nothing can be verified.")
        if any(len(digest) != SHA256_BYTES for digest in (*self.key_digests, *(root.sha256 for root in self.roots))):
            raise ConfigurationError("A key or root is pinned by something else than the 32 bytes of a SHA-256.")
        if not all(root.signer_id for root in self.roots):
            raise ConfigurationError("A root is pinned without the signer that is expected below it.")
        if self.tolerance_s < 0:
            raise ConfigurationError("The tolerance of the clock is less than nothing.")

    def as_json(self) -> dict[str, Any]:
        """What is pinned, for people to compare: ``public_keys``, and ``x5u_roots`` where there are any."""
        keys = [*(key.sha256 for key in self.keys), *self.key_digests]
        shown: dict[str, Any] = {"public_keys": [fingerprint(digest) for digest in keys]}
        if self.roots:
            roots = [{"sha256": fingerprint(root.sha256), "signer_id": root.signer_id} for root in self.roots]
            shown["x5u_roots"] = roots
        return shown


def check(name: str, state: State, trust: Trust, *, at: int | None = None, chains: Chains | None = None) -> PublicKey:
    """Verify the complete `state` of the collection `name` (``bucket/collection``); returns the key that signed it.

    1. the answer is about this collection; 2. there is a signature; 3. the content has a canonical form; 4. the published
    hash, where there is one, is the content's (for a clear message: a right hash never replaces the signature); 5. one
    signature of a known mode verifies under one trusted key.
    at: the time to judge certificates by, epoch seconds; the policy's clock by default. chains: used before the policy's own.
    Raises a VerificationError whose `reason` says which of them failed, or a TryLaterError if a chain could not be fetched.
    """
    _refuse_unsigned(name, state.metadata)
    try:
        content = state.digests()
    except UnsignableValue as error:
        raise BadAnswerError(f"{name}: {error.message}. Nothing was accepted.") from error
    return check_content(name, state.metadata, content, trust, timestamp=state.timestamp, at=at, chains=chains)


def check_content(
    name: str,
    metadata: Mapping[str, Any],
    content: Digests,
    trust: Trust,
    *,
    timestamp: int,
    at: int | None = None,
    chains: Chains | None = None,
) -> PublicKey:
    """The same for a state whose digests are known: nothing of the records is looked at. timestamp: for the message."""
    found = _refuse_unsigned(name, metadata)
    published = metadata.get("hash")
    if published is not None and published != content.hash:
        raise HashMismatchError(
            f"{name}: the content at {timestamp} hashes to {content.hash}, but {str(published)[:80]} was published. "
            "Nothing was accepted; it was altered or mixed up on the way."
        )
    return check_signed(name, found, content.signed, trust, metadata=metadata, at=at, chains=chains)


def _refuse_unsigned(name: str, metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    _check_name(name, metadata)
    found = signature.entries(metadata)
    if not found:
        raise UnsignedError(f"{name}: no signature. Nothing was accepted; ask the publisher to sign the collection.")
    return found


def check_signed(
    name: str,
    found: Iterable[Mapping[str, Any]],
    digest: bytes,
    trust: Trust,
    *,
    metadata: Mapping[str, Any] | None = None,
    at: int | None = None,
    chains: Chains | None = None,
) -> PublicKey:
    """The trusted key that made one of the signatures `found` over `digest`. metadata: may carry their chains.

    Signatures of other modes count for nothing. Raises UnknownKeyError if somebody else made it, BadSignatureError if nobody
    did, BadChainError, ExpiredError or NotYetValidError if its chain is of no use, a TryLaterError if that could not be fetched.
    """
    problem: KintoSignerError = BadSignatureError("no signature of the mode p384ecdsa")
    evidence = Evidence(trust, metadata or {}, at, chains)
    for entry in found:
        if entry.get("mode", signature.MODE) != signature.MODE:
            continue
        outcome = _signer_of(entry, digest, evidence)
        if isinstance(outcome, PublicKey):
            return outcome
        if _weight(outcome) >= _weight(problem):
            problem = outcome
    raise _about(name, problem)


def _signer_of(entry: Mapping[str, Any], digest: bytes, evidence: Evidence) -> PublicKey | KintoSignerError:
    """The trusted key that made the signature `entry`, or why there is none."""
    try:
        signature.decode(entry.get("signature"))
    except BadSignatureError as error:
        return error
    problems: list[KintoSignerError] = []
    for key in evidence.trusted_keys(entry, problems):
        if signature.verifies(key.key, digest, entry["signature"]):
            return key
    if problems:
        return max(reversed(problems), key=_weight)
    # Whether the key that the entry brings made it: tells a strange key from altered content.
    own = sent_key(entry.get("public_key"))
    if own is not None and signature.verifies(own.key, digest, entry["signature"]):
        return UnknownKeyError("signed by a key that is not trusted")
    return BadSignatureError("the signature was not made over this content by a trusted key")


@dataclass(frozen=True)
class Evidence:
    """A policy, and what there is to judge one state's signatures by. See `check` for the fields."""

    trust: Trust
    metadata: Mapping[str, Any] = field(default_factory=dict)
    at: int | None = None
    chains: Chains | None = None

    def trusted_keys(self, entry: Mapping[str, Any], problems: list[KintoSignerError]) -> Iterator[PublicKey]:
        """The keys that may have made the signature `entry`, a chain at a time; why a chain leads to none goes to `problems`."""
        trust = self.trust
        yield from trust.keys
        if trust.key_digests:
            sent = sent_key(entry.get("public_key"))
            if sent is not None and sent.sha256 in trust.key_digests:
                yield sent
        if not trust.roots:
            return
        x5u, at, nowhere = str(entry.get("x5u") or ""), self._time(), True
        for pem in self._chains_of(x5u, problems):
            nowhere = False
            leaf = _leaf(pem, trust, at)
            if isinstance(leaf, PublicKey):
                yield leaf
            else:
                problems.append(leaf)
        if x5u and nowhere and not problems:
            said = "the certificate chain that the signature names (x5u) is neither carried by the collection nor known here"
            problems.append(BadChainError(said, fault=Fault.MISSING))

    def _time(self) -> int:
        if self.at is not None:
            return self.at
        if self.trust.now is None:
            raise ConfigurationError("Certificates are judged by a time, and none was given.")
        return int(self.trust.now())

    def _chains_of(self, x5u: str, problems: list[KintoSignerError]) -> Iterator[bytes]:
        carried = self.metadata.get(CARRIED)
        text = carried.get(x5u) if isinstance(carried, Mapping) else None
        if isinstance(text, str):
            yield text.encode("utf-8", "replace")
        sources: list[Chains] = [source for source in (self.chains, self.trust.chains) if source is not None]
        for source in sources:
            try:
                if not isinstance(source, Mapping):
                    yield from source(x5u)
                elif x5u in source:
                    yield source[x5u]
            except (TryLaterError, NotFoundError, VerificationError) as error:
                problems.append(error)


def _leaf(pem: bytes, trust: Trust, at: int) -> PublicKey | VerificationError:
    """The key of the signer's certificate in a chain file that leads to a pinned root, or why it does not."""
    try:
        return certified_key(load_chain(pem), trust.roots, at=at, tolerance_s=trust.tolerance_s)
    except VerificationError as error:
        return error


def certified_key(chain: Chain, roots: Sequence[PinnedRoot], *, at: int, tolerance_s: int = 0) -> PublicKey:
    """The key of the signer's certificate, if the chain leads from one of the signers of `roots` to the root pinned with it.

    Raises what `check_chain` raises, about the signer for whom least is wrong.
    """
    problems: list[VerificationError] = []
    for signer_id in dict.fromkeys(root.signer_id for root in roots):
        pinned = frozenset(root.sha256 for root in roots if root.signer_id == signer_id)
        try:
            return check_chain(chain, root_sha256=pinned, signer_id=signer_id, at=at, tolerance_s=tolerance_s)
        except VerificationError as error:
            problems.append(error)
    raise max(problems, key=_weight)


def _weight(problem: KintoSignerError) -> int:
    """Which of several problems is worth telling: what is wrong with a chain that is here says more than where others are not."""
    if isinstance(problem, (ExpiredError, NotYetValidError)):
        return 6
    if isinstance(problem, TryLaterError):
        return 5
    if isinstance(problem, BadChainError):
        return 3 if problem.fault in (Fault.OTHER_ROOT, Fault.OTHER_SIGNER) else 4
    return 1 if isinstance(problem, (BadSignatureError, UnknownKeyError)) else 2


def _about(name: str, problem: KintoSignerError) -> KintoSignerError:
    """The problem, as it is raised: saying which collection it is about."""
    if not isinstance(problem, VerificationError):
        return problem
    said = f"{name}: {problem.message.removesuffix('.')}. Nothing was accepted."
    return BadChainError(said, fault=problem.fault) if isinstance(problem, BadChainError) else type(problem)(said)


def _check_name(name: str, metadata: Mapping[str, Any]) -> None:
    bucket, _, collection = name.partition("/")
    for attribute, asked in (("bucket", bucket), ("id", collection)):
        said = metadata.get(attribute)
        if said is not None and said != asked:
            raise OtherCollectionError(
                f"{name}: this is about the {'bucket' if attribute == 'bucket' else 'collection'} {str(said)[:80]!r}. "
                "Nothing was accepted."
            )
