"""Kinto servers for the tests: live ones (granian, a process group of their own) and WebTest applications."""

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import kinto
import kinto_http
import webtest
from kinto.core.cornice.service import SERVICES

from tests.support import kept
from tests.support.postgres import TEMPLATE, PostgresServer
from tests.support.settings import PASSWORD, Settings, kinto_settings

ROOT = Path(__file__).resolve().parents[2]
TETHERED = Path(__file__).with_name("tethered.py")
WSGI = ROOT / "config" / "wsgi.py"
KEPT_WSGI = Path(kept.__file__).with_name("wsgi.py")
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 15
REQUEST_TIMEOUT_S = 60


class LiveKinto:
    """A Kinto over HTTP on a free loopback port: granian with ``config/wsgi.py``.

    ``with LiveKinto(settings) as server`` starts and stops it; the fixture ``live_kinto`` does so for a test. Start it
    from the main thread (the server dies with the thread that started it). python: of a virtual environment that has Kinto
    and granian, and other plugins than ours.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        *,
        includes: str | None = None,
        workers: int = 1,
        threads: int = 8,
        name: str = "kinto",
        environment: Mapping[str, str] | None = None,
        respawn: bool = False,
        level: str = "INFO",
        python: str = sys.executable,
    ) -> None:
        self.name = name
        self.python = python
        self.level = level
        self.settings: Settings = dict(settings)
        if includes is not None:
            self.settings["kinto.includes"] = includes
        self.workers = workers
        self.threads = threads
        self.respawn = respawn
        self.environment = dict(environment or {})
        # Bound but not listening: keeps the port ours while the server is down, and granian may share it.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.origin}/v1"
        self.folder = Path(tempfile.mkdtemp(prefix=f"kinto-signer-{name}-"))
        self.ini = self.folder / f"{name}.ini"
        self.log = self.folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the server and wait until it answers. May be called again after ``stop`` or ``sigkill``."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} is running already.")
        mode = kept.mode_of({**os.environ, **self.environment}) if self.python == sys.executable else "on"
        write_ini(self.ini, kept.in_mode(self.settings, mode), self.level)
        command = [sys.executable, "-SE", TETHERED, int(signal.SIGTERM), self.python, "-m", "granian"]
        command += ["--interface", "wsgi", "--host", "127.0.0.1", "--port", self.port, "--no-ws"]
        command += ["--workers", self.workers, "--blocking-threads", self.threads, "--backpressure", self.threads * 4]
        if self.respawn:  # a worker that was killed; otherwise granian ends with it
            command += ["--respawn-failed-workers", "--respawn-interval", "0.1"]
        environment = {**os.environ, **self.environment, "KINTO_INI": str(self.ini)}
        ours = self.python == sys.executable
        # Without coverage it is twice as fast; what it runs of ours is measured where tests call it in their own process.
        environment = {name: value for name, value in environment.items() if not name.startswith("COVERAGE")}
        command += [f"{WSGI if mode == 'on' else KEPT_WSGI}:application"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                env=environment,
                cwd=ROOT if ours else self.folder,  # another Python is not to import what is there
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.sigkill()
            raise
        return self

    def stop(self) -> None:
        """End it in good order."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.sigkill()
        self._process = None

    def sigkill(self) -> None:
        """SIGKILL the whole process group, and wait until nobody answers on the port."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # the group is gone
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=STOP_TIMEOUT_S)
        self._process = None
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self._listens():
            if time.monotonic() > deadline:
                raise RuntimeError(f"Somebody still listens on {self.origin} after SIGKILL.")
            time.sleep(0.01)

    def close(self) -> None:
        """Stop it and give its port back. The log remains until the test session ends."""
        self.stop()
        self._reserved.close()

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id of granian's first process, which has the workers as children."""
        return self._process.pid if self._process else None

    def worker_pids(self) -> list[int]:
        """The process ids of granian's workers, which answer the requests (Linux only)."""
        if self._process is None:
            return []
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in children.read_text().split() if b"resource_tracker" not in command_line(int(pid))]

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def client(self, user: str = "alice", *, timeout_s: float = REQUEST_TIMEOUT_S, **options: Any) -> kinto_http.Client:
        """A kinto-http client of this user, who needs no account. It never retries."""
        return kinto_http.Client(
            server_url=self.url, auth=(user, PASSWORD), retry=0, timeout=timeout_s, ignore_batch_4xx=False, **options
        )

    def userid(self, user: str = "alice") -> str:
        """The principal under which Kinto knows this user (``basicauth:…``)."""
        user_id: str = self.client(user).server_info()["user"]["id"]
        return user_id

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} did not start ({error}). Its log:\n{self.log_text()}") from error
            time.sleep(0.05)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def command_line(pid: int) -> bytes:
    """How a process was started; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def write_ini(path: Path, settings: Mapping[str, str], level: str = "INFO") -> None:
    """An .ini file as a person would write it: ``%`` doubled, further lines of a value indented. level: of all loggers."""
    lines = [f"{name} = {value}".replace("%", "%%").replace("\n", "\n    ") for name, value in settings.items()]
    path.write_text("\n".join(["[app:main]", "use = egg:kinto", *lines, LOGGING.replace("INFO", level)]), encoding="utf-8")


LOGGING = """
[loggers]
keys = root

[handlers]
keys = console

[formatters]
keys = plain

[logger_root]
level = INFO
handlers = console

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain

[formatter_plain]
format = %(asctime)s %(levelname)s %(name)s %(message)s
"""


def migrate(settings: Mapping[str, str], *, python: str = sys.executable) -> None:
    """``kinto migrate``: put Kinto's schema into the database of these settings."""
    with tempfile.TemporaryDirectory(prefix="kinto-signer-migrate-") as folder:
        ini = Path(folder) / "kinto.ini"
        write_ini(ini, settings)
        command = [python, "-c", "from kinto.__main__ import main; main()", "migrate", "--ini", str(ini)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"kinto migrate failed:\n{done.stdout}{done.stderr}")


class PrefixedRequest(webtest.TestRequest):
    """``app.get("/buckets")`` is ``GET /v1/buckets``, as clients write it."""

    @classmethod
    def blank(cls, path: str, *args: Any, **options: Any) -> Any:
        return webtest.TestRequest.blank(path if path.startswith("/v1/") else f"/v1{path}", *args, **options)


def webtest_app(settings: Mapping[str, str], *, user: str = "alice") -> webtest.TestApp:
    """Kinto in this process. Requests are made as ``user``; ``headers=authorization("bob")`` changes that for one."""
    forget_older_servers()
    application = kinto.main({}, **kept.in_mode(settings))
    application.RequestClass = PrefixedRequest
    app = webtest.TestApp(application)
    app.RequestClass = PrefixedRequest
    app.authorization = ("Basic", (user, PASSWORD))
    return app


def forget_older_servers() -> None:
    """Kinto keeps the services of every server of a process, and the servers with them (4 MB each): the last of each name do."""
    SERVICES[:] = {service.name: service for service in SERVICES}.values()


def authorization(user: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()}


@contextlib.contextmanager
def started_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of our own, with Kinto's schema in its template."""
    server = PostgresServer()
    try:
        server.start()
        server.execute(f"CREATE DATABASE {TEMPLATE} ENCODING 'UTF8' TEMPLATE template0")
        migrate(kinto_settings(server.url(TEMPLATE)))
        yield server
    finally:
        server.stop()
