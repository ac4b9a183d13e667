"""Commands that work on S's storage directly, with the server's own configuration file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kinto.core.storage.exceptions import BackendError
from pyramid.paster import bootstrap as load_application

from kinto_signer.errors import ConfigurationError, UnreachableError
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.bootstrap import Done, bootstrap


def run_bootstrap(ini: Path) -> list[Done]:
    """Take over from the authority what is empty on S; returns what became of each collection.

    Raises ConfigurationError where the file is missing or does not make a signer, no authority is configured, the database has no
    tables, or the storage is in memory: it would vanish with this command; UnreachableError if the database does not answer.
    """
    if not ini.is_file():
        raise ConfigurationError(f"--ini {ini}: there is no such file.")
    # Kinto logs the traceback of each error of the database; ours says what matters.
    logging.getLogger("kinto.core.storage.postgresql.client").setLevel(logging.CRITICAL)
    try:
        return _run(ini)
    except BackendError as error:
        raise UnreachableError(
            f"--ini {ini}: the database cannot be used: {_first_line(error.original)}. What was complete is kept; run it again."
        ) from error


def _run(ini: Path) -> list[Done]:
    with _loaded(ini) as registry:
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


@contextmanager
def _loaded(ini: Path) -> Iterator[Any]:
    """The registry of the application that the file describes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Kinto's about HTTPS and shared connections: this is no server
            environment = load_application(str(ini), options={"command": "kinto-signer"})
    except BackendError:
        raise
    except Exception as error:
        raise ConfigurationError(f"--ini {ini}: it cannot be loaded ({type(error).__name__}): {_first_line(error)}") from error
    with environment:
        if not hasattr(environment["registry"], "signing"):
            raise ConfigurationError(f"--ini {ini}: kinto_signer is not in its kinto.includes.")
        yield environment["registry"]


def _first_line(error: object) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
