"""Cost against size: as text, and as a picture where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Mapping
from math import log10
from pathlib import Path

from benchmarks.measured import Figures, median
from benchmarks.rows import exponent, shown
from benchmarks.signing import DROPPED, FIRST, KEPT, LOADED, REFRESH

SERIES = {
    FIRST: "first sign-off",
    DROPPED: "one change, every cache dropped",
    LOADED: "one change, first in a process",
    KEPT: "one change, kept",
    REFRESH: "signature refresh",
}
THEIRS = {FIRST: "first sign-off", KEPT: "one change", REFRESH: "signature refresh"}
WIDTH, LEAST_S, DECADES = 50, 0.001, 6
Curve = Mapping[int, Figures]


def table(ours: Curve, theirs: Curve, peer_name: str) -> str:
    """Medians in seconds at each size, and how they grow: records to the power of."""
    sizes = sorted(ours)
    lines = ["| seconds | " + " | ".join(f"{size:,}" for size in sizes) + " | grows with records ^ |"]
    lines.append("|---" * (len(sizes) + 2) + "|")
    for curve, series, of in ((ours, SERIES, ""), (theirs, THEIRS, f"{peer_name}: ")):
        for key, words in series.items() if curve else ():
            cells = [_cell(curve.get(size, {}), key) for size in sizes]
            lines.append(f"| {of}{words} | " + " | ".join(cells) + f" | {exponent(curve, key):.2f} |")
    each = [_per_record(ours.get(size, {}), size) for size in sizes]
    lines.append("| first sign-off, ms per record | " + " | ".join(each) + " | |")
    return "\n".join(lines)


def text_plot(ours: Curve, theirs: Curve, peer_name: str) -> str:
    """Bars on a logarithmic scale, from a millisecond on."""
    labels = [f"{10**power * LEAST_S:g} s" for power in range(DECADES + 1)]
    step = WIDTH // DECADES
    lines = [" " * 10 + "".join(f"{label:<{step}}" for label in labels).rstrip()]
    for curve, series, of in ((ours, SERIES, ""), (theirs, THEIRS, f"{peer_name}: ")):
        for key, words in series.items() if curve else ():
            lines.append(f"{of}{words}")
            for size in sorted(curve):
                value = median(curve[size], key)
                if value:
                    length = max(1, round(step * log10(value / LEAST_S)))
                    lines.append(f"{size:>9,} {'█' * length} {shown(value, 's')}")
    return "\n".join(lines)


def draw(path: Path, ours: Curve, theirs: Curve, peer_name: str) -> bool:
    """Write the picture; False where there is no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="records of 500 bytes", ylabel="seconds, median")
    for curve, series, style, of in ((ours, SERIES, "o-", ""), (theirs, THEIRS, "s--", f"{peer_name}: ")):
        for key, words in series.items():
            points = [(size, value) for size in sorted(curve) if (value := median(curve[size], key))]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=of + words)
    axes.grid(visible=True, which="major", alpha=0.4)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    axes.set_title("kinto-signer: cost of a publication by size of the collection")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return True


def _cell(figures: Figures, key: str) -> str:
    value = median(figures, key)
    return "" if value is None else shown(value, "")


def _per_record(figures: Figures, size: int) -> str:
    value = median(figures, FIRST)
    return "" if value is None else shown(1000 * value / size, "")
