"""The demo's Kinto servers: the files in ``config/`` as they are shipped, each with a database of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import requests

SCRIPTS = Path(sysconfig.get_path("scripts"))
CONFIG = Path(__file__).resolve().parents[1] / "config"
START_TIMEOUT_S = 30

# What differs from config/*.ini; Kinto takes every setting from the environment too.
DEMO_SETTINGS = {
    "KINTO_USERID_HMAC_SECRET": "demo",
    "KINTO_ACCOUNT_CREATE_PRINCIPALS": "system.Everyone",  # `kinto create-user` would ask for passwords
}


class DemoError(Exception):
    """A step did not do what it says."""


class Server:
    """One Kinto under granian, on a free loopback port, with its tables in the database at `database` (a URL)."""

    def __init__(self, ini: str, folder: Path) -> None:
        self.ini = CONFIG / ini
        self.database = ""
        self.log = folder / f"{self.ini.stem}.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, database: str, **settings: str) -> None:
        """Raises DemoError if it does not start."""
        self.database = database
        urls = {f"KINTO_{backend}_URL": database for backend in ("STORAGE", "PERMISSION", "CACHE")}
        environment = os.environ | DEMO_SETTINGS | urls | settings | {"KINTO_INI": str(self.ini)}
        self._migrate(environment)
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--port", str(self.port), "--no-ws"]
        command += ["--blocking-threads", "8", "--backpressure", "64", f"{CONFIG / 'wsgi.py'}:application"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that the whole group can be ended, or left running
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"The server of {self.ini.name} did not start:\n{self.log.read_text()}")
            time.sleep(0.1)

    @property
    def pid(self) -> int | None:
        """Of its process group too."""
        return self.process.pid if self.process else None

    def stop(self) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _migrate(self, environment: dict[str, str]) -> None:
        command = [str(SCRIPTS / "kinto"), "migrate", "--ini", str(self.ini)]
        with self.log.open("ab") as log:
            done = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)
        if done.returncode:
            raise DemoError(f"kinto migrate --ini {self.ini.name} failed:\n{self.log.read_text()}")

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/", timeout=5).ok
        except requests.ConnectionError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
