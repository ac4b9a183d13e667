"""The table: what is measured, the bar for it, and what a peer takes for the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import log

from benchmarks.measured import Figures, median
from benchmarks.signing import DROPPED, FIRST, KEPT, LOADED, REFRESH


@dataclass(frozen=True)
class Row:
    """key: of the figure. most: the bar, in `unit`. times: how often faster than the peer's figure `peer` it has to be."""

    words: str
    key: str
    unit: str = "s"
    most: float | None = None
    times: float | None = None
    peer: str | None = None


ROWS = (
    Row("sign-off after one change, kept in the process", KEPT, most=0.2, times=60, peer=KEPT),
    Row("the same, first in a process that has just started", LOADED, most=0.55, times=20, peer=KEPT),
    Row("the same, every cache dropped", DROPPED, times=5, peer=KEPT),
    Row("first sign-off", FIRST, most=8, times=20, peer=FIRST),
    Row("signature refresh", REFRESH, most=0.05, peer=REFRESH),
    Row("with a preview, one PATCH: after one change, kept", "preview_kept"),
    Row("… times without a preview", "preview_kept_times", "times", 1.5),
    Row("… first in a process, times without", "preview_loaded_times", "times", 1.5),
    Row("… first sign-off, times without", "preview_first_times", "times", 1.5),
    Row("… refresh, times without", "preview_refresh_times", "times", 1.5),
    Row("with reviews: the editor's request for review", "request_review"),
    Row("… times a sign-off without a preview", "request_review_times", "times", 1.5),
    Row("with reviews: the reviewer's approval", "approve"),
    Row("… times a sign-off without a preview", "approve_times", "times", 1.5),
    Row("memory above an idle worker, first sign-off", "first_mib", "MiB", 300),
    Row("memory above an idle worker, re-signing", "loaded_mib", "MiB", 150),
    Row("… with every cache dropped", "dropped_mib", "MiB", 150),
    Row("edit of one record, first after a signature", "edit_first"),
    Row("… times plain Kinto", "edit_first_times", "times", 1.4),
    Row("edit of one record, those that follow", "edit_more"),
    Row("… times plain Kinto", "edit_more_times", "times", 1.4),
    Row("SQL statements more than plain Kinto, first edit", "edit_first_statements", "", 4),
    Row("SQL statements more than plain Kinto, those that follow", "edit_more_statements", "", 4),
    Row("publication to A after one change, on top of S alone", "authority_added", most=0.5),
    Row("first publication to A, on top of S alone", "authority_first_added"),
    Row("updater, nothing changed: requests", "unchanged_requests", "", 1),
    Row("updater, nothing changed: our own time", "unchanged_own", most=0.05),
    Row("… start of the process included", "unchanged_process"),
    Row("updater, one change: fetch, verify, commit", "changed_seconds", most=0.5),
    Row("… start of the process included", "changed_process"),
    Row("updater, first pull", "pull_seconds"),
    Row("… times downloading and parsing alone", "pull_times", "times", 2),
    Row("updater, first pull: peak memory of the process", "pull_peak_mib", "MiB", 300),
)
# How much the time per record may differ where it is called constant: what a shared machine makes of two runs.
CONSTANT = 1.25


@dataclass(frozen=True)
class Judged:
    """A line of the table, and whether the bar is met; None where there is none, or nothing to judge by."""

    cells: tuple[str, ...]
    met: bool | None


def derived(figures: Figures) -> Figures:
    """The figures, and those that compare two of them."""
    found = dict(figures)

    def compare(key: str, one: str, other: str, how: Callable[[float, float], float]) -> None:
        first, second = median(figures, one), median(figures, other)
        if first is not None and second is not None:
            found[key] = [how(first, second)]

    def quotient(first: float, second: float) -> float:
        return first / second

    def excess(first: float, second: float) -> float:
        return first - second

    for what in (FIRST, KEPT, LOADED, REFRESH):
        compare(f"preview_{what}_times", f"preview_{what}", what, quotient)
    for what in ("request_review", "approve"):
        compare(f"{what}_times", what, KEPT, quotient)
    for what in ("edit_first", "edit_more"):
        compare(f"{what}_times", what, "plain_edit", quotient)
    compare("pull_times", "pull_seconds", "download", quotient)
    compare("authority_added", "authority_kept", KEPT, excess)
    compare("authority_first_added", "authority_first", FIRST, excess)
    return found


def judge(rows: Iterable[Row], figures: Figures, theirs: Mapping[str, float]) -> list[Judged]:
    """Each row against its bar, and against what a peer took: `theirs`, in seconds."""
    return [_judged(row, derived(figures), theirs) for row in rows]


def judge_growth(curve: Mapping[int, Figures]) -> list[Judged]:
    """The two rows about how the cost grows; curve: the figures at each size."""
    found = []
    sizes = sorted(curve)
    if len(sizes) > 1:
        per_record = [(median(curve[size], FIRST) or 0) / size for size in sizes[-2:]]
        words = f"first sign-off: time per record, from {sizes[-2]:,} to {sizes[-1]:,}"
        times = per_record[1] / per_record[0] if per_record[0] else float("nan")
        found.append(_line(words, f"{times:.2f} times", f"constant (<= {CONSTANT})", times <= CONSTANT))
        for key, words in ((KEPT, "kept"), (LOADED, "first in a process"), (DROPPED, "every cache dropped")):
            power = exponent(curve, key)
            words = f"one change, {words}: time grows with records to the power of"
            found.append(_line(words, f"{power:.2f}", "< 1", power < 1))
    return found


def exponent(curve: Mapping[int, Figures], key: str) -> float:
    """Of the growth between the smallest and the greatest size: 1 is linear."""
    least, greatest = min(curve), max(curve)
    low, high = median(curve[least], key), median(curve[greatest], key)
    return log(high / low) / log(greatest / least) if low and high and least < greatest else float("nan")


def markdown(judged: Iterable[Judged], peer_name: str) -> str:
    """A table."""
    lines = [f"| work | measured | bar | | {peer_name} | times faster |", "|---|---|---|---|---|---|"]
    return "\n".join(lines + ["| " + " | ".join(line.cells) + " |" for line in judged])


def _judged(row: Row, figures: Figures, theirs: Mapping[str, float]) -> Judged:
    value = median(figures, row.key)
    if value is None:
        return Judged((row.words, "not measured", _bar(row), "", "", ""), None)
    other = theirs.get(row.peer or "")
    times = other / value if other is not None else None
    missed = [row.most is not None and value > row.most, row.times is not None and times is not None and times < row.times]
    judgeable = row.most is not None or (row.times is not None and times is not None)
    met = not any(missed) if judgeable else None
    cells = (
        row.words,
        shown(value, row.unit) + _spread(figures[row.key], row.unit),
        _bar(row),
        _verdict(row, met, missed),
        "" if other is None else shown(other, "s"),
        "" if times is None else shown(times, ""),
    )
    return Judged(cells, met)


def _verdict(row: Row, met: bool | None, missed: list[bool]) -> str:
    if met is None:
        return ""
    if met:
        return "met"
    both_asked = row.most is not None and row.times is not None
    return "MISSED" + (" (time)" if both_asked and not missed[1] else " (times)" if both_asked and not missed[0] else "")


def _line(words: str, value: str, bar: str, met: bool) -> Judged:
    return Judged((words, value, bar, "met" if met else "MISSED", "", ""), met)


def _bar(row: Row) -> str:
    parts = [] if row.most is None else [f"<= {shown(row.most, row.unit, exact=True)}"]
    parts += [] if row.times is None else [f"{row.times:g} times the peer"]
    return ", ".join(parts)


def _spread(values: list[float], unit: str) -> str:
    return f" (of {len(values)}: {shown(min(values), '')} to {shown(max(values), unit)})" if len(values) > 1 and unit else ""


def shown(value: float, unit: str, *, exact: bool = False) -> str:
    """Three digits, or two after the point."""
    text = f"{value:g}" if exact else f"{value:,.0f}" if value >= 100 or not value % 1 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()
