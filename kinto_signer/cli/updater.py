"""kinto-updater: keep a verified copy of signed collections."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import rich_click as click
from click import get_current_context

from kinto_signer import __version__
from kinto_signer.cli import held, output
from kinto_signer.cli.progress import Progress
from kinto_signer.cli.times import Clock
from kinto_signer.cli.trust_flags import FILE, judging, trusting
from kinto_signer.cli.updater_options import DIRECTORY, cache_option, config_option, format_option, with_options
from kinto_signer.dumps import forbid_core_dumps
from kinto_signer.errors import ConfigurationError, NotFoundError, worst_exit_code
from kinto_signer.remote import check_name
from kinto_signer.transport import Deadline
from kinto_signer.updater.cache import SqliteRepository
from kinto_signer.updater.files import exclusive
from kinto_signer.updater.gather import Gathering, Outcome
from kinto_signer.updater.settings import Options, file_settings, gather_settings

RESET_WAIT_S = 60


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kinto-updater")
@click.option("-v", "--verbose", count=True, help="Log what is done; twice: how.")
def cli(verbose: int) -> None:
    """Pull signed collections from a Kinto server, verify them, and keep a copy that others can rely on.

    Exit codes: 0 done, 1 part of the work failed, 2 usage or configuration, 3 not what a trusted key signed (the old copy
    was kept), 4 credentials refused, 5 try later, 6 conflict, 7 the cache is of a newer version.
    """
    output.set_up_logging(verbose)


for command in (held.show, held.verify, held.export):
    cli.add_command(command)


@cli.command("gather-changes")
@click.argument("server", required=False)
@click.option("-c", "--collection", "fetch", multiple=True, metavar="BUCKET/COLLECTION", help="May be repeated.")
@trusting
@judging
@cache_option
@click.option("--json", "json_", type=DIRECTORY, help="Also write DIR/BUCKET/COLLECTION.json.")
@click.option("--auth-file", type=FILE, help="File, mode 0600, with `user:password` or `Bearer TOKEN`.")
@click.option("--deadline", type=float, metavar="SECONDS", help="For the whole run; 300 by default.")
@click.option("--from-file", "files", type=FILE, multiple=True, help="Take what `export` wrote, instead of asking a server.")
@click.option("--examine", is_flag=True, help="Look at every byte of the local copy first, which is done once a day anyway.")
@format_option
@config_option
@with_options
def gather_changes(options: Options, files: tuple[Path, ...], examine: bool, at: Clock) -> int:
    """Fetch what changed on SERVER, such as https://kinto.example/v1, since the last run, and verify it.

    With --from-file, what was carried here in files, and no server is asked.
    """
    if files and get_current_context().params["server"]:
        raise ConfigurationError("Give either a server or `--from-file`: the server would not be asked.")
    settings = file_settings(options) if files else gather_settings(options)
    with Progress() as progress:
        gathering = Gathering(settings, at, on_bytes=progress.add_bytes, examine=examine)
        outcomes = gathering.run_files(files, progress.begin) if files else gathering.run(progress.begin)
    code = worst_exit_code(outcome.error.exit_code for outcome in outcomes if outcome.error)
    if options.format == "json":
        listed = [_outcome_object(outcome) for outcome in outcomes]
        where = {"server": settings.server or None, "cache": str(settings.cache)}
        output.print_json({"exit_code": code, **where, "collections": listed})
        return code
    for outcome in outcomes:
        if outcome.error:
            kept = f" Held and kept: the state of {output.iso_ms(outcome.timestamp)}." if outcome.timestamp else ""
            print(output.with_name(str(outcome.file or outcome.name), outcome.error) + kept, file=sys.stderr)
        else:
            print(f"{outcome.file}: {_outcome_line(outcome)}" if outcome.file else _outcome_line(outcome))
    return code


@cli.command()
@click.argument("collections", nargs=-1, required=True, metavar="BUCKET/COLLECTION...")
@click.option("--accept-older", is_flag=True, help="Also forget the highest verified timestamp. Read the warning it prints.")
@cache_option
@format_option
@config_option
@with_options
def reset(options: Options, collections: tuple[str, ...], accept_older: bool) -> int:
    """Drop the records of collections; the next gather-changes fetches everything again."""
    repository = SqliteRepository(options.cache_directory)
    outcomes = []
    with exclusive(options.cache_directory / "update.lock", Deadline(RESET_WAIT_S).remaining):
        for name in collections:
            highest = repository.highest(check_name(name))
            if not highest:
                raise NotFoundError(f"{name} is not in {repository.file.path}: nothing was dropped.")
            (repository.forget if accept_older else repository.wipe)(name)
            outcomes.append({"collection": name, "highest": 0 if accept_older else highest, "accept_older": accept_older})
            if options.format != "json":
                print(_reset_line(name, highest, accept_older))
    if options.format == "json":
        output.print_json({"exit_code": 0, "collections": outcomes})
    return 0


def _outcome_object(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = {
        **({"file": str(outcome.file)} if outcome.file else {}),
        "collection": outcome.name or None,
        "status": outcome.status,
        "timestamp": outcome.timestamp,
        "signed_at": output.iso_ms(outcome.timestamp) if outcome.timestamp else None,
    }
    if outcome.error:
        return found | {"error": output.error_object(outcome.error)}
    found |= {"before": outcome.before, "records": outcome.records, "changes": outcome.changes, "key": outcome.key}
    return found | ({"json": str(outcome.json)} if outcome.json else {})


def _outcome_line(outcome: Outcome) -> str:
    what = "unchanged since" if outcome.status == "unchanged" else f"{outcome.changes} changes, now at"
    return f"{outcome.name}: {what} {output.iso_ms(outcome.timestamp)} ({outcome.timestamp}), {outcome.records} records, verified"


def _reset_line(name: str, highest: int, accept_older: bool) -> str:
    if accept_older:
        return (
            f"{name}: dropped, and the highest verified timestamp {highest} is forgotten. Until the next verified state this "
            "machine would take ANY older state that was once signed: whoever controls the server or the network can choose one."
        )
    return f"{name}: dropped. States older than {highest} are still refused."


def main(arguments: list[str] | None = None) -> None:
    forbid_core_dumps()
    sys.exit(output.run(cli, arguments))


if __name__ == "__main__":
    main()
