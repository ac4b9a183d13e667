"""Options that commands share, and what they are turned into."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from kinto_signer.cli.access import ask_for_credentials, read_access
from kinto_signer.cli.signer_api import Signer

FILE = click.Path(path_type=Path, dir_okay=False)
FORMATS = ("text", "json")

format_option = click.option("--format", "format_", type=click.Choice(FORMATS), default="text", help="How to print the result.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would happen and who may do it; change nothing.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation, also on a terminal.")
name_argument = click.argument("name", metavar="BUCKET/COLLECTION")
_server_option = click.option("--server", envvar="KINTO_SERVER", metavar="URL", help="The signer, e.g. https://s.example/v1.")
_auth_option = click.option(
    "--auth-file", type=FILE, help="File, mode 0600, with `user:password` or `Bearer TOKEN`; else KINTO_AUTH, else you are asked."
)


def with_signer(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command a `Signer` first, from ``--server`` and the credentials, and the option ``--format``."""

    @functools.wraps(command)
    def run(server: str | None, auth_file: Path | None, **flags: Any) -> int:
        access = read_access(server, auth_file, os.environ, ask_for_credentials)
        return command(Signer(access), **flags)

    return _server_option(_auth_option(format_option(run)))
