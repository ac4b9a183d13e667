"""Ordinary requests about one record, or about all of them."""

import json

from tests.support.attacks.attack import Attack, StoppedBy
from tests.support.attacks.publications import record
from tests.support.attacks.target import Target

YEAR_2100 = 4102444800000
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
FORGED = {"data": {"text": "forged"}}


def post_a_record(target: Target) -> None:
    """POST of a record under an id that Kinto chooses."""
    target.send("POST", target.records, FORGED)


def post_over_a_tombstone(target: Target) -> None:
    """POST of a record under the id of a deleted one, which takes the tombstone away."""
    target.send("POST", target.records, {"data": {"id": "record-0002", "text": "forged"}})


def post_an_id_that_is_taken(target: Target) -> None:
    """POST of a record under the id of a live one: Kinto answers with the record that it has."""
    target.send("POST", target.records, {"data": {"id": "record-0000", "text": "forged"}})


def put_a_new_record(target: Target) -> None:
    """PUT of a record under an id of the attacker's choice."""
    target.send("PUT", f"{target.records}/forged", FORGED)


def put_over_a_record(target: Target) -> None:
    """PUT replaces the content of a record."""
    target.send("PUT", f"{target.records}/record-0000", FORGED)


def put_what_is_there(target: Target) -> None:
    """PUT of a record's own content, which moves its timestamp alone."""
    content = {key: value for key, value in record(target.second).items() if key != "last_modified"}
    target.send("PUT", f"{target.records}/record-0000", {"data": content})


def put_without_data(target: Target) -> None:
    """PUT of a record's permissions without any data empties the record."""
    target.send("PUT", f"{target.records}/record-0000", {"permissions": {"write": ["system.Everyone"]}})


def put_before_the_signature(target: Target) -> None:
    """PUT of a new record with an old timestamp, which leaves the ETag as it was."""
    old = {"text": "forged", "last_modified": target.first.timestamp - 500}
    target.send("PUT", f"{target.records}/forged", {"data": old})


def put_in_the_year_2100(target: Target) -> None:
    """PUT with a timestamp far ahead, which would freeze the collection."""
    target.send("PUT", f"{target.records}/record-0000", {"data": {**record(target.second), "last_modified": YEAR_2100}})


def put_a_record_that_says_deleted(target: Target) -> None:
    """PUT of a live record with the attribute `deleted`: readers take it for a tombstone, Kinto serves it as a record."""
    target.send("PUT", f"{target.records}/forged", {"data": {"deleted": True, "text": "forged"}})


def put_if_none_match(target: Target) -> None:
    """PUT with If-None-Match: *, which Kinto takes for a creation."""
    target.send("PUT", f"{target.records}/forged", FORGED, headers={"If-None-Match": "*"})


def put_if_match(target: Target) -> None:
    """PUT with the right If-Match: the attacker has read what is there."""
    etag = {"If-Match": f'"{record(target.second)["last_modified"]}"'}
    target.send("PUT", f"{target.records}/record-0000", FORGED, headers=etag)


def patch_attributes(target: Target) -> None:
    """PATCH with plain JSON replaces one attribute."""
    target.send("PATCH", f"{target.records}/record-0000", FORGED)


def patch_by_json_merge(target: Target) -> None:
    """PATCH by JSON merge alters a nested attribute."""
    target.send("PATCH", f"{target.records}/record-0000", {"data": {"nested": {"list": None}}}, headers=MERGE_PATCH)


def patch_by_json_patch(target: Target) -> None:
    """PATCH by JSON patch removes an attribute by its path."""
    target.send("PATCH", f"{target.records}/record-0000", [{"op": "remove", "path": "/data/text"}], headers=JSON_PATCH)


def patch_permissions(target: Target) -> None:
    """PATCH of permissions alone, which moves the record's timestamp."""
    target.send("PATCH", f"{target.records}/record-0000", {"permissions": {"write": ["system.Everyone"]}})


def patch_permissions_by_json_patch(target: Target) -> None:
    """PATCH by JSON patch whose paths name only permissions."""
    operation = {"op": "add", "path": "/permissions/read/system.Everyone"}
    target.send("PATCH", f"{target.records}/record-0000", [operation], headers=JSON_PATCH)


def delete_a_record(target: Target) -> None:
    """DELETE of one record."""
    target.send("DELETE", f"{target.records}/record-0000")


def delete_in_the_year_2100(target: Target) -> None:
    """DELETE whose ?last_modified= puts the tombstone, and so the ETag, far ahead."""
    target.send("DELETE", f"{target.records}/record-0000?last_modified={YEAR_2100}")


def delete_all_records(target: Target) -> None:
    """DELETE of the whole list, whose event names no record."""
    target.send("DELETE", target.records)


def delete_filtered_records(target: Target) -> None:
    """DELETE of the list with a filter that leaves most of it."""
    target.send("DELETE", f"{target.records}?text={json.dumps(record(target.second)['text'])}")


def delete_a_page_of_records(target: Target) -> None:
    """DELETE of the list with _limit, which removes a page."""
    target.send("DELETE", f"{target.records}?_limit=1&_sort=id")


def override_the_method(target: Target) -> None:
    """A GET or POST that names another method in a header."""
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        target.send("GET", f"{target.records}/record-0000", headers={header: "DELETE"})
        target.send("POST", f"{target.records}/record-0000?_method=DELETE", {}, headers={header: "DELETE"})


def write_as_a_member_of_a_group(target: Target) -> None:
    """A new member of a group that may write in the bucket writes a record under another name than S."""
    group = f"{target.bucket}/groups/writers"
    member = target.send("GET", "/", user="mallory").json["user"]["id"]
    target.send("PUT", group, {"data": {"members": [member]}})
    target.send("PATCH", target.bucket, {"permissions": {"write": [group]}})
    target.send("PUT", f"{target.records}/forged", FORGED, user="mallory")


ATTACKS = (
    Attack(41, post_a_record),
    Attack(41, post_over_a_tombstone),
    Attack(41, post_an_id_that_is_taken, StoppedBy.KINTO),
    Attack(41, put_a_new_record),
    Attack(41, put_over_a_record),
    Attack(12, put_what_is_there),
    Attack(41, put_without_data),
    Attack(45, put_before_the_signature),
    Attack(14, put_in_the_year_2100),
    Attack(29, put_a_record_that_says_deleted),
    Attack(45, put_if_none_match),
    Attack(45, put_if_match),
    Attack(41, patch_attributes),
    Attack(41, patch_by_json_merge),
    Attack(41, patch_by_json_patch),
    Attack(41, patch_permissions),
    Attack(41, patch_permissions_by_json_patch),
    Attack(41, delete_a_record),
    Attack(45, delete_in_the_year_2100),
    Attack(41, delete_all_records),
    Attack(41, delete_filtered_records),
    Attack(41, delete_a_page_of_records),
    Attack(41, override_the_method, StoppedBy.KINTO),
    Attack(46, write_as_a_member_of_a_group),
)
