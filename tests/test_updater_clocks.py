"""Wrong clocks of the updater: seven offsets as whole processes, the boundaries, clocks that step meanwhile."""

import dataclasses
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kinto_signer.cli import output, updater
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.freshness import DAY_MS, FUTURE_TOLERANCE_MS
from kinto_signer.updater.gather import Gathering
from kinto_signer.updater.settings import gather_settings, read_options
from tests.support import faketime
from tests.support.faketime import OFFSETS, FakeClock
from tests.support.hostile import FakeKinto, HostileServer
from tests.support.statements import stated
from tests.support.states import NAME, make_records, now_ms, signed_state

NEEDS_FAKETIME = pytest.mark.skipif(faketime.find_library() is None, reason=faketime.MISSING)
UPDATER = "from kinto_signer.cli.updater import main; main()"


class Reader:
    """A reader that holds a state, and a server that has a newer one. now: when that was signed, integer milliseconds."""

    def __init__(self, folder: Path, key_pair: Any, now: int, **said: Any) -> None:
        key = key_pair.key()
        self.folder, self.public, self.now = folder, key_pair.public, now
        self.held = stated(key, signed_state(key, make_records(2, start=now - 2 * DAY_MS)), now=now - 2 * DAY_MS)
        self.offered = stated(key, signed_state(key, make_records(3, start=now - 60_000)), now=now, **said)

    def hold(self, name: str) -> Path:
        """A cache with the older state."""
        cache = self.folder / name
        with HostileServer(FakeKinto(self.held, changes=True)) as server:
            at = datetime.fromtimestamp(self.now / 1000, UTC).isoformat()
            assert output.run(updater.cli, self.command(server, cache, "--at", at)) == 0
        return cache

    def command(self, server: HostileServer, cache: Path, *more: str) -> list[str]:
        flags = ["--public-key", str(self.public), "--cache", str(cache), "--require-statement", "--format", "json"]
        return ["gather-changes", server.url, "-c", NAME, *flags, *more]


def as_process(clock: FakeClock, *arguments: str) -> tuple[int, Any]:
    """kinto-updater as a process of its own, under that clock."""
    command = [sys.executable, "-c", UPDATER, *map(str, arguments)]
    environment = {**os.environ, **clock.environment, "PYTHONWARNINGS": "error"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)["collections"][0]


def files_of(cache: Path) -> dict[str, bytes]:
    """All but when the copy was examined last."""
    found = {path.name: path.read_bytes() for path in cache.iterdir() if path.name != "update.lock"}
    marks = json.loads(found.pop("highest.json"))
    return found | {"highest.json": json.dumps(marks["highest"]).encode()}


READER = {"-10y": ("not-yet-valid", "more than 24 hours after"), "+10y": ("expired", "there is no tolerance")}


@NEEDS_FAKETIME
def test_a_reader_with_a_wrong_clock(key_pair, tmp_path):
    reader, clock = Reader(tmp_path, key_pair, now_ms()), FakeClock(tmp_path)
    for offset, seconds in OFFSETS.items():
        clock.set(0)
        cache = reader.hold(offset)
        before = files_of(cache)
        clock.set(seconds)
        with HostileServer(FakeKinto(reader.offered, changes=True)) as server:
            code, found = as_process(clock, *reader.command(server, cache))
        if offset in READER:
            reason, said = READER[offset]
            assert (code, found["error"]["reason"]) == (3, reason)
            assert said in found["error"]["message"]
            assert found["timestamp"] == reader.held.timestamp
            assert files_of(cache) == before
            # What is held can be used, whatever the clock says: a statement's end stops updates.
            assert as_process(clock, "show", "--cache", cache, "--format", "json")[0] == 0
        else:
            assert (code, found["timestamp"]) == (0, reader.offered.timestamp), offset


@NEEDS_FAKETIME
@pytest.mark.parametrize("offset", ["-10y", "+10y"])
def test_a_readers_clock_steps_during_the_run(offset, key_pair, tmp_path):
    reader, clock = Reader(tmp_path, key_pair, now_ms()), FakeClock(tmp_path)
    cache = reader.hold("cache")
    before, offered = files_of(cache), FakeKinto(reader.offered, changes=True)

    def answer(request):
        if "changeset" in request.path:
            clock.set(OFFSETS[offset])
        return offered(request)

    with HostileServer(answer) as server:
        code, found = as_process(clock, *reader.command(server, cache, "--deadline", "60"))
    assert (code, found["error"]["reason"]) == (3, READER[offset][0])
    assert files_of(cache) == before
    clock.set(0)
    with HostileServer(offered) as server:
        assert as_process(clock, *reader.command(server, cache))[0] == 0


BOUNDARIES = [
    ("signed_at", -FUTURE_TOLERANCE_MS - 1000, "not-yet-valid"),
    ("signed_at", -FUTURE_TOLERANCE_MS - 1, "not-yet-valid"),
    ("signed_at", -FUTURE_TOLERANCE_MS, None),
    ("signed_at", -FUTURE_TOLERANCE_MS + 1000, None),
    ("expires", -1000, None),
    ("expires", 0, None),
    ("expires", 1, "expired"),
    ("expires", 1000, "expired"),
]


@pytest.mark.parametrize(("field", "after_ms", "reason"), BOUNDARIES)
def test_boundaries_of_a_statement(field, after_ms, reason, key_pair, tmp_path):
    now = 1_800_000_000_000
    reader = Reader(tmp_path, key_pair, now, expires=now + 7 * DAY_MS)
    cache = reader.hold("cache")
    at = {"signed_at": now, "expires": now + 7 * DAY_MS}[field] + after_ms

    outcome = gathered(reader, cache, reader.offered, lambda: at / 1000)

    if reason is None:
        assert (outcome.error, outcome.timestamp) == (None, reader.offered.timestamp)
    else:
        assert outcome.error.reason == reason
        assert outcome.timestamp == reader.held.timestamp


@pytest.mark.parametrize(("after_ms", "refused"), [(-1000, True), (-1, True), (0, False), (1000, False)])
def test_boundaries_of_a_fast_forward(after_ms, refused, key_pair, tmp_path):
    """A timestamp so far ahead would freeze the collection; the classic signature alone decides here."""
    now = 1_800_000_000_000
    reader = Reader(tmp_path, key_pair, now)
    ahead = signed_state(key_pair.key(), make_records(1, start=now + FUTURE_TOLERANCE_MS))

    outcome = gathered(reader, tmp_path / "empty", ahead, lambda: (now + after_ms) / 1000, require_statement=False)

    assert (outcome.error.reason if refused else outcome.timestamp) == ("not-yet-valid" if refused else ahead.timestamp)


def gathered(reader: Reader, cache: Path, state: Changeset, clock: Any, **options: Any) -> Any:
    """What became of one run with that clock."""
    with HostileServer(FakeKinto(state, changes=True)) as server:
        wanted = {"server": server.url, "collections": (NAME,), "public_keys": (reader.public,), "cache": cache}
        given = dataclasses.replace(read_options(None), **wanted, **{"require_statement": True, **options})
        return Gathering(gather_settings(given), clock).run()[0]


def test_a_readers_clock_says_something_else_each_time(key_pair, tmp_path):
    """A refusal or the new state, and never an error of another kind; afterwards a right clock finds everything in order."""
    now = now_ms()
    reader, reasons = Reader(tmp_path, key_pair, now), set()
    for first in range(7):
        cache, steps = reader.hold(f"cache-{first}"), list(OFFSETS.values())
        looks = iter([steps[(first + 3 * look) % 7] for look in range(500)])
        outcome = gathered(reader, cache, reader.offered, lambda looks=looks: now / 1000 + next(looks))
        reasons.add(outcome.error.reason if outcome.error else "")
        assert outcome.error is None or outcome.timestamp == reader.held.timestamp
        assert gathered(reader, cache, reader.offered, lambda: now / 1000 + 1).error is None
    assert reasons <= {"", "not-yet-valid", "expired"}
