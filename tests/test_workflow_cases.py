"""Every combination of who asks for which status of which collection, against a literal file.

``workflow_cases.csv`` was written from the issue and from what the peers answer, by somebody who has not read the table that it
judges; nothing of ``core/workflow.py`` is imported here. Its columns:

* rule: ``four_eyes``; ``*`` where nothing is approved, so that it cannot matter (such a row runs under the stricter rule)
* reviews, preview: whether ``to_review_enabled`` and a preview bucket are configured
* from: the status that is stored. ``none`` is a collection older than the plugin, of which nothing was ever signed;
  ``none but signed`` one that lost its status; ``to-sign``, ``to-resign``, ``to-rollback`` are what a peer left; ``(new)`` is
  no collection yet. Where the status allows it, changes are pending that neither the preview nor the destination has
* asked: the status of the request
* groups: of the source, those that the user is in; ``made with it``: there are none before the collection is made;
  ``not checked``: the user is in none, and ``group_check_enabled`` is false
* took_part: what the user did of the pending (from ``signed``: of the published) changes: edited them, requested the last
  review, or an earlier one that was declined; ``*`` where nobody did anything
* code, errno, message: of the answer; the message's beginning
* status, effect, preview_after: what is stored afterwards; ``-``: no preview is configured
"""

import dataclasses
import functools
import itertools
import logging
from collections import Counter

import pytest

from kinto_signer.core.trust import Trust, load_public_key
from tests.support.stored import Stored
from tests.support.unmeasured import unmeasured  # noqa: F401
from tests.support.workflow_cases import BUCKET, GROUP_NAMES, PERMITTED, SOURCE, Site, make_states, read_cases
from tests.support.workflow_effects import problems

pytestmark = pytest.mark.usefixtures("unmeasured")

CASES = read_cases()
BY_COMBINATION = {case.combination: case for case in CASES}

SWITCH = ["on", "off"]
RULES = ["requester", "contributors"]
GROUPS = ["none", "editor", "reviewer", "both", "not checked"]
STATUSES = ["work-in-progress", "to-review", "to-sign", "signed", "to-resign", "to-rollback"]
STORED = ["none but signed", *STATUSES]
PARTS = ["no", "edited", "requested"]
OTHERS = [
    *("work-in-progress", "to-review", "signed", "to-resign", "to-rollback", "nope"),
    *("(removed by PUT)", "(removed by merge patch)"),
]

# (rule, reviews, preview, from, asked, groups, took_part)
COMBINATIONS = [
    (["*"], SWITCH, SWITCH, ["(new)"], ["(no status)", *STATUSES, "nope"], [*GROUPS, "made with it"], ["*"]),
    (["*"], SWITCH, SWITCH, ["none"], OTHERS, GROUPS, ["*"]),
    (RULES, SWITCH, SWITCH, ["none"], ["to-sign"], GROUPS, ["*"]),
    (["*"], SWITCH, SWITCH, STORED, OTHERS, GROUPS, PARTS),
    (RULES, SWITCH, SWITCH, STORED, ["to-sign"], GROUPS, [*PARTS, "requested earlier"]),
]


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Thousands of refusals are logged; formatting them for pytest is a tenth of the time."""
    caplog.set_level(logging.CRITICAL)


def test_every_combination_stands_in_the_file_once():
    wanted = [combination for columns in COMBINATIONS for combination in itertools.product(*columns)]
    assert Counter(case.combination for case in CASES) == Counter(wanted)
    assert len(wanted) == 4872


@pytest.mark.parametrize("preview", SWITCH)
@pytest.mark.parametrize("reviews", SWITCH)
def test_on_memory(key_pair, reviews, preview):
    """After each 403 also what somebody answers who may ask: a peer takes the refused status for the stored one."""
    run = Run(key_pair, reviews, preview)
    for case in CASES:
        if (case.reviews, case.preview) == (reviews, preview):
            run.judge(case, again=case.code == 403)
    assert run.found == []


@pytest.mark.parametrize("reviews", SWITCH)
def test_on_postgresql(key_pair, database, reviews):
    """One row for each answer to each pair of statuses, with a preview."""
    run = Run(key_pair, reviews, "on", database)
    kinds = {(case.old, case.asked, case.message, case.effect): case for case in reversed(CASES) if case.preview == "on"}
    for case in kinds.values():
        if case.reviews == reviews:
            run.judge(case)
    assert run.found == []


WRONG = {"code": 418, "errno": 999, "message": "I'm a teapot", "status": "to-sign"}
EFFECTS = ["nothing", "requested", "declined", "published", "refreshed", "rolled back"]
PREVIEWS = ["source", "destination", "signed anew", "as before", "-"]


def test_a_wrong_row_is_noticed(key_pair):
    """Of each effect and each refusal one row, with one column altered to what is the case elsewhere or nowhere."""
    run = Run(key_pair, "on", "on")
    cases = [case for case in CASES if (case.reviews, case.preview, case.took_part) == ("on", "on", "no")]
    cases = [case for case in cases if case.old != "signed" or case.code >= 400]  # where there is nothing to publish
    for case in {(case.effect, case.message): case for case in cases}.values():
        for column, wrong in altered(case):
            before = len(run.found)
            run.judge(dataclasses.replace(case, **{column: wrong}))
            assert len(run.found) == before + 1, (case, column, wrong)


def altered(case):
    """Where nothing was stored, what would be stored is no matter; of `to-review` the preview holds what the source does."""
    yield from [(column, value) for column, value in WRONG.items() if case.code < 400 or column != "status"]
    if case.code < 400:
        yield from [("effect", effect) for effect in EFFECTS if effect != case.effect]
    if case.code < 400 and case.old != "to-review":
        equal = {case.preview_after} | ({"source", "destination"} if case.status == "signed" else set())
        yield from [("preview_after", preview) for preview in PREVIEWS if preview not in equal]


@pytest.mark.parametrize("place", ["objects", "timestamps", "permissions"])
def test_a_refusal_that_changes_something_is_noticed(key_pair, place):
    trust = Trust((load_public_key(key_pair.public.read_bytes(), where="the test"),))
    case = next(case for case in CASES if case.code == 403)
    before = Stored({("/buckets", "x", "y"): "{}"}, {("/buckets", "x"): 1}, {"user:x": frozenset("y")})
    assert list(problems(case, "x", before, before, trust)) == []
    assert len(list(problems(case, "x", before, dataclasses.replace(before, **{place: {}}), trust))) == 1


def test_groups_that_were_made_wrongly_are_noticed(key_pair):
    trust = Trust((load_public_key(key_pair.public.read_bytes(), where="the test"),))
    made, kept = (
        next(case for case in CASES if case.code == 201 and case.groups == groups) for groups in ("made with it", "both")
    )
    rights = {f"permission:{SOURCE}:write": frozenset(f"{BUCKET}/groups/{name}" for name in GROUP_NAMES)}
    before = Stored({}, {}, rights)
    right = before
    for name, members in zip(GROUP_NAMES, (["alice"], []), strict=True):
        right = right.having(BUCKET, "group", {"id": name, "members": members})
    strangers = right.having(BUCKET, "group", {"id": GROUP_NAMES[1], "members": ["bob"]})

    def about_groups(case, before, after):
        return len([problem for problem in problems(case, "alice", before, after, trust) if "the groups" in problem])

    assert about_groups(made, before, right) == about_groups(kept, right, right) == 0
    assert (
        about_groups(made, before, strangers) == about_groups(made, before, before) == about_groups(kept, strangers, right) == 1
    )
    assert about_groups(made, before, dataclasses.replace(right, permissions={})) == 1


class Run:
    """Judges rows of one configuration on one storage; in `found` what was not as they say."""

    def __init__(self, key_pair, reviews, preview, database=None):
        self.trust = Trust((load_public_key(key_pair.public.read_bytes(), where="the test"),))
        self.found: list[str] = []
        self._make = functools.partial(Site, key_pair.private, reviews=reviews, preview=preview)
        self._states = make_states(self._make(rule="contributors", checked=True))
        self._site = functools.cache(functools.partial(self._make, database=database))

    def judge(self, case, *, again=False):
        site = self._site(rule="contributors" if case.rule == "*" else case.rule, checked=case.groups != "not checked")
        before = self._states.of(case)
        site.store.put(before)
        self._ask(site, case, case.user, before, line=case.line)
        if again:
            self._ask(site, BY_COMBINATION[case.of_permitted], PERMITTED, before, line=case.line)

    def _ask(self, site, case, user, before, *, line):
        answer = site.ask(user, case.asked, before.get(BUCKET, "collection", "regions"))
        wrong = list(problems(case, site.ids[user], before, site.store.take(), self.trust))
        got = (answer.status_int, answer.json.get("errno"))
        if got != (case.code, case.errno) or not answer.json.get("message", "").startswith(case.message):
            wrong.append(f"answered {answer.status_int} {answer.json}")
        if wrong:
            self.found.append(f"line {line}, {case.combination} as {user}: {'; '.join(wrong)}")
