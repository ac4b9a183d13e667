"""``kinto-signer refresh``: sign again what was published last, before signatures or certificates are too old."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import rich_click as click

from kinto_signer.cli import output
from kinto_signer.cli.options import dry_run_option, with_signer
from kinto_signer.cli.rehearsal import rehearse
from kinto_signer.cli.signer_api import Signer
from kinto_signer.core.workflow import Status
from kinto_signer.errors import KintoSignerError, worst_exit_code

PART_FAILED = 1


@click.command()
@click.argument("name", metavar="[BUCKET/COLLECTION]", required=False)
@dry_run_option
@with_signer
def refresh(signer: Signer, name: str | None, dry_run: bool, format_: str) -> int:
    """Renew the signature of one source, or of all that the signer signs, each on its own. Pending changes stay pending.

    Exit code 1 if some could not be renewed while others were; where none could, that of the failure.
    """
    act = _would if dry_run else _renew
    done = [_tried(act, signer, one) for one in ([name] if name else signer.names())]
    failed = [one["error"] for one in done if "error" in one]
    code = PART_FAILED if 0 < len(failed) < len(done) else worst_exit_code(error["exit_code"] for error in failed)
    if format_ == "json":
        output.print_json({"exit_code": code, "refreshed": done} | ({"dry_run": True} if dry_run else {}))
        return code
    for one in done:
        error = one.get("error")
        said = f"{error['message']} [{error['reason']}]" if error else one["what"]
        print(f"{one['name']}: {said}", file=sys.stderr if error else sys.stdout)
    if not done:
        print("No collection is signed here yet.")
    if dry_run:
        print("Nothing was changed.")
    if failed and len(done) > 1:
        print(
            f"{len(failed)} of {len(done)} not renewed: {', '.join(one['name'] for one in done if 'error' in one)}",
            file=sys.stderr,
        )
    return code


def _tried(act: Callable[[Signer, str], dict[str, Any]], signer: Signer, name: str) -> dict[str, Any]:
    """One that fails does not stop the others."""
    try:
        return {"name": name, **act(signer, name)}
    except KintoSignerError as error:
        return {"name": name, "error": output.error_object(error)}


def _renew(signer: Signer, name: str) -> dict[str, Any]:
    signer.set_status(name, Status.TO_RESIGN.value)
    state = signer.state(name)
    return {"what": "signed again", "status": state["status"], "last_signature_date": state.get("last_signature_date")}


def _would(signer: Signer, name: str) -> dict[str, Any]:
    found = rehearse(signer, name, Status.TO_RESIGN, signer.pending(name, most=1))
    if found.refusal:
        raise found.refusal
    what = " ".join(found.lines()).removeprefix(f"{name}: ")
    return {"what": what, "status": found.status.value or None, **found.as_json()}
