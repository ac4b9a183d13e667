"""A Difference as JSON, in pages by record id: what ``GET …/diff`` answers, and the way back for who reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kinto_signer.core.canonical import Record
from kinto_signer.core.difference import MISSING, Difference
from kinto_signer.errors import BadAnswerError

LISTS = ("created", "updated", "deleted")


def page(whole: Difference, after: str, limit: int) -> tuple[Difference, str | None]:
    """The changes of at most `limit` records whose ids sort after `after` ("" for the first ones), and all attributes.

    Returns the last id of the page where more follow, else None. Ids sort by code point.
    """
    rest = sorted(name for name in whole.ids if name > after)
    chosen = set(rest[:limit])
    part = replace(whole.only(chosen), attributes=whole.attributes)
    return part, rest[limit - 1] if len(rest) > limit else None


def as_json(difference: Difference) -> dict[str, Any]:
    """``{"created": [record], "updated": [{"before": …, "after": …}], "deleted": [record], "attributes": {name: …}}``.

    An attribute is ``{"before": …, "after": …}`` without the key of what is not there.
    """
    return {
        "created": list(difference.created),
        "updated": [{"before": before, "after": after} for before, after in difference.updated],
        "deleted": list(difference.deleted),
        "attributes": {name: _there(before=before, after=after) for name, (before, after) in difference.attributes.items()},
    }


def counts(difference: Difference) -> dict[str, int]:
    """``{"created", "updated", "deleted", "attributes"}``."""
    lists = {name: len(getattr(difference, name)) for name in LISTS}
    return {**lists, "attributes": len(difference.attributes)}


def from_json(pages: Iterable[Mapping[str, Any]]) -> Difference:
    """The Difference whose pages, in the form of `as_json`, were received from a server; what else they hold is left alone.

    Raises BadAnswerError for what has another shape.
    """
    created: list[Record] = []
    updated: list[tuple[Record, Record]] = []
    deleted: list[Record] = []
    attributes: dict[str, tuple[Any, Any]] = {}
    for data in pages:
        created += [_record(item) for item in _list(data, "created")]
        updated += [_pair(item) for item in _list(data, "updated")]
        deleted += [_record(item) for item in _list(data, "deleted")]
        for name, values in _object(data.get("attributes")).items():
            values = _object(values)
            attributes[name] = (values.get("before", MISSING), values.get("after", MISSING))
    return Difference(tuple(created), tuple(updated), tuple(deleted), attributes)


def _there(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not MISSING}


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    found = data.get(name)
    if not isinstance(found, list):
        raise BadAnswerError(f"The answer is no difference: {name!r} is no list. Nothing was done.")
    return found


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadAnswerError(
            "The answer is no difference: something in it is no JSON object that has to be one. Nothing was done."
        )
    return value


def _record(value: Any) -> Record:
    record = _object(value)
    if not isinstance(record.get("id"), str):
        raise BadAnswerError("The answer is no difference: a record in it has no id. Nothing was done.")
    return record


def _pair(value: Any) -> tuple[Record, Record]:
    pair = _object(value)
    before, after = _record(pair.get("before")), _record(pair.get("after"))
    if before["id"] != after["id"]:
        raise BadAnswerError(f"The answer is no difference: {before['id']!r} is compared with {after['id']!r}. Nothing was done.")
    return before, after
