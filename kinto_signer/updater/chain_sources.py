"""Where the updater takes certificate chains from that a collection does not carry: files, its cache, the publisher's server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from kinto_signer.core.trust import Chains, Trust
from kinto_signer.trusting import several


class Sources:
    """Asks one source after the other; `used` has, by x5u, what was handed out last: where a state verified, what it took."""

    def __init__(self, *sources: Chains | None) -> None:
        self._ask = several(*sources)
        self.used: dict[str, bytes] = {}

    def __call__(self, x5u: str) -> Iterator[bytes]:
        for pem in self._ask(x5u):
            self.used[x5u] = pem
            yield pem


def at_hand(trust: Trust, now: Callable[[], float], *sources: Chains | None) -> tuple[Trust, Sources]:
    """The policy with a clock and with more sources after its own."""
    chains = Sources(trust.chains, *sources)
    return replace(trust, chains=chains, now=now), chains
