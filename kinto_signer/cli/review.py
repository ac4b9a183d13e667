"""Commands of editors and reviewers: request a review, approve, decline, take back."""

from __future__ import annotations

import sys
from typing import Any

import rich_click as click

from kinto_signer.cli import output, terminal
from kinto_signer.cli.options import dry_run_option, name_argument, with_signer, yes_option
from kinto_signer.cli.pending import Pending, details, summary
from kinto_signer.cli.rehearsal import decided, rehearse
from kinto_signer.cli.signer_api import Signer
from kinto_signer.cli.states import print_changes, print_state
from kinto_signer.core.difference_pages import as_json
from kinto_signer.core.difference_text import lines, visible
from kinto_signer.core.workflow import Status
from kinto_signer.errors import WorkflowError

SHOWN = 20
"""Changes that are shown before a question."""


@click.command("request-review")
@name_argument
@click.option("-m", "--comment", default="", help="What the reviewers should know.")
@dry_run_option
@with_signer
def request_review(signer: Signer, name: str, comment: str, dry_run: bool, format_: str) -> int:
    """Ask the reviewers to approve what is pending in BUCKET/COLLECTION."""
    if dry_run:
        return _rehearsed(signer, name, Status.TO_REVIEW, format_)
    signer.set_status(name, "to-review", last_editor_comment=comment)
    return _done(signer, name, "review requested", format_)


@click.command()
@name_argument
@click.option("-m", "--comment", default="", help="For the editors and the log.")
@click.option(
    "--reviewed-digest", metavar="sha384-…", help="Approve exactly what `diff` or the API showed earlier. Asks nothing."
)
@click.option("--allow-mass-deletion", is_flag=True, help="Let this publication remove more than mass_deletion_percent allows.")
@yes_option
@dry_run_option
@with_signer
def approve(
    signer: Signer,
    name: str,
    comment: str,
    reviewed_digest: str | None,
    allow_mass_deletion: bool,
    yes: bool,
    dry_run: bool,
    format_: str,
) -> int:
    """Sign and publish the present content of the source BUCKET/COLLECTION.

    What is signed is what was shown: if somebody changes it meanwhile, nothing is done (exit code 6).
    """
    if dry_run:
        return _rehearsed(signer, name, Status.TO_SIGN, format_, allow_mass_deletion)
    if reviewed_digest is None:
        ask = None if yes else "Sign and publish this?"
        reviewed_digest = _shown(signer, name, Status.TO_SIGN, ask, format_, allow_mass_deletion).digest
    allowed = {"allow_mass_deletion": True} if allow_mass_deletion else {}
    signer.set_status(name, "to-sign", last_reviewer_comment=comment, reviewed_digest=reviewed_digest, **allowed)
    return _done(signer, name, "signed and published", format_, reviewed_digest=reviewed_digest)


@click.command()
@name_argument
@click.option("-m", "--comment", default="", help="Why, for the editors.")
@dry_run_option
@with_signer
def decline(signer: Signer, name: str, comment: str, dry_run: bool, format_: str) -> int:
    """Send BUCKET/COLLECTION back to its editors; their changes stay pending."""
    source = signer.collection(name)
    if source.get("status") != Status.TO_REVIEW.value:
        raise WorkflowError(
            f"{name} is {source.get('status')!r}, not under review: there is nothing to decline. Nothing was done."
        )
    if dry_run:
        return _rehearsed(signer, name, Status.WORK_IN_PROGRESS, format_)
    signer.set_status(name, "work-in-progress", seen=source.get("last_modified"), last_reviewer_comment=comment)
    return _done(signer, name, "review declined", format_)


@click.command()
@name_argument
@yes_option
@dry_run_option
@with_signer
def rollback(signer: Signer, name: str, yes: bool, dry_run: bool, format_: str) -> int:
    """Take back everything that is pending in BUCKET/COLLECTION, so that it is what is published."""
    if dry_run:
        return _rehearsed(signer, name, Status.TO_ROLLBACK, format_)
    seen = _shown(signer, name, Status.TO_ROLLBACK, None if yes else "Take all of this back?", format_).last_modified
    signer.set_status(name, "to-rollback", seen=seen)
    return _done(signer, name, "rolled back", format_)


@click.command()
@name_argument
@click.argument("ids", metavar="RECORD...", nargs=-1, required=True)
@dry_run_option
@with_signer
def discard(signer: Signer, name: str, ids: tuple[str, ...], dry_run: bool, format_: str) -> int:
    """Take back the pending changes of single records of BUCKET/COLLECTION: of all that are named, or of none."""
    if dry_run:
        return _rehearsed_discard(signer, name, ids, format_)
    signer.discard(name, ids)
    return _done(signer, name, f"{len(set(ids))} changes taken back", format_)


def _shown(
    signer: Signer, name: str, asked: Status, question: str | None, format_: str, allow_mass_deletion: bool = False
) -> Pending:
    """Show what is pending, and ask the question where somebody can be asked.

    Raises what the signer would refuse anyway before it asks, NotConfirmedError afterwards.
    """
    pending = signer.pending(name, most=SHOWN)
    asking = question is not None and terminal.attended()
    if asking:
        decided(signer, name, asked, pending, allow_mass_deletion=allow_mass_deletion)
    if asking or format_ == "text":
        print(f"{name}: {summary(pending)} (against {pending.against})", file=sys.stderr if asking else sys.stdout)
    if question is not None and asking:
        for line in lines(pending.difference, SHOWN):
            print(line, file=sys.stderr)
        left = pending.total - pending.difference.count - len(pending.difference.attributes)
        more = f"… and {left} more on further pages. " if left > 0 else ""
        print(f"{more}In full: kinto-signer diff {name}", file=sys.stderr)
        terminal.confirm(question)
    return pending


def _rehearsed(signer: Signer, name: str, asked: Status, format_: str, allow_mass_deletion: bool = False) -> int:
    """Print what asking for a status would do; returns the exit code it would end with."""
    pending = signer.pending(name)
    found = rehearse(signer, name, asked, pending, allow_mass_deletion=allow_mass_deletion)
    if format_ == "json":
        told = {**pending.as_json(), **as_json(pending.difference)}
        output.print_json({"exit_code": found.exit_code, "dry_run": True, "name": name, **told, **found.as_json()})
        return found.exit_code
    for line in found.lines():
        print(line)
    print_changes(name, pending)
    print("Nothing was changed.")
    return found.exit_code


def _rehearsed_discard(signer: Signer, name: str, ids: tuple[str, ...], format_: str) -> int:
    pending = signer.pending(name)
    chosen = pending.difference.only(ids)
    unchanged = sorted(set(ids) - chosen.ids)
    if unchanged:
        raise WorkflowError(f"{name}: no change of {', '.join(map(repr, unchanged))} is pending. Nothing would be done.")
    if not pending.rules.may_write:
        raise WorkflowError(f"{pending.rules.user} may not write {name}. Nothing would be done.", forbidden=True)
    becomes = Status.WORK_IN_PROGRESS if pending.total > chosen.count else Status.SIGNED
    if format_ == "json":
        told = {"would": "discard", "becomes": becomes.value, **as_json(chosen)}
        output.print_json({"exit_code": 0, "dry_run": True, "name": name, "status": pending.status.value or None, **told})
        return 0
    print(f"{name}: would take back these changes. Status {pending.status.value or 'none'} -> {becomes.value}.")
    print(f"Who may do it: whoever may write the collection. You are {visible(pending.rules.user)}.")
    for line in details(chosen):
        print(line)
    print("Nothing was changed.")
    return 0


def _done(signer: Signer, name: str, said: str, format_: str, **told: Any) -> int:
    state = signer.state(name)
    if format_ == "json":
        output.print_json({"exit_code": 0, "collection": state, **told})
    else:
        print(f"{name}: {said}.")
        print_state(state)
    return 0
