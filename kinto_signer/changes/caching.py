"""How long caches may keep an answer: the settings of the peers, some of which are Kinto's own.

Clients ask with ``_expected=TIMESTAMP`` once they know that there is something new, so that such an address never has to be
asked again: it may be kept long (``maximum``). ``_expected=0`` and ``9999…`` are what somebody asks who knows nothing
(``minimum``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kinto_signer.plugin.tables import RECORD_CACHE

SUFFIX = "record_cache_expires_seconds"
_KEY = re.compile(r"(kinto\.)?(.+\.)?(record_cache_((minimum|maximum)_)?expires_seconds)")


def check(raw: Mapping[str, Any]) -> None:
    """Raises ConfigurationError for the first of these settings that is no number of seconds."""
    for key, value in raw.items():
        match = _KEY.fullmatch(key)
        if match and value is not None:
            bare = key.removeprefix("kinto.")
            RECORD_CACHE.rows[0].parse(str(value), bare)


def set_cache_headers(response: Any, raw: Mapping[str, Any], bucket: str, collection: str, expected: str | None) -> None:
    """Say how long the answer may be kept; without a setting it may not be kept, as everywhere in Kinto."""
    for key in _keys(bucket, collection, expected):
        seconds = raw.get(key)
        if seconds is not None:
            response.cache_expires(seconds=int(seconds))
            return
    response.cache_control.no_cache = True
    response.cache_control.no_store = True


def _keys(bucket: str, collection: str, expected: str | None) -> Iterator[str]:
    if expected is not None:
        bound = "minimum" if expected == "0" or expected.startswith("9999") else "maximum"
        yield f"{bucket}.{collection}.record_cache_{bound}_expires_seconds"
    yield f"{bucket}.{collection}.{SUFFIX}"
    yield f"{bucket}.{SUFFIX}"
    yield SUFFIX
