"""Whether the tests notice when a rule of the workflow is dropped or altered: ``mutate_workflow.py [--only WORDS] [--jobs N]``.

Every entry of RULES and each of its fields, every condition and guard of the functions below, every protected field in turn.
Each mutant is put into a forked process that has everything loaded, and is killed by the first row or test that fails there.
Prints how many were made and killed, and the survivors with the altered line; exits with 1 if there are any.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from mutations import Mutant, Source, of_function, of_rules, of_tuple  # noqa: E402

TEST_S = 60
ROWS_S = 300

TUPLES = {
    "kinto_signer.core.workflow": ("OWNED_FIELDS", "SAID_WITH_APPROVAL", "TRANSIENT"),
    "kinto_signer.server.signoff": ("_NOT_CONTENT",),
    "kinto_signer.server.groups": ("SETTINGS", "_ALLOWING"),
}
FUNCTIONS = {
    "kinto_signer.core.workflow": ("parse_status", "parse_stored", "decide", "changed_by_hand", "contributors"),
    "kinto_signer.core.mass_deletion": ("refuse_mass_deletion",),
    "kinto_signer.server.signoff": (
        *("SignOff.run", "SignOff._follow", "SignOff._ask", "SignOff._asker", "SignOff._took_part", "SignOff._publish"),
        *("SignOff._refuse_unseen", "SignOff._refuse_unreviewed", "SignOff._action", "_content"),
    ),
    "kinto_signer.server.batches": ("leave_to_the_collection", "changes_of", "_own_changes_to_come", "_to_come"),
    "kinto_signer.server.groups": (
        *("as_kinto_signer_8", "groups_of", "memberships", "is_member", "make_groups", "make_missing_groups"),
        *("remove_groups", "_may_make_groups"),
    ),
    "kinto_signer.server.values": ("refuse_several_people",),
    "kinto_signer.server.restoring": ("restore", "refuse_unsigned", "_refuse_unchanged"),
    "kinto_signer.server.discarding": ("discard", "announced"),
    "kinto_signer.server.permission": ("_OnCollection.__init__", "ReadingRecords.__init__", "Writing.__init__"),
    "kinto_signer.server.door": (
        *("on_context_found", "_kinto_refuses", "_objection", "_on_buckets", "_on_collections", "_on_collection"),
        *("_on_deletion", "_is_about_permissions"),
    ),
    "kinto_signer.server.deleting": ("objection", "on_collections_deleted"),
    "kinto_signer.server.publisher": ("Publisher._refuse_mass_deletion",),
}
WITH_ROWS = ("core/workflow.py", "server/signoff.py", "server/groups.py")
"""Modules whose mutants the rows of tests/workflow_cases.csv are judged against first."""

SEQUENCES = "test_workflow_properties::test_whatever_people_do_only_what_was_approved_is_published"
TESTS = {
    "core/workflow.py": ("test_core_workflow", "test_mass_deletion", "test_reviews"),
    "core/mass_deletion.py": ("test_core_mass_deletion",),
    "server/signoff.py": (
        "test_workflow_batches",
        "test_workflow_rules",
        "test_reviews",
        SEQUENCES,
        "test_mass_deletion",
        "test_events",
    ),
    "server/batches.py": ("test_workflow_batches", SEQUENCES, "test_discard", "test_workflow"),
    "server/groups.py": ("test_workflow_rules", "test_groups", "test_reviews", "test_deleting"),
    "server/values.py": ("test_workflow_batches",),
    "server/restoring.py": ("test_workflow_rules", "test_reviews", "test_discard", SEQUENCES),
    "server/discarding.py": ("test_workflow_rules", "test_discard", SEQUENCES),
    "server/permission.py": ("test_discard", "test_reviews"),
    "server/door.py": ("test_door", "test_deleting", "test_workflow"),
    "server/deleting.py": ("test_deleting", "test_door", "test_workflow"),
    "server/publisher.py": ("test_mass_deletion", "test_workflow_rules"),
}
"""What is run against the mutants of a module, in this order: no more than they need."""

ON_SHARED_SITES = ("test_workflow_batches", "test_workflow_rules", "test_workflow_properties")
"""Tests of `tests.support.workflow_site`."""

SLOW_FIXTURES = {"postgres", "database", "create_database", "live_kinto"}

EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("discard", "repository.attributes(name) or {}", "repository.attributes(name)"): "Kinto let the request in: it is there",
    (
        "restore",
        "repository.attributes(resource.source.name) or {}",
        "repository.attributes(resource.source.name)",
    ): "the source is there",
    ("_on_collections", "not resources.has_place_in(target.bucket)", "False"): "saves looking at each of its collections",
    (
        "Publisher._refuse_mass_deletion",
        "not percent or resource.local or own.attributes is None",
        "not percent or resource.local",
    ): "saves reading what is not there",
}
"""(function, before, after) of mutants that do the same as the original, and why: not counted."""


def mutants() -> Iterator[Mutant]:
    for name in FUNCTIONS:
        source = Source(name, ROOT)
        if name.endswith("core.workflow"):
            yield from of_rules(source)
        for table in TUPLES.get(name, ()):
            yield from of_tuple(source, table)
        for function in FUNCTIONS[name]:
            yield from of_function(source, function)


class Rows:
    """The rows of tests/workflow_cases.csv, on sites that are there before a mutant is made."""

    def __init__(self, folder: Path) -> None:
        keys = importlib.import_module("tests.support.keys").write_key_pair(folder)
        tests = importlib.import_module("tests.test_workflow_cases")
        self._runs = {reviews: tests.Run(keys, reviews, "on") for reviews in ("on", "off")}
        self._cases = [case for case in tests.CASES if case.preview == "on"]
        for run in self._runs.values():
            for rule in ("requester", "contributors"):
                for checked in (True, False):
                    run._site(rule=rule, checked=checked)

    def first_wrong(self, pair: tuple[str, str] | None) -> str | None:
        """The first row that is not as the file says. pair: of statuses, only its rows; otherwise some of each kind."""
        chosen = [case for case in self._cases if (_settled(case.old), _status(case.asked)) == pair]
        if pair is None:
            chosen = list({(c.message, c.effect, c.groups, c.took_part, c.reviews): c for c in self._cases}.values())
        for case in chosen:
            run = self._runs[case.reviews]
            run.judge(case)
            if run.found:
                return f"tests/workflow_cases.csv: {run.found[0][:200]}"
        return None


def _status(written: str) -> str:
    """Of a row's `from` or `asked`, the status that RULES calls it."""
    return "" if written.startswith(("none", "(")) else written


def _settled(stored: str) -> str:
    """What a peer left behind is work in progress."""
    return "work-in-progress" if stored in ("to-sign", "to-resign", "to-rollback") else _status(stored)


class FirstFailure:
    """A pytest plugin: leaves out what needs servers or PostgreSQL, and remembers what failed first."""

    def __init__(self) -> None:
        self.name: str | None = None

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if "postgres" not in item.name and not SLOW_FIXTURES.intersection(item.fixturenames)]

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and self.name is None:
            self.name = report.nodeid


def tested(mutant: Mutant | None, tests: Sequence[str], rows: Rows | None) -> str | None:
    """What fails first in this process; None if nothing does. mutant: put into it before; None for the original."""
    if mutant is not None:
        mutant.apply()
    if rows is not None:
        signal.alarm(ROWS_S)
        found = rows.first_wrong(mutant.pair if mutant else None)
        signal.alarm(0)
        if found:
            return found
    first = FirstFailure()
    files = [f"tests/{file}.py{test and '::'}{test}" for file, _, test in (name.partition("::") for name in tests)]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", f"--timeout={TEST_S}"]
    code = pytest.main([*options, *files], plugins=[first])
    if code != (pytest.ExitCode.TESTS_FAILED if first.name else pytest.ExitCode.OK):
        raise RuntimeError(f"pytest ended with {code!r}: nothing is known of this mutant.")
    return first.name


class Forks:
    """Up to `jobs` processes at a time, each with what it found as a file in `folder`. ended: told of each, in any order."""

    def __init__(self, folder: Path, jobs: int, ended: Callable[[Any, str | None], None]) -> None:
        self._folder, self._jobs, self._ended = folder, jobs, ended
        self._running: dict[int, Any] = {}

    def start(self, key: Any, *arguments: Any) -> None:
        while len(self._running) >= self._jobs:
            self._wait()
        pid = os.fork()
        if pid == 0:
            self._child(*arguments)
        self._running[pid] = key

    def finish(self) -> None:
        while self._running:
            self._wait()

    def _child(self, *arguments: Any) -> None:
        code = 3
        try:
            output = os.open(self._folder / f"{os.getpid()}.log", os.O_WRONLY | os.O_CREAT)
            os.dup2(output, 1)
            os.dup2(output, 2)
            found = tested(*arguments)
            (self._folder / f"{os.getpid()}.json").write_text(json.dumps(found))
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _wait(self) -> None:
        pid, status = os.wait()
        key, file = self._running.pop(pid), self._folder / f"{pid}.json"
        if status == signal.SIGALRM:
            self._ended(key, "it did not end")
        elif file.exists():
            self._ended(key, json.loads(file.read_text()))
        else:
            log = (self._folder / f"{pid}.log").read_text(errors="replace")
            sys.exit(f"{key}: its process ended with {status}.\n{log[-4000:]}")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only mutants whose description contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--tests", nargs="+", help="files of tests, without tests/ and .py, instead of those that belong to a module"
    )
    parser.add_argument("--list", action="store_true", help="say what would be altered, run nothing")
    asked = parser.parse_args(arguments)
    found = [mutant for mutant in mutants() if asked.only in str(mutant)]
    made = [mutant for mutant in found if (mutant.where, mutant.before, mutant.after) not in EQUIVALENT]
    if not made:
        sys.exit(f"There is no mutant with {asked.only!r}: nothing was tested.")
    if asked.list:
        print("\n".join(map(str, made)))
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kinto-signer-mutants-") as folder:
        survivors = run(made, Path(folder), asked.jobs, asked.tests)
    if survivors:
        print("\nWhat no test notices:")
        print("\n".join(f"  {mutant}" for mutant in survivors))
    seconds = time.monotonic() - began
    print(f"{len(made)} mutants, {len(made) - len(survivors)} killed, {len(survivors)} survived; {seconds:.0f} s")
    return 1 if survivors else 0


def run(made: Sequence[Mutant], folder: Path, jobs: int, instead: Sequence[str] | None) -> list[Mutant]:
    """The survivors. Exits where the tests fail without a mutant. instead: tests for all, and no rows."""
    os.chdir(ROOT)
    logging.disable(logging.WARNING)  # thousands of refusals
    _make_ready(test for mutant in made for test in _tests(mutant, instead))
    rows = Rows(folder) if instead is None and any(mutant.path.endswith(WITH_ROWS) for mutant in made) else None

    def against(mutant: Mutant) -> tuple[tuple[str, ...], Rows | None]:
        return _tests(mutant, instead), rows if mutant.path.endswith(WITH_ROWS) else None

    originals = Forks(folder, jobs, _exit_if_it_failed)
    for tests, some_rows in {against(mutant) for mutant in made}:
        originals.start(" ".join(tests), None, tests, some_rows)
    originals.finish()
    survivors: list[Mutant] = []

    def ended(mutant: Mutant, killer: str | None) -> None:
        if killer is None:
            survivors.append(mutant)
        print(f"{'killed' if killer else 'SURVIVED'} {mutant}" + (f"\n    by {killer}" if killer else ""), flush=True)

    forks = Forks(folder, jobs, ended)
    for mutant in made:
        forks.start(mutant, mutant, *against(mutant))
    forks.finish()
    return sorted(survivors, key=lambda mutant: (mutant.path, mutant.line))


def _tests(mutant: Mutant, instead: Sequence[str] | None) -> tuple[str, ...]:
    return TESTS[mutant.path.removeprefix("kinto_signer/")] if instead is None else tuple(instead)


def _make_ready(tests: Iterable[str]) -> None:
    """What `tests` share, loaded and made once for all processes; whoever looks for a failing sequence needs no shorter one."""
    hypothesis.settings.register_profile("mutants", phases=[hypothesis.Phase.generate], report_multiple_bugs=False)
    hypothesis.settings.load_profile("mutants")
    site = importlib.import_module("tests.support.workflow_site").sequence_site
    if any(test.startswith(ON_SHARED_SITES) for test in tests):
        for settings in itertools.product((True, False), repeat=3):
            site(*settings)


def _exit_if_it_failed(tests: str, failed: str | None) -> None:
    if failed:
        sys.exit(f"{failed} fails without a mutant (of {tests}): nothing was learnt.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
