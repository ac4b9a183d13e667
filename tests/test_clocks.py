"""Wrong clocks: seven offsets on S and on the updater, as whole processes; the boundaries; clocks that step meanwhile."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kinto_http
import pytest
import requests

from kinto_signer.cli import output, updater
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.freshness import DAY_MS, FUTURE_TOLERANCE_MS
from kinto_signer.core.statement import check_published
from kinto_signer.server import publisher
from kinto_signer.updater.gather import Gathering
from kinto_signer.updater.settings import gather_settings, read_options
from tests.support import faketime
from tests.support.faketime import FakeClock
from tests.support.hostile import FakeKinto, HostileServer
from tests.support.publishing_site import parse
from tests.support.settings import guarded_settings, signer_settings
from tests.support.site import DESTINATION, SOURCE, everything, set_status, signer_app
from tests.support.statements import stated
from tests.support.states import NAME, make_records, now_ms, signed_state, trust_in

DAY_S, YEAR_S = 86_400, 365 * 86_400
OFFSETS = {"-10y": -10 * YEAR_S, "-1d": -DAY_S, "-5min": -300, "0": 0, "+5min": 300, "+1d": DAY_S, "+10y": 10 * YEAR_S}
NEEDS_FAKETIME = pytest.mark.skipif(faketime.find_library() is None, reason=faketime.MISSING)
UPDATER = "from kinto_signer.cli.updater import main; main()"

# --- S, with an A whose clock is right --------------------------------------------------------------------------------------

NEW_COLLECTION = {"-10y": "expired", "+10y": "not-yet-valid"}
"""What A says of the first publication."""
AGAIN = {"-10y": "not-yet-valid", "+10y": "not-yet-valid"}
"""What S (ten years back) or A says of a later one, and of a refresh."""


class WrongSigner:
    """A live S whose clock can be set, and a live A whose clock is right."""

    def __init__(self, live_kinto: Any, create_database: Any, key_pair: Any, folder: Path) -> None:
        self.clock, self.trust = FakeClock(folder), trust_in(key_pair.key())
        self.authority = live_kinto(guarded_settings(key_pair.public, create_database()), name="authority")
        settings = signer_settings(key_pair.private, authority=self.authority.url)
        self.signer = live_kinto(settings, name="signer", environment=self.clock.environment)
        self.client = self.signer.client("alice")
        self.client.create_bucket(id="main-workspace", permissions={"write": ["system.Authenticated"]})

    def create(self, name: str) -> str:
        return self.said(self.client.create_collection, bucket="main-workspace", id=name, if_not_exists=True)

    def edit(self, name: str, record: str) -> None:
        self.client.create_record(bucket="main-workspace", collection=name, id=record, data={"n": 1})

    def ask(self, name: str, status: str = "to-sign") -> str:
        return self.said(self.client.patch_collection, bucket="main-workspace", id=name, data={"status": status})

    def said(self, call: Any, **arguments: Any) -> str:
        """``""``, or the reason of a refusal, which is a 503 and names a tolerance."""
        refused: Any = None
        try:
            call(**arguments)
        except kinto_http.KintoException as error:
            refused = error.response
        if refused is None:
            return ""
        answer = refused.json()
        assert refused.status_code == 503
        assert re.search("24 hours|1 d 0 h|86400 s|no tolerance", answer["message"])
        return str(answer["details"]["reason"])

    def served(self, name: str) -> tuple[int, int]:
        """The timestamp and serial that A serves; what it serves verifies."""
        state = parse(requests.get(f"{self.authority.url}/buckets/main/collections/{name}/changeset?_expected=0", timeout=60))
        _, found = check_published(f"main/{name}", dataclasses.replace(state, metadata={**state.metadata}), self.trust)
        assert found is not None
        return state.timestamp, found.statement.serial


@NEEDS_FAKETIME
def test_a_signer_with_a_wrong_clock(live_kinto, create_database, key_pair, tmp_path):
    site = WrongSigner(live_kinto, create_database, key_pair, tmp_path)
    for offset, seconds in OFFSETS.items():
        name = offset.replace("+", "p").replace("-", "m")
        site.clock.set(seconds)
        assert site.create(f"new-{name}") == NEW_COLLECTION.get(offset, ""), offset
        site.clock.set(0)
        assert site.create(f"new-{name}") == "", "with the right clock it is made"

        assert site.create(name) == ""
        site.edit(name, "r0")
        assert site.ask(name) == ""
        before = site.served(name)
        site.clock.set(seconds)
        site.edit(name, "r1")
        refused = AGAIN.get(offset, "")
        assert site.ask(name) == refused, offset
        after = site.served(name)
        assert after == before if refused else (after[0] > before[0] and after[1] > before[1])
        status = site.client.get_collection(bucket="main-workspace", id=name)["data"]["status"]
        assert status == ("work-in-progress" if refused else "signed")
        assert site.ask(name, "to-resign") == refused
        renewed = site.served(name)
        assert renewed == after if refused else (renewed[0] == after[0] and renewed[1] > after[1])

        site.clock.set(0)
        site.edit(name, "r2")
        if offset == "+10y":  # an edit was dated by that clock, and only by it
            assert site.ask(name) == "not-yet-valid"
            assert site.served(name) == before
        else:
            assert site.ask(name) == ""
            last = site.served(name)
            assert last[0] > renewed[0]
            assert last[1] > renewed[1]
    log = site.signer.log_text()
    assert "Traceback" not in log


@NEEDS_FAKETIME
def test_a_signer_whose_clock_steps(live_kinto, create_database, key_pair, tmp_path):
    """Timestamps and serials grow, whichever way the clock goes."""
    site = WrongSigner(live_kinto, create_database, key_pair, tmp_path)
    site.create("stepping")
    served = [site.served("stepping")]
    for number, seconds in enumerate((0, 300, -300, 7200, -7200, 120, -DAY_S + 7200, 0)):
        site.clock.set(seconds)
        site.edit("stepping", f"r{number}")
        assert site.ask("stepping") == "", seconds
        served.append(site.served("stepping"))
    for column in zip(*served, strict=True):
        assert list(column) == sorted(set(column))


# --- S: boundaries ----------------------------------------------------------------------------------------------------------


def dated_by(app: Any, monkeypatch: Any) -> int:
    """The timestamp that the next publication has at least, which S says where it refuses it."""
    monkeypatch.setattr(publisher, "now_ms", lambda: 1)
    message = set_status(app, "to-sign", status=503).json["message"]
    return int(re.search(r"dated (\d+), which readers refuse \(24 hours ahead at most\)", message)[1])


@pytest.mark.parametrize(("before", "refused"), [(1, True), (0, False), (-1000, False)])
def test_how_far_a_signer_dates_ahead_of_its_clock(before, refused, key_pair, monkeypatch):
    app = signer_app(key_pair)
    app.put_json(f"{SOURCE}/records/r0", {"data": {}})
    set_status(app, "to-sign")
    app.put_json(f"{SOURCE}/records/r1", {"data": {}})
    timestamp = dated_by(app, monkeypatch)
    held = everything(app)

    monkeypatch.setattr(publisher, "now_ms", lambda: timestamp - FUTURE_TOLERANCE_MS - before)
    answer = set_status(app, "to-sign", status=503 if refused else 200)

    if refused:
        assert answer.json["details"]["reason"] == "not-yet-valid"
        assert everything(app) == held
    else:
        assert app.get(DESTINATION).json["data"]["signed_timestamp"] == timestamp


def test_a_clock_that_steps_in_a_publication(key_pair, monkeypatch):
    """Each look at the clock says something else: what comes out verifies, or nothing is signed."""
    app = signer_app(key_pair)
    trust, last = trust_in(key_pair.key()), (0, 0)
    for number in range(12):
        steps = [0, 3_600_000, -3_600_000, 20 * DAY_MS, -20 * DAY_MS]
        looks = iter([steps[(number + look) % 5] for look in range(50)])
        monkeypatch.setattr(publisher, "now_ms", lambda looks=looks: now_ms() + next(looks))
        app.put_json(f"{SOURCE}/records/r{number}", {"data": {}})
        held = everything(app)
        answer = set_status(app, "to-sign", expect_errors=True)
        if answer.status_int != 200:
            assert (answer.status_int, answer.json["details"]["reason"]) == (503, "not-yet-valid")
            assert everything(app) == held
            continue
        found = app.get(DESTINATION).json["data"]
        state = Changeset(found["signed_timestamp"], app.get(f"{DESTINATION}/records").json["data"], {**found, "bucket": "main"})
        _, said = check_published(NAME, state, trust)
        assert (state.timestamp, said.statement.serial) > last
        last = (state.timestamp, said.statement.serial)
    assert last > (0, 0)


# --- the updater ------------------------------------------------------------------------------------------------------------


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
    return {path.name: path.read_bytes() for path in cache.iterdir() if path.name != "update.lock"}


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
