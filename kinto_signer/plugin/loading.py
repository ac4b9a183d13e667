"""Loading the application that a configuration file describes, for commands; no request is ever made to it."""

from __future__ import annotations

import configparser
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transaction
from kinto.core.storage.exceptions import BackendError
from pyramid.paster import bootstrap as load_application
from pyramid.paster import get_appsettings

from kinto_signer.errors import ConfigurationError, UnreachableError


@contextmanager
def loaded(ini: Path) -> Iterator[Any]:
    """The registry of the application. Whatever was begun in the thread's transaction when the block ends is undone.

    Raises ConfigurationError where the file is missing or does not make an application, and UnreachableError if the database does
    not answer, in the block too.
    """
    if not ini.is_file():
        raise ConfigurationError(f"--ini {ini}: there is no such file.")
    # Kinto logs the traceback of each error of the database; ours says what matters.
    logging.getLogger("kinto.core.storage.postgresql.client").setLevel(logging.CRITICAL)
    try:
        with _environment(ini) as environment:
            try:
                yield environment["registry"]
            finally:
                transaction.abort()
    except BackendError as error:
        raise UnreachableError(
            f"--ini {ini}: the database cannot be used: {first_line(error.original)}. What was complete is kept; run it again."
        ) from error


def _environment(ini: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Kinto's about HTTPS and shared connections: this is no server
            return load_application(str(ini), options={"command": "kinto-signer"})
    except BackendError:
        raise
    except Exception as error:
        raise ConfigurationError(f"--ini {ini}: it cannot be loaded ({type(error).__name__}): {first_line(error)}") from error


def read_settings(ini: Path) -> dict[str, Any]:
    """The settings in the file as the plugins know them, without ``kinto.``; nothing if the file cannot be parsed."""
    try:
        raw = get_appsettings(str(ini))
    except (OSError, LookupError, ValueError, configparser.Error):  # the caller has the error of loading it
        return {}
    return {key.removeprefix("kinto."): value for key, value in raw.items()}


def first_line(error: object) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
