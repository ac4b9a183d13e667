"""S, the signer: listens for a collection whose status is set to `to-sign`, signs it and publishes it."""

from __future__ import annotations

import logging
from typing import Any

from pyramid.exceptions import ConfigurationError as PyramidConfigurationError

from kinto_signer import __version__, changes
from kinto_signer.dumps import forbid_core_dumps
from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin import answers, rollback
from kinto_signer.server import bootstrap, capability, deleting, door, heartbeat, listeners, notifying, starting, values
from kinto_signer.server.journal import Journal
from kinto_signer.server.kept_states import KeptStates
from kinto_signer.server.signing import Signing, order_warnings

logger = logging.getLogger(__name__)


def includeme(config: Any) -> None:
    """Include the plugin in Kinto. Every mistake in the settings is an error here that quotes the line.

    From here on this process leaves no core dumps: it has, or reaches, the key.
    """
    forbid_core_dumps()
    try:
        signing = Signing.from_settings(config.get_settings())
    except ConfigurationError as error:
        raise PyramidConfigurationError(error.message) from error
    for warning in (*signing.warnings, *order_warnings(config.get_settings().get("includes"))):
        logger.warning("%s", warning)
    for rule in signing.rules:
        logger.info("%s", rule)
    config.registry.signing = signing
    config.registry.signer_journal = Journal(config.registry.storage)
    config.registry.signer_kept_states = KeptStates(signing.kept_forms_bytes)
    config.include(rollback)
    config.include(answers)
    config.include(values)
    config.include(door)
    config.include(notifying)
    config.include(listeners)
    config.include(deleting)
    config.include(starting)
    config.include(bootstrap)
    if signing.served or changes.configured(config.get_settings()):
        changes.include_for(config, signing.served)
    config.scan("kinto_signer.server.views")
    config.scan("kinto_signer.server.log")
    config.scan("kinto_signer.server.views_diff")
    config.registry.heartbeats |= heartbeat.heartbeats(config.registry)
    config.add_api_capability(
        "signer",
        description="Signs collections, so that readers can verify what the editors approved.",
        url="https://github.com/Kinto/kinto-signer#readme",
        **capability.capability(signing, __version__),
    )
