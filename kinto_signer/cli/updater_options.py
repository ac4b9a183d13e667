"""Options that kinto-updater's commands share, and what they are turned into together with the configuration file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from kinto_signer.cli import output
from kinto_signer.cli.trust_flags import FILE
from kinto_signer.errors import KintoSignerError
from kinto_signer.trusting import PIN_NAMES
from kinto_signer.updater.settings import FORMATS, Options, read_options

DIRECTORY = click.Path(path_type=Path, file_okay=False)

config_option = click.option("--config", type=FILE, help="Configuration file in TOML; flags override it.")
cache_option = click.option("--cache", type=DIRECTORY, help="Directory of the local copy.")
format_option = click.option("--format", "format_", type=click.Choice(FORMATS), help="How to print the result.")


def with_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the configuration file's options, overridden by its flags; its errors obey their `format`."""

    @functools.wraps(command)
    def run(**flags: Any) -> int:
        given = Options(
            server=flags.pop("server", None),
            collections=flags.pop("fetch", None) or None,
            **{name: flags.pop(name, None) or None for name in (*PIN_NAMES, "x5u_hosts")},
            tolerance_seconds=flags.pop("tolerance", None),
            cache=flags.pop("cache", None),
            json=flags.pop("json_", None),
            auth_file=flags.pop("auth_file", None),
            require_statement=flags.pop("require_statement", None),
            audience=flags.pop("audience", None),
            max_age=flags.pop("max_age", None),
            deadline_seconds=flags.pop("deadline", None),
            format=flags.pop("format_", None),
        )
        options = read_options(flags.pop("config")).overridden_by(given)
        try:
            return command(options, **flags)
        except KintoSignerError as error:
            return output.report(error, as_json=options.format == "json")

    return run
