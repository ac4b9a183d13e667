"""``kinto-signer refresh``: sign again what was published last, before signatures, statements or certificates are too old."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import rich_click as click

from kinto_signer.cli import output
from kinto_signer.cli.options import dry_run_option, with_signer
from kinto_signer.cli.rehearsal import rehearse
from kinto_signer.cli.signer_api import Signer
from kinto_signer.cli.told import Told
from kinto_signer.core.renewal import Conditions, Kind, Verdict, when
from kinto_signer.core.spans import parse_span_ms
from kinto_signer.core.workflow import Status
from kinto_signer.errors import (
    ConfigurationError,
    CredentialsError,
    GuardRefusedError,
    KintoSignerError,
    LockedError,
    worst_exit_code,
)

PART_FAILED = 1
WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""How long to wait for somebody else who is at work on the same collection, each time before asking again."""

GONE = "there is no such source (any more)"

Done = dict[str, Any]
"""What became of one source, as it is printed in JSON: ``name``, and ``what``, ``left_alone`` or ``error``."""


def _span(_context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else parse_span_ms(text)
    except ConfigurationError as error:
        raise click.BadParameter(error.message, param=parameter) from error


@click.command()
@click.argument("name", metavar="[BUCKET/COLLECTION]", required=False)
@click.option("--older-than", metavar="SPAN", callback=_span, help="Only what was signed longer ago: 7d, 12h, 30m.")
@click.option(
    "--before-expiry",
    metavar="SPAN",
    callback=_span,
    help="Only what has a statement, or a certificate, that ends within that time. With --older-than either suffices.",
)
@dry_run_option
@with_signer
def refresh(
    signer: Signer, name: str | None, older_than: int | None, before_expiry: int | None, dry_run: bool, format_: str
) -> int:
    """Renew the signature of one source, or of all that the signer signs, each on its own. Pending changes stay pending.

    May be run from cron on several machines at once. Exit code 1 if some could not be renewed while others were; where none
    could, that of the failure.
    """
    run = Run(signer, Conditions(older_than, before_expiry), _would if dry_run else _renew)
    done = run.one(name) if name else run.all()
    failed = [one["error"] for one in done if "error" in one]
    tried = [one for one in done if "left_alone" not in one]
    code = PART_FAILED if 0 < len(failed) < len(tried) else worst_exit_code(error["exit_code"] for error in failed)
    if format_ == "json":
        left = [{"name": one["name"], "why": one["left_alone"]} for one in done if "left_alone" in one]
        noted = ({"notes": run.notes} if run.notes else {}) | ({"dry_run": True} if dry_run else {})
        output.print_json({"exit_code": code, "refreshed": tried, "left_alone": left, **noted})
        return code
    _print(done, run.notes)
    if dry_run:
        print("Nothing was changed.")
    if failed and len(tried) > 1:
        names = ", ".join(one["name"] for one in done if "error" in one)
        print(f"{len(failed)} of {len(tried)} not renewed: {names}", file=sys.stderr)
    return code


@dataclass
class Run:
    """One run over the sources. act: what is done with one that is due. notes: what else the operator has to know."""

    signer: Signer
    conditions: Conditions
    act: Callable[[Signer, str], Done]
    notes: list[str] = field(default_factory=list)

    def all(self) -> list[Done]:
        """Every source that S knows of. Raises what S answers where it does not tell what it has."""
        try:
            told = self.signer.every_told()
        except (GuardRefusedError, CredentialsError):
            if self.conditions.given:
                raise
            self.notes.append(
                "This account is not in the signer's kinto.signer.status_principals: only what it may read was looked at."
            )
            return [self._tried(name) for name in self.signer.names()]
        missing = sorted(set(self.signer.configured()) - {one.name for one in told})
        done = [self._tried(one.name, one) for one in sorted(told, key=lambda one: one.name)]
        return done + [{"name": name, "left_alone": GONE} for name in missing]

    def one(self, name: str) -> list[Done]:
        """This source alone."""
        if self.conditions.given:
            return [self._tried(name, one) for one in self.signer.every_told(name)]
        told = self.signer.told(name)
        return [self._tried(name, told if told and told.deleted else None)]

    def _tried(self, name: str, told: Told | None = None) -> Done:
        """One that fails does not stop the others. told: what S told of it; None: it is renewed in any case."""
        try:
            return {"name": name, **(self.act(self.signer, name) if told is None else self._if_due(told))}
        except KintoSignerError as error:
            return {"name": name, "error": output.error_object(error)}

    def _if_due(self, told: Told) -> Done:
        verdict = told.judge(self.conditions)
        if verdict.due and self.conditions.given:  # somebody else may have been at the same work since
            verdict = self._judged_again(told.name)
        if not verdict.due:
            return {"left_alone": verdict.why}
        act = self.act
        if told.deleted:
            act = _would_renew_deleted if act is _would else _renew_deleted
        done = act(self.signer, told.name) | ({"why": verdict.why} if verdict.why else {})
        if verdict.by is not None and verdict.by.kind is Kind.CERTIFICATE and self.act is _renew:
            self._note_certificate(told)
        return done

    def _judged_again(self, name: str) -> Verdict:
        found = self.signer.every_told(name)
        return found[0].judge(self.conditions) if found else Verdict(False, GONE)

    def _note_certificate(self, told: Told) -> None:
        """A signer that has no newer certificate signs with the one that ends."""
        still = self._judged_again(told.name).by
        if still is not None:
            self.notes.append(
                f"{told.name}: signed again, and {when(still, told.now)} still: give the signer a new one (docs/trust.rst)."
            )


def _print(done: Sequence[Done], notes: Sequence[str]) -> None:
    for one in done:
        if error := one.get("error"):
            print(f"{one['name']}: {error['message']} [{error['reason']}]", file=sys.stderr)
        elif "left_alone" in one:
            print(f"{one['name']}: left alone: {one['left_alone']}")
        else:
            why = f" ({one['why']})" if one.get("why") else ""
            print(f"{one['name']}: {one['what']}{why}")
    if not done:
        print("No collection is signed here yet.")
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)


def _renew(signer: Signer, name: str) -> Done:
    """Ask for the signature; what somebody else signs meanwhile will do."""

    def signed_at() -> Any:
        return signer.collection(name).get("last_signature_date")

    before = signed_at()
    done = _patiently(lambda: signer.set_status(name, Status.TO_RESIGN.value), lambda: signed_at() != before)
    state = signer.collection(name)
    return {"what": done, "status": state.get("status"), "last_signature_date": state.get("last_signature_date")}


def _renew_deleted(signer: Signer, name: str) -> Done:
    return {"what": _patiently(lambda: signer.refresh_deleted(name), lambda: False), "deleted": True}


def _would_renew_deleted(_signer: Signer, _name: str) -> Done:
    return {"what": "would sign again the empty state that readers have of this source, which was deleted", "deleted": True}


def _patiently(ask: Callable[[], None], done_by_others: Callable[[], bool]) -> str:
    """Ask; while somebody else is at work on the collection, wait and ask again. Returns what was done."""
    for seconds in (*WAITS_S, None):
        try:
            ask()
        except LockedError:
            if seconds is None:
                raise
            time.sleep(seconds)
            if done_by_others():
                return "was signed by somebody else meanwhile"
            continue
        break
    return "signed again"


def _would(signer: Signer, name: str) -> Done:
    found = rehearse(signer, name, Status.TO_RESIGN, signer.pending(name, most=1))
    if found.refusal:
        raise found.refusal
    what = " ".join(found.lines()).removeprefix(f"{name}: ")
    return {"what": what, "status": found.status.value or None, **found.as_json()}
