"""The benchmarks in small: that they measure what they say, and that what they published is right. No time is judged here."""

import json
import shutil
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import pytest

from benchmarks import curve, page, peer, statements
from benchmarks.__main__ import Bench, main
from benchmarks.measured import Budget, FailedError, Figures
from benchmarks.reading import Reading
from benchmarks.rows import ROWS, Row, derived, judge, judge_growth
from benchmarks.signing import FIRST, KEPT, REFRESH, Repeats
from benchmarks.sites import Desk
from tests.support.settings import kinto_settings, signer_settings

pytestmark = pytest.mark.xdist_group("benchmarks")  # they share one run

COUNT = 300
NOBODY = "http://127.0.0.1:1/v1"
CURVE: dict[int, Figures] = {
    1_000: {FIRST: [0.1], KEPT: [0.01]},
    10_000: {FIRST: [1.0], KEPT: [0.02]},
    100_000: {FIRST: [10.0], KEPT: [0.04]},
}


@dataclass(frozen=True)
class Ended:
    """A run in small. figures: what is kept of it. page: the one it was written into."""

    code: int
    figures: Figures
    theirs: Figures
    page: str


@pytest.fixture(scope="module")
def ended(postgres, tmp_path_factory):
    """A whole run, with ourselves as the peer; without coverage in its servers, which other tests measure."""
    folder = tmp_path_factory.mktemp("bench")
    written, build = folder / "page.md", folder / "build"
    written.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    ours = peer.Peer("ours", sys.executable, "kinto_signer", "ours again")
    (folder / "peer.json").write_text(json.dumps(asdict(ours)))
    options = {"records": COUNT, "changes": 2, "starts": 1, "peer": folder, "write": written, "build": build}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        patch.setattr("benchmarks.__main__.started_postgres", lambda: nullcontext(postgres))
        code = main([word for name, value in options.items() for word in (f"--{name}", str(value))])
    kept = json.loads((build / "figures.json").read_text())
    return Ended(code, kept["ours"][str(COUNT)], kept["theirs"][str(COUNT)], written.read_text())


def test_every_row_of_the_table_is_measured(ended):
    figures = derived(ended.figures)

    assert ended.code == 0
    assert [row.words for row in ROWS if not figures.get(row.key)] == []
    assert all(value > 0 for key, values in ended.figures.items() for value in values if not key.endswith("mib"))
    assert "Left out" not in ended.page


def test_what_is_done_twice_has_two_values(ended):
    for key in (KEPT, REFRESH, "edit_first", "preview_kept", "approve", "authority_kept", "unchanged_own", "changed_seconds"):
        assert len(ended.figures[key]) == 2, key


def test_the_peer_does_the_same(ended):
    assert {key: len(values) for key, values in ended.theirs.items()} == {FIRST: 1, KEPT: 2, REFRESH: 2}
    assert "* Beside it, in the same run: ours again (ours)" in ended.page
    assert "| one change, kept |" in ended.page


def test_the_page_is_kept_but_for_the_section(ended):
    assert ended.page.startswith(f"before\n{page.BEGIN}\n* ")
    assert ended.page.endswith(f"\n{page.END}\nafter\n")
    assert "old" not in ended.page.replace("older", "")
    assert "to repeat: `make bench PEER=ours BENCH='--records 300 --changes 2 --starts 1'`" in ended.page


def test_a_destination_that_lacks_records_ends_the_benchmark(monkeypatch, key_pair):
    desk = Desk(SimpleNamespace(url=NOBODY), 3)
    monkeypatch.setattr(desk.editor, "total", lambda uri: 2)

    with pytest.raises(FailedError, match="2 of 3 records"):
        desk.check(key_pair)


def test_a_reader_that_fails_ends_the_benchmark(key_pair, tmp_path):
    nobody = SimpleNamespace(url=NOBODY)

    with pytest.raises(FailedError, match="unreachable"):
        Reading(Desk(nobody, COUNT), nobody, key_pair, tmp_path).measure(1, 1, {})


def test_an_edit_takes_at_most_four_statements_more_than_plain_kinto(postgres, key_pair):
    plain_first, plain_more = statements.of_an_edit(postgres, kinto_settings(), 10)
    few = statements.of_an_edit(postgres, signer_settings(key_pair.private), 10)
    many = statements.of_an_edit(postgres, signer_settings(key_pair.private), 3000)

    assert len(plain_first) == len(plain_more) > 5
    for edit in (*few, *many):
        assert any("FOR UPDATE" in statement for statement in edit)
        assert len(edit) <= len(plain_more) + 4


@pytest.mark.parametrize(
    ("value", "theirs", "verdict"),
    [
        (0.2, 12.0, "met"),
        (0.2, None, "met"),
        (0.3, None, "MISSED (time)"),
        (0.3, 18.0, "MISSED (time)"),
        (0.1, 5.0, "MISSED (times)"),
        (0.3, 5.0, "MISSED"),
    ],
)
def test_a_row_with_two_bars_says_which_was_missed(value, theirs, verdict):
    row = Row("work", "key", most=0.2, times=60, peer=KEPT)

    (judged,) = judge([row], {"key": [value]}, {KEPT: theirs} if theirs else {})

    assert judged.cells[3] == verdict
    assert judged.met is (verdict == "met")


def test_what_has_no_bar_or_nothing_to_judge_by_is_neither_met_nor_missed():
    rows = [Row("no bar", "key"), Row("a ratio alone", "key", times=5, peer=KEPT), Row("absent", "other", most=1)]

    assert [line.met for line in judge(rows, {"key": [1.0]}, {})] == [None, None, None]


def test_growth():
    constant, kept = judge_growth(CURVE)[:2]

    assert (constant.cells[1], constant.met) == ("1.00 times", True)
    assert (kept.cells[1], kept.met) == ("0.30", True)
    steeper, _ = judge_growth(CURVE | {100_000: {FIRST: [13.0], KEPT: [2.0]}})[:2]
    assert (steeper.cells[1], steeper.met) == ("1.30 times", False)


def test_the_curve_as_text():
    theirs = {1_000: {FIRST: [1.0]}}

    assert "| first sign-off | 0.1 | 1 | 10 | 1.00 |" in curve.table(CURVE, theirs, "peer")
    assert "| peer: first sign-off | 1 |  |  | nan |" in curve.table(CURVE, theirs, "peer")
    lines = curve.text_plot(CURVE, theirs, "peer").splitlines()
    assert len(lines[lines.index("one change, kept") + 3]) > len(lines[lines.index("one change, kept") + 1])


def test_the_curve_as_a_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="only `make bench` installs matplotlib")

    assert curve.draw(tmp_path / "images" / "curve.png", CURVE, {}, "peer")
    assert (tmp_path / "images" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_no_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    assert not curve.draw(tmp_path / "curve.png", CURVE, {}, "peer")


def test_a_page_without_the_marks_is_left_as_it_was(tmp_path):
    written = tmp_path / "page.md"
    written.write_text("before")

    with pytest.raises(ValueError, match="left as it was"):
        page.write(written, "new")

    assert written.read_text() == "before"


def test_a_peer_that_cannot_be_installed_is_said_to_be_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))

    found = peer.install("some-peer", tmp_path / "venv")

    assert not found.python
    assert "-m venv" in found.error
    assert peer.installed(tmp_path / "venv") == found


def test_what_runs_over_the_time_is_broken_off_and_said():
    budget = Budget(0.05)
    started = time.monotonic()

    with budget.enforced():
        time.sleep(30)

    assert time.monotonic() - started < 30
    assert "when the time was over" in budget.left_out[0]


def test_what_does_not_fit_into_the_time_is_left_out_and_said(tmp_path):
    bench = Bench(None, None, tmp_path, (300, 3000), Repeats(), Budget(10))

    bench.run_peer(peer.Peer("some-peer", name="peer 1.0"))

    assert bench.theirs == {}
    assert bench.budget.left_out == [f"peer 1.0, {size} records: about 20 s, 10 s were left" for size in ("300", "3,000")]
