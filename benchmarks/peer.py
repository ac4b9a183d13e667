"""Another plugin that signs, beside ours: ``python -m benchmarks.peer REQUIREMENT FOLDER`` installs it, and a Kinto for it.

A virtual environment of its own, the Python of ours, served by granian as ours is. What cannot be installed or does not start is
no error: the table says so, and compares with what was recorded of kinto-remote-settings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from benchmarks.measured import Budget, FailedError, Figures, repeated
from benchmarks.signing import FIRST, KEPT, REFRESH
from benchmarks.sites import Desk, fill
from tests.support.keys import KeyPair, write_key_pair
from tests.support.postgres import PostgresServer
from tests.support.servers import LiveKinto, migrate
from tests.support.settings import Settings, kinto_settings, signer_settings

# The newest that it works with; 19 took away what plugins counted with before.
KINTOS = ("kinto[postgresql]>=26", "kinto[postgresql]<19")
BESIDES = ("granian>=2", "setuptools<82", "psycopg2-binary")
# The packages that are known to sign: their lines for ``kinto.includes``, and their local signers.
PACKAGES = {
    "kinto_remote_settings": ("kinto_remote_settings.signer", "kinto_remote_settings.signer.backends.local_ecdsa"),
    "kinto_signer": ("kinto_signer", "kinto_signer.signer.local_ecdsa"),
}

# Medians in seconds, of kinto-remote-settings of 2026-08 on Kinto 26.5, PostgreSQL 15, Python 3.11, 2 cores; 500 bytes each.
RECORDED_NAME = "kinto-remote-settings 2026-08, recorded"
RECORDED: dict[int, dict[str, float]] = {
    1_000: {FIRST: 1.1, KEPT: 0.08, REFRESH: 0.045},
    10_000: {FIRST: 12.3, KEPT: 0.87, REFRESH: 0.45},
    100_000: {FIRST: 172, KEPT: 11.4, REFRESH: 5.1},
}
# How its first sign-off grows by ten times as many records; for what still fits into the time.
GROWTH = 14


@dataclass(frozen=True)
class Peer:
    """What was installed. name: with its version and Kinto's. include: its package. error: why it cannot be used."""

    requirement: str
    python: str = ""
    include: str = ""
    name: str = ""
    error: str = ""


def install(requirement: str, folder: Path) -> Peer:
    """Put it into a virtual environment in `folder`, unless it is there. requirement: as pip takes it, or a path."""
    kept = folder / "peer.json"
    if kept.exists():
        peer = Peer(**json.loads(kept.read_text()))
        if peer.requirement == requirement and not peer.error:
            return peer
    python, error = str(folder.absolute() / "bin" / "python"), ""
    for kinto in KINTOS:
        try:
            _run(sys.executable, "-m", "venv", "--clear", str(folder))
            _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement, kinto, *BESIDES)
            peer = _tried(requirement, python)
            break
        except FailedError as problem:
            error = error or str(problem)
    else:
        peer = Peer(requirement, error=error)
    folder.mkdir(exist_ok=True)
    kept.write_text(json.dumps(asdict(peer)))
    return peer


def installed(folder: Path) -> Peer:
    """What `install` left there."""
    return Peer(**json.loads((folder / "peer.json").read_text()))


def _tried(requirement: str, python: str) -> Peer:
    """The peer, once it has signed something. Raises FailedError."""
    include = next((name for name in PACKAGES if _importable(python, name)), None)
    if include is None:
        raise FailedError(f"{requirement} brings none of the packages {', '.join(PACKAGES)}.")
    with tempfile.TemporaryDirectory(prefix="kinto-signer-peer-") as folder:
        settings = peer_settings(write_key_pair(Path(folder)), include)
        try:
            with LiveKinto(settings, name="peer", python=python) as server:
                found = requests.get(f"{server.url}/", timeout=60).json()
                desk = Desk(server, 1)
                desk.create()
                desk.publish_one_change()
        except RuntimeError as error:
            raise FailedError(str(error)) from error
    capabilities = found["capabilities"]
    return Peer(
        requirement, python, include, f"{include} {capabilities['signer']['version']} on Kinto {found['project_version']}"
    )


def peer_settings(key_pair: KeyPair, include: str, database: str | None = None) -> Settings:
    """As ours, in the words that peers know. The fetch size is raised: above it they publish less than there is."""
    line, backend = PACKAGES[include]
    return signer_settings(key_pair.private, database=database) | {
        "kinto.includes": line,
        "kinto.signer.signer_backend": backend,
        "kinto.storage_max_fetch_size": "10000000",
    }


def measure(
    peer: Peer, postgres: PostgresServer, key_pair: KeyPair, count: int, budget: Budget, changes: int, figures: Figures
) -> None:
    """First sign-off, one change, refresh: into `figures`, one after the other."""
    database = postgres.create_database("template0")
    migrate(kinto_settings(database), python=peer.python)
    settings = peer_settings(key_pair, peer.include, database)
    with LiveKinto(settings, name="bench-peer", python=peer.python) as server:
        desk = Desk(server, count)
        desk.create()
        fill(database, count)
        desk.warm_up()
        desk.edit()
        figures[FIRST] = [desk.ask("to-sign")]
        repeated(desk.publish_one_change, 2, budget.left() / 8)  # as ours
        figures[KEPT] = repeated(desk.publish_one_change, changes, budget.left() / 4)
        figures[REFRESH] = repeated(lambda: desk.ask("to-resign"), changes, budget.left() / 4)
        desk.check(key_pair)
    postgres.drop_database(database)


def _importable(python: str, name: str) -> bool:
    command = [python, "-c", f"import importlib.util as u, sys; sys.exit(u.find_spec({name!r}) is None)"]
    return subprocess.run(command, cwd=tempfile.gettempdir(), check=False).returncode == 0


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise FailedError(f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout)[-1000:]}")


def main() -> None:
    requirement, folder = sys.argv[1], Path(sys.argv[2])
    peer = install(requirement, folder)
    print(f"{requirement} cannot be used:\n{peer.error}" if peer.error else f"Beside ours: {peer.name}")


if __name__ == "__main__":
    main()
