"""The scripts that write documentation."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.support.campaigns import CampaignReport
from tests.support.servers import ROOT


def run(tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"tools/{tool}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


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
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    command = ["tools/install_npm_clients.sh", tmp_path / "clients"]

    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "apt-get install nodejs npm" in done.stderr
    assert not (tmp_path / "clients").exists()
