"""``kinto.changes.*`` as an object, made once at start-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kinto_signer.plugin.resources import Place, parse_places
from kinto_signer.plugin.settings import Settings
from kinto_signer.plugin.tables import CHANGES


@dataclass(frozen=True)
class ChangesSettings:
    """What ``monitor/changes`` lists, and how.

    defaults: what the plugins that include this one sign or guard. since_max_age_days: None where any age is served.
    """

    resources: tuple[Place, ...]
    excluded: tuple[Place, ...]
    defaults: tuple[Place, ...]
    http_host: str
    since_max_age_days: int | None
    redirect_ttl_seconds: int
    warnings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, raw: Mapping[str, Any], defaults: tuple[Place, ...]) -> ChangesSettings:
        """Raises ConfigurationError that quotes the line at fault."""
        settings = Settings(raw, CHANGES)
        resources = settings.get("resources")
        max_age_days = settings.get("since_max_age_days")
        return cls(
            parse_places("kinto.changes.resources", resources) if resources else tuple(dict.fromkeys(defaults)),
            parse_places("kinto.changes.excluded_collections", settings.get("excluded_collections")),
            defaults,
            settings.get("http_host") or raw.get("http_host") or "",
            max_age_days if max_age_days >= 0 else None,
            settings.get("since_max_age_redirect_ttl_seconds"),
            settings.warnings,
        )

    def lists(self, bucket: str, collection: str) -> bool:
        """Whether the collection has an entry."""
        return any(place.covers(bucket, collection) for place in self.resources) and not any(
            place.covers(bucket, collection) for place in self.excluded
        )
