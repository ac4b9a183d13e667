"""kinto-signer: keys, approvals and the state of collections, for operators, reviewers and cron."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import rich_click as click

from kinto_signer import __version__
from kinto_signer.cli import check as checking
from kinto_signer.cli import output, recovery, review, states
from kinto_signer.cli.new_files import PUBLIC, SECRET, NewFile, write_new_files
from kinto_signer.cli.options import FILE, format_option, name_argument, with_signer
from kinto_signer.cli.pki import pki
from kinto_signer.cli.refresh import refresh
from kinto_signer.cli.signer_api import Signer
from kinto_signer.cli.trust_flags import judging, trusting
from kinto_signer.core.trust import PublicKey
from kinto_signer.dumps import forbid_core_dumps
from kinto_signer.errors import ConfigurationError, KintoSignerError, worst_exit_code
from kinto_signer.signers.local import generate_key_pair


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kinto-signer")
@click.option("-v", "--verbose", count=True, help="Log what is done; twice: how.")
def cli(verbose: int) -> None:
    """Review, sign and publish what editors changed, and see what readers get.

    The server and the credentials come from KINTO_SERVER and KINTO_AUTH, or from --server and --auth-file; on a terminal
    you are asked for credentials that are missing.

    Exit codes: 0 done, 1 part of the work failed, 2 usage or configuration, 3 something does not verify, 4 credentials
    refused, 5 try later, 6 conflict or refused by the workflow, 10 differences found.
    """
    output.set_up_logging(verbose)


@cli.command()
@click.argument("private", type=FILE)
@click.argument("public", type=FILE)
@format_option
def keygen(private: Path, public: Path, format_: str) -> int:
    """Make a P-384 key pair: PRIVATE stays on the signer (mode 0600), PUBLIC goes to the readers. Overwrites nothing."""
    private_pem, key = generate_key_pair()
    write_new_files({private: NewFile(private_pem, SECRET), public: NewFile(key.pem, PUBLIC)})
    _print_keys(private, public, key, format_)
    return 0


for command in (
    states.status,
    states.diff,
    review.request_review,
    review.approve,
    review.decline,
    review.rollback,
    review.discard,
    refresh,
    states.log,
    pki,
):
    cli.add_command(command)


@cli.command()
@click.argument("name", metavar="[BUCKET/COLLECTION]", required=False)
@click.option("--to", "label", metavar="LABEL", help="Only to this authority.")
@with_signer
def push(signer: Signer, name: str | None, label: str | None, format_: str) -> int:
    """Bring authorities that are new, behind or damaged up to date from the signer's signed copy.

    Nothing is signed again, and nothing is pushed where the authority is ahead.
    """
    return recovery.print_pushed(signer.push(name, label), format_)


@cli.command()
@name_argument
@click.option("--authority", "label", metavar="LABEL", help="This one, rather than the one that is furthest ahead.")
@with_signer
def adopt(signer: Signer, name: str, label: str | None, format_: str) -> int:
    """Have the signer take over what an authority holds of the source BUCKET/COLLECTION; pending edits are kept on top.

    For a signer that was restored from an older back-up.
    """
    recovery.print_adopted(signer.adopt(name, label), format_)
    return 0


@cli.command()
@click.option("--ini", type=FILE, required=True, help="The signer's configuration file.")
@format_option
def bootstrap(ini: Path, format_: str) -> int:
    """Fill configured collections that are empty on S with what the authority holds, after verification."""
    try:
        from kinto_signer.server.offline import run_bootstrap
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"`{error.name}` is missing: this needs `pip install 'kinto-signer[server]'`.") from error
    found = run_bootstrap(ini)
    code = worst_exit_code(done.error.exit_code for done in found if done.error)
    if format_ == "json":
        listed = [{"name": done.name} | _done(done.what, done.error) for done in found]
        output.print_json({"exit_code": code, "done": listed})
    else:
        for done in found:
            print(done, file=sys.stderr if done.error else sys.stdout)
    return code


@cli.command()
@click.argument("servers", nargs=-1, metavar="[SERVER]...")
@click.option("--ini", type=FILE, help="The configuration file of a signer or of an authority; its storage is read directly.")
@click.option("-c", "--collection", "only", multiple=True, metavar="BUCKET/COLLECTION", help="Only this. May be repeated.")
@trusting
@judging
@format_option
@click.pass_context
def check(
    context: click.Context,
    /,
    servers: tuple[str, ...],
    ini: Path | None,
    only: tuple[str, ...],
    format_: str,
    **flags: Any,
) -> int:
    """Say what is wrong: with a configuration, with what is stored, and with what each SERVER has. Changes nothing.

    The flags about trust and statements are those of kinto-updater, and are about each SERVER.

    Exit code 0 if nothing but warnings was found, 10 if two places differ, 3 if something does not verify, 2 for a wrong
    configuration, 4 and 5 for an authority that refuses the account or does not answer.
    """
    asked = checking.read_flags(servers, ini, checking.Trusting.of(flags), only)
    with checking.quiet(bool(context.find_root().params["verbose"])):
        findings = checking.run_check(asked)
    return checking.print_findings(findings, format_)


def _done(what: str, error: KintoSignerError | None) -> dict[str, Any]:
    return {"error": output.error_object(error)} if error else {"what": what}


def _print_keys(private: Path, public: Path, key: PublicKey, format_: str) -> None:
    if format_ == "json":
        output.print_json({"exit_code": 0, "private": str(private), "public": str(public), "fingerprint": key.fingerprint})
        return
    print(
        f"{private}  private key, mode 0600: keep it on the signer\n"
        f"{public}  public key: give it to the authority and to the readers"
    )
    print(f"Fingerprint (SHA-256): {key.fingerprint}")
    print("Give the fingerprint to the readers by another way, so that they can compare.")


def main() -> None:
    forbid_core_dumps()
    sys.exit(output.run(cli))


if __name__ == "__main__":
    main()
