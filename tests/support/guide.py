"""A page of the documentation whose commands are run as they stand: blocks for the shell, and for configuration files.

Each ``code-block`` is one of these:

* ``console``: lines that begin with ``$`` are commands, what follows is what they print, on both streams; ``…`` stands for
  anything within a line, and a line ``…`` for any number of lines.
* ``ini``: begins with ``# signer.ini`` or ``# authority.ini``: all settings of that server about keys, from then on.
* ``toml``: begins with ``# NAME``: the content of that file.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 120
_BLOCK = re.compile(r"^\.\. code-block:: (console|ini|toml)\n\n((?:    .*\n|\n)+)", re.MULTILINE)
_SHA256 = re.compile(r"\b[0-9A-F]{2}(?::[0-9A-F]{2}){31}\b")


@dataclass(frozen=True)
class Block:
    """kind: console, ini or toml. line: where it stands in the page."""

    kind: str
    text: str
    line: int


def blocks(page: Path, *sections: str) -> list[Block]:
    """The blocks of these sections of a page, in its order."""
    text = page.read_text()
    starts = [(found.start(), found[1]) for found in re.finditer(r"^(\S.*)\n([=-])\2{2,}\n", text, re.MULTILINE)]
    missing = set(sections) - {title for _, title in starts}
    assert not missing, missing
    found = []
    for block in _BLOCK.finditer(text):
        section = [title for start, title in starts if start < block.start()][-1]
        if section in sections:
            lines = [line[4:] for line in block[2].rstrip("\n").splitlines()]
            found.append(Block(block[1], "\n".join(lines), text.count("\n", 0, block.start()) + 1))
    assert found
    return found


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a block, and what it prints."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        count = next(i for i, line in enumerate(lines, 1) if not line.endswith("\\"))
        yield "\n".join(lines[:count]), "\n".join(lines[count:]).strip("\n")


def matches(expected: str, printed: str) -> bool:
    """Whether a command printed what the page says, in which ``…`` stands for what differs."""
    anything = {line: "(?s:.*)" if line.strip() == "…" else re.escape(line).replace("…", ".*") for line in expected.splitlines()}
    return bool(re.fullmatch("\n".join(anything[line] for line in expected.splitlines()), printed))


@dataclass
class Guide:
    """Runs blocks in the folder `place`.

    names: what is written in the page, and what stands for it in the test. restart: called with ``signer`` or ``authority``.
    configure: called with that and its settings about keys. root: the file with the root that the page's fingerprints stand for.
    """

    place: Path
    names: Mapping[str, str]
    environment: Mapping[str, str]
    restart: Callable[[str], None]
    configure: Callable[[str, dict[str, str]], None]
    root: Path | None = None

    def run(self, wanted: list[Block]) -> int:
        """Run them all; returns how many commands that were."""
        count = 0
        for block in wanted:
            if block.kind == "console":
                for command, expected in commands(block):
                    self._run(command, expected, block.line)
                    count += 1
            else:
                self._write(block)
        return count

    def _write(self, block: Block) -> None:
        first, _, rest = block.text.partition("\n")
        name, text = first.removeprefix("# "), self._real(rest)
        if block.kind == "toml":
            (self.place / name).write_text(text + "\n")
            return
        pairs = (line.partition(" = ") for line in text.splitlines())
        self.configure(name.removesuffix(".ini"), {key: value for key, _, value in pairs})

    def _run(self, command: str, expected: str, line: int) -> None:
        if command.startswith("systemctl restart "):
            self.restart(command.split()[-1].removeprefix("kinto-"))
            return
        done = self.call(command)
        if not matches(self._real(expected, digests=False), done.stdout.rstrip("\n")):
            raise AssertionError(f"line {line} of the page: $ {command}\n\nprinted\n{done.stdout}\nand not\n{expected}")

    def call(self, command: str) -> subprocess.CompletedProcess[str]:
        """Have the shell run a command as it stands in the page; stdout is what it printed on both streams."""
        bash = shutil.which("bash")
        assert bash
        return subprocess.run(
            [bash, "-c", self._real(command)],
            cwd=self.place,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def _real(self, text: str, *, digests: bool = True) -> str:
        for written, real in self.names.items():
            text = text.replace(written, real)
        if digests and self.root is not None and _SHA256.search(text):
            command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", self.root]
            found = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
            text = _SHA256.sub(found.stdout.strip().partition("=")[2], text)
        return text
