"""A run as Markdown, and where it is kept: a marked section of docs/performance.md."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import curve
from benchmarks.rows import Judged, markdown
from tests.support.servers import ROOT

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
PACKAGES = ("kinto", "SQLAlchemy", "psycopg2-binary", "granian", "cryptography")


@dataclass(frozen=True)
class Run:
    """A run that has ended. load: of the machine, before and after.

    peer_name: whose the table's figures are, curve_name: the curve's. peer_note: what the peer is, or why there is none.
    """

    records: int
    table: Sequence[Judged]
    ours: curve.Curve
    theirs: curve.Curve
    peer_name: str
    curve_name: str
    peer_note: str
    postgres: str
    load: tuple[float, float]
    seconds: float
    command: str
    left_out: Sequence[str]


def section(run: Run, picture: str | None) -> str:
    """Everything about a run. picture: its address, if there is one."""
    left_out = "".join(f"* Left out for want of time: {what}.\n" for what in run.left_out)
    image = f"\n![cost by size]({picture})\n" if picture else ""
    return f"""\
* {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_commit()}; {run.seconds:.0f} s; to repeat: `{run.command}`
* {machine()}; load average {run.load[0]:.1f} before and {run.load[1]:.1f} after
* {run.postgres} on a socket, without fsync; {", ".join(f"{name} {version(name)}" for name in PACKAGES)}; one worker
* {run.peer_note}
{left_out}
Medians, {run.records:,} records of 494 bytes; one change is to another record each time, spread over the collection. What has no
spread was measured once, or compares two medians. The bars are for 100,000 records; "20 times the peer": so many times faster.

{markdown(run.table, run.peer_name)}

{curve.table(run.ours, run.theirs, run.curve_name)}

```
{curve.text_plot(run.ours, run.theirs, run.curve_name)}
```
{image}"""


def write(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page. Raises ValueError where it has none."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no section between {BEGIN} and {END}; it was left as it was.")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def machine() -> str:
    """Processor, cores, memory, Python."""
    models = [line.partition(":")[2].strip() for line in _text("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    memory = _text("/proc/meminfo").partition("MemTotal:")[2].split()
    gib = f"{int(memory[0]) / 2**20:.0f} GiB" if memory else "unknown memory"
    return f"{os.cpu_count()} cores ({models[0] if models else platform.machine()}), {gib}, Python {platform.python_version()}"


def _text(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not a git checkout"
