"""How the text of a setting becomes its value: a function for each type. They raise ValueError that says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in ("true", "yes", "on", "y", "t", "1"):
        return True
    if lowered in ("false", "no", "off", "n", "f", "0", ""):
        return False
    raise ValueError("neither true nor false.")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError("not a number of seconds.") from None
    if not 0 < seconds <= 86400:
        raise ValueError("has to be more than 0 and at most 86400 seconds.")
    return seconds


def _bytes(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text.strip()) or int(text) == 0:
        raise ValueError("not a number of bytes.")
    return int(text)


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text.strip()):
        raise ValueError("not a whole number.")
    return int(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()):
        raise ValueError("not a number of seconds.")
    return int(text)


def _url(text: str) -> str:
    url = text.strip().rstrip("/")
    if not re.match(r"https?://[^/\s@?#]+(/[^\s?#]*)?$", url):
        raise ValueError("not an http(s) address (credentials go to authority.auth; no query, no fragment).")
    try:
        urlsplit(url).port  # noqa: B018 - raises for a port out of range
    except ValueError:
        raise ValueError("not a possible port.") from None
    return url if re.search(r"/v\d+$", url) else url + "/v1"


def _auth(text: str) -> str:
    text = text.strip()
    if re.match(r"(?i)bearer \S+$", text) or re.match(r"[^:\s]+:.+$", text):
        return text
    raise ValueError("has to be `user:password` or `Bearer TOKEN`.")


PARSERS: dict[str, Callable[[str], Any]] = {
    "text": str.strip,
    "list": str.split,
    "boolean": _boolean,
    "seconds": _seconds,
    "url": _url,
    "auth": _auth,
    "file": str.strip,
    "bytes": _bytes,
    "integer": _integer,
    "lifetime": _count,
}
