"""Commands that work on S's storage directly, with the server's own configuration file."""

from __future__ import annotations

from pathlib import Path

from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin.loading import loaded
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.bootstrap import Done, bootstrap


def run_bootstrap(ini: Path) -> list[Done]:
    """Take over from the authority what is empty on S; returns what became of each collection.

    Raises ConfigurationError where the file is missing or does not make a signer, no authority is configured, the database has no
    tables, or the storage is in memory: it would vanish with this command; UnreachableError if the database does not answer.
    """
    with loaded(ini) as registry:
        if not hasattr(registry, "signing"):
            raise ConfigurationError(f"--ini {ini}: kinto_signer is not in its kinto.includes.")
        if not StorageRepository(registry.storage).atomic:
            raise ConfigurationError(
                f"--ini {ini}: the storage is in memory and would vanish with this command. "
                "Set kinto.signer.authority.bootstrap = true instead."
            )
        if registry.storage.get_installed_version() is None:
            raise ConfigurationError(f"--ini {ini}: the database has no tables yet. Run `kinto migrate --ini {ini}` first.")
        if not any(registry.signing.authorities(resource) for resource in registry.signing.resources.configured):
            raise ConfigurationError(f"--ini {ini}: no kinto.signer.authority.url, so there is nothing to start from.")
        return list(bootstrap(registry))
