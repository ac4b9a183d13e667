"""What `status`, `push` and `adopt` print about the authorities."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kinto_signer.cli import output
from kinto_signer.errors import worst_exit_code


def is_current(authority: Mapping[str, Any]) -> bool:
    """Whether its readers get what was signed last; not known counts as no."""
    return authority.get("reader_sees_last_approval") is True


def print_authority(authority: Mapping[str, Any]) -> None:
    seen = "readers get the last approval" if is_current(authority) else "readers do NOT get the last approval"
    if authority.get("reader_sees_last_approval") is None:
        seen = "not known whether readers get the last approval"
    optional = "" if authority.get("required") else ", not required"
    print(f"  authority {authority.get('label')} ({authority.get('url')}{optional}): {seen}; holds {authority.get('timestamp')}")
    if authority.get("why"):
        print(f"    why: {authority['why']}")
    success, error = authority.get("last_success"), authority.get("last_error")
    if isinstance(success, Mapping):
        print(f"    last success: {success.get('when')}, {success.get('timestamp')}")
    if isinstance(error, Mapping):
        mended = "" if authority.get("failing") else " (mended since)"
        print(f"    last error: {error.get('when')}{mended}, {error.get('message')} [{error.get('reason')}]")


def print_pushed(done: Sequence[Mapping[str, Any]], format_: str) -> int:
    """Print what became of each collection on each authority; returns the exit code."""
    failed = [one["error"] for one in done if isinstance(one.get("error"), Mapping)]
    code = worst_exit_code(_code(error) for error in failed)
    if format_ == "json":
        output.print_json({"exit_code": code, "pushed": list(done)})
        return code
    for one in done:
        error = one.get("error")
        said = f"{error.get('message')} [{error.get('reason')}]" if isinstance(error, Mapping) else one.get("what")
        where = f" to {one['label']}" if one.get("label") else ""
        print(f"{one.get('destination')}{where}: {said}", file=sys.stderr if error else sys.stdout)
    if not done:
        print("No collection is signed here yet.")
    return code


def print_adopted(done: Mapping[str, Any], format_: str) -> None:
    if format_ == "json":
        output.print_json({"exit_code": 0, "adopted": done})
        return
    print(f"{done.get('source')}: took over the state of {done.get('timestamp')} from {done.get('label')} ({done.get('url')}).")
    print(f"  taken: {_counts(done.get('taken'))}; {done.get('records')} records in all")
    print(f"  pending: {_counts(done.get('pending'))}; status {done.get('status')}")
    for record in done.get("conflicts") or []:
        print(f"  conflict: {record} was edited here and changed there; the edit here was kept")
    for other in done.get("not_asked") or []:
        print(f"  not asked: {other.get('label')}: {other.get('message')} [{other.get('reason')}]")


def _code(error: Mapping[str, Any]) -> int:
    code = error.get("exit_code")
    return code if isinstance(code, int) else 1


def _counts(counts: object) -> str:
    found = counts if isinstance(counts, Mapping) else {}
    return ", ".join(f"{found.get(name)} {name}" for name in ("created", "updated", "deleted"))
