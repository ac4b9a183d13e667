"""Where the signer is and who asks: from flags, the environment, a file, or a question on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kinto_signer.cli import terminal
from kinto_signer.errors import ConfigurationError
from kinto_signer.transport.credentials import read_credentials
from kinto_signer.transport.session import authorization_header, check_server_url


@dataclass(frozen=True)
class Access:
    """Where the signer is, and who asks. auth: ``user:password`` or ``Bearer TOKEN``."""

    server: str
    auth: str = field(repr=False)


def read_access(
    server: str | None, auth_file: Path | None, environ: Mapping[str, str], ask: Callable[[str], str | None]
) -> Access:
    """The server and the credentials. There is no flag for these: a process list shows flags to everybody.

    ask: called with the server's address where neither a file nor the environment has credentials; None if nobody can
    be asked. Raises ConfigurationError, which quotes no credentials.
    """
    if not server:
        raise ConfigurationError("No server: give --server URL or set KINTO_SERVER.")
    server = check_server_url(server)
    auth = read_credentials(auth_file) if auth_file else environ.get("KINTO_AUTH") or ask(server)
    if not auth:
        raise ConfigurationError("No credentials: give --auth-file FILE or set KINTO_AUTH to `user:password`.")
    authorization_header(auth)
    return Access(server, auth)


def ask_for_credentials(server: str) -> str | None:
    """Ask for a user and a password, which is not echoed; None where nobody sits at a terminal.

    Raises ConfigurationError where the terminal cannot be kept from echoing.
    """
    if not terminal.attended():
        return None
    user = terminal.ask(f"User on {server}: ").strip()
    if not user or ":" in user:
        raise ConfigurationError("A user name is needed, without a colon. For a token: KINTO_AUTH or --auth-file.")
    instead = "Give --auth-file FILE or set KINTO_AUTH to `user:password`."
    password = terminal.ask_hidden("Password: ", what="password", instead=instead)
    return f"{user}:{password}"
