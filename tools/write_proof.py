"""Turn the JSON lines that `make proof` collected into docs/proof.md: ``write_proof.py LINES OUTPUT``."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("cryptography", "kinto", "kinto-http", "pyramid", "psycopg2-binary", "canonicaljson-rs")


def main(lines_file: Path, output: Path) -> None:
    campaigns = merged(json.loads(line) for line in lines_file.read_text(encoding="utf-8").splitlines())
    if not campaigns:
        sys.exit(f"{lines_file} reports no campaign: nothing was proved, {output} is left as it was.")
    output.parent.mkdir(exist_ok=True)
    output.write_text(page(campaigns), encoding="utf-8")
    print(f"{output}: {len(campaigns)} campaigns")


def merged(lines: Any) -> list[dict[str, Any]]:
    """One entry per campaign: the lines of a parametrised one are added up."""
    campaigns: dict[str, dict[str, Any]] = {}
    for line in lines:
        found = campaigns.setdefault(
            line["name"], {"name": line["name"], "test": line["test"].partition("[")[0], "counts": {}, "seeds": []}
        )
        for what, count in line["counts"].items():
            found["counts"][what] = found["counts"].get(what, 0) + count
        if line["seed"] is not None and str(line["seed"]) not in found["seeds"]:
            found["seeds"].append(str(line["seed"]))
        found["seconds"] = round(found.get("seconds", 0) + line["seconds"], 1)
    return sorted(campaigns.values(), key=lambda campaign: str(campaign["name"]))


def page(campaigns: list[dict[str, Any]]) -> str:
    rows = "\n".join(row(campaign) for campaign in campaigns)
    return f"""# The campaigns, as they ran

Written by `make proof`; not edited by hand. Every campaign here passed: a failure ends `make proof` before this page is
written. `make test` runs the same tests at smaller counts.

* Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC
* Commit: {commit()}
* Machine: {platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}
* With: {", ".join(f"{name} {version(name)}" for name in PACKAGES)}

| campaign | counts | seed | seconds | test |
|---|---|---|---|---|
{rows}
"""


def row(campaign: dict[str, Any]) -> str:
    counts = ", ".join(f"{count:,} {what}" for what, count in campaign["counts"].items())
    seeds = ", ".join(campaign["seeds"]) or "none"
    return f"| {campaign['name']} | {counts} | {seeds} | {campaign['seconds']} | `{campaign['test']}` |"


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip() or "not a git checkout"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
