"""The reading side: ``GET …/changeset`` of every collection, and ``monitor/changes``, which says what changed where.

Include it alone on servers that only serve (``kinto.includes = kinto_signer.changes``); the other two plugins include it
themselves, and give what they sign or guard as the collections to list.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pyramid.exceptions import ConfigurationError as PyramidConfigurationError

from kinto_signer import __version__
from kinto_signer.changes import caching
from kinto_signer.changes.settings import ChangesSettings
from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin import answers, exclusive, purged
from kinto_signer.plugin.resources import Place
from kinto_signer.plugin.settings import Settings
from kinto_signer.plugin.tables import CHANGES

logger = logging.getLogger(__name__)


def includeme(config: Any) -> None:
    """Include the plugin alone in Kinto. Every mistake in the settings is an error here that quotes the line."""
    include_for(config, ())


def configured(raw: Mapping[str, Any]) -> bool:
    """Whether ``kinto.changes.resources`` is set."""
    return bool(Settings(raw, CHANGES).get("resources"))


def include_for(config: Any, default_resources: Sequence[Place]) -> None:
    """Include the reading side, once; of the `default_resources` of each call all are listed in ``monitor/changes``.

    They are what is listed where ``kinto.changes.resources`` is not set.
    """
    registry = config.registry
    again: ChangesSettings | None = getattr(registry, "changes", None)
    try:
        registry.changes = ChangesSettings.parse(config.get_settings(), (*(again.defaults if again else ()), *default_resources))
        caching.check(config.get_settings())
    except ConfigurationError as error:
        raise PyramidConfigurationError(error.message) from error
    if again is not None:
        registry.api_capabilities["changes"]["collections"] = [place.uri for place in registry.changes.resources]
        return
    for warning in registry.changes.warnings:
        logger.warning(warning)
    for module in (answers, exclusive, purged):
        config.include(module)
    config.add_api_capability(
        "changes",
        version=__version__,
        description="Lists what changed, and serves each collection with its signature as one changeset.",
        url="https://github.com/Kinto/kinto-signer#readme",
        collections=[place.uri for place in registry.changes.resources],
    )
    # Routes match in the order in which they are added: Kinto's own come later, and the monitor is no ordinary collection.
    config.scan("kinto_signer.changes.monitor")
    config.scan("kinto_signer.changes.changeset")
