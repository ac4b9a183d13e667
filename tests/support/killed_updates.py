"""Run as a program: one update killed at each of its writes in turn, and what is found afterwards.

It is a process of its own because it forks, which a process with threads should not. Prints a JSON object for each kill.
"""

import json
import shutil
import sys
from pathlib import Path

from kinto_signer.core.repository import MemoryRepository, Synchronizer
from kinto_signer.core.trust import Trust, load_public_key
from kinto_signer.updater import open_cache
from kinto_signer.updater.files import remove_leftovers
from kinto_signer.updater.reading import open_for_update
from kinto_signer.updater.saved import load, path_of, save
from tests.support.ptrace import run_and_kill
from tests.support.states import NAME, now_ms


def source_of(path: Path) -> MemoryRepository:
    source = MemoryRepository()
    source.apply(NAME, load(path)[1])
    return source


def main(folder: Path, *, start_empty: bool) -> None:
    trust = Trust((load_public_key((folder / "signer-public.pem").read_bytes(), where="test"),))
    old, new = source_of(folder / "old.json"), source_of(folder / "new.json")
    before, work = folder / "before", folder / "work"
    wanted = {} if start_empty else {old.timestamp(NAME)}
    wanted = {*wanted, new.timestamp(NAME)}

    def update(source: MemoryRepository, place: Path) -> None:
        verify = open_for_update(place / "cache", trust, now_ms)
        Synchronizer(source, verify).sync(NAME)
        save(place / "json", NAME, verify.changeset(NAME))

    before.mkdir()
    if not start_empty:
        update(old, before)
    at, killed = 0, True
    while killed:
        at += 1
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(before, work)
        killed, call = run_and_kill(lambda: update(new, work), at)
        found = states(work, trust)
        # what a reader sees is the old or the new state, or nothing yet
        right = found["cache"] in wanted or (start_empty and found["cache"] == 0)
        right &= found["json"] in wanted or (start_empty and found["json"] == 0)
        remove_leftovers(work / "cache" / "collections.sqlite")
        remove_leftovers(work / "cache" / "highest.json")
        remove_leftovers(path_of(work / "json", NAME))
        update(new, work)
        after = states(work, trust)
        left = sorted(path.name for path in work.rglob("*") if path.is_file())
        print(json.dumps({"at": at, "killed": killed, "call": call, **found, "right": right, "after": after, "files": left}))


def states(place: Path, trust: Trust) -> dict[str, int]:
    """The timestamps of what is served from the cache, which is verified on the way, and from the saved file."""
    found = {"cache": 0, "json": 0}
    if (place / "cache" / "collections.sqlite").exists():
        with open_cache(place / "cache", trust.keys) as cache:
            found["cache"] = cache.timestamp(NAME) if NAME in cache.names() else 0
    if path_of(place / "json", NAME).exists():
        found["json"] = load(path_of(place / "json", NAME))[1].timestamp
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), start_empty=sys.argv[2] == "empty")
