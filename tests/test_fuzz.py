"""Altered answers put before a reader: none is taken that nobody signed. `make fuzz` does the same 100,000 times.

The controls take a check away, and the same mutants are then taken: the campaign can fail.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from kinto_signer.core import chain, repository, signature, statement, trust
from tests.support.campaigns import rounds
from tests.support.fuzzing import campaign as campaigns
from tests.support.fuzzing.campaign import Campaign, Tally
from tests.support.fuzzing.material import Material, make_material
from tests.support.fuzzing.mutants import make_mutant
from tests.support.fuzzing.page import page

SEED = 20261127
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def material() -> Material:
    shared = ROOT.parent / "shared"
    return make_material(shared if shared.is_dir() else None)


@pytest.mark.proof
def test_no_altered_answer_is_taken(material, tmp_path, report_campaign):
    count = rounds(1_000, 20_000)

    tally = Campaign(material, SEED, tmp_path).run(range(count))

    assert tally.failures == []
    assert tally.counts["refused"] + tally.counts["accepted, and the same"] == tally.counts["mutants"] == count
    assert 2 * tally.counts["reached"] >= count
    assert not [where for where, _ in tally.refused if "elsewhere" in where or "outside" in where]
    counts = {"refused": tally.counts["refused"], "reached the check of a signature": tally.counts["reached"]}
    report_campaign("altered answers before a reader", {"mutants": count, **counts, "accepted wrongly": 0}, seed=SEED)
    assert f"{count:,} mutants" in page(tally, material, SEED)


def test_a_case_is_repeated_by_its_number(material):
    again = make_material(ROOT.parent / "shared" if len(material.originals) > 15 else None)
    for number in range(60):
        one, other = make_mutant(material, SEED, number), make_mutant(again, SEED, number)
        assert (one.original.label, one.edits, one.bodies) == (other.original.label, other.edits, other.bodies)
    assert make_mutant(material, SEED, 1).bodies != make_mutant(material, SEED + 1, 1).bodies


# --- controls: the campaign finds what is wrong -----------------------------------------------------------------------------


def only_known_modes_are_checked(*arguments: Any, **options: Any) -> Any:
    """Signatures of unknown modes taken as good ones."""
    entries = list(arguments[1])
    if any(entry.get("mode") != signature.MODE for entry in entries):
        return arguments[3].keys[0] if arguments[3].keys else None
    return check_signed(*arguments, **options)


@contextlib.contextmanager
def _statement_without_name() -> Iterator[None]:
    """Statements are opened for the name that they say themselves."""
    opened = statement.open_statement

    def careless(name: str, attributes: Any, policy: Any) -> Any:
        found = statement.peek(attributes)
        return opened(found.statement.name if found else name, attributes, policy)

    with patch.object(statement, "open_statement", careless):
        yield


check_signed = trust.check_signed
PLANTED: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no signature is checked": lambda: patch.object(signature, "verifies", lambda key, digest, text: True),
    "no certificate's signature is checked": lambda: patch.object(chain, "_check_link", lambda issuer, issued: None),
    "the statement's signature is not checked": lambda: patch.object(statement, "check_signed", lambda *args, **options: None),
    "any strange mode will do": lambda: patch.object(trust, "check_signed", only_known_modes_are_checked),
    "a statement may be left out": lambda: patch.object(repository, "refuse_untimely", lambda *args: None),
    "another collection's statement will do": _statement_without_name,
    "attributes need not be covered": lambda: patch.object(statement, "attributes_digest", lambda attributes, names: _Equal()),
    "certificates never end": lambda: patch.object(chain, "_check_time", lambda certificate, at, tolerance_s: None),
    "an older state will do": lambda: patch.object(repository.Verify, "_refuse_wrong_time", lambda self, name, timestamp: None),
    "uncovered attributes are kept": lambda: patch.object(repository, "covered", lambda metadata, said: metadata),
    "an error of another kind": lambda: patch.object(signature, "decode", lambda text: {}[text]),
}


class _Equal:
    def __ne__(self, other: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_fault_is_found(what, material, tmp_path):
    planted = Campaign(material, SEED, tmp_path)
    with PLANTED[what]():
        tally = planted.run(range(4_000), until_failure=True)

    print(f"found after {tally.counts['mutants']} mutants")
    assert tally.failures, f"not found: {what}"
    found = tally.failures[-1]
    assert list(tmp_path.glob(f"failure-{SEED}-{found['number']}.json"))
    assert found["bodies"]


def test_without_the_check_of_signatures_altered_content_is_accepted(material, tmp_path):
    with patch.object(signature, "verifies", lambda key, digest, text: True):
        tally = Campaign(material, SEED, tmp_path).run(range(300))

    assert sum("nobody signed these records" in failure["why"] for failure in tally.failures) > 50


def spin() -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        pass


def test_a_mutant_that_hangs_is_ended(material, tmp_path, monkeypatch):
    monkeypatch.setattr(campaigns, "CASE_S", 0.05)
    tally = Tally()
    hanging = Campaign(material, SEED, tmp_path)
    monkeypatch.setattr(hanging.reader, "take", lambda mutant: spin())

    with hanging.watching():
        assert hanging.one(make_mutant(material, SEED, 0), tally) == "FAILED"
    assert "longer than" in tally.failures[0]["why"]


def test_as_a_command(tmp_path):
    def run(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "tests.support.fuzzing", "--seed", "7", *options]
        return subprocess.run(
            command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": ""}
        )

    done = run("--count", "60", "--write", str(tmp_path / "page.md"))
    assert done.returncode == 0, done.stderr
    assert "60 mutants" in done.stdout
    assert not (tmp_path / "page.md").exists()  # only a whole run writes it
    assert "refused" in run("--case", "5").stdout
