"""A, the authority: refuses what no trusted key signed, publishes at once or not at all, serves what it holds.

``kinto.includes = kinto_signer.authority``. It brings the reading side (`kinto_signer.changes`) with it.
"""

from __future__ import annotations

import logging
from typing import Any

from pyramid.exceptions import ConfigurationError as PyramidConfigurationError

from kinto_signer import __version__, changes
from kinto_signer.authority import door, heartbeat, views
from kinto_signer.authority.guard import Guard
from kinto_signer.authority.settings import Guarding
from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin import answers, exclusive, rollback

logger = logging.getLogger(__name__)


def includeme(config: Any) -> None:
    """Include the plugin in Kinto. Every mistake in the settings is an error here that quotes the line."""
    try:
        guarding = Guarding.from_settings(config.get_settings())
    except ConfigurationError as error:
        raise PyramidConfigurationError(error.message) from error
    for warning in guarding.warnings:
        logger.warning(warning)
    for module in (answers, exclusive, rollback, views):
        config.include(module)
    changes.include_for(config, guarding.places)
    config.registry.guard = Guard(config.registry, guarding)
    config.include(door)
    config.registry.heartbeats["authority"] = heartbeat.Heartbeat(config.registry.guard)
    config.registry.heartbeats["authority.signatures"] = heartbeat.Validities(config.registry.guard)
    config.add_api_capability(
        "authority",
        version=__version__,
        description="Holds what trusted keys signed, and nothing else.",
        url="https://github.com/Kinto/kinto-signer#readme",
        changeset=True,
        max_changeset_bytes=guarding.max_bytes,
        resources=[
            {
                "bucket": place.bucket,
                "collection": place.collection,
                **guarding.trust(place.bucket, place.collection).as_json(),
            }
            for place in guarding.places
        ],
    )
