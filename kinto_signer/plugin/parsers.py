"""How the text of a setting becomes its value: a function for each type. They raise ValueError that says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from kinto_signer.core.workflow import OWNED_FIELDS, SAID_WITH_APPROVAL, FourEyes


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


def _address(text: str) -> str:
    url = text.strip()
    if not re.match(r"https://[^/\s@?#]+([/?][^\s#]*)?$", url) and not re.match(
        r"http://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?([/?][^\s#]*)?$", url
    ):
        raise ValueError("not an https address (http is for this machine alone; no credentials, no fragment).")
    return url


def _days(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text.strip()) or not 0 < int(text) <= 3650:
        raise ValueError("not a whole number of days from 1 to 3650.")
    return int(text)


def _days_or_0(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text.strip()) or int(text) > 3650:
        raise ValueError("not a whole number of days from 0 to 3650.")
    return int(text)


def _percent(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text.strip()) or int(text) > 100:
        raise ValueError("not a whole number from 0 to 100.")
    return int(text)


def _group(text: str) -> str:
    name = text.strip()
    if not re.fullmatch(r"([a-zA-Z0-9_-]|\{bucket_id\}|\{collection_id\})+", name):
        raise ValueError("not the name of a group: letters, digits, `-`, `_`, `{bucket_id}` and `{collection_id}`.")
    return name


def _attributes(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split()))
    kept = [name for name in names if name in NEVER_COPIED]
    if kept:
        raise ValueError(f"`{kept[0]}` is kept by Kinto or by the signer and cannot be copied.")
    return names


def _four_eyes(text: str) -> FourEyes:
    try:
        return FourEyes(text.strip().lower())
    except ValueError:
        raise ValueError("neither requester nor contributors.") from None


NEVER_COPIED = (*OWNED_FIELDS, *SAID_WITH_APPROVAL, "id", "bucket", "last_modified", "status", "deleted", "publication", "chains")


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
    "address": _address,
    "days": _days,
    "days_or_0": _days_or_0,
    "percent": _percent,
    "group": _group,
    "attributes": _attributes,
    "four_eyes": _four_eyes,
}
