"""The policy under which a collection was stored, kept beside it in the cache, and the chains that led to its signers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kinto_signer.core import signature
from kinto_signer.core.trust import PinnedRoot, PublicKey, Trust, load_public_key
from kinto_signer.errors import BadSignatureError


@dataclass(frozen=True)
class KeptPolicy:
    """trust: without a clock; None if nothing is held. chains: chain files by x5u that were needed beside what it carries."""

    trust: Trust | None = None
    chains: Mapping[str, bytes] = field(default_factory=dict)


def dump(trust: Trust, chains: Mapping[str, bytes]) -> bytes:
    """For the column ``keys`` of the cache. A policy of keys alone is a list, as it always was."""
    keys = [key.pem.decode("ascii") for key in trust.keys]
    content: Any = keys
    if trust.key_digests or trust.roots:
        content = {
            "keys": keys,
            "key_digests": [digest.hex() for digest in trust.key_digests],
            "roots": [[root.sha256.hex(), root.signer_id] for root in trust.roots],
            "tolerance_s": trust.tolerance_s,
            "chains": {x5u: pem.decode("ascii", "replace") for x5u, pem in sorted(chains.items())},
        }
    return json.dumps(content).encode("ascii")


def load(stored: bytes, *, where: str) -> KeptPolicy:
    """What `dump` wrote. Raises ConfigurationError if it is something else."""
    content = json.loads(stored)
    if isinstance(content, list):
        content = {"keys": content}
    keys = tuple(_key(text, where) for text in content["keys"])
    digests = tuple(bytes.fromhex(text) for text in content.get("key_digests", ()))
    roots = tuple(PinnedRoot(bytes.fromhex(sha256), signer_id) for sha256, signer_id in content.get("roots", ()))
    if not (keys or digests or roots):
        return KeptPolicy()
    chains = {x5u: text.encode("utf-8") for x5u, text in content.get("chains", {}).items()}
    return KeptPolicy(Trust(keys, digests, roots, content.get("tolerance_s", 0)), chains)


def chains_of(metadata: Mapping[str, Any], used: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of the chains `used` that the signatures of a state name."""
    try:
        named = {str(entry.get("x5u") or "") for entry in signature.entries(metadata)}
    except BadSignatureError:
        named = set()
    return {x5u: used[x5u] for x5u in named if x5u in used}


def _key(text: str, where: str) -> PublicKey:
    return load_public_key(text.encode("ascii"), where=where)
