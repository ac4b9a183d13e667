"""The demo's Kinto servers: the files in ``config/`` as they are shipped, on Kinto's memory storage."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

CONFIG = Path(__file__).resolve().parents[1] / "config"
START_TIMEOUT_S = 30

# What differs from config/*.ini; Kinto takes every setting from the environment too.
DEMO_SETTINGS = {
    "KINTO_STORAGE_BACKEND": "kinto.core.storage.memory",
    "KINTO_PERMISSION_BACKEND": "kinto.core.permission.memory",
    "KINTO_CACHE_BACKEND": "kinto.core.cache.memory",
    "KINTO_USERID_HMAC_SECRET": "demo",
    "KINTO_ACCOUNT_CREATE_PRINCIPALS": "system.Everyone",  # `kinto create-user` has no reach into a server's memory
}


class DemoError(Exception):
    """A step did not do what it says."""


class Server:
    """One Kinto under granian, on a free loopback port."""

    def __init__(self, ini: str, folder: Path) -> None:
        self.ini = CONFIG / ini
        self.log = folder / f"{self.ini.stem}.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> None:
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--port", str(self.port), "--no-ws"]
        command += ["--blocking-threads", "8", "--backpressure", "64", f"{CONFIG / 'wsgi.py'}:application"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=os.environ | DEMO_SETTINGS | settings | {"KINTO_INI": str(self.ini)},
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
