"""The highest verified timestamps, kept a second time beside the cache.

They are what makes an older state recognisable. A cache that was damaged is fetched again; without this copy, whoever
damages it could then offer an older state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinto_signer.errors import CorruptCacheError
from kinto_signer.updater.files import write_atomically
from kinto_signer.updater.left import Left


@dataclass(frozen=True)
class Marks:
    """highest: by collection, integer milliseconds. header: of the SQLite file as it was written last (see cache_file.py).

    left: how we left that file (see `left.py`); None where it is not known to be as we left it.
    """

    highest: Mapping[str, int] = field(default_factory=dict)
    header: str = ""
    left: Left | None = None


def read_marks(path: Path) -> Marks:
    """What was written by `write_marks`; no marks if there is no file. Raises CorruptCacheError."""
    try:
        content = json.loads(path.read_bytes())
        left = content.get("left")
        marks = Marks(dict(content["highest"]), content["header"], None if left is None else Left(**left))
    except FileNotFoundError:
        return Marks()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptCacheError(f"{path}: unreadable ({error}).") from error
    if content.get("sha256") != (_digest(marks) if "left" in content else _digest_before(marks)):
        raise CorruptCacheError(f"{path}: not as it was written.")
    return marks


def write_marks(path: Path, marks: Marks) -> None:
    """Replace the file. Raises StorageError."""
    left = None if marks.left is None else vars(marks.left)
    content = {"highest": dict(marks.highest), "header": marks.header, "left": left, "sha256": _digest(marks)}
    write_atomically(path, json.dumps(content, indent=1, sort_keys=True).encode("ascii") + b"\n")


def _digest(marks: Marks) -> str:
    """Another one than older programs make: the header would tell them that a cache of ours is a damaged one of theirs."""
    return _sha256([dict(marks.highest), marks.header, None if marks.left is None else vars(marks.left)])


def _digest_before(marks: Marks) -> str:
    return _sha256([dict(marks.highest), marks.header])


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("ascii")).hexdigest()
