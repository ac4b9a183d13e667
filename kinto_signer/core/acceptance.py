"""What an authority accepts, whoever asks: the rules of the guard, as data and pure functions.

A signature says which content is right, not which is newest, and it covers neither attributes nor tombstones. So the authority
remembers what it accepted last, and these rules compare with that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from kinto_signer.core import signature
from kinto_signer.core.canonical import Record, canonical_json, format_hash
from kinto_signer.core.changeset import TIMESTAMP_MARKER, is_tombstone, latest, tombstone, validate
from kinto_signer.core.freshness import Remembered
from kinto_signer.core.published import CARRIED, CLAIM, PUBLICATION
from kinto_signer.core.trust import Trust, check_signed
from kinto_signer.errors import BadAnswerError, BadSignatureError, GuardRefusedError, UnsignableValue

SIGNATURE_FIELDS = ("signature", "signatures", CARRIED, CLAIM, PUBLICATION)
"""What a refresh renews. Of the statement `core.freshness` says which may follow which. Anything else changes with a new
timestamp only, which takes a new signature."""

_NOT_ATTRIBUTES = ("id", "bucket", "last_modified")
_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*\Z")
_FIELDS = {"base", "timestamp", "changes", "metadata", "complete"}


@dataclass(frozen=True)
class Posted:
    """A publication as it was sent.

    base: the signed timestamp that the sender builds on, 0 for nothing. timestamp: the new signed one; both integer milliseconds.
    complete: `changes` are everything, not a difference.
    """

    base: int
    timestamp: int
    changes: Sequence[Record]
    metadata: Mapping[str, Any]
    complete: bool = False


@dataclass(frozen=True)
class Accepted:
    """What was accepted last for a collection, remembered beside it and longer than it.

    hash: of the content. attributes: `attributes_digest`. etag: the timestamp of the list of records. serial, statement: of the
    newest statement that was accepted, and the digest of its payload; 0 and empty if there never was one.
    """

    timestamp: int
    hash: str
    attributes: str
    etag: int
    serial: int = 0
    statement: str = ""

    @property
    def remembered(self) -> Remembered:
        return Remembered(self.serial, self.statement)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Effective:
    """What a posted publication does to what is held. changes: what is to be written, tombstones included."""

    changes: list[Record]
    created: list[Record] = field(default_factory=list)
    updated: list[Record] = field(default_factory=list)
    deleted: list[Record] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Ids of records that a complete publication removes without a tombstone."""


def parse_posted(name: str, body: Any) -> Posted:
    """A publication from the parsed body of a request. Raises BadAnswerError that names what is wrong."""
    if not isinstance(body, dict):
        raise BadAnswerError(f"{name}: the body is no JSON object. Nothing was stored.")
    unknown = sorted(body.keys() - _FIELDS)
    if unknown:
        raise BadAnswerError(f"{name}: unknown field {unknown[0]!r}; there are {', '.join(sorted(_FIELDS))}. Nothing was stored.")
    base, timestamp = (_timestamp(name, body, field) for field in ("base", "timestamp"))
    changes, metadata, complete = body.get("changes"), body.get("metadata"), body.get("complete", False)
    if not isinstance(changes, list) or not isinstance(metadata, dict) or not isinstance(complete, bool):
        raise BadAnswerError(
            f"{name}: `changes` has to be a list, `metadata` an object, `complete` true or false. Nothing was stored."
        )
    posted = Posted(base, timestamp, validate(name, changes), metadata, complete)
    _refuse_odd_changes(name, posted)
    return posted


def _timestamp(name: str, body: Mapping[str, Any], field: str) -> int:
    value = body.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise BadAnswerError(f"{name}: `{field}` is {str(value)[:80]!r}, no integer of milliseconds. Nothing was stored.")
    return value


def _refuse_odd_changes(name: str, posted: Posted) -> None:
    """Ids as Kinto allows them, timestamps that differ and that the new ETag and every difference cover."""
    seen: dict[int, str] = {}
    after = 0 if posted.complete else posted.base
    for change in posted.changes:
        record_id, modified = change["id"], change["last_modified"]
        if not _ID.match(record_id):
            raise BadAnswerError(f"{name}: {record_id[:80]!r} is no id of a record. Nothing was stored.")
        if not after < modified <= posted.timestamp:
            raise BadAnswerError(
                f"{name}: record {record_id!r} has the last_modified {modified}, which is not after {after} and up to "
                f"{posted.timestamp}, the timestamp of the publication. Nothing was stored."
            )
        if modified in seen:
            raise BadAnswerError(
                f"{name}: the records {seen[modified]!r} and {record_id!r} have the same last_modified. Nothing was stored."
            )
        seen[modified] = record_id


def published_attributes(name: str, posted: Posted, content_hash: str) -> dict[str, Any]:
    """The attributes that the collection gets. Raises BadAnswerError if they say another timestamp than the publication."""
    said = posted.metadata.get("signed_timestamp", posted.timestamp)
    if said != posted.timestamp:
        raise BadAnswerError(
            f"{name}: metadata.signed_timestamp is {str(said)[:80]!r}, and timestamp {posted.timestamp}. Nothing was stored."
        )
    kept = {key: value for key, value in posted.metadata.items() if key not in _NOT_ATTRIBUTES}
    return {**kept, "signed_timestamp": posted.timestamp, "hash": content_hash}


def attributes_digest(attributes: Mapping[str, Any]) -> str:
    """A digest of a collection's attributes but for its signature. Raises BadAnswerError for what has no canonical form."""
    shown = {key: value for key, value in attributes.items() if key not in (*SIGNATURE_FIELDS, *_NOT_ATTRIBUTES)}
    try:
        return format_hash(hashlib.sha384(canonical_json(shown).encode("ascii")).digest())
    except UnsignableValue as error:
        raise BadAnswerError(f"the collection's attributes: {error.message}") from error


def effective(posted: Posted, live: Mapping[str, Record], gone: Iterable[str], etag: int) -> Effective:
    """What `posted` does to what is held.

    live: the records that are alive here among those that `posted` names. gone: ids of the others, which a complete publication
    removes. etag: of the list of records. Nobody who reads here ever had what is not alive here, so its tombstones are left
    out: nothing signs them. The signed timestamp is always carried, by the marker's tombstone where nothing else does.
    """
    found = Effective([], gone=sorted(gone))
    for change in posted.changes:
        known = live.get(change["id"])
        if is_tombstone(change):
            if known is not None:
                found.deleted.append(change)
            if known is not None or change["last_modified"] == posted.timestamp:
                found.changes.append(change)
            continue
        found.changes.append(change)
        if known is None:
            found.created.append(change)
        elif known != change:
            found.updated.append(change)
    found.deleted.extend(tombstone(record_id, posted.timestamp) for record_id in found.gone)
    if max(latest(found.changes), etag) < posted.timestamp:
        found.changes.append(tombstone(TIMESTAMP_MARKER, posted.timestamp))
    return found


def refuse_time(name: str, timestamp: int, now_ms: int, tolerance_ms: int) -> None:
    """Raises GuardRefusedError for a timestamp further ahead of the clock than the tolerance: it would freeze the collection."""
    if timestamp > now_ms + tolerance_ms:
        raise GuardRefusedError(
            f"{name}: the state is dated {timestamp}, more than {tolerance_ms // 1000} s after this machine's clock. Nothing was "
            "stored. Look at the clocks of the signer and of this machine.",
            reason="not-yet-valid",
        )


def refuse_replay(name: str, timestamp: int, content_hash: str, attributes: str, accepted: Accepted | None) -> None:
    """Raises GuardRefusedError for a state older than the one accepted last, or another one under its timestamp."""
    if accepted is None or timestamp > accepted.timestamp:
        return
    if timestamp < accepted.timestamp:
        raise GuardRefusedError(
            f"{name}: a state signed at {timestamp} is older than the one of {accepted.timestamp} that was accepted here. "
            "Nothing was stored.",
            reason="rollback",
        )
    if content_hash != accepted.hash:
        raise GuardRefusedError(
            f"{name}: another content was accepted under the timestamp {timestamp} before. Nothing was stored.",
            reason="same-timestamp",
        )
    if attributes != accepted.attributes:
        raise GuardRefusedError(
            f"{name}: attributes other than the signature change with a new publication only. Nothing was stored.",
            reason="refused",
        )


def check_first(name: str, attributes: Mapping[str, Any], digest: bytes, trust: Trust) -> None:
    """Old readers look at ``signature`` alone: it has to be the first of ``signatures``, and to verify by itself.

    Raises a VerificationError.
    """
    found = signature.entries(attributes)
    single = attributes.get("signature")
    if not found or (single is not None and single != found[0]):
        raise BadSignatureError(f"{name}: `signature` is not the first of `signatures`.")
    check_signed(name, found[:1], digest, trust, metadata=attributes)
