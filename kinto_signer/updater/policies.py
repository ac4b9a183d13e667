"""Which policy counts for a collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kinto_signer.core.trust import Trust
from kinto_signer.errors import ConfigurationError


@dataclass(frozen=True)
class Policies:
    """Policies by place: ``""`` for all, a bucket, or ``bucket/collection``. The most specific one counts, as a whole."""

    by_place: Mapping[str, Trust] = field(default_factory=dict)

    def __call__(self, name: str) -> Trust:
        """The policy for a collection. Raises ConfigurationError if there is none."""
        for place in (name, name.partition("/")[0], ""):
            if place in self.by_place:
                return self.by_place[place]
        raise ConfigurationError(
            f"{name}: no trusted key was given for it, and no root: use `--public-key FILE` or `--x5u-root SHA256`, or a table "
            f'`[trust."{name}"]` in the configuration.'
        )
