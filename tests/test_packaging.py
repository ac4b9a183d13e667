"""What an install brings: a reader gets neither Kinto nor Pyramid, and two commands that work."""

import shutil
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import kinto_signer
from tests.support.servers import ROOT

SERVER_PACKAGES = ("kinto", "pyramid", "sqlalchemy", "psycopg2", "canonicaljson", "transaction", "webob")
LOADED = f"import sys; print(sorted({set(SERVER_PACKAGES)!r} & {{name.partition('.')[0] for name in sys.modules}}))"


@pytest.mark.parametrize(
    "module",
    ["kinto_signer", "kinto_signer.events", "kinto_signer.updater", "kinto_signer.cli.updater", "kinto_signer.cli.signer"],
)
def test_a_reader_loads_nothing_of_the_server(module):
    script = f"import {module}; {LOADED}"

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory):
    """``pip install .`` and nothing else in a new virtual environment, from a copy: a build writes beside the sources."""
    folder = tmp_path_factory.mktemp("reader")
    copy = folder / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests"))
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(copy)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return python


def run_in(python: Path, *command: str) -> str:
    done = subprocess.run([str(python), *command], cwd=python.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_pip_install_in_an_empty_environment(empty_environment):
    installed = run_in(empty_environment, "-m", "pip", "list", "--format=freeze").lower()

    assert not any(line.partition("==")[0] in (*SERVER_PACKAGES, "canonicaljson-rs") for line in installed.splitlines())
    assert run_in(empty_environment, "-c", f"import kinto_signer.updater; {LOADED}").strip() == "[]"


@pytest.mark.parametrize("command", ["kinto-updater", "kinto_updater", "kinto-signer"])
def test_the_commands_are_installed(empty_environment, command):
    script = empty_environment.with_name(command)

    done = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True)

    assert kinto_signer.__version__ in done.stdout


def test_the_version_is_one():
    assert version("kinto-signer") == kinto_signer.__version__
    assert {script.name for script in entry_points(group="console_scripts") if script.value.startswith("kinto_signer.")} == {
        "kinto-signer",
        "kinto-updater",
        "kinto_updater",
    }
