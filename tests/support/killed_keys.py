"""Run as a program: a command that makes keys, killed at each of its writes in turn, and what is found afterwards.

It is a process of its own because it forks, which a process with threads should not. Prints a JSON object for each kill.
"""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

from kinto_signer.cli import output
from kinto_signer.cli.signer import cli
from tests.support.ptrace import run_and_kill


def main(before: Path, work: Path, arguments: list[str]) -> None:
    """arguments: of the command, in which ``{work}`` stands for the folder `work`, a copy of `before`."""
    command = [argument.replace("{work}", str(work)) for argument in arguments]
    at, killed = 0, True
    while killed:
        at += 1
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(before, work)
        killed, call = run_and_kill(lambda: run(command), at)
        found = listed(work)
        code = output_code(command)
        print(json.dumps({"at": at, "killed": killed, "call": call, "found": found, "again": code, "after": listed(work)}))


def run(command: list[str]) -> None:
    if output_code(command):
        raise RuntimeError("the command failed")


def output_code(command: list[str]) -> int:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return output.run(cli, command)


def listed(folder: Path) -> dict[str, int]:
    """Every file below, with its size."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
