"""Campaigns: tests with a count and a seed. ``make test`` runs a few rounds of each, ``make proof`` all of them.

``make proof`` sets ``KINTO_SIGNER_PROOF=1`` and ``KINTO_SIGNER_CAMPAIGNS`` (a file of JSON lines), from which
``tools/write_proof.py`` makes ``docs/proof.md``.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

IN_FULL = os.environ.get("KINTO_SIGNER_PROOF") == "1"


def rounds(quick: int, full: int) -> int:
    """How often to run: ``full`` under ``make proof``, ``quick`` otherwise."""
    return full if IN_FULL else quick


class CampaignReport:
    """Collects what one test counted. Safe with several pytest workers: one line is one write.

    path: of the file; None: the one that ``make proof`` names.
    """

    def __init__(self, test: str, path: Path | None = None) -> None:
        self.test = test
        self.path = path
        self.started = time.monotonic()

    def __call__(self, name: str, counts: Mapping[str, int], seed: int | str | None = None) -> None:
        """Report a campaign: what was counted (``{"values": 50000, "differences": 0}``), and its seed."""
        path = self.path or os.environ.get("KINTO_SIGNER_CAMPAIGNS")
        if not path:
            return
        line = {
            "name": name,
            "test": self.test,
            "counts": dict(counts),
            "seed": seed,
            "seconds": round(time.monotonic() - self.started, 1),
        }
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
