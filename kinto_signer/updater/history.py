"""The publication statements that were accepted, kept beside the cache and longer than what they belonged to.

The newest of them is what an older one is recognised by, also after a reset and after the cache was damaged. All of them are the
log that two readers compare (``kinto-updater show --log``).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kinto_signer.core.freshness import Remembered, logged
from kinto_signer.core.statement import Signed
from kinto_signer.errors import StorageError
from kinto_signer.updater.files import write_atomically

logger = logging.getLogger(__name__)

Log = Sequence[Mapping[str, Any]]


class History:
    """The file. A damaged one counts as none, with a warning: the newest statement also stands in the cache itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, name: str) -> Log:
        """What was accepted for a collection, oldest first; see `core.freshness.logged`."""
        return self._read().get(name, [])

    def remembered(self, name: str) -> Remembered:
        log = self.log(name)
        return Remembered(log[-1]["serial"], log[-1]["digest"]) if log else Remembered()

    def remember(self, name: str, found: Signed | None) -> None:
        """Note a statement that was accepted. The cache is committed already: an error is no more than a warning."""
        logs = self._read()
        log = logged(logs.get(name, []), found)
        if log != logs.get(name, []):
            self._write({**logs, name: log})

    def forget(self, name: str) -> None:
        logs = self._read()
        if name in logs:
            self._write({key: log for key, log in logs.items() if key != name})

    def _read(self) -> dict[str, Log]:
        try:
            content = json.loads(self.path.read_bytes())
            logs: dict[str, Log] = {str(name): list(log) for name, log in content["collections"].items()}
            if content["sha256"] == _digest(logs):
                return logs
            why = "not as it was written"
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            why = f"unreadable ({error})"
        logger.warning(
            "%s: %s. The publication statements of the past are not known any more, only those in the cache.", self.path, why
        )
        return {}

    def _write(self, logs: Mapping[str, Log]) -> None:
        content = {"collections": logs, "sha256": _digest(logs)}
        try:
            write_atomically(self.path, json.dumps(content, indent=1, sort_keys=True).encode("ascii") + b"\n")
        except StorageError as error:
            logger.warning("%s", error.message)


def _digest(logs: Mapping[str, Log]) -> str:
    return hashlib.sha256(json.dumps(logs, sort_keys=True).encode("ascii")).hexdigest()
