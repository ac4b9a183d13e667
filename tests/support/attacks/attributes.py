"""Requests about the collection itself: its signature, its other attributes, who may read it."""

from tests.support.attacks.attack import Attack, StoppedBy
from tests.support.attacks.records import JSON_PATCH, MERGE_PATCH, YEAR_2100
from tests.support.attacks.target import UNBORN, Target


def put_without_signature(target: Target) -> None:
    """PUT of the collection without a signature."""
    target.send("PUT", target.collection, {"data": {"displayFields": ["text"]}})


def patch_the_signature_away(target: Target) -> None:
    """PATCH by JSON merge removes the signatures."""
    target.send("PATCH", target.collection, {"data": {"signature": None, "signatures": None}}, headers=MERGE_PATCH)


def patch_an_older_signature(target: Target) -> None:
    """PATCH puts the signature of an older state above the present records."""
    older = {name: target.first.metadata[name] for name in ("signature", "signatures", "signed_timestamp", "hash")}
    target.send("PATCH", target.collection, {"data": older})


def patch_the_schema(target: Target) -> None:
    """PATCH of attributes that the signature does not cover."""
    target.send("PATCH", target.collection, {"data": {"schema": {"type": "null"}, "displayFields": ["forged"]}})


def patch_the_signed_timestamp(target: Target) -> None:
    """PATCH of signed_timestamp, by which readers verify."""
    target.send("PATCH", target.collection, {"data": {"signed_timestamp": target.second.timestamp + 1000}})


def patch_the_hash(target: Target) -> None:
    """PATCH of the published hash, which readers compare first."""
    target.send("PATCH", target.collection, {"data": {"hash": target.first.metadata["hash"]}})


def patch_an_attribute_by_json_patch(target: Target) -> None:
    """PATCH of the collection by JSON patch."""
    operations = [{"op": "add", "path": "/data/bucket", "value": "elsewhere"}]
    target.send("PATCH", target.collection, operations, headers=JSON_PATCH)


def patch_nothing(target: Target) -> None:
    """PUT of the collection's own attributes, which moves its timestamp alone."""
    target.send("PUT", target.collection, {"data": dict(target.second.metadata)})


def put_the_collection_in_2100(target: Target) -> None:
    """PATCH of the collection's last_modified to the year 2100."""
    target.send("PATCH", target.collection, {"data": {"last_modified": YEAR_2100}})


def take_the_readers_permission(target: Target) -> None:
    """PUT of the collection's permissions: nobody may read any more."""
    target.send("PUT", target.collection, {"data": dict(target.second.metadata), "permissions": {"read": []}})


def grant_write_to_everybody(target: Target) -> None:
    """PATCH of the collection's permissions alone: everybody may write."""
    target.send("PATCH", target.collection, {"permissions": {"write": ["system.Everyone"]}})


def post_a_collection_that_is_there(target: Target) -> None:
    """POST of the collection under its own id: Kinto answers with the one that it has."""
    target.send("POST", f"{target.bucket}/collections", {"data": {"id": "regions", "signature": None}})


def post_an_unsigned_collection(target: Target) -> None:
    """POST of a new, unsigned collection in a guarded bucket."""
    target.send("POST", f"{target.bucket}/collections", {"data": {"id": UNBORN}})


def put_an_unsigned_collection(target: Target) -> None:
    """PUT of a new, unsigned collection in a guarded bucket, with an unsigned record."""
    new = f"{target.bucket}/collections/{UNBORN}"
    target.send("PUT", new, {"data": {}, "permissions": {"read": ["system.Everyone"]}})
    target.send("PUT", f"{new}/records/forged", {"data": {"text": "forged"}})


def put_a_copy_of_the_collection(target: Target) -> None:
    """A batch that makes a new collection in the guarded bucket out of the signed state of another one."""
    requests = [
        {**one, "path": one["path"].replace("/collections/regions", f"/collections/{UNBORN}")}
        for one in target.replay(target.first, target.second)
    ]
    made = {"method": "PUT", "path": f"{target.bucket}/collections/{UNBORN}", "body": {"data": {}}}
    target.batch(made, *requests)


ATTACKS = (
    Attack(1, put_without_signature),
    Attack(43, patch_the_signature_away),
    Attack(11, patch_an_older_signature),
    Attack(43, patch_the_schema),
    Attack(43, patch_the_signed_timestamp),
    Attack(43, patch_the_hash),
    Attack(43, patch_an_attribute_by_json_patch),
    Attack(43, patch_nothing),
    Attack(14, put_the_collection_in_2100),
    Attack(43, take_the_readers_permission),
    Attack(43, grant_write_to_everybody),
    Attack(43, post_a_collection_that_is_there, StoppedBy.KINTO),
    Attack(1, post_an_unsigned_collection),
    Attack(1, put_an_unsigned_collection),
    Attack(16, put_a_copy_of_the_collection),
)
