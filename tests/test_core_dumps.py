"""No process that knows a key or a password leaves a core dump: both commands, S's workers, the units in ``config/``."""

import configparser
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.hostile import HostileServer
from tests.support.servers import ROOT, LiveKinto
from tests.support.settings import kinto_settings, signer_settings

UNITS = sorted((ROOT / "config").glob("*.service"))
COMMANDS = {
    "kinto_signer.cli.signer": ["status", "--server", "{url}"],
    "kinto_signer.cli.updater": ["gather-changes", "{url}", "-c", "main/regions", "--public-key", "{key}", "--cache", "{folder}"],
}
AS_THE_COMMAND = "from {module} import main; main()"
WITHOUT_ITS_ENTRY = "from kinto_signer.cli import output; from {module} import cli; output.run(cli)"

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(autouse=True)
def dumps_allowed():
    """Children of the test may dump, as far as it may itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("The tests themselves may not leave core dumps (ulimit -H -c), so nothing can be shown.")
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def soft_limit(pid):
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    (found,) = [line.split()[4] for line in lines if line.startswith("Max core file size")]
    return found


class Silent:
    """A server that never answers, and says when it was asked."""

    def __init__(self):
        self.asked = threading.Event()
        self.ended = threading.Event()

    def __call__(self, request):
        self.asked.set()
        self.ended.wait(30)
        return []


@linux
@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.parametrize("entry", [AS_THE_COMMAND, WITHOUT_ITS_ENTRY], ids=["as the command", "control"])
def test_the_commands(module, entry, tmp_path, key_pair):
    silent = Silent()
    with HostileServer(silent) as server:
        values = {"url": server.url, "key": key_pair.public, "folder": tmp_path / "cache"}
        arguments = [argument.format(**values) for argument in COMMANDS[module]]
        command = [sys.executable, "-c", entry.format(module=module), *arguments]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"KINTO_AUTH": "alice:secret"}, **quiet)
        try:
            assert silent.asked.wait(30)
            assert (soft_limit(process.pid) == "0") == (entry == AS_THE_COMMAND)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            silent.ended.set()


@linux
@pytest.mark.parametrize("plugin", [True, False], ids=["S", "control"])
def test_the_workers_of_a_server(live_kinto, key_pair, plugin):
    server: LiveKinto = live_kinto(signer_settings(key_pair.private) if plugin else kinto_settings(), name="kinto")
    (worker,) = server.worker_pids()
    assert (soft_limit(worker) == "0") == plugin


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_the_units(unit):
    found = configparser.ConfigParser(interpolation=None, strict=False)
    found.optionxform = str
    found.read(unit)
    assert found["Service"]["LimitCORE"] == "0"


def test_there_is_a_unit_for_the_reader_and_one_for_the_servers():
    assert [unit.name for unit in UNITS] == ["kinto-signer-refresh.service", "kinto-updater.service", "kinto@.service"]
