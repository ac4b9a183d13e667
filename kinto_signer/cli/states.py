"""Commands that look: the state of sources, what is pending in them, what was done. They change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import rich_click as click

from kinto_signer.cli import output, recovery
from kinto_signer.cli.options import name_argument, with_signer
from kinto_signer.cli.pending import Pending, details, summary
from kinto_signer.cli.signer_api import COMMENTS, Signer
from kinto_signer.cli.told import Told, print_told
from kinto_signer.core import difference_pages
from kinto_signer.core.difference_text import visible
from kinto_signer.core.findings import DIFFERS
from kinto_signer.core.workflow import Status
from kinto_signer.errors import CredentialsError, NotFoundError
from kinto_signer.validities import as_json

WHO_AND_WHEN = (
    ("last edit", "last_edit"),
    ("last request", "last_review_request"),
    ("last review", "last_review"),
    ("last signature", "last_signature"),
)


@click.command()
@click.argument("name", metavar="[BUCKET/COLLECTION]", required=False)
@with_signer
def status(signer: Signer, name: str | None, format_: str) -> int:
    """Show one source collection, or all that the signer signs: status, who did what last, how much is pending, which
    rules of review are in force, and whether readers get what was signed last.

    Exit code 1 if readers of some authority do not.
    """
    found = [(signer.state(one), _pending(signer, one), signer.told(one)) for one in ([name] if name else signer.names())]
    code = int(any(not recovery.is_current(one) for _, _, told in found if told for one in told.authorities))
    if format_ == "json":
        output.print_json({"exit_code": code, "collections": [_as_json(*one) for one in found]})
        return code
    for state, pending, told in found:
        print_state(state, pending)
        print_told(told)
    if not found:
        print("No collection is signed here yet.")
    return code


@click.command()
@name_argument
@click.option("--against", type=click.Choice(("destination", "preview")), default="destination", help="What to compare with.")
@with_signer
def diff(signer: Signer, name: str, against: str, format_: str) -> int:
    """Show what is pending in BUCKET/COLLECTION: every field of every record that would be published, and the digest with
    which exactly this is approved. Exit code 10 if there are changes, 0 if there are none.
    """
    pending = signer.pending(name, against)
    code = DIFFERS if pending.total else 0
    if format_ == "json":
        output.print_json({"exit_code": code, "name": name, **pending.as_json(), **difference_pages.as_json(pending.difference)})
        return code
    print_changes(name, pending)
    if pending.status is Status.TO_REVIEW and against == "destination" and pending.total:
        print(f"To approve exactly this: kinto-signer approve {name} --reviewed-digest {pending.digest}")
    return code


@click.command()
@name_argument
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, help="So many at most, the newest. Default: 50.")
@with_signer
def log(signer: Signer, name: str, limit: int, format_: str) -> int:
    """Show who requested, approved, declined, took back and refreshed what in BUCKET/COLLECTION, newest first."""
    entries = signer.log(name, limit)
    if format_ == "json":
        output.print_json({"exit_code": 0, "name": name, "log": entries})
        return 0
    for entry in entries:
        print(visible(_logged(entry)))
    if not entries:
        print(f"{name}: nothing was done yet.")
    return 0


def print_changes(name: str, pending: Pending) -> None:
    """What is pending, in every detail."""
    print(f"{name}: {summary(pending)} (against {pending.against})")
    for line in details(pending.difference):
        print(line)


def print_state(state: Mapping[str, Any], pending: Pending | None = None) -> None:
    """One source, as `Signer.state` gives it, and what is pending in it under which rules."""
    print(f"{state['name']}: {state['status'] or 'no status'}")
    for label, field in WHO_AND_WHEN:
        if state.get(f"{field}_date"):
            print(f"  {label}: {state[f'{field}_date']} by {visible(str(state.get(f'{field}_by')))}")
    for field in COMMENTS:
        if state.get(field):
            print(f"  {field.split('_')[1]}'s comment: {visible(str(state[field]))}")
    if pending:
        print(f"  pending: {summary(pending)}")
        for line in pending.rules.lines():
            print(f"  {line}")
    if state.get("destination"):
        print(f"  destination: {state['destination']}")


def _pending(signer: Signer, name: str) -> Pending | None:
    """Counts and rules; None where it is no source, or where we may not read its records."""
    try:
        return signer.pending(name, most=1)
    except (NotFoundError, CredentialsError):
        return None


def _as_json(state: dict[str, Any], pending: Pending | None, told: Told | None) -> dict[str, Any]:
    found = {"pending": pending.as_json(), "rules": pending.rules.as_json()} if pending else {"pending": None, "rules": None}
    shown = {"validity": as_json(told.validity), "authorities": list(told.authorities)} if told else {}
    return {**state, **found, **({"validity": None, "authorities": None} | shown)}


def _logged(entry: Mapping[str, Any]) -> str:
    said = f"{entry.get('date')}  {entry.get('action')} by {entry.get('by')}"
    changed = [f"{entry[kind]} {kind}" for kind in ("created", "updated", "deleted") if entry.get(kind)]
    said += f": {', '.join(changed)}" if changed else ""
    if entry.get("requested_by") and entry["requested_by"] != entry.get("by"):
        said += f"; requested by {entry['requested_by']}"
    if entry.get("alone"):
        said += "; alone, as self_approval_principals allows"
    return said + (f'; "{entry["comment"]}"' if entry.get("comment") else "")
