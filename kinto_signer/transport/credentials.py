"""Credentials in files that nobody else may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kinto_signer.errors import ConfigurationError
from kinto_signer.transport.session import authorization_header


def read_credentials(path: Path) -> str:
    """``user:password`` or ``Bearer TOKEN`` from the one line of a file that nobody else may read.

    Files below $CREDENTIALS_DIRECTORY may have wider modes: systemd guards that directory by other means.
    Raises ConfigurationError, which never quotes the content.
    """
    body = read_file(path)
    guarded = os.environ.get("CREDENTIALS_DIRECTORY")
    if not (guarded and path.resolve().is_relative_to(Path(guarded).resolve())):
        mode = stat.S_IMODE(path.stat().st_mode)
        if os.name == "posix" and mode & 0o077:
            raise ConfigurationError(f"{path}: others can read it (mode {mode:04o}). Run `chmod 600 {path}`.")
    try:
        credentials = body.decode("utf-8").strip()
        authorization_header(credentials)
    except (UnicodeDecodeError, ConfigurationError) as error:
        raise ConfigurationError(f"{path}: it has to hold one line, `user:password` or `Bearer TOKEN`.") from error
    return credentials


def read_file(path: Path) -> bytes:
    """The content of a file that the operator named. Raises ConfigurationError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}).") from error
