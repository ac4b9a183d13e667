"""What both commands do alike: run, catch our errors in one place, print them, choose the exit code."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import rich_click as click

from kinto_signer.errors import BackoffError, BadChainError, KintoSignerError

INTERRUPTED = 130
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def run(command: click.Command, arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code. The command function returns its own, or raises our errors.

    With ``--format json`` there is exactly one object on stdout, whatever happens.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = wants_json(given)
    try:
        code = command.main(args=given, standalone_mode=False)
        sys.stdout.flush()
    except KintoSignerError as error:
        return report(error, as_json=as_json)
    except click.ClickException as error:
        error.show()
        print("[usage]", file=sys.stderr)
        if as_json:
            print_json({"exit_code": 2, "error": {"reason": "usage", "message": error.format_message(), "exit_code": 2}})
        return 2
    except (click.Abort, KeyboardInterrupt):
        print("Interrupted; what was complete is kept, nothing half-done is.", file=sys.stderr)
        if as_json:
            print_json({"exit_code": INTERRUPTED, "error": {"reason": "interrupted", "message": "Interrupted."}})
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def report(error: KintoSignerError, *, as_json: bool) -> int:
    """Print an error that ended the command: text to stderr, JSON to stdout."""
    if as_json:
        print_json({"exit_code": error.exit_code, "error": error_object(error)})
    else:
        print(f"Error: {error}", file=sys.stderr)
    return error.exit_code


def error_object(error: KintoSignerError) -> dict[str, Any]:
    """An error as JSON: its stable ``reason``, its message and exit code, until when to wait, what is wrong with a chain."""
    found: dict[str, Any] = {"reason": error.reason, "message": error.message, "exit_code": error.exit_code}
    if isinstance(error, BackoffError):
        found["until"] = iso(error.until)
    if isinstance(error, BadChainError):
        found["fault"] = str(error.fault)
    return found


def with_name(name: str, error: KintoSignerError) -> str:
    """An error as text that says which collection, or which file, it is about."""
    return str(error) if name in error.message else f"{name}: {error}"


def print_json(value: Mapping[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))


def iso(epoch_s: float) -> str:
    """Epoch seconds as ISO 8601 in UTC; as a number where no calendar reaches."""
    try:
        return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(epoch_s)


def iso_ms(timestamp: int) -> str:
    """A timestamp in integer milliseconds as ISO 8601 in UTC."""
    return iso(timestamp / 1000)


def set_up_logging(verbosity: int) -> None:
    """Log lines to stderr: warnings; from one ``-v`` on what was done; from two on how."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    handler.setFormatter(formatter)
    logging.basicConfig(level=LEVELS[min(verbosity, len(LEVELS) - 1)], handlers=[handler], force=True)


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for JSON, known before it is parsed, so that usage errors obey it too."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(one == "--format=json" or (one, other) == ("--format", "json") for one, other in pairs)
