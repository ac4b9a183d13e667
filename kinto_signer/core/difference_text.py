r"""A Difference in words, one line for each record, for the command line and for notifications.

::

    + paris  {"name":"Paris","zip":75000}
    ~ praha  $.name: "Praha" -> "Prague"; $.tags[1]: "old" -> (nothing)
    - oslo  {"name":"Oslo"}
    * $.schema.required: ["name"] -> (nothing)

Editors write what stands here and reviewers read it in terminals and mails: whatever is not printable, also in names of fields,
becomes ``\uXXXX``, so that no text moves the cursor or hides another. A long value is shown around the place where it changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from kinto_signer.core.canonical import Record, without_timestamp
from kinto_signer.core.difference import MISSING, Difference, same_value
from kinto_signer.core.problems import path_step

VALUE = 60
"""Characters of a value that are shown."""
PATH = 80
"""Characters of a JSON path that are shown."""
FIELDS = 4
"""Changed fields of one record that are shown; the others are counted."""
LEAD = 15
"""Characters in front of the place where a long value changes."""

NOTHING = "(nothing)"


def summary(difference: Difference) -> str:
    """``2 created, 1 updated, 1 deleted, attributes schema, sort; 1234 bytes for each reader``; ``no difference``."""
    if difference.empty:
        return "no difference"
    named = ((len(getattr(difference, name)), name) for name in ("created", "updated", "deleted"))
    parts = [f"{count} {name}" for count, name in named if count]
    if difference.attributes:
        parts.append(f"attributes {visible(', '.join(difference.attributes))}")
    return f"{', '.join(parts)}; {difference.size_bytes} bytes for each reader"


def lines(difference: Difference, most: int | None = None) -> Iterator[str]:
    """One line for each attribute and each record; after `most` of them one that counts the others."""
    everything = chain(
        (f"* {_changes(f'$.{name}', *values)}" for name, values in difference.attributes.items()),
        (f"+ {visible(record['id'])}  {_content(record)}" for record in difference.created),
        (f"~ {visible(pair[1]['id'])}  {_changes('$', *map(without_timestamp, pair))}" for pair in difference.updated),
        (f"- {visible(record['id'])}  {_content(record)}" for record in difference.deleted),
    )
    yield from islice(everything, most)
    more = difference.count + len(difference.attributes) - (most or 0)
    if most is not None and more > 0:
        yield f"… and {more} more"


def changed_fields(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """(JSON path, before, after) of whatever differs between two values at `path`, as deep as possible, MISSING where it is not.

    Lists are compared index by index. Nothing is yielded only if the two are the same.
    """
    stack = [(path, before, after)]
    while stack:
        where, one, other = stack.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            names = sorted(one.keys() | other.keys(), reverse=True)
            stack.extend((path_step(where, name), one.get(name, MISSING), other.get(name, MISSING)) for name in names)
        elif isinstance(one, list) and isinstance(other, list):
            indexes = range(max(len(one), len(other)) - 1, -1, -1)
            stack.extend((f"{where}[{index}]", _at(one, index), _at(other, index)) for index in indexes)
        elif not same_value(one, other):
            yield where, one, other


def visible(text: str) -> str:
    """The text with everything that is not printable, line ends among it, as ``\\uXXXX``."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _changes(path: str, before: Any, after: Any) -> str:
    changed = changed_fields(path, before, after)
    shown = [_change(*change) for change in islice(changed, FIELDS)]
    more = sum(1 for _ in changed)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _change(path: str, before: Any, after: Any) -> str:
    one, other = _value(before), _value(after)
    start = _first_difference(one, other)
    where = visible(path)
    where = where if len(where) <= PATH else f"…{where[-PATH + 1 :]}"
    return f"{where}: {_clip(one, start)} -> {_clip(other, start)}"


def _content(record: Record) -> str:
    return _clip(_value({name: value for name, value in without_timestamp(record).items() if name != "id"}), 0)


def _value(value: Any) -> str:
    if value is MISSING:
        return NOTHING
    return visible(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")))


def _clip(text: str, around: int) -> str:
    """At most VALUE characters of the text, those from shortly before the index `around` if it would not be among the first."""
    if len(text) <= VALUE:
        return text
    begin = 0 if around < VALUE - LEAD else min(around - LEAD, len(text) - VALUE)
    end = begin + VALUE
    return ("…" if begin else "") + text[begin:end] + ("…" if end < len(text) else "")


def _first_difference(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((index for index, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _at(items: list[Any], index: int) -> Any:
    return items[index] if index < len(items) else MISSING


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
