"""``export`` and ``gather-changes --from-file``: a collection carried to a machine without a network; what is refused there."""

import dataclasses
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kinto_signer.cli import output, updater
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.freshness import DAY_MS, Rules
from kinto_signer.core.statement import peek
from kinto_signer.core.trust import load_public_key
from kinto_signer.errors import (
    ConfigurationError,
    ExpiredError,
    KintoSignerError,
    NewerFormatError,
    NoStatementError,
    OtherCollectionError,
    StorageError,
    TooLargeError,
    UnknownKeyError,
)
from kinto_signer.updater import open_cache, open_file
from kinto_signer.updater.saved import exported
from tests.support.certificates import SIGNER, make_pki
from tests.support.hostile import FakeKinto, HostileServer, http
from tests.support.keys import write_key_pair
from tests.support.servers import ROOT
from tests.support.settings import guarded_settings
from tests.support.site import SOURCE, set_status, signer_app
from tests.support.statements import stated, take_the_checks_away, unstated
from tests.support.states import NAME, make_records, new_key, now_ms, signed_state
from tests.test_updater_statements import ATTACKS, NOW, Reader

OTHER = "main/languages"
NO_NETWORK = ("unshare", "--net")


def can_unshare() -> bool:
    if not shutil.which(NO_NETWORK[0]):
        return False
    return not subprocess.run([*NO_NETWORK, "true"], check=False, capture_output=True).returncode


class Carrying(Reader):
    """A reader who is given files; what the server of a `Reader` would offer is carried here instead."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture) -> None:
        super().__init__(folder, capsys)
        self.file = folder / "carried.json"

    def take(self, *files: Path, flags: tuple[object, ...] = ()) -> tuple[int, list[dict]]:
        named = [part for file in files or (self.file,) for part in ("--from-file", file)]
        code, answer = self.run("gather-changes", *named, "--public-key", self.public, *flags)
        return code, answer["collections"]

    def carry(self, state: Changeset, name: str = NAME, **said: object) -> None:
        self.file.write_bytes(exported(name, state, {}))
        if said:
            self.file.write_text(json.dumps(json.loads(self.file.read_text()) | said))

    def given(self, state: Changeset, *flags: object, name: str = NAME) -> tuple[int, str]:
        """The exit code and the reason where a file says `state`."""
        self.carry(state, name)
        code, (found,) = self.take(flags=flags)
        return code, found.get("error", {"reason": "none"})["reason"]

    def hold(self, *states: Changeset) -> None:
        for state in states:
            assert self.given(state) == (0, "none")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))


@pytest.fixture
def reader(tmp_path, capsys):
    return Carrying(tmp_path, capsys)


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = output.run(updater.cli, [str(argument) for argument in (*arguments, "--format", "json")])
        return code, json.loads(capsys.readouterr().out)

    return run


def reason_of(error):
    return error.exit_code, error.reason


# --- there and back ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def chained(tmp_path):
    """What S published with a certificate chain that the collection does not carry, and a statement; at a server."""
    second = now_ms() // 1000
    begin = {"begin": second - 9}
    pki = make_pki(root=begin, intermediate=begin, leaf={**begin, "end": second + 999})
    with HostileServer(lambda request: http(200, pki.pem)) as chains:
        x5u = f"{chains.origin}/a.chain"
        state = signed_state(pki.leaf.key, make_records(4, start=NOW - DAY_MS), displayFields=["text"])
        entry = {**state.metadata["signature"], "x5u": x5u}
        state = dataclasses.replace(state, metadata={**state.metadata, "signature": entry, "signatures": [entry]})
        state = stated(pki.leaf.key, state)
        for signed in state.metadata["publication"]["signatures"]:
            signed["x5u"] = x5u
        trusted = ("--x5u-root", pki.root.sha256.hex(":"), "--signer-id", SIGNER)
        with HostileServer(FakeKinto(state)) as server:
            yield state, server.url, ("--x5u-host", f"127.0.0.1:{chains.port}"), trusted


def test_a_machine_without_a_network(chained, run, tmp_path):
    """Signature, chain and statement go along, and everything that is checked from afar is checked there."""
    state, url, host, trusted = chained
    here, there, file = tmp_path / "here", tmp_path / "there", tmp_path / "carried.json"
    assert run("gather-changes", url, "-c", NAME, *trusted, *host, "--cache", here)[0] == 0
    code, said = run("export", NAME, file, "--cache", here)
    assert (code, said["records"], said["timestamp"]) == (0, 4, state.timestamp)
    assert said["bytes"] == file.stat().st_size
    found = json.loads(file.read_text())
    assert found.keys() == {"bucket", "collection", "timestamp", "metadata", "changes", "chains", "format"}
    assert (found["format"], found["changes"]) == (1, state.records)

    program = [*(NO_NETWORK if can_unshare() else ()), sys.executable, "-m", "kinto_signer.cli.updater"]
    for status in ("updated", "unchanged"):
        command = [*program, "gather-changes", "--from-file", file, *trusted, "--cache", there, "--format", "json"]
        done = subprocess.run([*map(str, command)], check=False, capture_output=True, cwd=ROOT, text=True)
        answer = json.loads(done.stdout)
        (taken,) = answer["collections"]
        assert (done.returncode, answer["server"], taken["status"], taken["records"]) == (0, None, status, 4)
        assert taken["file"] == str(file)
    for command in (("show", "--cache", there), ("verify", "--cache", there, *trusted), ("verify", "--file", file, *trusted)):
        assert run(*command)[0] == 0
    with open_cache(here) as ours, open_cache(there) as theirs:
        assert ours.records(NAME) == theirs.records(NAME)
        assert ours.statement(NAME) == theirs.statement(NAME) == peek(state.metadata).statement
        assert ours.log(NAME) == theirs.log(NAME)
    assert run("export", NAME, tmp_path / "again.json", "--cache", there)[0] == 0
    assert run("verify", "--file", tmp_path / "again.json", *trusted)[0] == 0

    del found["chains"]
    file.write_text(json.dumps(found))
    code, answer = run("gather-changes", "--from-file", file, *trusted, "--cache", tmp_path / "new")
    assert (code, answer["collections"][0]["error"]["reason"]) == (3, "off-origin"), "the control: the chain was in the file"


def test_what_a_live_signer_published(live_kinto, key_pair, run, tmp_path):
    """Two publications and a refresh, each exported; there each is newer than the one before, and none goes back."""
    authority = live_kinto(guarded_settings(key_pair.public), name="authority")
    app = signer_app(key_pair, authority=authority.url)
    trusted, files = ("--public-key", key_pair.public, "--require-statement"), []
    for number, status in enumerate(("to-sign", "to-sign", "to-resign")):
        if status == "to-sign":
            app.put_json(f"{SOURCE}/records/r{number}", {"data": {"n": number}})
        set_status(app, status)
        files.append(tmp_path / f"{number}.json")
        assert run("gather-changes", authority.url, "-c", NAME, *trusted, "--cache", tmp_path / "here")[0] == 0
        assert run("export", NAME, files[-1], "--cache", tmp_path / "here")[0] == 0
    authority.sigkill()

    def take(*numbers):
        flags = [flag for number in numbers for flag in ("--from-file", files[number])]
        code, answer = run("gather-changes", *flags, *trusted, "--cache", tmp_path / "there")
        return code, [one.get("error", one).get("reason", one["status"]) for one in answer["collections"]]

    assert take(0, 1, 2) == (0, ["updated", "updated", "unchanged"])
    with open_cache(tmp_path / "here") as here, open_cache(tmp_path / "there") as there:
        assert sorted(record["n"] for record in there.records(NAME)) == [0, 1]
        assert here.log(NAME) == there.log(NAME)
        assert len(here.log(NAME)) == 3
    assert take(0, 1, 2) == (3, ["rollback", "rollback", "unchanged"]), "the refresh is newer, too"


def test_what_is_written_verifies_by_itself(chained, run, tmp_path, monkeypatch):
    _, url, host, trusted = chained
    file, cache = tmp_path / "carried.json", ("--cache", tmp_path / "here")
    assert run("gather-changes", url, "-c", NAME, *trusted, *host, *cache)[0] == 0
    monkeypatch.setattr("kinto_signer.updater.reading.chains_of", lambda metadata, chains: {})
    code, answer = run("export", NAME, file, *cache)
    assert (code, answer["error"]["reason"], file.exists()) == (3, "bad-chain", False)


def test_no_socket_is_opened_for_a_file(reader, monkeypatch):
    """Also where a server is configured."""

    def refuse(*args, **kwargs):
        raise AssertionError("a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    config = reader.file.parent / "config.toml"
    config.write_text(f'server = "https://kinto.example/v1"\nauth_file = "nowhere"\ncollections = ["{NAME}", "{OTHER}"]\n')
    assert reader.given(reader.held, "--config", config) == (0, "none")


def test_a_file_counts_like_an_answer_of_any_server(reader):
    reader.hold(reader.held)
    with HostileServer(FakeKinto(stated(reader.key, reader.next), changes=True)) as server:
        code, answer = reader.run("gather-changes", server.url, "-c", NAME, "--public-key", reader.public)
        (found,) = answer["collections"]
        assert (code, found["status"], found["before"]) == (0, "updated", NOW - 2 * DAY_MS + 3)
        assert any("_since" in request.target for request in server.requests)
    assert reader.given(reader.held) == (3, "rollback")


def test_text(reader, capsys):
    reader.carry(reader.held)
    arguments = ["--public-key", str(reader.public), "--cache", str(reader.cache)]
    assert output.run(updater.cli, ["gather-changes", "--from-file", str(reader.file), *arguments]) == 0
    assert f"{reader.file}: main/regions: 4 changes, now at " in capsys.readouterr().out
    reader.carry(reader.old)
    assert output.run(updater.cli, ["gather-changes", "--from-file", str(reader.file), *arguments]) == 3
    printed = capsys.readouterr().err
    assert f"{reader.file}: main/regions: " in printed
    assert "[rollback] Held and kept" in printed
    assert output.run(updater.cli, ["export", NAME, str(reader.file), "--cache", str(reader.cache)]) == 0
    assert f"{reader.file}: main/regions: 4 records, signed" in capsys.readouterr().out


# --- what is refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_as_from_a_server(reader, attack):
    reason, forge = ATTACKS[attack]
    reader.hold(reader.held)
    before = reader.files()
    assert reader.given(forge(reader)) == (3, reason)
    assert reader.files() == before


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_reader_without_the_checks_takes_each_of_them(reader, attack, monkeypatch):
    """The control."""
    take_the_checks_away(monkeypatch)
    reader.hold(reader.held)
    assert reader.given(ATTACKS[attack][1](reader)) == (0, "none")


def altered(state):
    return dataclasses.replace(state, changes=[{**state.changes[0], "text": "evil"}, *state.changes[1:]])


def without_hash(state):
    return dataclasses.replace(state, metadata={name: value for name, value in state.metadata.items() if name != "hash"})


def test_classic_attacks(reader, tmp_path):
    plain = unstated(reader.held)
    reader.hold(plain)
    before = reader.files()
    evil = altered(plain)
    for reason, state in {
        "rollback": unstated(reader.old),
        "hash-mismatch": evil,
        "bad-signature": without_hash(evil),
        "same-timestamp": signed_state(reader.key, list(evil.changes)),
        "unknown-key": signed_state(write_key_pair(tmp_path, "other").key(), make_records(5, start=NOW)),
        "not-yet-valid": signed_state(reader.key, make_records(2, start=NOW + 2 * DAY_MS)),
        "unsigned": dataclasses.replace(plain, metadata={"bucket": "main", "id": "regions"}),
    }.items():
        assert reader.given(state) == (3, reason)
    assert reader.files() == before


def test_of_a_held_timestamp_the_whole_file_is_looked_at(reader, monkeypatch):
    """Its records, too; of a difference since then nobody would."""
    plain = without_hash(unstated(reader.held))
    reader.hold(plain)
    assert reader.given(altered(plain)) == (3, "bad-signature")

    def difference(source, name, since=0):
        newer = [change for change in source.state.changes if change["last_modified"] > since]
        return dataclasses.replace(source.state, changes=newer, since=since)

    monkeypatch.setattr("kinto_signer.updater.file_source.FileSource.changeset", difference)
    assert reader.given(altered(plain)) == (0, "none"), "the control"


def test_age_audience_and_requirement(reader):
    assert reader.given(reader.held, "--max-age", "23h") == (3, "stale")
    assert reader.given(reader.held, "--audience", "production") == (3, "other-collection")
    assert reader.given(unstated(reader.held), "--require-statement") == (3, "no-statement")
    assert reader.given(reader.held, "--at", "2100-01-01") == (3, "expired")
    assert not reader.cache.joinpath("collections.sqlite").exists()
    assert reader.given(reader.held, "--max-age", "25h", "--require-statement") == (0, "none")


RULED = """
require_statement = true
[trust.blog]
public_keys = ["{public}"]
require_statement = false
[trust."main/regions"]
public_keys = ["{public}"]
max_age = "23h"
"""


def test_rules_and_keys_of_its_own_place(reader, tmp_path):
    """From a file, from a server, of the copy and of a file alone."""
    config = tmp_path / "config.toml"
    config.write_text(RULED.replace("{public}", str(reader.public)))
    reader.carry(reader.held)
    run, asked = reader.run, ("--config", config)

    def reason(code, found):
        assert code == found["exit_code"]
        return code, (found.get("collections") or found["files"])[0].get("error", {"reason": "none"})["reason"]

    assert reason(*run("gather-changes", "--from-file", reader.file, *asked)) == (3, "stale")
    assert reason(*run("verify", "--file", reader.file, *asked)) == (3, "stale")
    with HostileServer(FakeKinto(reader.held)) as server:
        assert reason(*run("gather-changes", server.url, "-c", NAME, *asked)) == (3, "stale")
    assert reason(*run("gather-changes", "--from-file", reader.file, *asked, "--max-age", "2d")) == (0, "none")
    assert reason(*run("verify", NAME, *asked)) == (3, "stale")
    code, found = run("export", NAME, tmp_path / "out.json", *asked)
    assert (code, found["error"]["reason"], (tmp_path / "out.json").exists()) == (3, "stale", False)

    reader.carry(unstated(reader.refreshed), bucket="blog")
    assert reason(*run("gather-changes", "--from-file", reader.file, *asked)) == (0, "none")
    reader.carry(reader.refreshed, bucket="elsewhere")
    code, found = run("gather-changes", "--from-file", reader.file, *asked)
    assert (code, found["collections"][0]["error"]["reason"]) == (2, "configuration"), "nobody is trusted for it"


# --- which collection ----------------------------------------------------------------------------------------------------------


def test_only_what_was_asked_for_is_taken(reader):
    reader.carry(unstated(reader.held), OTHER)
    reader.file.write_text(reader.file.read_text().replace('"id": "regions"', '"id": "languages"'))
    before = reader.files()
    code, (found,) = reader.take(flags=("-c", NAME))
    assert (code, found["collection"], found["error"]["reason"]) == (3, None, "other-collection")
    assert reader.files() == before
    code, (found,) = reader.take()
    assert (code, found["collection"]) == (0, OTHER), "the classic signature does not say which one it is"


def test_an_answer_that_does_not_say_which_collection_it_is(reader):
    metadata = {name: value for name, value in reader.held.metadata.items() if name != "id"}
    content = {"metadata": metadata, "timestamp": reader.held.timestamp, "changes": reader.held.records}
    reader.file.write_text(json.dumps(content))
    code, (found,) = reader.take()
    assert (code, found["error"]["reason"], "-c BUCKET" in found["error"]["message"]) == (3, "bad-answer", True)
    code, (found,) = reader.take(flags=("-c", NAME, "-c", "blog/regions"))
    assert (code, found["error"]["reason"]) == (3, "bad-answer")
    code, (found,) = reader.take(flags=("-c", OTHER))
    assert (code, found["error"]["reason"]) == (3, "other-collection"), "the statement says it"
    code, (found,) = reader.take(flags=("-c", NAME))
    assert (code, found["collection"]) == (0, NAME)


@pytest.mark.parametrize("said", ["../../etc", "a/b", "", 5, None, ["main"], {"a": 1}, "ünicode", "x" * 10_000])
def test_names_that_are_none(reader, said, tmp_path):
    reader.carry(unstated(reader.held), collection=said)
    content = json.loads(reader.file.read_text())
    del content["metadata"]["id"]
    reader.file.write_text(json.dumps(content))
    code, (found,) = reader.take(flags=("--json", tmp_path / "json"))
    assert (code, found["error"]["exit_code"], (tmp_path / "json").exists()) == (3, 3, False)


def test_a_server_and_files_are_two_things(reader):
    reader.carry(reader.held)
    code, found = reader.run("gather-changes", "https://x.example/v1", "--from-file", reader.file, "--public-key", reader.public)
    assert (code, found["error"]["reason"], "either a server" in found["error"]["message"]) == (2, "configuration", True)
    code, found = reader.run("gather-changes", "--from-file", reader.file)
    assert (code, "No trusted key" in found["error"]["message"]) == (2, True)


def test_several_files(reader, tmp_path):
    """In the order in which they are given; after an error the others go on."""
    files = {name: tmp_path / f"{name}.json" for name in ("old", "held", "nothing", "forged")}
    for name in ("old", "held"):
        files[name].write_bytes(exported(NAME, getattr(reader, name), {}))
    files["forged"].write_bytes(exported(NAME, altered(reader.held), {}))
    code, found = reader.take(files["old"], files["held"])
    assert (code, [one["status"] for one in found]) == (0, ["updated", "updated"])
    code, found = reader.take(*files.values(), files["held"])
    assert code == 2
    assert [(one["status"], one.get("error", {}).get("reason")) for one in found] == [
        ("failed", "rollback"),
        ("unchanged", None),
        ("failed", "configuration"),
        ("failed", "hash-mismatch"),
        ("unchanged", None),
    ]
    assert [one["file"] for one in found] == [str(file) for file in (*files.values(), files["held"])]


# --- hostile files -------------------------------------------------------------------------------------------------------------

DEEP = b'{"changes":[{"id":"a","last_modified":1,"x":' + b"[" * 100 + b"]" * 100 + b'}],"timestamp":1,"metadata":{}}'


def edited(**said):
    return lambda content: json.dumps(json.loads(content) | said).encode()


CONTENTS = {
    "empty": (lambda content: b"", "bad-answer"),
    "a byte missing": (lambda content: content[:-2], "bad-answer"),
    "cut in half": (lambda content: content[: len(content) // 2], "bad-answer"),
    "a byte too many": (lambda content: content + b"}", "bad-answer"),
    "no JSON": (lambda content: b"<html>", "bad-answer"),
    "no UTF-8": (lambda content: b"\xff" + content, "bad-answer"),
    "a zip file": (lambda content: b"PK\x03\x04" + bytes(1000), "bad-answer"),
    "deep": (lambda content: DEEP, "bad-answer"),
    "very deep": (lambda content: b"[" * 1_000_000, "bad-answer"),
    "a key twice": (lambda content: b'{"format":1,' + content[1:], "bad-answer"),
    "NaN": (lambda content: content.replace(b'"format"', b'"x": NaN, "format"'), "bad-answer"),
    "an infinity": (lambda content: content.replace(b'"format"', b'"x": 1e999, "format"'), "bad-answer"),
    "a lone surrogate": (lambda content: content.replace(b'"format"', b'"\\ud800": 1, "format"'), "bad-answer"),
    "a long number": (lambda content: content.replace(b'"format"', b'"x": ' + b"9" * 10_000 + b', "format"'), "bad-answer"),
    "no object": (lambda content: b"[]", "bad-answer"),
    "no changes": (edited(changes={}), "bad-answer"),
    "no records": (edited(changes=[1]), "bad-answer"),
    "a record twice": (edited(changes=[{"id": "a", "last_modified": 1}] * 2), "bad-answer"),
    "no metadata": (edited(metadata=[]), "bad-answer"),
    "no timestamp": (edited(timestamp=None), "bad-answer"),
    "a fraction of a timestamp": (edited(timestamp=1.5), "bad-answer"),
    "an odd format": (edited(format="1"), "bad-answer"),
    "no format that is": (edited(format=0), "bad-answer"),
    "true for a format": (edited(format=True), "bad-answer"),
    "large": (lambda content: content + b" " * 2**20, "too-large"),
}


@pytest.mark.parametrize("what", CONTENTS)
def test_hostile_contents(reader, what, tmp_path):
    make, reason = CONTENTS[what]
    config = tmp_path / "config.toml"
    config.write_text("max_size_mib = 1\n")
    reader.hold(reader.held)
    before, content = reader.files(), reader.file.read_bytes()
    reader.file.write_bytes(make(content))
    code, (found,) = reader.take(flags=("--config", config))
    assert (code, found["status"], found["error"]["reason"]) == (3, "failed", reason)
    code, answer = reader.run("verify", "--file", reader.file, "--public-key", reader.public, "--config", config)
    assert (code, answer["files"][0]["error"]["reason"]) == (3, reason)
    assert reader.files() == before
    reader.file.write_bytes(content)
    assert reader.take(flags=("--config", config))[0] == 0


def test_json_that_is_none(reader, shared):
    """The published collection of texts that no parser may take."""
    reader.hold(reader.held)
    before = reader.files()
    texts = sorted((shared / "vectors" / "json-parsing").glob("n_*.json"))
    assert len(texts) > 50
    code, found = reader.take(*texts)
    assert (code, {one["error"]["reason"] for one in found}, len(found)) == (3, {"bad-answer"}, len(texts))
    assert reader.files() == before


def test_a_format_of_the_future(reader):
    reader.hold(reader.held)
    before = reader.files()
    reader.carry(reader.refreshed, format=2)
    code, (found,) = reader.take()
    assert (code, found["error"]["reason"]) == (7, "newer-format")
    assert reader.files() == before
    with pytest.raises(NewerFormatError, match="upgrade"):
        open_file(reader.file, [load_public_key(reader.public.read_bytes(), where="")])


PLACES = {
    "nothing": lambda path: None,
    "a pipe": os.mkfifo,
    "a link to a pipe": lambda path: (os.mkfifo(path.with_suffix(".pipe")), path.symlink_to(path.with_suffix(".pipe"))),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to("/nowhere"),
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
}


@pytest.mark.filterwarnings("ignore:unclosed <socket")
@pytest.mark.parametrize("what", PLACES)
def test_hostile_places(reader, what, tmp_path, monkeypatch):
    """Nothing is waited for and nothing is read without end."""
    reader.hold(reader.held)
    before = reader.files()
    monkeypatch.chdir(tmp_path)
    place = Path("place")
    PLACES[what](place)
    code, (found,) = reader.take(place)
    assert (code, found["error"]["reason"], found["collection"]) == (2, "configuration", None)
    code, answer = reader.run("verify", "--file", place, "--public-key", reader.public)
    assert (code, answer["files"][0]["error"]["reason"]) == (2, "configuration")
    assert reader.files() == before


def test_a_link_to_a_file_is_followed(reader, tmp_path):
    reader.carry(reader.held)
    link = tmp_path / "link.json"
    link.symlink_to(reader.file)
    assert reader.take(link)[0] == 0


# --- export --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(reader, run):
    """``held(*flags)`` exports what the reader holds to reader.file."""
    reader.hold(reader.held)
    reader.file.unlink()

    def export(*flags, name=NAME):
        code, found = run("export", name, reader.file, "--cache", reader.cache, *flags)
        return code, found.get("error", {"reason": "none"})["reason"]

    return export


def test_export_is_verified_again(held, reader, tmp_path):
    other = write_key_pair(tmp_path, "other").public
    late = ("--at", "2100-01-01")
    for flags, code, reason in (
        (("--public-key", other), 3, "unknown-key"),
        (late, 3, "expired"),
        (("--max-age", "1h"), 3, "stale"),
        (("--audience", "production"), 3, "other-collection"),
    ):
        assert held(*flags) == (code, reason)
        assert not reader.file.exists()
    assert held(name=OTHER) == (1, "not-found")
    assert held(name="main") == (2, "configuration")
    path = reader.cache / "collections.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"deep":"x"', b'"deep":"y"', 1))
    assert path.read_bytes() != whole
    assert held() == (3, "corrupt-cache")
    assert not reader.file.exists()
    path.write_bytes(whole)
    assert held() == (0, "none")


def test_export_replaces_a_whole_file_or_nothing(held, reader, monkeypatch):
    assert held() == (0, "none")
    reader.file.write_bytes(b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert held() == (1, "storage")
    assert reader.file.read_bytes() == b"old"
    assert [path.name for path in reader.file.parent.iterdir() if path.name.startswith(".")] == []
    assert held() == (0, "none")
    assert reader.take()[0] == 0


def test_export_to_a_stick_without_modes(held, reader, monkeypatch):
    """FAT refuses chmod, and some file systems the fsync of a directory."""
    original = os.fsync

    def fsync(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        original(descriptor)

    def chmod(path, mode):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "chmod", chmod)
    assert held() == (0, "none")


@pytest.mark.parametrize("place", ["a pipe", "a link to a pipe", "an endless device", "a link to nothing"])
def test_export_replaces_no_link_and_no_device(held, reader, place):
    PLACES[place](reader.file)
    before = reader.file.lstat()
    assert held() == (2, "configuration")
    assert reader.file.lstat() == before


def test_export_says_what_a_large_file_needs(held, reader, monkeypatch, capsys):
    monkeypatch.setattr("kinto_signer.cli.held.DEFAULT_MAX_SIZE_MIB", 0)
    assert output.run(updater.cli, ["export", NAME, str(reader.file), "--cache", str(reader.cache)]) == 0
    assert "needs `max_size_mib`" in capsys.readouterr().err


def test_export_makes_no_folder(held, reader):
    reader.file = reader.file.parent / "not mounted" / "carried.json"
    assert held() == (2, "configuration")
    assert not reader.file.parent.exists()


# --- programs ------------------------------------------------------------------------------------------------------------------


def test_from_python(reader, tmp_path):
    reader.hold(reader.held)
    key = load_public_key(reader.public.read_bytes(), where="")
    with open_cache(reader.cache) as cache:
        state, signed_by = cache.export(NAME, str(tmp_path / "out.json"))
        with pytest.raises(StorageError, match="cannot be written"):
            cache.export(NAME, tmp_path / ("x" * 250))
    found = open_file(tmp_path / "out.json", [key])
    assert (found.name, found.records, found.timestamp) == (NAME, state.records, state.timestamp)
    assert (found.key.fingerprint, signed_by.fingerprint) == (key.fingerprint, key.fingerprint)
    assert found.statement == peek(reader.held.metadata).statement
    for wrong, said in (
        (UnknownKeyError, {"keys": [type(key)(new_key().public_key())]}),
        (ConfigurationError, {"keys": ()}),
        (OtherCollectionError, {"name": OTHER}),
        (ExpiredError, {"now": lambda: NOW / 1000 + 90 * 86_400}),
        (TooLargeError, {"max_bytes": 10}),
    ):
        with pytest.raises(wrong):
            open_file(tmp_path / "out.json", **({"keys": [key]} | said))
    reader.carry(unstated(reader.held))
    with pytest.raises(NoStatementError):
        open_file(reader.file, [key], rules=lambda name: Rules(required=True))
    assert issubclass(TooLargeError, KintoSignerError)
