"""POST changeset: what is posted there was signed by nobody, by somebody else, for something else, or some time ago."""

import base64
import gzip
import json
from typing import Any

from kinto_signer.core.canonical import format_hash
from kinto_signer.core.changeset import Changeset, tombstone
from kinto_signer.core.signature import HALF, P384_ORDER, encode_raw
from tests.support.attacks.attack import Attack, Off, StoppedBy
from tests.support.attacks.publications import Json, body, following, record, signed, whole
from tests.support.attacks.records import YEAR_2100
from tests.support.attacks.target import UNBORN, Target

LIMIT = {"kinto.authority.max_changeset_bytes": "1000000"}
TOO_LONG = 3_000_000


def _next(target: Target, **more: Any) -> Json:
    """The honest publication that every one of these begins with."""
    return body(target.second, target.third, **more)


def _with_signature(metadata: Json, text: object, **entry: Any) -> Json:
    made = {**metadata["signature"], "signature": text, **entry}
    claim = {**metadata["signer_claim"], "signature": text}
    return {**metadata, "signature": made, "signatures": [made], "signer_claim": claim}


def _refresh(target: Target, *changes: Json, **attributes: Any) -> Json:
    """What a refresh of the present signature looks like."""
    held = target.second
    return {
        "base": held.timestamp,
        "timestamp": held.timestamp,
        "changes": list(changes),
        "metadata": {**held.metadata, **attributes},
    }


def _malleated(text: str) -> str:
    """The other signature that verifies over the same bytes: (r, n - s)."""
    raw = base64.urlsafe_b64decode(text)
    s = P384_ORDER - int.from_bytes(raw[HALF:], "big")
    return encode_raw(raw[:HALF] + s.to_bytes(HALF, "big"))


# --- authenticity ----------------------------------------------------------------------------------------------------


def no_signature(target: Target) -> None:
    """A publication without a signature."""
    content = _next(target)
    for name in ("signature", "signatures", "signer_claim"):
        del content["metadata"][name]
    target.publish(content)


def empty_list_of_signatures(target: Target) -> None:
    """A publication that empties the collection, with an empty list of signatures."""
    changes = [tombstone(one["id"], target.third.timestamp) for one in target.second.records]
    content = _next(target, changes=changes)
    content["metadata"] |= {"signature": {}, "signatures": []}
    target.publish(content)


def key_that_comes_along(target: Target) -> None:
    """A publication signed by the attacker's own key, which it names as public_key and x5u."""
    forged = following(target.stranger, target.second, {**record(target.second), "last_modified": target.third.timestamp})
    content = body(target.second, forged)
    content["metadata"]["signature"]["x5u"] = "https://attacker.example/chain.pem"
    target.publish(content)


def unknown_mode(target: Target) -> None:
    """An altered publication whose signature names a mode that nobody verifies."""
    content = _next(target)
    content["changes"][0]["text"] = "forged"
    content["metadata"] = _with_signature(content["metadata"], "x" * 128, mode="none")
    target.publish(content)


def zeros_for_a_signature(target: Target) -> None:
    """An altered publication whose signature has r = s = 0."""
    content = _next(target)
    content["changes"][0]["text"] = "forged"
    content["metadata"] = _with_signature(content["metadata"], "A" * 128)
    target.publish(content)


def signature_with_something_behind(target: Target) -> None:
    """The next publication with a newline behind its signature, which lenient decoders skip and readers do not."""
    content = _next(target)
    content["metadata"] = _with_signature(content["metadata"], content["metadata"]["signature"]["signature"] + "\n")
    target.publish(content)


def junk_before_the_signature(target: Target) -> None:
    """The next publication with junk as `signature`, which Firefox reads, and the real one at the end of `signatures`."""
    content = _next(target)
    junk = {**content["metadata"]["signature"], "signature": "A" * 128}
    content["metadata"] |= {"signature": junk, "signatures": [junk, *content["metadata"]["signatures"]]}
    target.publish(content)


def altered_record(target: Target) -> None:
    """A signed publication of which one record was altered."""
    content = _next(target)
    content["changes"][0]["text"] = "forged"
    target.publish(content)


def altered_record_with_its_hash(target: Target) -> None:
    """A publication altered together with its hash and its claim, under the signature of the unaltered one."""
    forged = following(target.stranger, target.second, {**record(target.second), "last_modified": target.third.timestamp})
    content = body(target.second, forged)
    text = target.third.metadata["signature"]["signature"]
    content["metadata"] = _with_signature(content["metadata"], text)
    content["metadata"]["signer_claim"]["digest"] = format_hash(target.third.digests().signed)
    target.publish(content)


def extra_record(target: Target) -> None:
    """A signed publication to which a record was added."""
    content = _next(target)
    content["changes"].append({"id": "forged", "text": "forged", "last_modified": target.third.timestamp - 1})
    target.publish(content)


def dropped_record(target: Target) -> None:
    """A signed publication from which a record was left out."""
    content = _next(target)
    content["changes"] = [change for change in content["changes"] if change["id"] != "record-0006"]
    target.publish(content)


def tombstone_instead_of_a_record(target: Target) -> None:
    """A signed publication in which the tombstone of one record has another record's id."""
    content = _next(target)
    for change in content["changes"]:
        if change.get("deleted"):
            change["id"] = "record-0004"
    target.publish(content)


def same_id_twice(target: Target) -> None:
    """A signed publication with a second, other record of the same id behind the signed one."""
    content = _next(target)
    content["changes"].append({**record(target.third), "text": "forged"})
    target.publish(content)


def odd_deletion(target: Target) -> None:
    """A publication whose forged record says `deleted`, but not true: a tombstone for one reader, a record for another."""
    content = _next(target)
    content["changes"].append({"id": "forged", "deleted": "yes", "last_modified": target.third.timestamp - 1})
    target.publish(content)


# --- freshness -------------------------------------------------------------------------------------------------------


def older_state_as_a_difference(target: Target) -> None:
    """The difference that leads back to an older signed state."""
    content = body(target.second, target.first)
    content["changes"].append(tombstone("record-0005", target.first.timestamp))
    target.publish(content)


def older_state_as_a_whole(target: Target) -> None:
    """An older signed state, complete, as `push` sends one to heal A."""
    target.publish(whole(target.second, target.first))


def same_timestamp_other_content(target: Target) -> None:
    """Other content that the signer once signed under the timestamp that A has."""
    changes = [{**record(target.second), "text": "other"}, *target.second.changes[1:]]
    other = signed(target.key, changes, target.second.timestamp)
    target.publish(whole(target.second, other))
    target.publish(body(target.second, other))


def year_2100(target: Target) -> None:
    """A signed publication whose timestamp is far ahead: nothing could be published after it."""
    state = following(target.key, target.second, {**record(target.second), "last_modified": YEAR_2100})
    target.publish(body(target.second, state))


def wrong_base(target: Target) -> None:
    """A signed publication that builds on an older state, and says so."""
    rival = following(target.key, target.first, {**record(target.first), "last_modified": target.third.timestamp})
    target.publish(body(target.first, rival))


def base_that_lies(target: Target) -> None:
    """A signed publication that builds on an older state, and names the present one."""
    rival = following(target.key, target.first, {**record(target.first), "last_modified": target.third.timestamp})
    target.publish(body(target.first, rival, base=target.second.timestamp))


def records_of_another_timestamp(target: Target) -> None:
    """The records of the next publication under the signature and the timestamp of the present one."""
    target.publish(_next(target) | {"timestamp": target.second.timestamp, "metadata": dict(target.second.metadata)})


# --- what the signature does not cover -------------------------------------------------------------------------------


def refresh_with_other_attributes(target: Target) -> None:
    """A refresh under the present signature with another schema."""
    target.publish(_refresh(target, schema={"type": "null"}))


def malleated_refresh_with_other_attributes(target: Target) -> None:
    """A refresh whose signature is the present one malleated, and looks new, with another schema."""
    text = _malleated(target.second.metadata["signature"]["signature"])
    metadata = _with_signature(dict(target.second.metadata), text)
    target.publish(_refresh(target, **{**metadata, "schema": {"type": "null"}}))


def refresh_without_an_attribute(target: Target) -> None:
    """A refresh that leaves attributes out, so that they would disappear."""
    content = _refresh(target)
    del content["metadata"]["displayFields"], content["metadata"]["hash"]
    target.publish(content)


def refresh_with_a_tombstone(target: Target) -> None:
    """A refresh with a tombstone, which no signature covers, far ahead: the ETag would stay there."""
    target.publish(_refresh(target, tombstone("forged", YEAR_2100)))


def refresh_with_a_record_twice_dated(target: Target) -> None:
    """A refresh that sends the present records again, one of them altered, as a whole."""
    changes = [{**record(target.second), "text": "forged"}, *target.second.changes[1:]]
    target.publish(_refresh(target, *changes) | {"complete": True})


def whole_without_tombstones(target: Target) -> None:
    """The present state again as a whole, without its tombstones: readers would keep what was deleted."""
    target.publish(whole(target.second, target.second) | {"changes": target.second.records})


# --- the wrong place -------------------------------------------------------------------------------------------------


def another_collections_state(target: Target) -> None:
    """The signed state of another collection, whose metadata says so."""
    forged = _other_state(target, id="elsewhere", bucket="main")
    target.publish(whole(target.second, forged))


def another_collections_state_renamed(target: Target) -> None:
    """The signed state of another collection, renamed: where each collection has its own key."""
    target.publish(whole(target.second, _other_state(target)))


def _other_state(target: Target, **attributes: Any) -> Changeset:
    key = target.key if attributes else target.stranger
    return following(key, Changeset(0), {"id": "other", "last_modified": target.third.timestamp}, **attributes)


def inside_a_batch(target: Target) -> None:
    """A publication as a part of a batch, behind an ordinary write."""
    content = _next(target)
    content["changes"][0]["text"] = "forged"
    target.batch(
        {"method": "PUT", "path": "/buckets/free", "body": {"data": {}}},
        {"method": "POST", "path": f"{target.collection}/changeset", "body": content},
    )


def path_in_percent_encoding(target: Target) -> None:
    """An unsigned publication to a path that is spelled with %-escapes and ends in a slash."""
    content = _next(target)
    content["changes"][0]["text"] = "forged"
    path = target.collection.replace("main", "%6dain").replace("regions", "region%73")
    target.publish(content, to=path)
    target.send("POST", f"{path}/changeset/", content)


def unborn_collection(target: Target) -> None:
    """An unsigned first publication under a new name in a guarded bucket."""
    content = _next(target, base=0)
    del content["metadata"]["signature"], content["metadata"]["signatures"]
    target.publish(content, to=f"{target.bucket}/collections/{UNBORN}")


def other_methods(target: Target) -> None:
    """PUT, PATCH and DELETE of the changeset."""
    for method in ("PUT", "PATCH", "DELETE"):
        target.send(method, f"{target.collection}/changeset", _next(target))


# --- the body --------------------------------------------------------------------------------------------------------


def key_twice(target: Target) -> None:
    """JSON with the member `changes` twice: the signed one first, the forged one behind it."""
    content = _next(target)
    forged = [{**change, "text": "forged"} for change in content["changes"]]
    text = json.dumps(content)
    target.publish(f'{text[:-1]}, "changes": {json.dumps(forged)}}}'.encode())


def not_a_number(target: Target) -> None:
    """JSON with NaN, which Python reads and JSON does not have."""
    content = _next(target)
    content["changes"][0]["number"] = float("nan")
    target.publish(json.dumps(content).encode())


def gzip_bomb(target: Target) -> None:
    """A short gzip body that is longer than the limit when it is unpacked."""
    content = _next(target)
    content["changes"][0]["text"] = "0" * TOO_LONG
    packed = gzip.compress(json.dumps(content).encode())
    target.publish(packed, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})


def too_long(target: Target) -> None:
    """A body longer than the limit."""
    content = _next(target)
    content["changes"][0]["text"] = "0" * TOO_LONG
    target.publish(content)


PUBLICATIONS = (
    (1, no_signature),
    (1, empty_list_of_signatures),
    (5, key_that_comes_along),
    (4, unknown_mode),
    (3, zeros_for_a_signature),
    (2, signature_with_something_behind),
    (2, junk_before_the_signature),
    (1, altered_record),
    (1, altered_record_with_its_hash),
    (1, extra_record),
    (1, dropped_record),
    (15, tombstone_instead_of_a_record),
    (29, same_id_twice),
    (29, odd_deletion),
    (11, older_state_as_a_difference),
    (11, older_state_as_a_whole),
    (12, same_timestamp_other_content),
    (14, year_2100),
    (49, wrong_base),
    (15, base_that_lies),
    (15, records_of_another_timestamp),
    (43, refresh_with_other_attributes),
    (43, malleated_refresh_with_other_attributes),
    (43, refresh_without_an_attribute),
    (14, refresh_with_a_tombstone),
    (12, refresh_with_a_record_twice_dated),
    (11, whole_without_tombstones),
    (16, another_collections_state),
    (16, another_collections_state_renamed),
    (42, inside_a_batch),
    (55, path_in_percent_encoding),
    (1, unborn_collection),
    (26, key_twice),
    (26, not_a_number),
)

ATTACKS = (
    *(Attack(row, run, off=Off.VERIFICATION) for row, run in PUBLICATIONS),
    Attack(41, other_methods, StoppedBy.KINTO, off=Off.VERIFICATION),
    Attack(20, gzip_bomb, off=Off.VERIFICATION, settings=LIMIT),
    Attack(30, too_long, off=Off.VERIFICATION, settings=LIMIT),
)
