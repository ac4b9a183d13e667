"""What publishing costs on A: ``make bench-authority``, or ``python -m benchmarks.authority [--records N]``.

Everything is measured where a client is: wall clock around one HTTP request to A under granian, with a PostgreSQL that is started
for it. Side by side: the same records through Kinto's own ``/batch`` on a plain Kinto.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests

from benchmarks.records import Publishing, make_record, make_records, now_ms
from tests.support.keys import write_key_pair
from tests.support.servers import LiveKinto, started_postgres
from tests.support.settings import PASSWORD, authority_settings, guarded_settings

CHANGESET = "/buckets/main/collections/stops/changeset"
AUTH = ("signer", PASSWORD)
RATE, MEMORY_MIB, ONE_CHANGE_S = 10_000, 600, 0.5
MEBIBYTE = 2**20


def main() -> int:
    options = _options()
    print(f"{options.records:,} records; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; PostgreSQL on a socket\n")
    print("| what | result | bar | |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, started_postgres() as postgres:
        key_pair = write_key_pair(Path(folder))
        met = []
        for history in (False,) if options.without_history else (False, True):
            settings = guarded_settings(key_pair.public, postgres.create_database()) | _ALLOWANCES
            settings["kinto.includes"] += " kinto.plugins.history" if history else ""
            met += _measure_changesets(settings, key_pair.key(), options, history=history)
        _measure_batch(authority_settings(postgres.create_database()), options.batched)
    return 0 if all(met) else 1


_ALLOWANCES = {"kinto.authority.lock_timeout_seconds": "60"}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--batched", type=int, default=2_000, help="records through /batch")
    parser.add_argument("--changes", type=int, default=7, help="how often one record is changed, and the signature renewed")
    parser.add_argument("--without-history", action="store_true", help="leave out what is measured with the history plugin")
    return parser.parse_args()


def _measure_changesets(settings: dict[str, str], key: Any, options: argparse.Namespace, *, history: bool) -> list[bool]:
    count, kind = options.records, ", with history" if history else ""
    bars = None if history else (RATE, MEMORY_MIB, ONE_CHANGE_S)
    publishing = Publishing(key, make_records(count, now_ms() - count))
    size = len(json.dumps(publishing.records[f"{1:08x}-stop"], ensure_ascii=False).encode())
    with LiveKinto(settings, name="bench-authority") as server:
        idle = _peak_mib(server)
        seconds = _post(server, publishing.body(), 201)
        rate, peak = count / seconds, _peak_mib(server)
        met = [
            _row(f"first publication of {count:,} x {size} bytes{kind}", f"{rate:,.0f} records/s ({seconds:.1f} s)",
                 bars and f">= {RATE:,}", bars is None or rate >= RATE),
            _row(f"peak memory of A's worker{kind}", f"{peak:.0f} MiB ({idle:.0f} when idle)",
                 bars and f"< {MEMORY_MIB} MiB", bars is None or peak < MEMORY_MIB),
        ]  # fmt: skip
        warm = [_change_one(server, publishing) for _ in range(options.changes)]
        met.append(
            _row(f"one change, median of {len(warm)}{kind}", f"{statistics.median(warm):.3f} s (max {max(warm):.3f})",
                 bars and f"< {ONE_CHANGE_S} s", bars is None or statistics.median(warm) < ONE_CHANGE_S)
        )  # fmt: skip
        if not history:
            fresh = [_post(server, publishing.body([]), 200) for _ in range(options.changes)]
            seconds = f"{statistics.median(fresh):.3f} s (max {max(fresh):.3f})"
            _row(f"signature refresh, median of {len(fresh)}", seconds, None, True)
            _row("peak memory of the worker, changes included", f"{_peak_mib(server):.0f} MiB", None, True)
            cold = []
            for _ in range(3):
                server.stop()
                server.start()
                cold.append(_change_one(server, publishing))
            _row("one change, the first in a worker that keeps no forms yet", f"{statistics.median(cold):.3f} s", None, True)
            started = time.monotonic()
            got = requests.get(f"{server.url}{CHANGESET}?_expected=0", timeout=600)
            _row(
                "GET changeset of everything",
                f"{time.monotonic() - started:.2f} s, {len(got.content) / MEBIBYTE:.0f} MiB",
                None,
                True,
            )
            _row("peak memory of the worker, reading included", f"{_peak_mib(server):.0f} MiB", None, True)
    return met


def _change_one(server: LiveKinto, publishing: Publishing) -> float:
    return _post(server, publishing.body([make_record(len(publishing.records) // 2, now_ms() + 1000)]), 200)


def _post(server: LiveKinto, body: dict[str, Any], status: int) -> float:
    """Seconds until the answer, the body made before."""
    data = json.dumps(body, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json"}
    started = time.monotonic()
    answer = requests.post(f"{server.url}{CHANGESET}", data=data, headers=headers, auth=AUTH, timeout=600)
    seconds = time.monotonic() - started
    if answer.status_code != status:
        sys.exit(f"{answer.status_code}: {answer.text[:500]}\n{server.log_text()[-3000:]}")
    return seconds


def _measure_batch(settings: dict[str, str], count: int) -> None:
    with LiveKinto(settings, name="bench-batch") as server:
        client = server.client("signer")
        client.create_bucket(id="main")
        client.create_collection(bucket="main", id="stops")
        records = list(make_records(count, now_ms() - count).values())
        started = time.monotonic()
        for first in range(0, count, 100):
            requests_ = [
                {"method": "PUT", "path": f"/buckets/main/collections/stops/records/{record['id']}", "body": {"data": record}}
                for record in records[first : first + 100]
            ]
            answer = requests.post(f"{server.url}/batch", json={"requests": requests_}, auth=AUTH, timeout=600)
            answer.raise_for_status()
        seconds = time.monotonic() - started
    _row(f"{count:,} records through Kinto's /batch, 100 a request", f"{count / seconds:,.0f} records/s", None, True)


def _row(what: str, result: str, bar: str | None, met: bool) -> bool:
    print(f"| {what} | {result} | {bar or ''} | {'' if bar is None else 'met' if met else 'MISSED'} |", flush=True)
    return met


def _peak_mib(server: LiveKinto) -> float:
    """The greatest resident size that a worker of the server had so far (VmHWM)."""
    return max(_high_water_kib(pid) for pid in server.worker_pids()) / 1024


def _high_water_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    sys.exit(main())
