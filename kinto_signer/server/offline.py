"""Commands that work on S's storage directly, with the server's own configuration file."""

from __future__ import annotations

from pathlib import Path

from pyramid.paster import bootstrap as load_application

from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.bootstrap import bootstrap


def run_bootstrap(ini: Path) -> list[str]:
    """Take over from the authority what is empty on S; returns a line for each collection.

    Raises ConfigurationError where the storage is in memory: it would vanish with this command.
    """
    if not ini.is_file():
        raise ConfigurationError(f"--ini {ini}: there is no such file.")
    with load_application(str(ini), options={"command": "kinto-signer"}) as environment:
        registry = environment["registry"]
        if not StorageRepository(registry.storage).atomic:
            raise ConfigurationError(
                f"--ini {ini}: the storage is in memory and would vanish with this command. "
                "Set kinto.signer.authority.bootstrap = true instead."
            )
        return list(bootstrap(registry))
