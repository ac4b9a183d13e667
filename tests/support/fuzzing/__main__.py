"""``make fuzz``: a campaign on several cores. Fails for any mutant that was accepted wrongly, crashed or hung."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.fuzzing.campaign import Campaign, Tally
from tests.support.fuzzing.material import Material, make_material
from tests.support.fuzzing.mutants import make_mutant
from tests.support.fuzzing.page import page

ROOT = Path(__file__).resolve().parents[3]
FAILURES = ROOT / "build" / "fuzz"
SILENT_S = 120
"""After which a worker is taken to wait for ever."""
EVERY_MUTANT = 100_000


def main() -> int:
    options = _options()
    shared = ROOT.parent / "shared"
    material = make_material(shared if shared.is_dir() else None)
    FAILURES.mkdir(parents=True, exist_ok=True)
    if options.case is not None:
        return _repeat(material, options.seed, options.case)
    if options.slice:
        return _work(material, options)
    tally, said = _spread(options)
    text = page(tally, material, options.seed)
    print(text)
    if options.write and tally.counts["mutants"] >= EVERY_MUTANT and not said and not tally.failures:
        Path(options.write).write_text(text, encoding="utf-8")
    for failure in tally.failures[:20]:
        print(f"seed {failure['seed']}, mutant {failure['number']}: {failure['why'].strip().splitlines()[-1]}", file=sys.stderr)
        print(
            f"  {FAILURES}/failure-{failure['seed']}-{failure['number']}.json has it; CASE={failure['number']} repeats it",
            file=sys.stderr,
        )
    print("".join(f"{line}\n" for line in said), end="", file=sys.stderr)
    if 2 * tally.counts["reached"] < tally.counts["mutants"] and tally.counts["mutants"] >= 1000:
        said.append("too few")
        print("Fewer than half of the mutants reached the check of a signature.", file=sys.stderr)
    return 1 if tally.failures or said else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seed", default="20261127")
    parser.add_argument("--count", type=int, default=EVERY_MUTANT)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit-s", type=float, default=3600, help="seconds after which it ends, as a failure")
    parser.add_argument("--write", help="the page to write, if all went well")
    parser.add_argument("--case", type=int, help="only this mutant: show what became of it")
    parser.add_argument("--slice", help=argparse.SUPPRESS)
    return parser.parse_args()


def _work(material: Material, options: argparse.Namespace) -> int:
    """One worker: every n-th mutant; its number goes to a file before it is made."""
    first, step = (int(part) for part in options.slice.split("/"))
    with tempfile.TemporaryDirectory() as folder, Path(options.write).open("wb", buffering=0) as progress:

        def at(number: int) -> None:
            os.pwrite(progress.fileno(), b"%12d" % number, 0)

        campaign = Campaign(material, options.seed, Path(folder), failures=FAILURES)
        print(json.dumps(campaign.run(range(first, options.count, step), progress=at).as_json()))
    return 0


def _spread(options: argparse.Namespace) -> tuple[Tally, list[str]]:
    """All workers, and what is to be said of those that broke off."""
    tally, said = Tally(), []
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for number in range(options.workers):
            out, progress = Path(folder, f"out-{number}"), Path(folder, f"progress-{number}")
            command = [sys.executable, "-m", "tests.support.fuzzing", "--seed", options.seed, "--count", str(options.count)]
            command += ["--slice", f"{number}/{options.workers}", "--write", str(progress)]
            with out.open("wb") as stdout:
                running.append((subprocess.Popen(command, cwd=ROOT, stdout=stdout), out, progress))
        ends = time.monotonic() + options.limit_s
        for process, out, progress in running:
            why = _wait(process, progress, ends)
            if why:
                reached = progress.read_text().strip() if progress.exists() else "none"
                said.append(f"{why} at mutant {reached} of seed {options.seed}; CASE={reached} repeats it.")
            else:
                tally.add(Tally.from_json(json.loads(out.read_text())))
    return tally, said


def _wait(process: subprocess.Popen[bytes], progress: Path, ends: float) -> str:
    """Until a worker is done; why it broke off, if it did."""
    while process.poll() is None:
        time.sleep(0.2)
        silent = time.time() - progress.stat().st_mtime if progress.exists() else 0
        if silent > SILENT_S or time.monotonic() > ends:
            process.kill()
            process.wait()
            return f"A worker said nothing for {silent:.0f} s" if silent > SILENT_S else "The time was over"
    return f"A worker ended with {process.returncode}" if process.returncode else ""


def _repeat(material: Material, seed: str, number: int) -> int:
    mutant, tally = make_mutant(material, seed, number), Tally()
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(material, seed, Path(folder), failures=FAILURES)
        with campaign.watching():
            became = campaign.one(mutant, tally)
    print(f"{mutant.original.label}, through {mutant.door}: {', '.join(mutant.edits)}")
    for part, body in mutant.bodies.items():
        print(f"--- {part}\n{body.decode('utf-8', 'backslashreplace')}")
    print(f"--- {became}; {dict(tally.refused)}")
    print("".join(failure["why"] for failure in tally.failures), end="")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
