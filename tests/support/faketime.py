"""A clock of its own for a process and its children: Debian's libfaketime, which may be set while the process runs."""

from pathlib import Path

DAY_S, YEAR_S = 86_400, 365 * 86_400
OFFSETS = {"-10y": -10 * YEAR_S, "-1d": -DAY_S, "-5min": -300, "0": 0, "+5min": 300, "+1d": DAY_S, "+10y": 10 * YEAR_S}
"""Seconds by which a clock is wrong."""
MISSING = "NO FAKETIME (tools/install_faketime.sh)"
_PLACES = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime")


def find_library() -> Path | None:
    """The library for programs with threads; None where it is not installed."""
    found = [path for place in _PLACES for path in Path("/").glob(f"{place[1:]}/libfaketimeMT.so.1")]
    return next(iter(found), None)


class FakeClock:
    """The wall clock of the processes that get `environment`; the monotonic one stays true."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)
        library = find_library()
        self.environment = {
            "LD_PRELOAD": str(library) if library else "",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset_s: int) -> None:
        """Seconds ahead of the true time; at once, also for what runs."""
        following = self._file.with_name("clock-next")
        following.write_text(f"{offset_s:+d}")
        following.replace(self._file)
