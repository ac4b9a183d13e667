"""kinto-updater as a person or a script uses it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from kinto_signer import __version__
from kinto_signer.cli import output, updater
from kinto_signer.cli.progress import Progress
from kinto_signer.errors import BackoffError, KintoSignerError, RollbackError, VerificationError
from kinto_signer.updater import open_cache
from kinto_signer.updater.saved import load
from tests.support.hostile import FakeKinto, HostileServer, drip, http
from tests.support.keys import write_key_pair
from tests.support.servers import ROOT
from tests.support.states import NAME, START, make_records, signed_state

OTHER = "main/languages"
ISO = r"2020-09-13T12:26:40\.\d{3}\+00:00"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Nothing of the person who runs the tests is read or written."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))


@pytest.fixture
def pair(tmp_path):
    return write_key_pair(tmp_path)


@pytest.fixture
def state(pair):
    return signed_state(pair.key(), make_records(3))


@pytest.fixture
def server(state):
    with HostileServer(FakeKinto(state)) as server:
        yield server


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = output.run(updater.cli, [str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def gather(run, server, pair, tmp_path):
    """``gather(more flags)`` on the server of the test."""

    def gather(*more, name=NAME):
        return run("gather-changes", server.url, "-c", name, "--public-key", pair.public, "--cache", tmp_path / "cache", *more)

    return gather


# --- gather-changes -------------------------------------------------------------------------------------------------


def test_text(gather, tmp_path):
    code, out, err = gather("--json", tmp_path / "json")
    assert (code, err) == (0, "")
    assert re.fullmatch(rf"main/regions: 3 changes, now at {ISO} \({START + 2}\), 3 records, verified\n", out)
    code, out, err = gather("--json", tmp_path / "json")
    assert re.fullmatch(rf"main/regions: unchanged since {ISO} \({START + 2}\), 3 records, verified\n", out)


def test_json(gather, pair, state, tmp_path):
    code, out, err = gather("--format", "json", "--json", tmp_path / "json")
    answer = json.loads(out)
    (collection,) = answer.pop("collections")
    assert (code, err, answer["exit_code"]) == (0, "", 0)
    assert re.fullmatch(ISO, collection.pop("signed_at"))
    assert re.fullmatch("([0-9A-F]{2}:){31}[0-9A-F]{2}", collection.pop("key"))
    path = tmp_path / "json" / "main" / "regions.json"
    assert collection == {
        "collection": NAME,
        "status": "updated",
        "timestamp": START + 2,
        "before": 0,
        "records": 3,
        "changes": 3,
        "json": str(path),
    }
    assert load(path)[1].records == state.records


def test_after_an_error_the_others_go_on(run, pair, state, tmp_path):
    others = signed_state(pair.key(), make_records(5), id="languages")

    class Both(FakeKinto):
        def missing(self, request):
            return FakeKinto(others, OTHER)(request) if "/languages" in request.path else super().missing(request)

    forged = signed_state(write_key_pair(tmp_path, "other").key(), make_records(4))
    with HostileServer(Both(forged)) as server:
        arguments = ["gather-changes", server.url, "--public-key", pair.public, "--cache", tmp_path / "cache", "--format", "json"]
        code, out, _ = run(*arguments, "-c", NAME, "-c", "main/nothing", "-c", OTHER)
    answer = json.loads(out)
    assert code == answer["exit_code"] == 3  # of 3 and 1 the first in the order of precedence
    statuses = [(c["collection"], c["status"], c.get("error", {}).get("reason")) for c in answer["collections"]]
    assert statuses == [(NAME, "failed", "unknown-key"), ("main/nothing", "failed", "not-found"), (OTHER, "updated", None)]


def test_an_error_says_what_was_kept(gather, server, pair, run, tmp_path):
    gather()
    server.answer = FakeKinto(signed_state(write_key_pair(tmp_path, "x").key(), make_records(4, start=START + 50)))
    code, out, err = gather()
    assert (code, out) == (3, "")
    assert re.search(rf"^main/regions: .*\[unknown-key\] Held and kept: the state of {ISO}\.$", err, re.MULTILINE)


def test_from_a_configuration_file(run, server, pair, tmp_path):
    config = tmp_path / "xdg-config" / "kinto-updater" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'server = "{server.url}"\ncollections = ["{NAME}"]\npublic_keys = ["{pair.public}"]\nformat = "json"\n')
    code, out, _ = run("gather-changes")
    assert (code, json.loads(out)["cache"]) == (0, str(tmp_path / "xdg-state" / "kinto-updater"))
    code, out, _ = run("show", "--format", "text")
    assert code == 0
    assert out.startswith("main/regions: 3 records, signed ")
    config.write_text('collections = ["main"]\nformat = "json"')
    code, out, err = run("gather-changes", server.url, "--public-key", pair.public)
    assert (code, err, json.loads(out)["error"]["reason"]) == (2, "", "configuration")
    config.write_text("nonsense = 1")
    code, _, err = run("show")
    assert code == 2
    assert "nonsense" in err


def test_several_keys(run, server, pair, tmp_path):
    other = write_key_pair(tmp_path, "other")
    arguments = ["gather-changes", server.url, "-c", NAME, "--cache", tmp_path / "cache"]
    assert run(*arguments, "--public-key", other.public)[0] == 3
    assert run(*arguments, "--public-key", other.public, "--public-key", pair.public)[0] == 0


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("arguments", "reason", "message"),
    [
        (["gather-changes"], "configuration", "No server"),
        (["gather-changes", "http://x/v1"], "configuration", "No collection"),
        (["gather-changes", "http://x/v1", "-c", "a/b"], "configuration", "No trusted key"),
        (["gather-changes", "http://x/v1", "-c", "a", "--public-key", "PUBLIC"], "configuration", "'a' is not the name"),
        (["gather-changes", "http://x/v1", "-c", "a/b", "--public-key", "no.pem"], "configuration", "no.pem"),
        (["gather-changes", "http://x/v1", "-c", "a/b", "--public-key", "PUBLIC", "--deadline", "-1"], "configuration", "-1"),
        (["gather-changes", "--deadline", "soon"], "usage", "soon"),
        (["gather-changes", "--nonsense"], "usage", "--nonsense"),
        (["nonsense"], "usage", "nonsense"),
        (["reset"], "usage", "Missing argument"),
        (["verify"], "configuration", "--public-key"),
        (["verify", "--file", "no.json", "--public-key", "PUBLIC"], "configuration", "no.json"),
        (["verify", "a/b", "--file", "x", "--file", "y", "--public-key", "PUBLIC"], "configuration", "one single file"),
    ],
)
def test_usage_and_configuration_errors(run, pair, tmp_path, arguments, reason, message, as_json):
    arguments = [str(pair.public) if argument == "PUBLIC" else argument for argument in arguments]
    if as_json and arguments[0] != "nonsense":
        arguments.insert(1, "--format=json")
    code, out, err = run(*arguments, *(["--format", "json"] if as_json and arguments[0] == "nonsense" else []))
    assert code == 2
    if as_json:
        answer = json.loads(out)
        error = answer.get("error") or answer["files"][0]["error"]
        assert (answer["exit_code"], error["reason"]) == (2, reason)
        assert message in error["message"]
    else:
        assert out == ""
        assert message in err
        assert reason == "usage" or "[configuration]" in err


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["gather-changes", "--help"], ["--version"]])
def test_help(run, arguments):
    code, out, _ = run(*arguments)
    assert code == 0
    assert __version__ in out if "--version" in arguments else "Usage" in out


# --- show, verify, reset --------------------------------------------------------------------------------------------


def test_show(gather, run, state, tmp_path):
    gather()
    code, out, _ = run("show", "--cache", tmp_path / "cache")
    assert (code, out.count("\n")) == (0, 1)
    code, out, _ = run("show", NAME, "--records", "--cache", tmp_path / "cache")
    assert (code, out.count("\n")) == (0, 4)
    assert json.loads(out.splitlines()[1]) == state.records[0]
    code, out, _ = run("show", "--records", "--cache", tmp_path / "cache", "--format", "json")
    shown = json.loads(out)["collections"][0]
    assert shown["data"] == state.records
    assert (shown["highest"], shown["metadata"]) == (START + 2, dict(state.metadata))


def test_show_what_is_not_there(gather, run, tmp_path):
    code, out, err = run("show", "--cache", tmp_path / "cache")
    assert (code, out) == (1, "")
    assert "[not-found]" in err
    gather()
    code, out, err = run("show", NAME, OTHER, "--cache", tmp_path / "cache")
    assert code == 1
    assert out.startswith(NAME)
    assert "main/languages" in err
    code, out, _ = run("show", OTHER, "--cache", tmp_path / "cache", "--format", "json")
    assert (code, json.loads(out)["collections"][0]["error"]["reason"]) == (1, "not-found")


def test_verify_the_cache(gather, run, pair, tmp_path):
    gather()
    other = write_key_pair(tmp_path, "other")
    code, out, _ = run("verify", "--cache", tmp_path / "cache", "--public-key", pair.public)
    assert (code, out[:12]) == (0, NAME)
    code, out, err = run("verify", "--cache", tmp_path / "cache", "--public-key", other.public)
    assert (code, out) == (3, "")
    assert "[unknown-key]" in err


def test_a_damaged_cache_is_said_and_fetched_again(gather, run, tmp_path):
    gather()
    file = tmp_path / "cache" / "collections.sqlite"
    file.write_bytes(file.read_bytes()[:6000])
    code, out, _ = run("show", "--cache", tmp_path / "cache", "--format", "json")
    assert (code, json.loads(out)["error"]["reason"]) == (3, "corrupt-cache")
    code, out, err = gather()
    assert code == 0
    assert "[corrupt-cache]" in err
    assert run("show", "--cache", tmp_path / "cache")[0] == 0


SAVED = {
    "changes": lambda s: {"changes": s.records, "metadata": s.metadata, "timestamp": s.timestamp},
    "data": lambda s: {"data": s.records, "metadata": s.metadata, "timestamp": s.timestamp},
    "signature alone": lambda s: {
        "data": s.records,
        "metadata": {"signature": s.metadata["signature"]},
        "timestamp": s.timestamp,
    },
    "top level": lambda s: {"data": s.records, "signatures": s.metadata["signatures"], "timestamp": s.timestamp},
    "signed_timestamp": lambda s: {"data": s.records, "metadata": s.metadata},
    "with names": lambda s: {
        "bucket": "main",
        "collection": "regions",
        "data": s.records,
        "metadata": s.metadata,
        "timestamp": s.timestamp,
    },
}


@pytest.mark.parametrize("shape", SAVED)
def test_verify_files(run, pair, state, tmp_path, shape):
    file = tmp_path / "saved.json"
    content = SAVED[shape](state)
    file.write_text(json.dumps(content))
    code, out, err = run("verify", "--file", file, "--public-key", pair.public)
    assert (code, err) == (0, "")
    assert "3 records" in out

    content[next(name for name in ("changes", "data") if name in content)][0]["text"] = "forged"
    file.write_text(json.dumps(content))
    code, out, err = run("verify", "--file", file, "--public-key", pair.public, "--format", "json")
    answer = json.loads(out)
    assert (code, answer["exit_code"], answer["files"][0]["error"]["reason"]) == (3, 3, "bad-signature")


NO_FILES = {
    "[]": "no JSON object",
    "{}": "neither `changes` nor `data`",
    '{"data": 1, "timestamp": 1}': "neither",
    '{"data": [], "timestamp": "1"}': "no integer",
    '{"data": []}': "no integer",
    '{"data": [], "metadata": 1, "timestamp": 1}': "no object",
    '{"data": [1], "timestamp": 1}': "no JSON object",
    '{"data": [], "data": []}': "twice",
    "<html>": "not proper JSON",
    '{"data": [], "timestamp": 1}': "no signature",
}


@pytest.mark.parametrize("content", NO_FILES)
def test_verify_files_of_another_shape(run, pair, tmp_path, content):
    file = tmp_path / "saved.json"
    file.write_text(content)
    code, out, err = run("verify", "--file", file, "--public-key", pair.public)
    assert (code, out) == (3, "")
    assert NO_FILES[content] in err


def test_verify_a_file_about_another_collection(run, gather, pair, tmp_path):
    gather("--json", tmp_path / "json")
    file = tmp_path / "json" / "main" / "regions.json"
    assert run("verify", NAME, "--file", file, "--public-key", pair.public)[0] == 0
    for name in (OTHER, "blog/regions"):
        code, _, err = run("verify", name, "--file", file, "--public-key", pair.public)
        assert code == 3
        assert "[other-collection]" in err


def test_reset(gather, server, run, pair, tmp_path):
    gather()
    older, current = signed_state(pair.key(), make_records(2)), server.answer.state
    code, out, _ = run("reset", NAME, "--cache", tmp_path / "cache")
    assert code == 0
    assert f"older than {START + 2} are still refused" in out
    server.answer.state = older
    code, _, err = gather()
    assert code == 3
    assert "[rollback]" in err
    assert "reset main/regions --accept-older" in err
    server.answer.state = current
    assert gather()[0] == 0

    code, out, _ = run("reset", NAME, "--accept-older", "--cache", tmp_path / "cache")
    assert code == 0
    assert "ANY older state" in out
    server.answer.state = older
    assert gather()[0] == 0
    with open_cache(tmp_path / "cache") as cache:
        assert cache.timestamp(NAME) == older.timestamp


def test_reset_in_json_and_what_is_not_there(gather, run, tmp_path):
    gather()
    code, out, _ = run("reset", NAME, "--cache", tmp_path / "cache", "--format", "json")
    assert json.loads(out) == {"exit_code": 0, "collections": [{"collection": NAME, "highest": START + 2, "accept_older": False}]}
    code, out, err = run("reset", OTHER, "--cache", tmp_path / "cache")
    assert (code, out) == (1, "")
    assert "[not-found]" in err


# --- the process ----------------------------------------------------------------------------------------------------


def command(*arguments):
    return [sys.executable, "-m", "kinto_signer.cli.updater", *map(str, arguments)]


def test_as_a_module():
    ended = subprocess.run(command("--version"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, __version__ in ended.stdout) == (0, True)


def test_interrupted(state, pair, tmp_path):
    with HostileServer(lambda _: drip(http(200, b"x" * 1000))) as server:
        arguments = ["gather-changes", server.url, "-c", NAME, "--public-key", pair.public, "--cache", tmp_path / "cache"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # As from a terminal: what runs in the background of a script ignores SIGINT, and so would its children.
        process = subprocess.Popen(["env", "--default-signal=INT", *command(*arguments)], cwd=ROOT, **pipes)
        give_up = time.monotonic() + 30
        while not server.requests and time.monotonic() < give_up:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.strip().startswith("Interrupted")
    assert "Traceback" not in err


def test_logs_go_to_stderr(gather, server, run, pair, tmp_path):
    code, out, err = run(
        "-v", "gather-changes", server.url, "-c", NAME, "--public-key", pair.public, "--cache", tmp_path / "c", "--format", "json"
    )
    assert (code, json.loads(out)["exit_code"]) == (0, 0)
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} INFO main/regions: verified at", err, re.MULTILINE)


def test_progress_on_a_terminal_only():
    import io

    from rich.console import Console

    for terminal in (True, False):
        stream = io.StringIO()
        with Progress(Console(file=stream, force_terminal=terminal)) as progress:
            progress.begin(NAME)
            progress.add_bytes(5 * 2**20)
            time.sleep(0.3)
        assert (NAME in stream.getvalue()) is terminal


def test_json_where_the_output_is_interrupted(capsys):
    import rich_click as click

    @click.command()
    @click.option("--format")
    def interrupted(format):  # noqa: A002
        raise KeyboardInterrupt

    assert output.run(interrupted, ["--format", "json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["reason"] == "interrupted"


def test_errors_as_objects():
    assert output.error_object(BackoffError("Wait.", until=0)) == {
        "reason": "backoff",
        "message": "Wait.",
        "exit_code": 5,
        "until": "1970-01-01T00:00:00.000+00:00",
    }
    assert output.iso_ms(10**30) == "1e+27"
    assert str(RollbackError(NAME, 5, 3)).endswith("[rollback]")


def test_every_error_has_a_reason_and_an_exit_code():
    def tree(error):
        yield error
        for child in error.__subclasses__():
            yield from tree(child)

    for error in tree(KintoSignerError):
        assert re.fullmatch("[a-z-]+", error.reason)
        assert error.exit_code in range(1, 11)
        assert (error.exit_code == 3) or not issubclass(error, VerificationError)


def test_umask_and_the_modes_of_files(gather, tmp_path):
    old = os.umask(0o077)
    try:
        gather("--json", tmp_path / "json")
    finally:
        os.umask(old)
    files = [path for folder in ("cache", "json") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}
