"""The parameters that clients send, parsed once; a bad one is a 400 in Kinto's form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from kinto.core.errors import json_error_handler
from pyramid.httpexceptions import HTTPTemporaryRedirect

# No timestamp has more than 15 digits before the year 33658, and PostgreSQL knows no later one.
_TIMESTAMP = re.compile(r'"([0-9]{1,15})"|([0-9]{1,15})')
_LIMIT = re.compile(r"0*[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Query:
    """expected: as it was sent, without quotes; None if it was not. since: integer milliseconds. limit: a positive number."""

    expected: str | None
    since: int | None
    limit: int | None


def parse(request: Any, *, expected_is_mandatory: bool) -> Query:
    """Raises Kinto's 400 (errno 107) that names the parameter."""
    expected = request.GET.get("_expected")
    if expected_is_mandatory and not expected:
        raise invalid(request, "_expected", "Required")
    limit = request.GET.get("_limit")
    if limit is not None and not _LIMIT.fullmatch(limit):
        raise invalid(request, "_limit", "The value should be a positive integer.")
    return Query(
        None if expected is None else expected.strip('"'), timestamp(request, "_since"), None if limit is None else int(limit)
    )


def timestamp(request: Any, name: str) -> int | None:
    """The parameter `name` as integer milliseconds, quoted or not; None where it is not sent."""
    text = request.GET.get(name)
    if text is None:
        return None
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise invalid(request, name, "The value should be a timestamp in milliseconds, with double quotes or without.")
    return int(match[1] or match[2])


def invalid(request: Any, name: str, description: str) -> Any:
    """The 400 to raise, in Kinto's form."""
    request.errors.add("querystring", name, description)
    return json_error_handler(request)


def redirect(request: Any, **changed: str | None) -> HTTPTemporaryRedirect:
    """A 307 to the same address with some parameters changed, or left out where None is given."""
    query = [(name, changed.get(name, value)) for name, value in request.GET.items()]
    rest = urlencode([(name, value) for name, value in query if value is not None])
    return HTTPTemporaryRedirect(request.path_url + (f"?{rest}" if rest else ""))
