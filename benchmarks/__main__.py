"""``make bench``: what S and kinto-updater cost, against the bars and against a peer.

``python -m benchmarks [--records N] [--peer FOLDER] [--write docs/performance.md]``; FOLDER is `benchmarks.peer`'s.
The results are also kept in build/bench. Exit code 1 if a bar was missed; the bars are for 100,000 records.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import curve, page, peer, statements
from benchmarks.measured import Budget, Figures, median
from benchmarks.reading import Reading
from benchmarks.rows import ROWS, Judged, judge, judge_growth
from benchmarks.signing import DROPPED, FIRST, KEPT, LOADED, Repeats, Signing
from benchmarks.sites import key_pair_in_a_folder
from tests.support.keys import KeyPair
from tests.support.postgres import PostgresServer
from tests.support.servers import started_postgres
from tests.support.settings import kinto_settings, signer_settings

BUILD = Path("build/bench")
BARS_ARE_FOR = 100_000
SMALLEST = 300


@dataclass
class Bench:
    """The steps of a run. ours, theirs: the figures at each size."""

    postgres: PostgresServer
    key_pair: KeyPair
    folder: Path
    sizes: tuple[int, ...]
    repeats: Repeats
    budget: Budget
    ours: dict[int, Figures] = field(default_factory=dict)
    theirs: dict[int, Figures] = field(default_factory=dict)

    @property
    def records(self) -> int:
        return self.sizes[-1]

    def run_ours(self) -> None:
        for size in self.sizes[:-1]:
            repeats = replace(self.repeats, starts=min(self.repeats.starts, 2))
            signing = Signing(self.postgres, self.key_pair, size, repeats)
            signing.alone(self.ours.setdefault(size, {}))
            self.ours[size][FIRST] += [signing.first() for _ in range(repeats.starts - 1)]
            signing.forget()
            self._say(f"{size:,} records: first sign-off, one change, refresh", size)
        signing = Signing(self.postgres, self.key_pair, self.records, self.repeats)
        figures = self.ours.setdefault(self.records, {})
        signing.alone(figures)
        self._say(f"{self.records:,} records: first sign-off, one change, refresh", self.records)
        for words, seconds, step in (
            ("edits, beside a plain Kinto", 20, lambda: self._edits(signing, figures)),
            ("with a preview, and with reviews", 50, lambda: signing.with_preview(figures)),
            ("first sign-offs once more", 50, lambda: signing.firsts(figures)),
            ("publication to A, and the updater", 70, lambda: self._published(signing, figures)),
        ):
            if self.budget.allows(words, seconds * self._scale(self.records)):
                step()
                self._say(words)
        signing.forget()

    def run_peer(self, beside: peer.Peer) -> None:
        first = None
        for size in self.sizes:
            expected = 20 if first is None else peer.GROWTH * first + 20
            if self.budget.allows(f"{beside.name}, {size:,} records", expected):
                changes = min(self.repeats.changes, 3)
                figures = self.theirs.setdefault(size, {})
                peer.measure(beside, self.postgres, self.key_pair, size, self.budget, changes, figures)
                first = median(figures, FIRST)
                self._say(f"{beside.name}, {size:,} records")

    def _published(self, signing: Signing, figures: Figures) -> None:
        with signing.published(figures) as (desk, authority):
            reading = Reading(desk, authority, self.key_pair, self.folder)
            reading.measure(self.repeats.starts, self.repeats.changes, figures)

    def _edits(self, signing: Signing, figures: Figures) -> None:
        signing.edits(figures)
        count = min(self.records, 3000)
        first, more = statements.of_an_edit(self.postgres, signer_settings(self.key_pair.private), count)
        _, plain = statements.of_an_edit(self.postgres, kinto_settings(), count)
        figures["edit_first_statements"] = [float(len(first) - len(plain))]
        figures["edit_more_statements"] = [float(len(more) - len(plain))]

    def _scale(self, size: int) -> float:
        """How long a step takes, as a part of what it takes with 100,000 records."""
        return 0.2 + 0.8 * size / 100_000

    def _say(self, what: str, size: int | None = None) -> None:
        some = (
            ""
            if size is None
            else "".join(
                f"; {key} {median(self.ours[size], key):.3f} s"
                for key in (FIRST, KEPT, LOADED, DROPPED)
                if self.ours[size].get(key)
            )
        )
        print(f"  {what}{some} ({self.budget.left():.0f} s left)", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    started, load = time.monotonic(), os.getloadavg()[0]
    beside = peer.installed(options.peer) if options.peer else peer.Peer("")
    budget = Budget(options.seconds)
    least = min(SMALLEST, options.records)
    sizes = tuple(sorted({max(least, options.records // 100), max(least, options.records // 10), options.records}))
    with started_postgres() as postgres, key_pair_in_a_folder() as (key_pair, folder):
        bench = Bench(postgres, key_pair, folder, sizes, Repeats(options.changes, options.changes, options.starts), budget)
        with budget.enforced():
            bench.run_ours()
            if beside.python:
                bench.run_peer(beside)
        named = postgres.execute("SHOW server_version")[0][0]
    judged, theirs, names, note = _compared(bench, beside)
    run = page.Run(
        records=options.records,
        table=judged,
        ours=bench.ours,
        theirs=theirs,
        peer_name=names[0],
        curve_name=names[1],
        peer_note=note,
        postgres=f"PostgreSQL {named}",
        load=(load, os.getloadavg()[0]),
        seconds=time.monotonic() - started,
        command=_command(options, beside),
        left_out=budget.left_out,
    )
    _keep(run, options.write, options.build)
    return 1 if options.records >= BARS_ARE_FOR and any(line.met is False for line in judged) else 0


def _compared(bench: Bench, beside: peer.Peer) -> tuple[list[Judged], curve.Curve, tuple[str, str], str]:
    """The table against the peer of this run, or what was recorded of one; its curve; whom both are of, and a note."""
    measured = {key: value for key in (FIRST, *curve.THEIRS) if (value := median(bench.theirs.get(bench.records, {}), key))}
    recorded = {size: values for size, values in peer.RECORDED.items() if size in bench.sizes}
    theirs, names = bench.theirs, (beside.name, beside.name)
    if not bench.theirs:
        theirs = {size: {key: [value] for key, value in by.items()} for size, by in recorded.items()}
        names = (peer.RECORDED_NAME, peer.RECORDED_NAME)
    if measured:
        note = f"Beside it, in the same run: {beside.name} ({beside.requirement})"
    else:
        names = (peer.RECORDED_NAME, names[1])
        why = beside.error.strip().splitlines()[-1:] or (["it got no time with so many records"] if beside.requirement else [])
        note = f"{beside.requirement} was not measured: {why[0]}" if why else "No peer in this run (`make bench PEER=…`)"
        note += "; compared with what was recorded on another day and machine: read the ratios with care"
    seconds = measured or recorded.get(bench.records, {})
    rows = judge(ROWS, bench.ours.get(bench.records, {}), seconds) + judge_growth(bench.ours)
    return rows, theirs, names, note


def _keep(run: page.Run, written: Path | None, build: Path) -> None:
    """Print it, keep it in the build folder, and in a page if one is named."""
    picture = (written.parent / "images" if written else build) / "performance.png"
    drawn = curve.draw(picture, run.ours, run.theirs, run.curve_name)
    address = None if not drawn else f"images/{picture.name}" if written else picture.name
    text = page.section(run, address)
    build.mkdir(parents=True, exist_ok=True)
    (build / "performance.md").write_text(text, encoding="utf-8")
    (build / "figures.json").write_text(json.dumps({"ours": run.ours, "theirs": run.theirs}, indent=1), encoding="utf-8")
    print(text)
    print(f"Kept in {build}" + (f"; drawn: {picture}" if drawn else "; no picture: matplotlib is not installed"))
    if written:
        page.write(written, text)


def _command(options: argparse.Namespace, beside: peer.Peer) -> str:
    usual = vars(_options([]))
    extra = [f"--{name} {vars(options)[name]}" for name in ("records", "changes", "starts") if vars(options)[name] != usual[name]]
    parts = ["make bench", *([f"PEER={shlex.quote(beside.requirement)}"] if beside.requirement else [])]
    return " ".join(parts + ([f"BENCH='{' '.join(extra)}'"] if extra else []))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--changes", type=int, default=9, help="how often one record is changed, edited, signed again")
    parser.add_argument("--starts", type=int, default=3, help="how often what needs another start, or takes long, is done")
    parser.add_argument("--seconds", type=float, default=560, help="what does not fit into them is left out")
    parser.add_argument("--peer", type=Path, help="folder that `python -m benchmarks.peer` installed into")
    parser.add_argument("--write", type=Path, help="page whose marked section is replaced, such as docs/performance.md")
    parser.add_argument("--build", type=Path, default=BUILD, help="where results are kept")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
