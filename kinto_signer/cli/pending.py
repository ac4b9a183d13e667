"""What is pending in a source, as the signer tells it, and every detail of it for the eyes of a reviewer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kinto_signer.cli.rules import Rules
from kinto_signer.core.canonical import Record, without_timestamp
from kinto_signer.core.difference import MISSING, Difference
from kinto_signer.core.difference_pages import from_json
from kinto_signer.core.difference_text import changed_fields, visible
from kinto_signer.core.workflow import Status, parse_stored

KINDS = ("created", "updated", "deleted", "attributes")


@dataclass(frozen=True)
class Pending:
    """In what a source differs from its destination or preview.

    against: the name of that collection. last_modified: of the source, milliseconds. digest: of the source as it was looked at.
    counts: of everything that differs. size_bytes: what each reader downloads once it is published. difference: what was
    fetched of it.
    """

    against: str
    status: Status
    last_modified: int
    digest: str
    counts: Mapping[str, int]
    size_bytes: int
    rules: Rules
    difference: Difference

    @property
    def total(self) -> int:
        """Records and attributes that differ."""
        return sum(self.counts.values())

    def as_json(self) -> dict[str, Any]:
        """The counts and the digest, without the records."""
        return {
            "against": self.against,
            "status": self.status.value or None,
            "counts": dict(self.counts),
            "size_bytes": self.size_bytes,
            "digest": self.digest,
        }


def read_pages(pages: Iterable[Mapping[str, Any]]) -> Pending:
    """What ``GET …/diff`` answered, page by page. Raises what `from_json` raises, KeyError and the like."""
    found = [page["data"] for page in pages]
    head = found[0]
    return Pending(
        against=str(head["against"]),
        status=parse_stored(head["status"]),
        last_modified=int(head["last_modified"]),
        digest=str(head["digest"]),
        counts={kind: int(head["counts"][kind]) for kind in KINDS},
        size_bytes=int(head["size_bytes"]),
        rules=Rules.from_json(head),
        difference=from_json(found),
    )


def summary(pending: Pending) -> str:
    """``2 created, 1 updated, 0 deleted, 1 attributes; 1234 bytes for each reader``."""
    said = ", ".join(f"{pending.counts[kind]} {kind}" for kind in KINDS if kind != "attributes" or pending.counts[kind])
    return f"{said}; {pending.size_bytes} bytes for each reader" if pending.total else "no changes"


def details(difference: Difference) -> Iterator[str]:
    """Every field of every change, nothing shortened; what a terminal would not show as it is written is escaped."""
    for name, values in difference.attributes.items():
        yield f"* attribute {name}"
        yield from _fields(f"$.{name}", *values)
    for record in difference.created:
        yield from _record("+", record)
    for before, after in difference.updated:
        yield f"~ {visible(after['id'])}"
        yield from _fields("$", without_timestamp(before), without_timestamp(after))
    for record in difference.deleted:
        yield from _record("-", record)


def _record(sign: str, record: Record) -> Iterator[str]:
    yield f"{sign} {visible(record['id'])}"
    for name, value in sorted(without_timestamp(record).items()):
        if name != "id":
            yield f"    {visible(name)}: {_value(value)}"


def _fields(path: str, before: Any, after: Any) -> Iterator[str]:
    for where, one, other in changed_fields(path, before, after):
        yield f"    {where}: {_value(one)} -> {_value(other)}"


def _value(value: Any) -> str:
    if value is MISSING:
        return "(nothing)"
    return visible(json.dumps(value, ensure_ascii=False, sort_keys=True))
