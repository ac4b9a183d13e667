"""Every combination of who asks for which status of which collection, against a literal file.

``workflow_cases.csv`` was written from the issue and from what the peers answer, by somebody who has not read the table that it
judges; nothing of ``core/workflow.py`` is imported here. Its columns:

* rule: ``four_eyes``; ``*`` where nothing is approved, so that it cannot matter (such a row runs under the stricter rule)
* reviews, preview: whether ``to_review_enabled`` and a preview bucket are configured
* from: the status that is stored. ``none`` is a collection older than the plugin, of which nothing was ever signed;
  ``to-sign``, ``to-resign``, ``to-rollback`` are what a peer left; ``(new)`` is no collection yet
* asked: the status of the request
* groups: of the source, those that the user is in; ``made with it``: there are none before the collection is made;
  ``not checked``: the user is in none, and ``group_check_enabled`` is false
* took_part: what the user did of the pending (from ``signed``: of the published) changes; ``*`` where nobody did anything
* code, errno, message: of the answer; the message's beginning
* status, effect, preview_after: what is stored afterwards; ``-``: no preview is configured
"""

import dataclasses
import itertools
from collections import Counter

import pytest

from kinto_signer.core.trust import Trust, load_public_key
from tests.support.workflow_cases import PERMITTED, Case, Site, States, make_states, read_cases
from tests.support.workflow_effects import problems

CASES = read_cases()
BY_COMBINATION = {case.combination: case for case in CASES}

SWITCH = ["on", "off"]
RULES = ["requester", "contributors"]
GROUPS = ["none", "editor", "reviewer", "both", "not checked"]
STATUSES = ["work-in-progress", "to-review", "to-sign", "signed", "to-resign", "to-rollback"]
REMOVED = ["(removed by PUT)", "(removed by merge patch)"]
PARTS = ["no", "edited", "requested"]

# (rule, reviews, preview, from, asked, groups, took_part)
COMBINATIONS = [
    (["*"], SWITCH, SWITCH, ["(new)"], ["(no status)", *STATUSES, "nope"], [*GROUPS, "made with it"], ["*"]),
    (["*"], SWITCH, SWITCH, ["none"], sorted({*STATUSES, *REMOVED, "nope"} - {"to-sign"}), GROUPS, ["*"]),
    (RULES, SWITCH, SWITCH, ["none"], ["to-sign"], GROUPS, ["*"]),
    (
        ["*"],
        SWITCH,
        SWITCH,
        ["none but signed", *STATUSES],
        sorted({*STATUSES, *REMOVED, "nope"} - {"to-sign"}),
        GROUPS,
        PARTS,
    ),
    (RULES, SWITCH, SWITCH, ["none but signed", *STATUSES], ["to-sign"], GROUPS, [*PARTS, "requested earlier"]),
]


def test_every_combination_stands_in_the_file_once():
    wanted = [combination for columns in COMBINATIONS for combination in itertools.product(*columns)]
    assert Counter(case.combination for case in CASES) == Counter(wanted)
    assert len(wanted) == 4872


@pytest.mark.parametrize("preview", SWITCH)
@pytest.mark.parametrize("reviews", SWITCH)
def test_on_memory(key_pair, reviews, preview):
    """After each refusal also what somebody answers who may ask: a peer takes the refused status for the stored one."""
    run = Run(key_pair, reviews, preview)
    for case in run.cases:
        run.judge(case, again=case.code >= 400)
    assert run.found == []


@pytest.mark.parametrize("preview", SWITCH)
@pytest.mark.parametrize("reviews", SWITCH)
def test_on_postgresql(key_pair, database, reviews, preview):
    """One row for each answer and effect of each pair of statuses."""
    run = Run(key_pair, reviews, preview, database)
    seen = set()
    for case in run.cases:
        kind = (case.old, case.asked, case.message, case.effect)
        if kind not in seen:
            seen.add(kind)
            run.judge(case)
    assert run.found == []


WRONG = {"code": 418, "errno": 999, "message": "I'm a teapot", "status": "to-sign", "effect": "wrong", "preview_after": "wrong"}
EFFECTS = ["nothing", "requested", "declined", "published", "refreshed", "rolled back"]


@pytest.mark.parametrize("column", WRONG)
def test_a_wrong_row_is_noticed(key_pair, column):
    """Of each effect and each refusal one row, with one column altered to what is the case nowhere or elsewhere."""
    run = Run(key_pair, "on", "on")
    kinds = {(case.effect, case.message): case for case in run.cases if case.old != "(new)"}
    for case in kinds.values():
        for wrong in other_values(case, column):
            before = len(run.found)
            run.judge(dataclasses.replace(case, **{column: wrong}))
            assert len(run.found) > before, (case, wrong)


def other_values(case: Case, column: str) -> list:
    """Refused rows have no effect that could be altered: nothing stored may differ, which is judged whatever they name."""
    if case.code >= 400:
        return [] if column in ("status", "effect", "preview_after") else [WRONG[column]]
    known = {"effect": EFFECTS, "preview_after": ["source", "destination", "signed anew", "as before", "-"]}
    equal = {"source", "destination"} if case.status == "signed" else set()  # then the source is what was published
    held = getattr(case, column)
    return [value for value in known.get(column, [WRONG[column]]) if value != held and not {value, held} <= equal]


@pytest.mark.parametrize("place", ["objects", "timestamps", "permissions"])
def test_a_refusal_that_changes_something_is_noticed(key_pair, place):
    run = Run(key_pair, "on", "on")
    case = next(case for case in run.cases if case.code == 403)
    before = run.states.of(case)
    held = dict(getattr(before, place))
    held.pop(next(iter(held)))
    after = dataclasses.replace(before, **{place: held})
    assert list(problems(case, "", before, before, run.trust)) == []
    assert len(list(problems(case, "", before, after, run.trust))) == 1


def test_a_state_is_the_same_on_both_storages(key_pair, database):
    run = Run(key_pair, "on", "on", database)
    site = run.sites["requester", True]
    for state in run.states.by_key.values():
        site.store.put(state)
        assert site.store.take() == state


class Run:
    """The rows of one configuration on one storage; in `found` what was not as they say."""

    def __init__(self, key_pair, reviews, preview, database=None):
        options = {"reviews": reviews, "preview": preview}
        self.cases = [case for case in CASES if (case.reviews, case.preview) == (reviews, preview)]
        self.trust = Trust((load_public_key(key_pair.public.read_bytes(), where="the test"),))
        self.states: States = make_states(Site(key_pair.private, rule="contributors", checked=True, **options))
        self.sites = {
            (rule, checked): Site(key_pair.private, rule=rule, checked=checked, database=database, **options)
            for rule in RULES
            for checked in (True, False)
        }
        self.found: list[str] = []

    def judge(self, case: Case, *, again: bool = False) -> None:
        site = self.sites["contributors" if case.rule == "*" else case.rule, case.groups != "not checked"]
        before = self.states.of(case)
        site.store.put(before)
        user = case.user
        self._ask(site, case, user, before, where=case)
        if again:
            self._ask(site, BY_COMBINATION[case.of_permitted], PERMITTED, before, where=case)

    def _ask(self, site, case, user, before, *, where):
        answer = site.ask(user, case.asked, create=case.old == "(new)")
        got = (answer.status_int, answer.json.get("errno"))
        message = str(answer.json.get("message", ""))
        wrong = list(problems(case, site.ids[user], before, site.store.take(), self.trust))
        if got != (case.code, case.errno) or not message.startswith(case.message):
            wrong.append(f"answered {answer.status_int} {answer.json}")
        if wrong:
            self.found.append(f"line {where.line}, {where.combination} as {user}: {'; '.join(wrong)}")
