"""``kinto.authority.*`` as an object, made once at start-up: what is guarded, and with which keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinto_signer.core.trust import Trust, load_public_key
from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin.resources import Place, parse_places
from kinto_signer.plugin.settings import Settings
from kinto_signer.plugin.tables import AUTHORITY, lines_without_plugin
from kinto_signer.signers import Given

KEYS = "public_keys"
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
        self._trusts = {given.value: _load(given) for given in settings.every(KEYS)}

    @classmethod
    def from_settings(cls, raw: Mapping[str, Any]) -> Guarding:
        """Parse everything and load every key once. Raises ConfigurationError that names the setting."""
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
        for place in places:
            guarding.trust(place.bucket, place.collection)
        return guarding

    def guards(self, bucket: str, collection: str) -> bool:
        return any(place.covers(bucket, collection) for place in self.places)

    def guards_in(self, bucket: str) -> bool:
        """Whether anything in the bucket is guarded."""
        return any(place.bucket == bucket for place in self.places)

    def trust(self, bucket: str, collection: str | None) -> Trust:
        """The keys, any of which has to have signed the collection. Raises ConfigurationError where none was given."""
        given = self._settings.given(KEYS, bucket, collection)
        if given is None or not given.value:
            raise ConfigurationError(
                f"kinto.authority.{KEYS} is not set for {bucket}{f'/{collection}' if collection else ''}: without a key nothing "
                "could be verified. Name the PEM file with the signer's public key."
            )
        return self._trusts[given.value]


def _load(given: Given) -> Trust:
    keys = []
    for path in given.value.split():
        try:
            keys.append(load_public_key(Path(path).read_bytes(), where=given.line))
        except OSError as error:
            raise ConfigurationError(f"{given.line}: {path} cannot be read ({error.strerror}).") from error
    if not keys:
        raise ConfigurationError(f"{given.line}: it names no file. Without a key nothing could be verified.")
    return Trust(tuple(keys))
