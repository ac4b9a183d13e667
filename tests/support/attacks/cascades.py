"""Deletions that take records with them without saying so, and what is put there afterwards."""

import transaction
from kinto.core.scripts import purge_deleted

from kinto_signer.core.changeset import EMPTY, tombstone
from tests.support.attacks.attack import Attack, Leaves, Off
from tests.support.attacks.publications import body, signed, whole
from tests.support.attacks.target import Target, put


def _replay_first(target: Target) -> None:
    """The oldest state, request by request, in a bucket and a collection that are made anew."""
    public = {"data": {}, "permissions": {"read": ["system.Everyone"]}}
    made = put(target.bucket, {"data": {}}), put(target.collection, public)
    target.batch(*made, *target.replay(EMPTY, target.first))


def delete_the_collection(target: Target) -> None:
    """DELETE of the collection, which emits no event for its records."""
    target.send("DELETE", target.collection)


def delete_all_collections(target: Target) -> None:
    """DELETE of the list of collections."""
    target.send("DELETE", f"{target.bucket}/collections")


def delete_filtered_collections(target: Target) -> None:
    """DELETE of the list of collections with a filter by id."""
    target.send("DELETE", f"{target.bucket}/collections?in_id=regions,unborn")


def delete_the_bucket(target: Target) -> None:
    """DELETE of the bucket, which emits one event for all that was in it."""
    target.send("DELETE", target.bucket)


def delete_all_buckets(target: Target) -> None:
    """DELETE of the list of buckets."""
    target.send("DELETE", "/buckets")


def delete_the_bucket_of_a_guarded_collection(target: Target) -> None:
    """DELETE of a bucket that is not guarded itself: only one of its collections is."""
    target.send("DELETE", target.bucket)


def delete_the_collection_and_replay(target: Target) -> None:
    """DELETE of the collection, which is made again with the oldest signed state."""
    target.send("DELETE", target.collection)
    _replay_first(target)


def delete_the_bucket_and_replay(target: Target) -> None:
    """One batch that deletes the bucket and makes everything again in the oldest signed state."""
    public = {"data": {}, "permissions": {"read": ["system.Everyone"]}}
    made = put(target.bucket, {"data": {}}), put(target.collection, public)
    target.batch({"method": "DELETE", "path": target.bucket}, *made, *target.replay(EMPTY, target.first))


def delete_and_undelete(target: Target) -> None:
    """DELETE of the collection and PUT of its attributes, signature included, without its records."""
    attributes = {"data": dict(target.second.metadata), "permissions": {"read": ["system.Everyone"]}}
    target.batch({"method": "DELETE", "path": target.collection}, put(target.collection, attributes))


def _delete_below(target: Target, *patterns: str) -> None:
    """What Kinto does when a collection or a bucket is deleted."""
    permission = target.app.app.registry.permission
    with target.storage() as storage:
        for pattern in patterns:
            storage.delete_all(resource_name=None, parent_id=pattern, with_deleted=False)
            storage.purge_deleted(resource_name=None, parent_id=pattern)
            permission.delete_object_permissions(pattern)


def _collection_gone(target: Target) -> None:
    """The collection was deleted while the guard was off."""
    with target.storage() as storage:
        storage.delete("collection", target.bucket, "regions")
    _delete_below(target, target.collection, f"{target.collection}/*")


def _bucket_gone(target: Target) -> None:
    """The bucket was deleted while the guard was off."""
    with target.storage() as storage:
        storage.delete("bucket", "", target.bucket.rpartition("/")[2])
    _delete_below(target, target.bucket, f"{target.bucket}/*")


def post_an_older_state_after_a_deletion(target: Target) -> None:
    """POST changeset of the oldest signed state where the collection was deleted: what was accepted is remembered."""
    target.publish(body(EMPTY, target.first))
    target.publish(whole(EMPTY, target.first))


def post_the_same_timestamp_after_a_deletion(target: Target) -> None:
    """POST changeset of other content under the last timestamp where the collection was deleted."""
    changes = [*target.second.records[1:], tombstone("record-0000", target.second.timestamp - 1)]
    target.publish(body(EMPTY, signed(target.key, changes, target.second.timestamp)))


def post_an_older_state_after_the_bucket_is_gone(target: Target) -> None:
    """POST changeset of the oldest signed state where the whole bucket was deleted."""
    target.publish(body(EMPTY, target.first))
    target.publish(whole(target.second, target.first))


def make_again_by_hand_after_a_deletion(target: Target) -> None:
    """Ordinary requests that make the collection again in its oldest signed state, where it was deleted."""
    _replay_first(target)


def purge_the_tombstones(target: Target) -> None:
    """`kinto purge-deleted`: a reader of an older state would never hear of the deletions."""
    with transaction.manager:
        purge_deleted({"registry": target.app.app.registry}, ["record"], 0)


def _tampered(target: Target) -> None:
    """A row was altered in the database."""
    target.tampered = True
    with target.storage() as storage:
        storage.update("record", target.collection, "record-0004", {"text": "tampered"})


def write_on_top_of_a_tampered_row(target: Target) -> None:
    """An ordinary write where what is stored does not verify any more: no worse than before is not good enough."""
    target.send("PUT", f"{target.records}/forged", {"data": {"text": "forged"}})


def publish_on_top_of_a_tampered_row(target: Target) -> None:
    """A signed difference where what is stored does not verify any more."""
    target.publish(body(target.second, target.third))


ONE_COLLECTION = {"kinto.authority.resources": "/buckets/main/collections/regions"}
GONE = {"prepare": _collection_gone, "off": Off.VERIFICATION}

ATTACKS = (
    Attack(44, delete_the_collection),
    Attack(44, delete_all_collections),
    Attack(44, delete_filtered_collections),
    Attack(44, delete_the_bucket),
    Attack(44, delete_all_buckets),
    Attack(48, delete_the_bucket_of_a_guarded_collection, settings=ONE_COLLECTION),
    Attack(44, delete_the_collection_and_replay),
    Attack(44, delete_the_bucket_and_replay),
    Attack(44, delete_and_undelete),
    Attack(11, post_an_older_state_after_a_deletion, **GONE),
    Attack(12, post_the_same_timestamp_after_a_deletion, **GONE),
    Attack(11, post_an_older_state_after_the_bucket_is_gone, prepare=_bucket_gone, off=Off.VERIFICATION),
    Attack(11, make_again_by_hand_after_a_deletion, prepare=_collection_gone),
    Attack(38, write_on_top_of_a_tampered_row, prepare=_tampered, crashes=True),
    Attack(38, publish_on_top_of_a_tampered_row, prepare=_tampered, crashes=True, off=Off.VERIFICATION),
    Attack(46, purge_the_tombstones, leaves=Leaves.READABLE),
)
