"""POST changeset of what was signed by nobody, by somebody else, or some time ago."""

from typing import Any

from kinto_signer.core.canonical import format_hash
from kinto_signer.core.changeset import tombstone
from tests.support.attacks.attack import Attack, Off
from tests.support.attacks.publications import Json, body, following, record, signed, whole
from tests.support.attacks.records import YEAR_2100
from tests.support.attacks.target import Target


def upcoming(target: Target, **more: Any) -> Json:
    """The honest publication that every one of these begins with."""
    return body(target.second, target.third, **more)


def with_signature(metadata: Json, text: object, **entry: Any) -> Json:
    made = {**metadata["signature"], "signature": text, **entry}
    claim = {**metadata["signer_claim"], "signature": text}
    return {**metadata, "signature": made, "signatures": [made], "signer_claim": claim}


# --- authenticity ----------------------------------------------------------------------------------------------------


def no_signature(target: Target) -> None:
    """A publication without a signature."""
    content = upcoming(target)
    for name in ("signature", "signatures", "signer_claim"):
        del content["metadata"][name]
    target.publish(content)


def empty_list_of_signatures(target: Target) -> None:
    """A publication that empties the collection, with an empty list of signatures."""
    changes = [tombstone(one["id"], target.third.timestamp - number) for number, one in enumerate(target.second.records)]
    content = upcoming(target, changes=changes)
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
    content = upcoming(target)
    content["changes"][0]["text"] = "forged"
    content["metadata"] = with_signature(content["metadata"], "x" * 128, mode="none")
    target.publish(content)


def zeros_for_a_signature(target: Target) -> None:
    """An altered publication whose signature has r = s = 0."""
    content = upcoming(target)
    content["changes"][0]["text"] = "forged"
    content["metadata"] = with_signature(content["metadata"], "A" * 128)
    target.publish(content)


def signature_with_something_behind(target: Target) -> None:
    """The next publication with a newline behind its signature, which lenient decoders skip and readers do not."""
    content = upcoming(target)
    content["metadata"] = with_signature(content["metadata"], content["metadata"]["signature"]["signature"] + "\n")
    target.publish(content)


def junk_before_the_signature(target: Target) -> None:
    """The next publication with junk as `signature`, which Firefox reads, and the real one at the end of `signatures`."""
    content = upcoming(target)
    junk = {**content["metadata"]["signature"], "signature": "A" * 128}
    content["metadata"] |= {"signature": junk, "signatures": [junk, *content["metadata"]["signatures"]]}
    target.publish(content)


def altered_record(target: Target) -> None:
    """A signed publication of which one record was altered."""
    content = upcoming(target)
    content["changes"][0]["text"] = "forged"
    target.publish(content)


def altered_record_with_its_hash(target: Target) -> None:
    """A publication altered together with its hash and its claim, under the signature of the unaltered one."""
    forged = following(target.stranger, target.second, {**record(target.second), "last_modified": target.third.timestamp})
    content = body(target.second, forged)
    text = target.third.metadata["signature"]["signature"]
    content["metadata"] = with_signature(content["metadata"], text)
    content["metadata"]["signer_claim"]["digest"] = format_hash(target.third.digests().signed)
    target.publish(content)


def extra_record(target: Target) -> None:
    """A signed publication to which a record was added."""
    content = upcoming(target)
    content["changes"].append({"id": "forged", "text": "forged", "last_modified": target.third.timestamp - 3})
    target.publish(content)


def dropped_record(target: Target) -> None:
    """A signed publication from which a record was left out."""
    content = upcoming(target)
    content["changes"] = [change for change in content["changes"] if change["id"] != "record-0006"]
    target.publish(content)


def tombstone_instead_of_a_record(target: Target) -> None:
    """A signed publication in which the tombstone of one record has another record's id."""
    content = upcoming(target)
    for change in content["changes"]:
        if change.get("deleted"):
            change["id"] = "record-0004"
    target.publish(content)


def same_id_twice(target: Target) -> None:
    """A signed publication with a second, other record of the same id behind the signed one."""
    content = upcoming(target)
    content["changes"].append({**record(target.third), "text": "forged"})
    target.publish(content)


def odd_deletion(target: Target) -> None:
    """A publication whose forged record says `deleted`, but not true: a tombstone for one reader, a record for another."""
    content = upcoming(target)
    content["changes"].append({"id": "forged", "deleted": "yes", "last_modified": target.third.timestamp - 3})
    target.publish(content)


# --- freshness -------------------------------------------------------------------------------------------------------


def older_state_as_a_difference(target: Target) -> None:
    """The difference that leads back to an older signed state."""
    content = body(target.second, target.first)
    content["changes"].append(tombstone("record-0005", target.first.timestamp - 50))
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
    target.publish(body(target.first, rival) | {"base": target.second.timestamp})


def records_of_another_timestamp(target: Target) -> None:
    """The records of the next publication under the signature and the timestamp of the present one."""
    target.publish(upcoming(target) | {"timestamp": target.second.timestamp, "metadata": dict(target.second.metadata)})


ATTACKS = tuple(
    Attack(row, run, off=Off.VERIFICATION)
    for row, run in (
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
    )
)
