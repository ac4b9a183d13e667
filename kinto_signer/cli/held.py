"""Commands that verify what this machine has, the local copy or saved files, and change nothing of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from kinto_signer.cli import output, statements
from kinto_signer.cli.times import Clock
from kinto_signer.cli.trust_flags import FILE, judging, trusting
from kinto_signer.cli.updater_options import cache_option, config_option, format_option, with_options
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.freshness import refuse_untimely
from kinto_signer.core.statement import peek
from kinto_signer.core.trust import PublicKey
from kinto_signer.errors import ConfigurationError, KintoSignerError, worst_exit_code
from kinto_signer.remote import check_name
from kinto_signer.transport import Deadline
from kinto_signer.transport.chains import ChainFetcher
from kinto_signer.updater import Cache, open_cache, open_file
from kinto_signer.updater.policies import Policies
from kinto_signer.updater.settings import DEFAULT_DEADLINE_S, DEFAULT_MAX_SIZE_MIB, Options


@click.command()
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


@click.command()
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


@click.command()
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
                    print(output.with_name(name, error), file=sys.stderr)
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
                print(output.with_name(str(path), error), file=sys.stderr)
    code = worst_exit_code(codes)
    if options.format == "json":
        output.print_json({"exit_code": code, "files": found})
    return code


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
