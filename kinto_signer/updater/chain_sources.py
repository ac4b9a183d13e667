"""Where the updater takes certificate chains from that a collection does not carry: files, its cache, the publisher's server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from kinto_signer.core.trust import Chains, Trust


def given_files(files: tuple[bytes, ...]) -> Callable[[str], Iterable[bytes]]:
    """Chain files that the operator named, for whichever signature they fit."""
    return lambda _x5u: files


class Sources:
    """Asks one source after the other; `used` has, by x5u, what was handed out last: where a state verified, what it took."""

    def __init__(self, *sources: Chains | None) -> None:
        self._sources = [source for source in sources if source is not None]
        self.used: dict[str, bytes] = {}

    def __call__(self, x5u: str) -> Iterator[bytes]:
        for source in self._sources:
            found = source(x5u) if not isinstance(source, Mapping) else [source[x5u]] if x5u in source else []
            for pem in found:
                self.used[x5u] = pem
                yield pem


def at_hand(trust: Trust, now: Callable[[], float], *sources: Chains | None) -> tuple[Trust, Sources]:
    """The policy with a clock and with more sources after its own."""
    chains = Sources(trust.chains, *sources)
    return replace(trust, chains=chains, now=now), chains
