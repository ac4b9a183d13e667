"""A reader of the stories: ``kinto-updater`` with a cache of its own, which is the same byte for byte after a refusal."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from kinto_signer.cli import output, updater
from tests.support.stories.stage import NAME, Stage

Run = Callable[..., tuple[int, dict]]
_NUMBERS = count(1)


def run_in_this_process(_: str, *arguments: object) -> tuple[int, dict]:
    """As `stage.command`, quicker, and for a reader some of whose checks were taken away."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()):
        code = output.run(updater.cli, [*map(str, arguments), "--format", "json"])
    return code, json.loads(printed.getvalue())


@dataclass(frozen=True)
class Reader:
    """Of one bucket: ``main``, with statements, or ``plain``.

    run: how the command is run. key (S's by default), more_keys, audience: the policy.
    """

    stage: Stage
    bucket: str
    folder: Path
    run: Run
    audience: str | None = "production"
    key: Path | None = None
    more_keys: tuple[Path, ...] = ()

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def stated(self) -> bool:
        return self.bucket == "main"

    @property
    def keys(self) -> tuple[Path, ...]:
        return (self.key or self.stage.key_pair.public, *self.more_keys)

    def new(self, **changes: object) -> "Reader":
        """Another reader, who never saw anything."""
        return replace(self, folder=self.folder.with_name(f"reader-{next(_NUMBERS)}"), **changes)

    def like(self, **changes: object) -> "Reader":
        """Another reader, who saw what this one saw."""
        other = self.new(**changes)
        shutil.copytree(self.folder, other.folder)
        return other

    def look(self, url: str, *flags: object, collections: tuple[str, ...] = (NAME,)) -> str:
        """Gather what the server at `url` shows: ``accepted``, or the reason of a refusal, after which nothing is changed."""
        before = self.files()
        wanted = [part for name in collections for part in ("-c", f"{self.bucket}/{name}")]
        policy: list[object] = [part for key in self.keys for part in ("--public-key", key)]
        policy += ["--audience", self.audience] if self.audience and self.stated else []
        code, answer = self.run(
            "updater", "gather-changes", url, *wanted, *policy, "--cache", self.cache, "--json", self.folder / "json", *flags
        )
        errors = [found["error"] for found in answer["collections"] if "error" in found]
        if not errors:
            assert code == 0
            return "accepted"
        assert self.files() == before, "a refusal changed the local copy"
        (error,) = errors
        assert code == error["exit_code"] == (5 if error["reason"] == "unreachable" else 3)
        return error["reason"]

    def show(self, *flags: object) -> dict:
        """What the cache holds of the collection."""
        code, answer = self.run("updater", "show", f"{self.bucket}/{NAME}", "--cache", self.cache, *flags)
        assert code == 0
        return answer["collections"][0]

    def files(self) -> dict[str, bytes]:
        """All that it keeps; the file of the lock is empty."""
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".lock"}
