"""kinto-updater: keep a verified copy of signed collections."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click
from click import get_current_context

from kinto_signer import __version__
from kinto_signer.cli import output, statements
from kinto_signer.cli.progress import Progress
from kinto_signer.cli.times import Clock
from kinto_signer.cli.trust_flags import FILE, judging, trusting
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.freshness import refuse_untimely
from kinto_signer.core.statement import peek
from kinto_signer.core.trust import PublicKey
from kinto_signer.dumps import forbid_core_dumps
from kinto_signer.errors import ConfigurationError, KintoSignerError, NotFoundError, worst_exit_code
from kinto_signer.remote import check_name
from kinto_signer.transport import Deadline
from kinto_signer.transport.chains import ChainFetcher
from kinto_signer.trusting import PIN_NAMES
from kinto_signer.updater import Cache, open_cache, open_file
from kinto_signer.updater.cache import SqliteRepository
from kinto_signer.updater.files import exclusive
from kinto_signer.updater.gather import Gathering, Outcome
from kinto_signer.updater.policies import Policies
from kinto_signer.updater.settings import (
    DEFAULT_DEADLINE_S,
    DEFAULT_MAX_SIZE_MIB,
    FORMATS,
    Options,
    file_settings,
    gather_settings,
    read_options,
)

DIRECTORY = click.Path(path_type=Path, file_okay=False)
RESET_WAIT_S = 60

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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kinto-updater")
@click.option("-v", "--verbose", count=True, help="Log what is done; twice: how.")
def cli(verbose: int) -> None:
    """Pull signed collections from a Kinto server, verify them, and keep a copy that others can rely on.

    Exit codes: 0 done, 1 part of the work failed, 2 usage or configuration, 3 not what a trusted key signed (the old copy
    was kept), 4 credentials refused, 5 try later, 6 conflict, 7 the cache is of a newer version.
    """
    output.set_up_logging(verbose)


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
            print(_with_name(str(outcome.file or outcome.name), outcome.error) + kept, file=sys.stderr)
        else:
            print(f"{outcome.file}: {_outcome_line(outcome)}" if outcome.file else _outcome_line(outcome))
    return code


@cli.command()
@click.argument("collections", nargs=-1, metavar="[BUCKET/COLLECTION]...")
@click.option("--records", is_flag=True, help="Print the records too.")
@click.option("--log", is_flag=True, help="Print the publication statements that were seen here, to compare with another reader.")
@cache_option
@trusting
@format_option
@config_option
@with_options
def show(options: Options, collections: tuple[str, ...], records: bool, log: bool, at: Clock) -> int:
    """Show what the local copy holds."""
    as_json = options.format == "json"

    def describe(name: str, state: Changeset, key: PublicKey, cache: Cache) -> dict[str, Any]:
        found = _state_object(name, state, key) | {"highest": cache.highest(name), "metadata": state.metadata}
        if not as_json:
            print(_state_line(name, state, key))
            for line in statements.lines(state, cache.log(name) if log else ()):
                print(line)
            for record in state.records if records else ():
                print(f"  {json.dumps(record, ensure_ascii=False)}")
        found |= statements.as_object(state) | ({"log": statements.log_object(cache.log(name))} if log else {})
        return found | ({"data": state.records} if records else {})

    return _each_of_the_cache(options, at, collections, describe)


@cli.command()
@click.argument("collections", nargs=-1, metavar="[BUCKET/COLLECTION]...")
@click.option("--file", "files", type=FILE, multiple=True, help="A saved changeset instead of the cache.")
@cache_option
@trusting
@judging
@format_option
@config_option
@with_options
def verify(options: Options, collections: tuple[str, ...], files: tuple[Path, ...], at: Clock) -> int:
    """Verify the local copy, or saved files, against the keys or roots you trust."""
    policies = options.policies()
    if policies is None:
        raise ConfigurationError(
            "To verify, give the keys you trust with `--public-key FILE`, or a root with `--x5u-root SHA256 --signer-id NAME`."
        )
    if files:
        return _verify_files(options, policies, at, files, collections)

    rules = options.rules()

    def describe(name: str, state: Changeset, key: PublicKey, _cache: Cache) -> dict[str, Any]:
        refuse_untimely(name, peek(state.metadata), state.timestamp, rules(name), int(at() * 1000))
        if options.format != "json":
            print(_state_line(name, state, key))
        return _state_object(name, state, key)

    return _each_of_the_cache(options, at, collections, describe)


@cli.command()
@click.argument("collection", metavar="BUCKET/COLLECTION")
@click.argument("file", type=FILE)
@cache_option
@trusting
@judging
@format_option
@config_option
@with_options
def export(options: Options, collection: str, file: Path, at: Clock) -> int:
    """Write what the local copy holds of a collection to FILE, to be carried to a machine without a network.

    Signature, statement and certificate chains go along; `gather-changes --from-file FILE` takes it there.
    """
    name, rules = check_name(collection), options.rules()
    with open_cache(options.cache_directory, policies=options.policies(), now=at) as cache:
        state, key = cache.export(name, file, rules(name))
    size_mib = file.stat().st_size / 2**20
    if options.format == "json":
        output.print_json({"exit_code": 0, "file": str(file), "bytes": file.stat().st_size, **_state_object(name, state, key)})
    else:
        print(f"{file}: {_state_line(name, state, key)}")
    if size_mib > DEFAULT_MAX_SIZE_MIB:
        print(f"{file} has {size_mib:.0f} MiB: who takes it needs `max_size_mib` in the configuration.", file=sys.stderr)
    return 0


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


def _each_of_the_cache(
    options: Options,
    at: Clock,
    collections: tuple[str, ...],
    describe: Callable[[str, Changeset, PublicKey, Cache], dict[str, Any]],
) -> int:
    """Open and verify each collection; after an error with one the others go on."""
    found, codes = [], []
    with open_cache(options.cache_directory, policies=options.policies(), now=at) as cache:
        for name in collections or cache.names():
            try:
                state, key = cache.verified(check_name(name))
                found.append(describe(name, state, key, cache))
            except KintoSignerError as error:
                codes.append(error.exit_code)
                found.append({"collection": name, "error": output.error_object(error)})
                if options.format != "json":
                    print(_with_name(name, error), file=sys.stderr)
    code = worst_exit_code(codes)
    if options.format == "json":
        output.print_json({"exit_code": code, "cache": str(options.cache_directory), "collections": found})
    elif not found:
        print(f"{options.cache_directory}: no collections.")
    return code


def _verify_files(options: Options, policies: Policies, at: Clock, files: tuple[Path, ...], collections: tuple[str, ...]) -> int:
    """Verify saved files. A collection named beside one file is what that file has to be about."""
    if collections and (len(files), len(collections)) != (1, 1):
        raise ConfigurationError("With `--file`, name a collection only for one single file.")
    wanted, rules = check_name(collections[0]) if collections else None, options.rules()
    deadline = Deadline(options.deadline_seconds or DEFAULT_DEADLINE_S)
    fetcher = ChainFetcher(options.allowed_hosts(), lambda: deadline)
    found, codes = [], []
    for path in files:
        try:
            one = open_file(
                path, policies=policies, name=wanted, rules=rules, chains=fetcher, now=at, max_bytes=options.max_size_bytes
            )
            found.append({"file": str(path)} | _state_object(one.name, one.changeset, one.key))
            if options.format != "json":
                print(f"{path}: {_state_line(one.name.strip('/') or 'unnamed', one.changeset, one.key)}")
        except KintoSignerError as error:
            codes.append(error.exit_code)
            found.append({"file": str(path), "error": output.error_object(error)})
            if options.format != "json":
                print(_with_name(str(path), error), file=sys.stderr)
    code = worst_exit_code(codes)
    if options.format == "json":
        output.print_json({"exit_code": code, "files": found})
    return code


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


def _state_object(name: str, state: Changeset, key: PublicKey) -> dict[str, Any]:
    return {
        "collection": name,
        "timestamp": state.timestamp,
        "signed_at": output.iso_ms(state.timestamp),
        "records": state.count,
        "key": key.fingerprint,
    }


def _state_line(name: str, state: Changeset, key: PublicKey) -> str:
    return (
        f"{name}: {state.count} records, signed {output.iso_ms(state.timestamp)} ({state.timestamp}) "
        f"with the key {key.fingerprint}"
    )


def _reset_line(name: str, highest: int, accept_older: bool) -> str:
    if accept_older:
        return (
            f"{name}: dropped, and the highest verified timestamp {highest} is forgotten. Until the next verified state this "
            "machine would take ANY older state that was once signed: whoever controls the server or the network can choose one."
        )
    return f"{name}: dropped. States older than {highest} are still refused."


def _with_name(name: str, error: KintoSignerError) -> str:
    return str(error) if name in error.message else f"{name}: {error}"


def main(arguments: list[str] | None = None) -> None:
    forbid_core_dumps()
    sys.exit(output.run(cli, arguments))


if __name__ == "__main__":
    main()
