"""The cache under everything that happens to files: kills, damage, full disks, other processes.

After each it is the old or the new verified state, or it is refused and fetched again; nothing unverified is served.
"""

import contextlib
import json
import logging
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kinto_signer.cli import output, updater
from kinto_signer.core.repository import MemoryRepository, Synchronizer
from kinto_signer.core.trust import PublicKey
from kinto_signer.errors import (
    BusyError,
    ConfigurationError,
    ConflictError,
    CorruptCacheError,
    KintoSignerError,
    NewerFormatError,
    NotFoundError,
    StorageError,
    VerificationError,
)
from kinto_signer.updater import catalogue, open_cache
from kinto_signer.updater.cache import SqliteRepository
from kinto_signer.updater.gather import Gathering
from kinto_signer.updater.reading import open_for_update
from kinto_signer.updater.saved import save
from kinto_signer.updater.settings import Settings
from tests.support.campaigns import IN_FULL, rounds
from tests.support.hostile import FakeKinto, HostileServer
from tests.support.keys import write_key_pair
from tests.support.servers import ROOT
from tests.support.states import NAME, START, make_records, new_key, now_ms, signed_state, trust_in
from tests.support.unmeasured import unmeasured  # noqa: F401

KEY = new_key()
TRUST = trust_in(KEY)
OLD = signed_state(KEY, make_records(6))
NEW = signed_state(KEY, [*make_records(5), {"id": "record-new", "last_modified": START + 50, "text": "é"}])
OTHER = "main/others"


def repository_with(*states, name=NAME):
    repository = MemoryRepository()
    for state in states:
        repository.apply(name, state)
    return repository


def update(directory, state, name=NAME):
    Synchronizer(repository_with(state, name=name), open_for_update(directory, TRUST, now_ms)).sync(name)


def gather(directory, state):
    """gather-changes itself, from a repository in memory instead of a server."""
    gathering = Gathering(Settings("http://localhost/v1", (NAME,), TRUST, directory, deadline_s=60))
    gathering.source = repository_with(state)
    return gathering.run()[0]


def ids(records):
    return sorted(record["id"] for record in records)


@pytest.fixture
def directory(tmp_path):
    """A cache that holds OLD."""
    update(tmp_path / "cache", OLD)
    return tmp_path / "cache"


# --- the interface for programs -------------------------------------------------------------------------------------


def test_reading(directory):
    with open_cache(directory) as cache:
        assert cache.names() == [NAME]
        assert cache.records(NAME) == OLD.records
        assert cache.record(NAME, "record-0003") == OLD.records[3]
        assert cache.timestamp(NAME) == cache.highest(NAME) == OLD.timestamp
        assert cache.metadata(NAME) == OLD.metadata
        assert cache.verified(NAME) == (cache.changeset(NAME), TRUST.keys[0])
    with open_cache(str(directory / "collections.sqlite"), TRUST.keys) as cache:
        assert cache.records(NAME) == OLD.records


def test_what_is_not_there(directory, tmp_path):
    with open_cache(directory) as cache:
        with pytest.raises(NotFoundError, match="main/regions"):
            cache.records(OTHER)
        with pytest.raises(NotFoundError, match="no record 'x'"):
            cache.record(NAME, "x")
    with pytest.raises(NotFoundError, match="gather-changes"):
        open_cache(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_key_that_is_not_trusted_any_more(directory):
    with open_cache(directory, trust_in(new_key()).keys) as cache, pytest.raises(VerificationError):
        cache.records(NAME)


def test_reading_while_an_update_runs(directory):
    """A program that keeps the cache open sees the old state until the commit, then the new one."""
    with open_cache(directory) as cache:
        repository = SqliteRepository(directory, TRUST)
        with repository.file.writing({}) as connection:
            connection.execute("DELETE FROM record")
            assert cache.records(NAME) == OLD.records
            connection.execute("ROLLBACK")
            connection.execute("BEGIN")
        update(directory, NEW)
        assert ids(cache.records(NAME)) == ids(NEW.records)


def test_reading_only_takes_nothing(tmp_path):
    with pytest.raises(ConfigurationError, match="trusted keys"):
        SqliteRepository(tmp_path).apply(NAME, OLD)


def test_many_threads_read(directory):
    problems = []

    def read():
        try:
            with open_cache(directory) as cache:
                for _ in range(20):
                    assert cache.timestamp(NAME) in (OLD.timestamp, NEW.timestamp)
        except Exception as error:  # noqa: BLE001
            problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    update(directory, NEW)
    for thread in threads:
        thread.join()
    assert problems == []


def test_file_modes(tmp_path):
    old = os.umask(0o022)
    try:
        update(tmp_path / "cache", OLD)
    finally:
        os.umask(old)
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "cache").iterdir()} == {"0o644"}


def test_nothing_new_writes_nothing(directory):
    before = (directory / "collections.sqlite").read_bytes()
    outcome = gather(directory, OLD)
    assert (outcome.status, outcome.changes) == ("unchanged", 0)
    assert (directory / "collections.sqlite").read_bytes() == before


# --- kills ----------------------------------------------------------------------------------------------------------


@pytest.mark.proof
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.skipif(sys.platform != "linux", reason="ptrace as used here is Linux's")
@pytest.mark.parametrize("start", ["old", "empty"])
def test_killed_at_every_write(tmp_path, start, report_campaign):
    pair = write_key_pair(tmp_path)
    save(tmp_path, "x/y", OLD)
    for name, records in (("old", make_records(40)), ("new", make_records(30) + make_records(20, first=100))):
        state = signed_state(pair.key(), records)
        save(tmp_path / "states", NAME, state).replace(tmp_path / f"{name}.json")
    command = [sys.executable, "-m", "tests.support.killed_updates", str(tmp_path), start]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stderr
    results = [json.loads(line) for line in ended.stdout.splitlines()]

    assert len(results) > 20
    assert not results[-1]["killed"]
    new = START + 119
    for result in results:
        assert result["right"], result
        assert result["after"] == {"cache": new, "json": new}, result
        assert result["files"] == ["collections.sqlite", "highest.json", "regions.json"], result
    seen = {result["cache"] for result in results}
    assert seen == ({0, new} if start == "empty" else {START + 39, new})  # kills before and after the commit
    assert {"fsync", "unlink"} & {result["call"] for result in results} or {"fdatasync"} & {r["call"] for r in results}
    report_campaign(f"SIGKILL at every write of an update, from {start}", {"kills": len(results) - 1, "wrong": 0})


# --- damage ---------------------------------------------------------------------------------------------------------


def examine(directory, expected, keys=()):
    """What a damaged cache serves: "served" the right state, or how it refuses."""
    with contextlib.suppress(CorruptCacheError), open_cache(directory, keys) as cache:
        assert cache.names() == [NAME]
        state = cache.changeset(NAME)
        assert (state.records, state.metadata) == (expected.records, expected.metadata)
        assert state.timestamp == cache.highest(NAME) == expected.timestamp
        return "served"
    return "refused"


def fetched_again(directory):
    outcome = gather(directory, NEW)
    assert outcome.error is None, outcome.error
    assert examine(directory, NEW) == "served"
    # and the memory of what was verified has survived
    assert gather(directory, OLD).error.reason == "rollback"


@pytest.mark.proof
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("flip", [0xFF, 0x01], ids=["all bits", "one bit"])
def test_every_byte_flipped(directory, flip, report_campaign, caplog):
    file = directory / "collections.sqlite"
    good = file.read_bytes()
    saved = directory.with_name("good")
    shutil.copytree(directory, saved)
    counts = {"bytes": 0, "served": 0, "refused": 0, "fetched again": 0}
    step = 1 if IN_FULL else 37
    caplog.set_level(logging.CRITICAL)
    header = range(100)
    for position in sorted({*header, *range(0, len(good), step)}):
        damaged = bytearray(good)
        damaged[position] ^= flip
        file.write_bytes(damaged)
        result = examine(directory, OLD)
        counts["bytes"] += 1
        counts[result] += 1
        # Fetching again is slower: everything that reading refused, and the header, which only writing looks at.
        if (result == "refused" and (IN_FULL or counts["refused"] % 5 == 0)) or position in header:
            fetched_again(directory)
            counts["fetched again"] += 1
            shutil.rmtree(directory)
            shutil.copytree(saved, directory)
    assert counts["served"]
    assert counts["refused"]
    report_campaign(f"every byte of the cache flipped ({flip:#04x})", counts)


@pytest.mark.proof
@pytest.mark.usefixtures("unmeasured")
def test_every_length_cut(directory, report_campaign):
    file = directory / "collections.sqlite"
    good = file.read_bytes()
    saved = directory.with_name("good")
    shutil.copytree(directory, saved)
    counts = {"served": 0, "refused": 0}
    lengths = range(len(good)) if IN_FULL else sorted({0, 1, 15, 16, 99, 100, *range(0, len(good), 512), len(good) - 1})
    for length in lengths:
        file.write_bytes(good[:length])
        counts[examine(directory, OLD)] += 1  # served, where nothing of use was cut off
        if not IN_FULL or length % 7 == 0:
            fetched_again(directory)
            shutil.rmtree(directory)
            shutil.copytree(saved, directory)
    assert counts["served"] < counts["refused"]
    report_campaign("every length cut", {"lengths": len(lengths), **counts})


def test_pages_from_another_time(directory):
    """Pages of an older, properly signed version of the same file."""
    older = (directory / "collections.sqlite").read_bytes()
    update(directory, NEW)
    newer = (directory / "collections.sqlite").read_bytes()
    assert len(older) == len(newer)
    results = set()
    for start in range(0, len(newer), 4096):
        mixed = newer[:start] + older[start : start + 4096] + newer[start + 4096 :]
        (directory / "collections.sqlite").write_bytes(mixed)
        if mixed != newer:
            results.add(examine(directory, NEW))
    assert "refused" in results  # and `examine` has seen that nothing else was served than NEW


def test_an_older_copy_of_the_cache(directory):
    """Somebody puts back an old backup: it is properly signed, but an older state is still refused."""
    older = (directory / "collections.sqlite").read_bytes()
    update(directory, NEW)
    (directory / "collections.sqlite").write_bytes(older)
    assert gather(directory, OLD).error.reason == "rollback"
    assert gather(directory, NEW).error is None


@pytest.mark.parametrize(
    "content", [b"", b"not a database, but a text that is long enough" * 10, b"SQLite format 3\0" + bytes(84), bytes(4096)]
)
def test_foreign_files(directory, content, caplog):
    (directory / "collections.sqlite").write_bytes(content)
    assert examine(directory, OLD) == "refused"
    outcome = gather(directory, NEW)
    assert (outcome.error, outcome.timestamp) == (None, NEW.timestamp)
    assert "[corrupt-cache]" in caplog.text
    assert "highest verified timestamps are kept" in caplog.text
    aside = list(directory.glob("collections.sqlite.corrupt-*"))
    assert [path.read_bytes() for path in aside] == [content]
    assert gather(directory, OLD).error.reason == "rollback"


def test_a_missing_file_keeps_the_highest_timestamps(directory):
    update(directory, NEW)
    (directory / "collections.sqlite").unlink()
    assert gather(directory, OLD).error.reason == "rollback"
    assert gather(directory, NEW).error is None


def test_the_second_copy_damaged(directory, caplog):
    marks = directory / "highest.json"
    good = marks.read_bytes()
    for damaged in (b"", b"{}", b"[]", good[:-5], good.replace(b"1600", b"1500"), b"\xff", b"[" * 100_000):
        marks.write_bytes(damaged)
        assert examine(directory, OLD) == "served"
    assert "written again" in caplog.text
    update(directory, NEW)
    assert json.loads(marks.read_bytes())["highest"] == {NAME: NEW.timestamp}


def test_both_copies_damaged_says_what_is_lost(directory, caplog):
    (directory / "highest.json").unlink()
    (directory / "collections.sqlite").write_bytes(b"x" * 5000)
    assert gather(directory, OLD).error is None
    assert "LOST" in caplog.text


def test_the_catalogue_is_salvaged_where_the_second_copy_is_gone(directory):
    update(directory, NEW)
    (directory / "highest.json").unlink()
    with contextlib.closing(sqlite3.connect(directory / "collections.sqlite")) as connection:
        connection.execute("DELETE FROM record WHERE id = 'record-new'")
        connection.commit()
    assert examine(directory, NEW) == "refused"
    outcome = gather(directory, OLD)
    assert outcome.error.reason == "rollback"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM record WHERE id = 'record-0001'",
        "UPDATE record SET body = replace(body, 'x', 'y')",
        "UPDATE record SET body = NULL WHERE 0; UPDATE record SET collection = 'main/others' WHERE id = 'record-0001'",
        "UPDATE record SET body = 5 WHERE id = 'record-0001'",
        "UPDATE record SET id = x'00ff' WHERE id = 'record-0001'",
        "INSERT INTO record VALUES ('main/regions', 'zz', '{\"id\":\"zz\",\"last_modified\":1}')",
        "UPDATE collection SET timestamp = timestamp + 1",
        "UPDATE collection SET highest = 5",
        "UPDATE collection SET name = 'main/others'",
        "UPDATE collection SET metadata = '{}'",
        "UPDATE collection SET keys = '[]'",
        "UPDATE collection SET timestamp = 'x'",
        "DELETE FROM collection",
        "DELETE FROM about",
        "DROP TABLE record",
        "DROP TABLE about",
        "UPDATE about SET digest = x'00'",
        "PRAGMA user_version = 0",
    ],
)
def test_rows_changed_behind_its_back(directory, statement):
    with contextlib.closing(sqlite3.connect(directory / "collections.sqlite")) as connection:
        connection.executescript(statement)
    assert examine(directory, OLD) == "refused"
    assert gather(directory, NEW).error is None
    assert examine(directory, NEW) == "served"


def test_with_keys_a_forged_cache_is_refused_although_its_digests_are_right(directory):
    """Somebody who may write the file can make it consistent, but not sign it."""
    forger = new_key()
    forged = signed_state(forger, [{"id": "forged", "last_modified": START + 500}])
    repository = SqliteRepository(directory, trust_in(forger))
    repository.apply(NAME, forged)
    with open_cache(directory, TRUST.keys) as cache, pytest.raises(VerificationError):
        cache.records(NAME)


def test_the_digests_are_what_finds_damage(directory, monkeypatch):
    """The control for the table above: without them, attributes and keys could be changed unseen."""
    monkeypatch.setattr(catalogue, "digest_parts", lambda parts: b"same")
    update(directory.with_name("other"), OLD)
    with contextlib.closing(sqlite3.connect(directory.with_name("other") / "collections.sqlite")) as connection:
        connection.executescript("UPDATE collection SET highest = 5")
    with open_cache(directory.with_name("other")) as cache:
        assert cache.timestamp(NAME) == OLD.timestamp


def test_a_newer_format(directory):
    with contextlib.closing(sqlite3.connect(directory / "collections.sqlite")) as connection:
        connection.execute(f"PRAGMA user_version = {catalogue.FORMAT + 1}")
    before = (directory / "collections.sqlite").read_bytes()
    with open_cache(directory) as cache, pytest.raises(NewerFormatError, match="upgrade"):
        cache.records(NAME)
    outcome = gather(directory, NEW)
    assert (outcome.error.exit_code, outcome.error.reason) == (7, "newer-format")
    with pytest.raises(NewerFormatError):
        SqliteRepository(directory, TRUST).wipe(NAME)
    assert (directory / "collections.sqlite").read_bytes() == before


# --- disks ----------------------------------------------------------------------------------------------------------


def big_state():
    return signed_state(KEY, [{"id": "big", "last_modified": START + 900, "text": "x" * 300_000}])


@pytest.mark.parametrize("limit", [0, 512, 4096, 40_000, 100_000, 200_000, 300_000])
def test_disk_full(directory, limit):
    """A limit on the size of files stands for the disk: writes fail half-way."""
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        outcome = gather(directory, big_state())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old_handler)

    assert (outcome.error.exit_code, outcome.error.reason) == (1, "storage")
    assert {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "update.lock"} == before
    assert examine(directory, OLD) == "served"
    assert gather(directory, big_state()).error is None


def test_disk_full_for_the_first_time(tmp_path):
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        outcome = gather(tmp_path / "cache", OLD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old_handler)
    assert outcome.error.reason == "storage"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["update.lock"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no directory")
    assert gather(tmp_path / "file", OLD).error.reason == "storage"
    with pytest.raises(StorageError):
        save(tmp_path / "file", NAME, OLD)
    with pytest.raises(StorageError):
        SqliteRepository(tmp_path / "file" / "cache", TRUST).apply(NAME, OLD)


# --- other processes ------------------------------------------------------------------------------------------------


def test_a_second_process_waits_and_then_gives_up(directory):
    from kinto_signer.updater.files import exclusive

    with exclusive(directory / "update.lock", lambda: 1.0):
        gathering = Gathering(Settings("http://localhost/v1", (NAME,), TRUST, directory, deadline_s=0.3))
        gathering.source = repository_with(NEW)
        outcome = gathering.run()[0]
    assert (outcome.error.exit_code, outcome.error.reason) == (5, "busy")


def test_a_locked_database(directory, monkeypatch):
    monkeypatch.setattr("kinto_signer.updater.sqlite.BUSY_TIMEOUT_S", 0.1)
    with contextlib.closing(sqlite3.connect(directory / "collections.sqlite", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with open_cache(directory) as cache, pytest.raises(BusyError):
            cache.records(NAME)


@pytest.mark.parametrize("state", [OLD, NEW], ids=["older", "difference"])
def test_what_another_process_stored_meanwhile_is_not_lost(directory, state):
    """Without the lock, by programs of their own: the later of two updates does not undo the other."""
    newest = signed_state(KEY, make_records(3, start=START + 1000))
    update(directory, newest)
    import dataclasses

    difference = state if state is OLD else dataclasses.replace(NEW, timestamp=START + 5000, since=OLD.timestamp)
    with pytest.raises(ConflictError, match="another process"):
        SqliteRepository(directory, TRUST).apply(NAME, difference)
    assert examine(directory, newest) == "served"


WORKER = """
import sys
from kinto_signer.cli import output, updater
codes = {output.run(updater.cli, sys.argv[2:]) for _ in range(int(sys.argv[1]))}
sys.exit(max(codes))
"""


@pytest.mark.proof
@pytest.mark.usefixtures("unmeasured")
def test_many_processes_share_one_cache(tmp_path, report_campaign):
    """While the server publishes and a program reads."""
    runs = rounds(5, 50)
    pair = write_key_pair(tmp_path)
    key = pair.key()
    directory = tmp_path / "cache"
    fake = FakeKinto(signed_state(key, make_records(20)))
    with HostileServer(fake) as server:
        arguments = ["gather-changes", server.url, "-c", NAME, "--public-key", pair.public, "--cache", directory]
        arguments += ["--json", tmp_path / "json", "--deadline", 120]
        command = [sys.executable, "-c", WORKER, str(runs), *map(str, arguments)]
        workers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(8)]
        seen, published, last = 0, 0, 0
        choose = random.Random(5)
        while any(worker.poll() is None for worker in workers):
            first = choose.randrange(5)
            published += 1
            fake.state = signed_state(key, make_records(20, first=first, start=START + 1000 * published))
            with contextlib.suppress(NotFoundError), open_cache(directory) as cache:
                timestamp = cache.timestamp(NAME)
                assert timestamp >= last
                last, seen = timestamp, seen + 1
            time.sleep(0.7)
        ended = [(worker.communicate()[1], worker.returncode) for worker in workers]
        assert [code for _, code in ended] == [0] * 8, ended
        assert output.run(updater.cli, [str(argument) for argument in arguments]) == 0
    with open_cache(directory, [PublicKey(key.public_key())]) as cache:
        assert cache.records(NAME) == fake.state.records
    assert seen
    report_campaign("processes on one cache", {"processes": 8, "runs": 8 * runs, "states": published, "reads": seen})


def test_damage_that_only_writing_would_meet(directory, caplog):
    """A list of free pages that leads nowhere: reading never looks at it."""
    file = directory / "collections.sqlite"
    damaged = bytearray(file.read_bytes())
    damaged[32:40] = b"\0\0\0\x02\0\0\0\x01"
    file.write_bytes(damaged)
    assert examine(directory, OLD) == "served"
    assert gather(directory, NEW).error is None
    assert "[corrupt-cache]" in caplog.text
    assert examine(directory, NEW) == "served"


def test_file_systems_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    update(tmp_path / "cache", OLD)
    assert examine(tmp_path / "cache", OLD) == "served"
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"collections.sqlite", "highest.json"}


def test_the_second_copy_cannot_be_written(directory, caplog):
    """It is a copy: the update itself has been committed and stands."""
    (directory / "highest.json").unlink()
    (directory / "highest.json").mkdir()
    assert gather(directory, NEW).error is None
    assert "highest.json" in caplog.text
    assert examine(directory, NEW) == "served"


def test_memory_errors_of_a_damaged_file_are_damage(directory):
    from kinto_signer.updater.sqlite import connect

    for error in (MemoryError(), OverflowError("a length")):
        with pytest.raises(CorruptCacheError), connect(directory / "collections.sqlite", CorruptCacheError):
            raise error


def test_errors_are_ours(directory):
    """Whatever is done to the file, nobody sees an error of SQLite."""
    shutil.rmtree(directory)
    directory.mkdir()
    (directory / "collections.sqlite").mkdir()
    with open_cache(directory) as cache, pytest.raises(KintoSignerError):
        cache.names()
    assert Path(directory / "collections.sqlite").is_dir()
