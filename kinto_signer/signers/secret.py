"""A secret that a signer needs: from a setting (better: its environment variable) or from a file that others cannot read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kinto_signer.errors import ConfigurationError
from kinto_signer.signers import Given, Read

FILE = "_file"


def read_secret(read: Read, name: str) -> bytes | None:
    """The value of the setting `name`, or the content of the file that ``NAME_file`` names, without its final newline.

    None where neither is set. Raises ConfigurationError, which names the setting and never the secret, for both at once, and
    for a file that cannot be read or that others can.
    """
    given, file = read(name), read(name + FILE)
    if given and file:
        raise ConfigurationError(f"{file.line}: {given.line.partition(' = ')[0]} is set as well; keep one of them.")
    if file:
        return read_guarded(file).rstrip(b"\r\n")
    return given.value.encode("utf-8") if given else None


def secret_line(read: Read, name: str) -> str:
    """The line that gives the secret, for messages; the name of the setting where none does."""
    file = read(name + FILE)
    return file.line if file else read(name).line


def read_guarded(given: Given) -> bytes:
    """The content of the file that a setting names. Raises ConfigurationError where every user of the machine can read it.

    Files below $CREDENTIALS_DIRECTORY may have wider modes: systemd guards that directory by other means.
    """
    path = Path(given.value)
    try:
        with path.open("rb") as file:
            mode, body = os.fstat(file.fileno()).st_mode, file.read()
    except OSError as error:
        raise _unreadable(given, error) from error
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    guarded = bool(directory) and path.resolve().is_relative_to(Path(directory or "").resolve())
    if os.name == "posix" and not guarded and mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigurationError(f"{given.line}: every user of this machine can read or change it; `chmod 600` it.")
    return body


def read_file(given: Given) -> bytes:
    """The content of the file that a setting names. Raises ConfigurationError."""
    try:
        return Path(given.value).read_bytes()
    except OSError as error:
        raise _unreadable(given, error) from error


def stamp(given: Given) -> object:
    """Differs when the file was written, replaced or removed; costs one call of stat and reads nothing."""
    if not given:
        return None
    try:
        found = Path(given.value).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _unreadable(given: Given, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{given.line}: cannot be read ({error.strerror}).")
