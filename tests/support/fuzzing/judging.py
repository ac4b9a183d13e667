"""Whether what a reader took was signed; where what it refused was refused.

The judge shares no code with what it judges: canonicaljson-rs for the form, and the standard library for the rest.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import canonicaljson

import kinto_signer
from kinto_signer.core.changeset import Changeset
from kinto_signer.errors import KintoSignerError
from tests.support.fuzzing.doors import Taken
from tests.support.fuzzing.material import Material, Original, Published
from tests.support.fuzzing.mutants import FILE, Mutant

UNCOVERED = (
    "id",
    "bucket",
    "last_modified",
    "chains",
    "signature",
    "signatures",
    "signed_timestamp",
    "hash",
    "signer_claim",
    "publication",
)
TOLERANCE_MS = 24 * 3600 * 1000
PACKAGE = Path(kinto_signer.__file__).parent


@dataclass(frozen=True)
class Signed:
    """What of a published state is covered by its signatures."""

    published: Published
    form: str
    payload: bytes | None
    said: dict[str, Any]
    covered: str


class Judge:
    def __init__(self, material: Material) -> None:
        self.signed = [_signed(published) for published in material.ledger]

    def objection(self, mutant: Mutant, taken: Taken) -> str:
        """Why a reader should not have taken this; empty if it may."""
        original, state = mutant.original, taken.state
        try:
            form = _form(state)
        except (TypeError, ValueError, KeyError, RecursionError) as error:
            return f"it has no canonical form ({error})"
        alike = [one for one in self.signed if one.form == form]
        if not alike:
            return "nobody signed these records under this timestamp"
        alike = [one for one in alike if taken.key in one.published.keys]
        if not alike:
            return "another key signed it"
        now = original.now_s
        alike = [one for one in alike if one.published.begins <= now <= one.published.ends]
        if not alike:
            return "the certificate's time is over, or has not begun"
        if original.held is not None and state.timestamp < original.held.timestamp:
            return "it is older than what was held"
        return self._objection_to_statement(mutant, state, alike)

    def _objection_to_statement(self, mutant: Mutant, state: Changeset, alike: list[Signed]) -> str:
        original, now_ms = mutant.original, mutant.original.now_s * 1000
        if "publication" not in state.metadata:
            needed = original.rules.required or (original.held is not None and "publication" in original.held.metadata)
            return "it has no statement, and one is needed" if needed else ""
        payload = _payload(state)
        alike = [one for one in alike if one.payload is not None and one.payload == payload]
        if not alike:
            return "nobody signed that statement for that state"
        one = alike[0]
        said = one.said
        if f"{said['bucket']}/{said['collection']}" != original.name:
            return "the statement is about another collection"
        if _covered(state, said) != one.covered:
            return "the attributes are not those that the statement covers"
        beyond = [name for name in state.metadata if name not in said["attributes"]["names"] and name not in UNCOVERED]
        if beyond and mutant.door != FILE:
            return f"attributes were kept that nobody signed: {beyond}"
        if not said["signed_at"] - TOLERANCE_MS <= now_ms <= said["expires"]:
            return "the statement's time is over, or has not begun"
        if said["serial"] < _serial(original):
            return "the statement is older than one that was seen"
        return ""


def _signed(published: Published) -> Signed:
    payload = _payload(published.state)
    said = json.loads(payload) if payload else {}
    return Signed(published, _form(published.state), payload, said, _covered(published.state, said) if said else "")


def _form(state: Changeset) -> str:
    live = sorted((change for change in state.changes if change.get("deleted") is not True), key=lambda record: record["id"])
    return str(canonicaljson.dumps({"data": live, "last_modified": str(state.timestamp)}))


def _payload(state: Changeset) -> bytes | None:
    found = state.metadata.get("publication")
    return base64.b64decode(found["payload"]) if isinstance(found, dict) else None


def _covered(state: Changeset, said: dict[str, Any]) -> str:
    names = said["attributes"]["names"]
    return json.dumps({name: state.metadata[name] for name in names if name in state.metadata}, sort_keys=True)


def _serial(original: Original) -> int:
    payload = _payload(original.held) if original.held is not None else None
    return int(json.loads(payload)["serial"]) if payload else 0


# --- where something was refused --------------------------------------------------------------------------------------------

STAGES = {
    "core/strict_json.py": "1 JSON",
    "remote.py": "2 shape of the answer",
    "core/changeset.py": "2 shape of the answer",
    "updater/saved.py": "2 shape of the answer",
    "core/repository.py": "3 age and base",
    "core/signature.py": "4 shape of the signatures",
    "core/trust.py _check_name": "4 name",
    "core/trust.py _refuse_unsigned": "4 shape of the signatures",
    "core/trust.py check": "5 canonical form",
    "core/trust.py check_content": "6 hash",
    "core/trust.py check_signed": "8 signature of the content",
    "core/envelope.py": "9 statement: envelope",
    "statement check_signed": "10 statement: signature",
    "core/statement.py": "11 statement: what it says",
    "core/freshness.py": "12 statement: age, serial, presence",
}


OF_CHAINS = ("bad-chain", "expired", "not-yet-valid")


def stage(error: KintoSignerError) -> str:
    """At which check an error was raised, by the function that raised it."""
    trace: TracebackType | None = error.__traceback__
    frames: list[tuple[str, str]] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        path = Path(code.co_filename)
        if path.is_relative_to(PACKAGE):
            frames.append((path.relative_to(PACKAGE).as_posix(), code.co_name))
        trace = trace.tb_next
    if not frames:
        return "outside"
    module, function = frames[-1]
    within = any(name == "open_statement" for _, name in frames)
    if function == "check_signed" and error.reason in OF_CHAINS:
        return "7 certificate chain"
    if within and function == "check_signed":
        return STAGES["statement check_signed"]
    if within and module == "core/strict_json.py":
        return STAGES["core/statement.py"]
    return STAGES.get(f"{module} {function}") or STAGES.get(module) or f"elsewhere: {module} {function}"
