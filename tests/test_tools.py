"""The scripts that write documentation and install what tests and operators need."""

import hashlib
import json
import runpy
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.support.campaigns import CampaignReport
from tests.support.kinto_admin import BUILD
from tests.support.servers import ROOT


def run(tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"tools/{tool}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def run_on_a_bare_machine(folder, script, *arguments):
    """With nothing but bash and dirname on the path."""
    for name in ("bash", "dirname"):
        (folder / name).symlink_to(shutil.which(name))
    command = [f"tools/{script}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env={"PATH": str(folder)}, capture_output=True, text=True, check=False)


def test_docs_settings_is_what_the_table_says(tmp_path):
    written = tmp_path / "settings.rst"

    assert run("write_settings.py", written).returncode == 0

    assert (ROOT / "docs" / "settings.rst").read_text() == written.read_text(), "run `make docs`"


def test_proof_adds_up_the_lines_of_a_campaign(tmp_path, monkeypatch):
    lines = tmp_path / "campaigns.jsonl"
    monkeypatch.setenv("KINTO_SIGNER_CAMPAIGNS", str(lines))
    CampaignReport("tests/test_x.py::test_kill[1]")("kills of S", {"kills": 1000, "lost records": 0}, seed=7)
    CampaignReport("tests/test_x.py::test_kill[2]")("kills of S", {"kills": 500, "lost records": 0}, seed=8)

    assert run("write_proof.py", lines, tmp_path / "proof.md").returncode == 0

    page = (tmp_path / "proof.md").read_text()
    assert "| kills of S | 1,500 kills, 0 lost records | 7, 8 | " in page
    assert "`tests/test_x.py::test_kill`" in page


@pytest.mark.parametrize("content", ["", "{"])
def test_proof_without_a_campaign_writes_nothing(tmp_path, content):
    lines = tmp_path / "campaigns.jsonl"
    lines.write_text(content)

    assert run("write_proof.py", lines, tmp_path / "proof.md").returncode != 0
    assert not (tmp_path / "proof.md").exists()


def test_a_campaign_is_one_json_line(tmp_path, monkeypatch, report_campaign):
    lines = tmp_path / "campaigns.jsonl"
    monkeypatch.setenv("KINTO_SIGNER_CAMPAIGNS", str(lines))

    report_campaign("values", {"values": 3}, 42)

    (line,) = [json.loads(text) for text in lines.read_text().splitlines()]
    assert (line["name"], line["counts"], line["seed"]) == ("values", {"values": 3}, 42)
    assert line["test"].endswith("test_a_campaign_is_one_json_line")


def test_without_node_it_is_said_what_to_install(tmp_path):
    done = run_on_a_bare_machine(tmp_path, "install_npm_clients.sh", tmp_path / "clients")

    assert done.returncode == 1
    assert "apt-get install nodejs npm" in done.stderr
    assert not (tmp_path / "clients").exists()


def test_without_chromium_the_other_tests_run_and_it_is_said_what_is_left_out(tmp_path):
    done = run_on_a_bare_machine(tmp_path, "install_chromium.sh")

    assert done.returncode == 0
    assert "NO CHROMIUM" in done.stderr
    assert "will be skipped" in done.stderr
    assert "chromium fonts-dejavu-core" in done.stderr


def test_make_admin_prints_the_setting_that_serves_it():
    done = subprocess.run(["make", "admin"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert f"kinto.admin_assets_path = {BUILD}" in done.stdout.splitlines()
    assert (BUILD / "VERSION").read_text().strip() == "6.2.0"


@pytest.fixture
def other_wheel(tmp_path):
    """A wheel that looks right, with something added."""
    wheel = tmp_path / "kinto-25.0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("index.html", "VERSION", "assets/evil.js"):
            archive.writestr(f"kinto/plugins/admin/build/{name}", "6.2.0")
    return wheel


def test_another_wheel_is_not_unpacked_and_what_is_there_stays(tmp_path, other_wheel):
    folder = tmp_path / "kinto-admin"
    folder.mkdir()
    (folder / "index.html").write_text("before")

    done = run("install_admin.py", folder, "--wheel", other_wheel)

    assert done.returncode == 1
    assert "Nothing was unpacked" in done.stderr
    assert done.stdout == ""
    assert [path.name for path in folder.iterdir()] == ["index.html"]
    assert (folder / "index.html").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_wheel_s_hash_is_what_keeps_it_out(tmp_path, other_wheel, monkeypatch):
    """Control: with its hash, the same wheel is unpacked, and replaces what is there."""
    found = runpy.run_path(str(ROOT / "tools" / "install_admin.py"))
    monkeypatch.setitem(found["unpack"].__globals__, "SHA256", hashlib.sha256(other_wheel.read_bytes()).hexdigest())
    folder = tmp_path / "kinto-admin"
    folder.mkdir()
    (folder / "old").write_text("before")

    found["unpack"](other_wheel, folder)

    assert sorted(path.name for path in folder.iterdir()) == ["VERSION", "assets", "index.html"]


def test_the_page_names_the_wheel_that_is_fetched():
    found = runpy.run_path(str(ROOT / "tools" / "install_admin.py"))
    page = (ROOT / "docs" / "kinto-admin.rst").read_text()

    assert f"{found['SHA256']}  kinto-{found['VERSION']}-py3-none-any.whl" in page
