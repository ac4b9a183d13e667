"""Publications as the signer makes them, and as somebody who has no key makes them out of those."""

import copy
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core.canonical import digests, format_hash
from kinto_signer.core.changeset import Changeset, by_record_id, is_tombstone, tombstone
from tests.support.states import make_records, sign

Json = dict[str, Any]

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


def signed(key: ec.EllipticCurvePrivateKey, changes: list[Json], timestamp: int, **attributes: Any) -> Changeset:
    """A complete state with the attributes that S publishes. changes: records and tombstones."""
    live = [change for change in changes if not is_tombstone(change)]
    content, entry = digests(live, timestamp), sign(key, live, timestamp)
    metadata = {
        "displayFields": ["text"],
        "schema": SCHEMA,
        "signature": entry,
        "signatures": [entry],
        "signed_timestamp": timestamp,
        "hash": content.hash,
        "signer_claim": {"timestamp": timestamp, "digest": format_hash(content.signed), "signature": entry["signature"]},
    }
    return Changeset(timestamp, copy.deepcopy(changes), copy.deepcopy({**metadata, **attributes}))


def following(key: ec.EllipticCurvePrivateKey, base: Changeset, *changes: Json, **attributes: Any) -> Changeset:
    """The signed state that results from `base` and the changes; its timestamp is the greatest of the changes'."""
    by_id = by_record_id(base.changes) | by_record_id(changes)
    timestamp = max(change["last_modified"] for change in changes)
    return signed(key, list(by_id.values()), timestamp, **attributes)


def story(key: ec.EllipticCurvePrivateKey, start: int) -> tuple[Changeset, Changeset, Changeset]:
    """Three states in a row; each creates, alters and deletes records."""
    records = make_records(5, start=start)
    first = signed(key, records, start + 4)
    second = following(
        key,
        first,
        {**records[1], "text": "second", "last_modified": start + 10},
        tombstone("record-0002", start + 11),
        *make_records(1, first=5, start=start + 7),
    )
    third = following(
        key,
        second,
        {**records[0], "text": "third", "last_modified": start + 20},
        tombstone("record-0003", start + 21),
        *make_records(1, first=6, start=start + 16),
    )
    return first, second, third


def body(base: Changeset, state: Changeset, **more: Any) -> Json:
    """What S posts to lead from `base` to `state`."""
    held = by_record_id(base.changes)
    changes = [change for change in state.changes if held.get(change["id"]) != change]
    posted = {"base": base.timestamp, "timestamp": state.timestamp, "changes": changes, "metadata": dict(state.metadata)}
    return copy.deepcopy(posted | more)


def whole(base: Changeset, state: Changeset, **more: Any) -> Json:
    """What `push` posts so that `state` replaces whatever is there."""
    return body(base, state, changes=list(state.changes), complete=True, **more)


def record(state: Changeset, record_id: str = "record-0000") -> Json:
    """A copy of one of the records of `state`, to be altered."""
    return copy.deepcopy(by_record_id(state.changes)[record_id])
