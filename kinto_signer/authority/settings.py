"""``kinto.authority.*`` as an object, made once at start-up: what is guarded, and whom it trusts for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kinto_signer.core.freshness import Rules
from kinto_signer.core.trust import Trust
from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin.resources import Place, parse_places
from kinto_signer.plugin.settings import Settings
from kinto_signer.plugin.tables import AUTHORITY, lines_without_plugin
from kinto_signer.signers import Given
from kinto_signer.transport import Deadline
from kinto_signer.transport.chains import AllowedHost, ChainFetcher
from kinto_signer.trusting import PIN_NAMES, Pins, several

KEYS, ROOTS = "public_keys", "x5u_roots"
FETCH_S = 10.0
FORBIDDEN_PLUGINS = ("kinto.plugins.flush",)
"""They wipe the storage, commit at once and tell nobody."""


class Guarding:
    """What this server guards. Whom it trusts for a collection is decided by the most specific line."""

    def __init__(self, settings: Settings, places: tuple[Place, ...], warnings: tuple[str, ...] = ()) -> None:
        self.places = places
        self.warnings = (*settings.warnings, *settings.misplaced({place.bucket for place in places}), *warnings)
        self.signers: frozenset[str] = frozenset(settings.get("signer_principals"))
        self.tolerance_ms = int(settings.get("future_tolerance_seconds") * 1000)
        self.lock_timeout_s = float(settings.get("lock_timeout_seconds"))
        self.max_bytes = int(settings.get("max_changeset_bytes"))
        self._settings = settings
        self._fetch = _fetcher(settings)
        self._trusts: dict[tuple[Any, ...], Trust] = {}

    @classmethod
    def from_settings(cls, raw: Mapping[str, Any]) -> Guarding:
        """Parse everything and load every key. Raises ConfigurationError that names the setting."""
        included = raw.get("includes", "")
        for plugin in included.split() if isinstance(included, str) else included:
            if plugin in FORBIDDEN_PLUGINS:
                raise ConfigurationError(
                    f"kinto.includes has {plugin} beside kinto_signer.authority: it would wipe what is guarded. "
                    "Remove one of them."
                )
        settings = Settings(raw, AUTHORITY)
        places = parse_places("kinto.authority.resources", settings.get("resources"))
        if not places:
            raise ConfigurationError(
                "kinto.authority.resources is empty: name what is to be guarded, e.g. "
                "`kinto.authority.resources = /buckets/main`."
            )
        guarding = cls(settings, places, tuple(lines_without_plugin(raw)))
        guarding._load_all()
        for place in places:
            guarding.trust(place.bucket, place.collection)
        return guarding

    def _load_all(self) -> None:
        """A mistake is found at the start, whichever collection it is about."""
        for policy in self._settings.every_together(PIN_NAMES):
            self._trust(policy, 0)
        for given in filter(lambda given: given.value, self._settings.every(KEYS)):
            self._trust({KEYS: given}, 0)

    def guards(self, bucket: str, collection: str) -> bool:
        return any(place.covers(bucket, collection) for place in self.places)

    def guards_in(self, bucket: str) -> bool:
        """Whether anything in the bucket is guarded."""
        return any(place.bucket == bucket for place in self.places)

    def trust(self, bucket: str, collection: str | None) -> Trust:
        """Whose signature a collection has to have. Raises ConfigurationError where nobody was named."""
        policy = self._settings.together(PIN_NAMES, bucket, collection)
        if not any(given.value for given in policy.values()):
            raise ConfigurationError(
                f"kinto.authority.{KEYS} is not set for {bucket}{f'/{collection}' if collection else ''}, nor {ROOTS}: without a "
                "key nothing could be verified. Name the PEM file with the signer's public key."
            )
        return self._trust(policy, self._settings.get("certificate_tolerance_seconds", bucket, collection))

    def _trust(self, policy: Mapping[str, Given], tolerance_s: int) -> Trust:
        values = {name: tuple(given.value.split()) for name, given in policy.items()}
        key = (*sorted(values.items()), tolerance_s)
        if key not in self._trusts:
            files = {name: tuple(map(Path, values.get(name, ()))) for name in (KEYS, "chains")}
            pins = Pins(**{**values, **files})  # type: ignore[arg-type]
            try:
                trust = pins.trust(tolerance_s)
            except ConfigurationError as error:
                raise ConfigurationError(f"{'; '.join(given.line for given in policy.values())}: {error.message}") from error
            self._trusts[key] = replace(trust, chains=several(trust.chains, self._fetch), now=time.time)
        return self._trusts[key]

    def rules(self, bucket: str, collection: str | None) -> Rules:
        """What is asked of the statement of a new publication."""
        return Rules(
            required=bool(self._settings.get("require_statement", bucket, collection)),
            audience=self._settings.get("audience", bucket, collection) or None,
            tolerance_ms=self.tolerance_ms,
        )


def _fetcher(settings: Settings) -> ChainFetcher | None:
    """None where no host is allowed: then no address in a signature is looked at."""
    texts = settings.get("x5u_hosts")
    try:
        hosts = [AllowedHost.parse(text) for text in texts]
    except ConfigurationError as error:
        raise ConfigurationError(f"kinto.authority.x5u_hosts = {' '.join(texts)}: {error.message}") from error
    return ChainFetcher(hosts, lambda: Deadline(FETCH_S)) if hosts else None
