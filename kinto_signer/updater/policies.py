"""Which policy, and which rules about statements and age, count for a collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kinto_signer.core.freshness import Rules
from kinto_signer.core.trust import Trust
from kinto_signer.errors import ConfigurationError
from kinto_signer.trusting import GivenRules, Pins


@dataclass(frozen=True)
class Policies:
    """Policies by place: ``""`` for all, a bucket, or ``bucket/collection``. The most specific one counts, as a whole."""

    by_place: Mapping[str, Trust] = field(default_factory=dict)

    def __call__(self, name: str) -> Trust:
        """The policy for a collection. Raises ConfigurationError if there is none."""
        for place in _places(name):
            if place in self.by_place:
                return self.by_place[place]
        raise ConfigurationError(
            f"{name}: no trusted key was given for it, and no root: use `--public-key FILE` or `--x5u-root SHA256`, or a table "
            f'`[trust."{name}"]` in the configuration.'
        )


@dataclass(frozen=True)
class PlacedRules:
    """Rules by place, as fields of `Rules`. Each rule counts by itself, from the most specific place that has it.

    Unlike a policy: a table that pins another key for a collection does not take a requirement away that is made for all.
    """

    by_place: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __call__(self, name: str) -> Rules:
        """The rules for a collection."""
        found: dict[str, Any] = {}
        for place in reversed(_places(name)):
            found |= self.by_place.get(place, {})
        return Rules(**found)


@dataclass(frozen=True)
class TrustTable:
    """What stands under ``[trust.PLACE]`` in the file."""

    pins: Pins = field(default_factory=Pins)
    rules: GivenRules = field(default_factory=GivenRules)

    def __bool__(self) -> bool:
        return self != TrustTable()

    def without(self, *, pins: bool, rules: Iterable[str]) -> TrustTable:
        """What is left where flags say something else: of the pins nothing if `pins` is true, of the rules all but these."""
        return TrustTable(Pins() if pins else self.pins, replace(self.rules, **dict.fromkeys(rules)))


def _places(name: str) -> tuple[str, str, str]:
    """Where something may stand for a collection, the most specific place first."""
    return name, name.partition("/")[0], ""
