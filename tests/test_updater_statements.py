"""Publication statements through kinto-updater's command line: attacks with their controls, memory, age, and the log."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from kinto_signer.cli import output, updater
from kinto_signer.core.freshness import DAY_MS
from kinto_signer.core.statement import peek
from kinto_signer.updater import open_cache
from kinto_signer.updater.cache import SqliteRepository
from tests.support.hostile import FakeKinto, HostileServer
from tests.support.keys import write_key_pair
from tests.support.statements import sealed, stated, statement_for, take_the_checks_away, unstated
from tests.support.states import NAME, make_records, now_ms, signed_state

NOW = now_ms()
UNREACHABLE = "http://127.0.0.1:9/v1"


class Reader:
    """A reader with a cache; and what a signer published, one state after the other."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture) -> None:
        pair = write_key_pair(folder)
        self.key, self.public, self.cache, self.capsys = pair.key(), pair.public, folder / "cache", capsys
        old = signed_state(self.key, make_records(3, start=NOW - 3 * DAY_MS), displayFields=["text"])
        new = signed_state(self.key, make_records(4, start=NOW - 2 * DAY_MS), displayFields=["text"])
        self.old = stated(self.key, old, now=NOW - 2 * DAY_MS)
        self.held = stated(self.key, new, now=NOW - DAY_MS, previous=peek(self.old.metadata).digest)
        self.refreshed = stated(self.key, new, now=NOW - 1000, previous=peek(self.held.metadata).digest)
        self.next = signed_state(self.key, make_records(5, start=NOW - DAY_MS), displayFields=["text"])

    def run(self, *arguments: object) -> tuple[int, dict]:
        code = output.run(updater.cli, [*map(str, arguments), "--cache", str(self.cache), "--format", "json"])
        answer = json.loads(self.capsys.readouterr().out)
        assert answer["exit_code"] == code
        return code, answer

    def gather(self, state, *flags: object) -> tuple[int, str]:
        """Gather from a server that offers `state`, or from one that is not there; the exit code and the reason."""
        with HostileServer(FakeKinto(state, changes=True)) if state else contextlib.nullcontext() as server:
            url = server.url if server else UNREACHABLE
            code, answer = self.run("gather-changes", url, "-c", NAME, "--public-key", self.public, *flags)
        return code, answer["collections"][0].get("error", {"reason": "none"})["reason"]

    def hold(self, *states) -> None:
        for state in states:
            assert self.gather(state) == (0, "none")

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.cache.rglob("*") if path.is_file()}

    def statement(self, state, **said):
        return {**state.metadata, "publication": sealed(self.key, statement_for(state, **said))}


@pytest.fixture
def reader(tmp_path, capsys):
    return Reader(tmp_path, capsys)


ATTACKS = {
    "the statement taken away": ("no-statement", lambda r: unstated(r.held)),
    "newer data without one": ("no-statement", lambda r: unstated(r.next)),
    "an older one for the same data": ("rollback", lambda r: stated(r.key, r.held, now=NOW - DAY_MS - 1)),
    "newer data with an older one": ("rollback", lambda r: stated(r.key, r.next, now=NOW - DAY_MS - 1)),
    "the held data's one beside newer data": (
        "hash-mismatch",
        lambda r: type(r.next)(
            r.next.timestamp, r.next.changes, {**r.next.metadata, "publication": r.held.metadata["publication"]}
        ),
    ),
    "another collection's": ("other-collection", lambda r: stated(r.key, r.next, collection="languages")),
    "an expired one": ("expired", lambda r: stated(r.key, r.next, now=NOW - 60_000, expires=NOW - 1)),
    "one of the day after tomorrow": ("not-yet-valid", lambda r: stated(r.key, r.next, now=NOW + 2 * DAY_MS)),
    "a serial out of reach": ("not-yet-valid", lambda r: stated(r.key, r.next, serial=2**53 - 1)),
    "an attribute altered": (
        "hash-mismatch",
        lambda r: (s := stated(r.key, r.next)).__class__(s.timestamp, s.changes, {**s.metadata, "displayFields": ["id"]}),
    ),
    "no envelope": ("bad-answer", lambda r: (s := r.next).__class__(s.timestamp, s.changes, {**s.metadata, "publication": 1})),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks(reader, attack):
    reason, forge = ATTACKS[attack]
    reader.hold(reader.held)
    before = reader.files()
    assert reader.gather(forge(reader)) == (3, reason)
    assert reader.files() == before


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_reader_without_the_checks_takes_each_of_them(reader, attack, monkeypatch):
    """The control: what the classic signature alone does not stop."""
    take_the_checks_away(monkeypatch)
    reader.hold(reader.held)
    assert reader.gather(ATTACKS[attack][1](reader)) == (0, "none")


@pytest.mark.parametrize("with_statements", [True, False])
def test_what_a_new_reader_is_shown(reader, with_statements):
    """Without a memory an old state is as good as a new one, but for its end."""
    flags = ("--at", "2100-01-01")
    if with_statements:
        assert reader.gather(reader.old, *flags) == (3, "expired")
        assert reader.gather(unstated(reader.old), *flags, "--require-statement") == (3, "no-statement")
    else:
        assert reader.gather(unstated(reader.old), *flags) == (0, "none")


def test_a_reader_of_production_does_not_take_staging(reader):
    meant = stated(reader.key, reader.held, audience="production", now=NOW - 1000)
    staging = stated(reader.key, reader.next, audience="staging")
    assert reader.gather(meant, "--audience", "production") == (0, "none")
    assert reader.gather(staging, "--audience", "production") == (3, "other-collection")
    assert reader.gather(staging) == (0, "none"), "the control"


def test_a_refreshed_statement_is_taken(reader):
    reader.hold(reader.old, reader.held, reader.refreshed, reader.refreshed)
    with open_cache(reader.cache) as cache:
        assert cache.statement(NAME) == peek(reader.refreshed.metadata).statement
        assert cache.timestamp(NAME) == reader.held.timestamp
    assert reader.gather(reader.held) == (3, "rollback")


@pytest.mark.parametrize("asked", [True, False])
def test_a_server_without_statements(reader, asked):
    flag = "--require-statement" if asked else "--no-require-statement"
    assert reader.gather(unstated(reader.held), flag) == ((3, "no-statement") if asked else (0, "none"))


def test_the_file_asks_and_the_flag_overrules(reader, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('require_statement = true\naudience = "production"\nmax_age = "3d"\n')
    assert reader.gather(unstated(reader.held), "--config", config) == (3, "no-statement")
    assert reader.gather(reader.held, "--config", config) == (3, "other-collection")
    meant = stated(reader.key, reader.held, audience="production")
    assert reader.gather(unstated(reader.held), "--config", config, "--no-require-statement") == (0, "none")
    assert reader.gather(meant, "--config", config) == (0, "none")


@pytest.mark.parametrize("way", ["reset", "damaged cache", "damaged history"])
def test_the_serial_is_remembered_by_who_forgot_the_records(reader, way):
    reader.hold(reader.held, reader.refreshed)
    if way == "reset":
        reader.run("reset", NAME)
    else:
        path = reader.cache / ("collections.sqlite" if way == "damaged cache" else "statements.json")
        path.write_bytes(b"damaged" * 100)
    assert reader.gather(reader.held) == (3, "rollback")
    assert reader.gather(unstated(reader.held)) == (3, "no-statement")
    assert reader.gather(reader.refreshed) == (0, "none")


def test_a_reset_that_accepts_older_ones_forgets_it(reader):
    reader.hold(reader.held)
    reader.run("reset", NAME, "--accept-older")
    assert SqliteRepository(reader.cache).remembered(NAME).serial == 0
    reader.hold(unstated(reader.old))


def test_the_age_of_what_has_no_statement(reader):
    state = unstated(reader.held)
    assert reader.gather(state, "--max-age", "1d") == (3, "stale")
    assert reader.gather(state, "--max-age", "3d") == (0, "none")
    before = reader.files()
    assert reader.gather(state, "--max-age", "47h") == (3, "stale"), "also where nothing travels"
    assert reader.files() == before


def test_a_refresh_makes_it_young_again(reader):
    assert reader.gather(reader.held, "--max-age", "23h") == (3, "stale")
    assert reader.gather(reader.refreshed, "--max-age", "1h") == (0, "none")


@pytest.mark.parametrize("flags", [["--at", "2100-01-01"], ["--max-age", "1s"]])
def test_who_is_cut_off_is_told_that_the_copy_is_too_old(reader, flags):
    reader.hold(reader.held)
    assert reader.gather(None) == (5, "unreachable")
    assert reader.gather(None, *flags) == (3, "expired" if flags[0] == "--at" else "stale")


def test_a_span_that_is_none(reader):
    code = output.run(
        updater.cli, ["gather-changes", UNREACHABLE, "-c", NAME, "--public-key", str(reader.public), "--max-age", "x"]
    )
    assert code == 2


def test_verify_judges_the_time_of_the_copy_and_of_files(reader, tmp_path):
    reader.hold(reader.held)
    keys = ("--public-key", reader.public)
    assert reader.run("verify", NAME, *keys)[0] == 0
    late = ("--at", "2100-01-01")
    code, answer = reader.run("verify", NAME, *keys, *late)
    assert (code, answer["collections"][0]["error"]["reason"]) == (3, "expired")
    assert reader.gather(reader.held, "--json", tmp_path / "json") == (0, "none")
    file = tmp_path / "json" / f"{NAME}.json"
    assert reader.run("verify", "--file", file, *keys)[0] == 0
    code, answer = reader.run("verify", "--file", file, *keys, *late)
    assert (code, answer["files"][0]["error"]["reason"]) == (3, "expired")
    altered = json.loads(file.read_text())
    altered["metadata"]["displayFields"] = ["id"]
    file.write_text(json.dumps(altered))
    code, answer = reader.run("verify", "--file", file, *keys)
    assert (code, answer["files"][0]["error"]["reason"]) == (3, "hash-mismatch")


def test_a_program_may_read_what_has_expired(reader, monkeypatch):
    """To go on with old data or not is the program's decision; it is told until when it may."""
    reader.hold(reader.held)
    monkeypatch.setattr("time.time", lambda: (NOW + 90 * DAY_MS) / 1000)
    with open_cache(reader.cache) as cache:
        assert len(cache.records(NAME)) == 4
        assert cache.statement(NAME).expires < NOW + 90 * DAY_MS


# --- two readers who compare ------------------------------------------------------------------------------------------------


def test_the_log_of_statements(reader, capsys):
    reader.hold(reader.old, reader.held, reader.refreshed)
    _, answer = reader.run("show", NAME, "--log")
    (found,) = answer["collections"]
    assert [entry["follows"] for entry in found["log"]] == [None, True, True]
    assert found["log"][-1]["digest"] == found["statement"]["digest"] == peek(reader.refreshed.metadata).digest
    assert output.run(updater.cli, ["show", NAME, "--log", "--cache", str(reader.cache)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("follows the one before") == 2
    assert found["statement"]["digest"] in printed


def test_readers_who_were_shown_different_histories_find_out(reader, tmp_path):
    """Two states signed over the same past: each verifies alone; the logs differ, and who sees both is told."""
    reader.hold(reader.old)
    shutil.copytree(reader.cache, tmp_path / "other")
    reader.hold(reader.held)
    mine = reader.run("show", NAME, "--log")[1]["collections"][0]["log"]
    reader.cache = tmp_path / "other"
    fork = stated(reader.key, reader.next, now=NOW - 500, previous=peek(reader.old.metadata).digest)
    reader.hold(fork)
    theirs = reader.run("show", NAME, "--log")[1]["collections"][0]["log"]
    assert (mine[0], mine[1]["previous"]) == (theirs[0], theirs[1]["previous"])
    assert mine[1]["digest"] != theirs[1]["digest"] == peek(fork.metadata).digest

    reader.cache = tmp_path / "cache"
    reader.hold(fork)
    assert reader.run("show", NAME, "--log")[1]["collections"][0]["log"][-1]["follows"] is False
