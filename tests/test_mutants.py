"""What drops or alters a rule of the workflow is noticed by a test; and that it is told when nothing notices it."""

import re
import subprocess
import sys

import pytest

from tests.support.campaigns import IN_FULL
from tests.support.servers import ROOT
from tests.support.unmeasured import unmeasured  # noqa: F401

pytestmark = pytest.mark.usefixtures("unmeasured")

SAMPLE = "decide: rule"
"""`make test` makes some only."""


def mutate(*arguments):
    command = [sys.executable, "tools/mutate_workflow.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_every_mutant_of_the_workflow_is_killed(report_campaign):
    done = mutate() if IN_FULL else mutate("--only", SAMPLE)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    made, killed, survived = map(int, re.findall(r"^(\d+) mutants, (\d+) killed, (\d+) survived", done.stdout, re.MULTILINE)[0])
    assert (killed, survived) == (made, 0)
    assert made > (600 if IN_FULL else 15)
    report_campaign("mutants of the workflow", {"mutants": made, "killed": killed, "survived": survived})


def test_a_mutant_that_nothing_notices_is_named():
    """The arithmetic alone does not know about previews."""
    done = mutate("--only", "resource.local or own.attributes is None  ->  False", "--tests", "test_core_mass_deletion")
    assert done.returncode == 1
    assert "What no test notices:\n  kinto_signer/server/publisher.py:" in done.stdout
    assert "1 mutants, 0 killed, 1 survived" in done.stdout


def test_tests_that_fail_anyway_kill_nothing():
    done = mutate("--only", "refuse_mass_deletion: percent", "--tests", "support/failing")
    assert done.returncode == 1
    assert "fails without a mutant" in done.stderr
    assert "killed" not in done.stdout


def test_words_that_no_mutant_has_are_a_mistake():
    done = mutate("--only", "no such thing")
    assert done.returncode == 1
    assert "nothing was tested" in done.stderr


def test_the_list_names_every_protected_field():
    done = mutate("--list", "--only", "OWNED_FIELDS")
    assert done.stdout.count("dropped") == 15
