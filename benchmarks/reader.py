"""One run of kinto-updater that looks at its watch: ``python -m benchmarks.reader gather-changes …``; JSON in stderr's last line.

``python -m benchmarks.reader --alone URL`` downloads and parses that, and nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from kinto_signer.cli import output
from kinto_signer.cli.updater import cli


def main(arguments: list[str]) -> int:
    asked: list[str] = []
    waited = _watch_requests(asked)
    started = time.perf_counter()
    if arguments[0] == "--alone":
        code = 0 if json.loads(requests.get(arguments[1], timeout=600).content) else 1
    else:
        code = output.run(cli, arguments)
    seconds = time.perf_counter() - started
    found = {"seconds": seconds, "own": seconds - sum(waited), "requests": len(asked), "urls": asked, "peak_mib": _peak_mib()}
    print(json.dumps(found), file=sys.stderr)
    return code


def _watch_requests(asked: list[str]) -> list[float]:
    """Note what is asked for, and how long it takes until the first bytes of an answer."""
    waited: list[float] = []
    send = HTTPAdapter.send

    def watched(self: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        asked.append(request.url or "")
        started = time.perf_counter()
        try:
            return send(self, request, *args, **options)
        finally:
            waited.append(time.perf_counter() - started)

    HTTPAdapter.send = watched  # type: ignore[method-assign]
    return waited


def _peak_mib() -> float:
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
