"""The flags that say whom to trust and what to ask of statements: the same for everything that verifies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from kinto_signer.cli import times

FILE = click.Path(path_type=Path, dir_okay=False)
trust_options = (
    click.option("--public-key", "public_keys", type=FILE, multiple=True, help="A key you trust: PEM file, or its SHA-256."),
    click.option("--x5u-root", "x5u_roots", multiple=True, metavar="SHA256", help="A root you trust for certificate chains."),
    click.option("--signer-id", "signer_ids", multiple=True, metavar="NAME", help="Whose certificate below a root is accepted."),
    click.option("--chain", "chains", type=FILE, multiple=True, help="Chain file (PEM) instead of fetching it; not trusted."),
    click.option("--x5u-host", "x5u_hosts", multiple=True, metavar="HOST[:PORT]", help="Chains may be fetched from there."),
    click.option("--tolerance", type=float, metavar="SECONDS", help="By which the clock may miss a certificate's time; 0."),
    click.option("--at", callback=times.parse, metavar="TIME", help="Verify as of then: ISO 8601, or epoch seconds."),
)
statement_options = (
    click.option(
        "--require-statement/--no-require-statement", default=None, help="Take no state without a publication statement."
    ),
    click.option("--audience", metavar="NAME", help="Take statements for this audience only."),
    click.option("--max-age", metavar="SPAN", help="Take nothing that was signed longer ago: 7d, 36h, 90m."),
)


def trusting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags that say whom to trust. They may be repeated, and replace the file's policies as a whole."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(trust_options), command)


def judging(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags about publication statements and age."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(statement_options), command)
