"""Nothing unsigned, altered, older or mixed gets into A: a table of attacks, each with its control and its counter-proof."""

import re
from collections import Counter

import pytest
from pyramid.exceptions import ConfigurationError

from kinto_signer.core.changeset import merge
from kinto_signer.core.trust import check
from kinto_signer.errors import VerificationError
from tests.support.attacks.attack import MEMORY, POSTGRESQL, Attack, Leaves, Off
from tests.support.attacks.guard import guard_off, guarded, plain
from tests.support.attacks.table import ATTACKS
from tests.support.attacks.target import state_of
from tests.support.states import trust_in
from tests.support.unmeasured import unmeasured  # noqa: F401

pytestmark = pytest.mark.usefixtures("unmeasured")

CASES = [
    pytest.param(attack, backend, id=f"{attack.row}-{attack.name}-{backend}") for attack in ATTACKS for backend in attack.backends
]
COUNTER_PROOFS = [case for case in CASES if case.values[0].by_guard]


@pytest.fixture
def database_of(request):
    """``database_of(backend)``: the URL of a new database, or None for memory storage."""
    return lambda backend: None if backend == MEMORY else request.getfixturevalue("create_database")()


@pytest.mark.parametrize(("attack", "backend"), CASES)
def test_the_guard_lets_nothing_in(attack, backend, database_of, key_pair, tmp_path):
    database = database_of(backend)
    if attack.refuses_to_start:
        with pytest.raises(ConfigurationError, match=attack.refuses_to_start):
            guarded(attack, database, key_pair, tmp_path)
        target = guarded(attack, database, key_pair, tmp_path, plugins="")
    else:
        target = guarded(attack, database, key_pair, tmp_path)
    prepare(attack, target)
    before = target.served(), target.stored()

    attack.run(target)

    left_open = target.left_open()
    assert attack.crashes or not target.crashes
    if attack.leaves is Leaves.UNCHANGED:
        assert differences(before, (target.served(), target.stored())) == {}
    elif attack.leaves is Leaves.HONEST:
        assert state_of(target.verify()) in [state_of(state) for state in (target.third, *target.rivals)]
    else:
        assert_a_reader_comes_along(target)
    target.control()
    assert left_open == []


@pytest.mark.parametrize(("attack", "backend"), COUNTER_PROOFS)
def test_without_the_guard_it_gets_in(attack, backend, database_of, key_pair, tmp_path, monkeypatch):
    if attack.off is Off.VERIFICATION:
        target = guarded(attack, database_of(backend), key_pair, tmp_path, **guard_off(monkeypatch))
    else:
        target = plain(attack, database_of(backend), key_pair, tmp_path)
    prepare(attack, target)
    before = target.served(), target.stored()

    attack.run(target)

    assert attack.crashes or not target.crashes
    if attack.leaves is Leaves.UNCHANGED:
        assert differences(before, (target.served(), target.stored())) != {}, target.answers
    elif attack.leaves is Leaves.HONEST:
        with pytest.raises(VerificationError):
            target.verify()
    else:
        with pytest.raises(VerificationError):
            assert_a_reader_comes_along(target)


@pytest.mark.parametrize("backend", [MEMORY, POSTGRESQL])
@pytest.mark.parametrize("start", [guarded, plain])
def test_looking_changes_nothing(start, backend, database_of, key_pair, tmp_path):
    """The control of all comparisons."""
    target = start(Attack(50, pytest), database_of(backend), key_pair, tmp_path)
    before = target.served(), target.stored()
    assert {status for status, _, _ in before[0].values()} == {200, 404}
    assert differences(before, (target.served(), target.stored())) == {}
    target.verify()


def test_the_table_has_forty_mechanisms(shared):
    """Mechanisms of the guard alone; each is a function of its own with a sentence of its own, and names a threat."""
    threats = (shared / "specs" / "threats.md").read_text(encoding="utf-8")
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", threats, re.MULTILINE)}
    assert {attack.row for attack in ATTACKS} <= rows
    assert len([attack for attack in ATTACKS if attack.by_guard]) >= 40
    for key in ("run", "name", "mechanism"):
        repeated = [value for value, times in Counter(getattr(attack, key) for attack in ATTACKS).items() if times > 1]
        assert repeated == []
    assert all(attack.mechanism.endswith((".", ":")) for attack in ATTACKS)


def prepare(attack, target):
    if attack.prepare:
        attack.prepare(target)
        target.answers.clear()


def differences(before, after):
    """What is not what it was, to be read in a failure."""
    return {
        name: (old.get(name), new.get(name))
        for old, new in zip(before, after, strict=True)
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    }


def assert_a_reader_comes_along(target):
    """Who holds the first state and asks for what came after ends up with the present one, or is told to start anew."""
    answer = target.since_first()
    if answer is None:
        target.verify()
    else:
        check(target.name, merge(target.first, answer), trust_in(target.key))
