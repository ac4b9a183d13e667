"""Validities as JSON and back: how S tells ``kinto-signer`` when a collection was signed and what of it ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from kinto_signer.core.renewal import End, Kind, Validity, consequence, when
from kinto_signer.core.spans import span


def as_json(found: Validity) -> dict[str, Any]:
    """``{"signed_at", "ends": [{"what", "begins", "ends"}]}``, times in ISO 8601; certificates also have ``of``."""
    return {
        "signed_at": None if found.signed_at is None else iso(found.signed_at),
        "ends": [
            {"what": end.kind.value, "begins": iso(end.begins), "ends": iso(end.ends)} | ({"of": end.of} if end.of else {})
            for end in found.ends
        ],
    }


def from_json(told: Any) -> Validity:
    """The same back. Raises KeyError, TypeError or ValueError for anything else."""
    signed_at = told["signed_at"]
    ends = [
        End(Kind(end["what"]), milliseconds(end["begins"]), milliseconds(end["ends"]), str(end.get("of", "")))
        for end in told["ends"]
    ]
    return Validity(None if signed_at is None else milliseconds(signed_at), tuple(ends))


def lines(found: Validity, now: int) -> Iterator[str]:
    """The same for people, as seen at `now`: how old the signature is, what ends first of each kind, and what follows."""
    if found.signed_at is None:
        return
    yield f"signed {span(now - found.signed_at)} ago"
    for kind in (Kind.STATEMENT, Kind.CERTIFICATE):
        end = found.first(kind)
        if end is not None:
            yield f"{when(end, now)}, {iso(end.ends)}; {consequence(end, now)}"


def iso(timestamp: int) -> str:
    """A time in milliseconds since 1970, in ISO 8601; as the number where no calendar goes that far."""
    try:
        return datetime.fromtimestamp(timestamp / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(timestamp)


def milliseconds(text: str) -> int:
    """The time that `iso` wrote. Raises TypeError or ValueError for anything else."""
    if text.isdigit():
        return int(text)
    return round(datetime.fromisoformat(text).timestamp() * 1000)
