"""Several requests in one: what passes one by one, what is hidden, and what drops the guard's hooks."""

from kinto_signer.core.changeset import TIMESTAMP_MARKER
from tests.support.attacks.attack import MEMORY, POSTGRESQL, Attack, StoppedBy
from tests.support.attacks.publications import record
from tests.support.attacks.records import FORGED, YEAR_2100
from tests.support.attacks.target import Target, put

FREE = "/buckets/free"


def _free_collection(target: Target) -> None:
    """A bucket of the attacker's that nobody guards."""
    target.send("PUT", FREE, {"data": {}})
    target.send("PUT", f"{FREE}/collections/things", {"data": {}})


def _free_record(number: int) -> dict:
    return put(f"{FREE}/collections/things/records/r{number}", FORGED)


def good_part_first(target: Target) -> None:
    """A batch that begins with reads and a write of nothing, and ends with the forgery."""
    same = {"method": "PATCH", "path": f"{target.records}/record-0000", "body": {"data": {}}}
    target.batch({"method": "GET", "path": target.records}, same, put(f"{target.records}/forged", FORGED))


def bad_part_in_the_middle(target: Target) -> None:
    """A batch with the forgery between two writes to another collection that nobody guards."""
    target.batch(_free_record(1), put(f"{target.records}/forged", FORGED), _free_record(2))


def everything_in_the_defaults(target: Target) -> None:
    """A batch whose one request is empty: method, path and body stand in `defaults`."""
    target.batch({}, method="PUT", path=f"{target.records}/forged", body=FORGED)


def a_path_with_the_version(target: Target) -> None:
    """A batch whose path begins with /v1."""
    target.batch(put(f"/v1{target.records}/forged", FORGED))


def a_path_with_a_slash_at_its_end(target: Target) -> None:
    """A batch whose path ends in a slash, which Kinto answers with a redirection that the batch follows."""
    target.batch(put(f"{target.records}/forged/", FORGED))


def a_path_in_percent_encoding(target: Target) -> None:
    """A batch whose path spells bucket, collection and record with %-escapes."""
    path = target.records.replace("main", "%6dain").replace("regions", "region%73").replace("records", "%72ecords")
    target.batch(put(f"{path}/%66orged", FORGED))


def a_path_with_two_slashes(target: Target) -> None:
    """A batch whose path has empty or dotted segments."""
    for path in (f"/{target.records}/forged", f"{target.collection}//records/forged", f"{target.records}/./forged"):
        target.batch(put(path, FORGED))


def a_path_with_a_query(target: Target) -> None:
    """A batch whose path has a query string behind the record's id."""
    target.batch({"method": "DELETE", "path": f"{target.records}/record-0000?last_modified={target.second.timestamp + 5}"})


def a_content_type_inside_the_batch(target: Target) -> None:
    """A batch whose inner headers make the body a JSON patch."""
    operations = [{"op": "replace", "path": "/data/text", "value": "forged"}]
    headers = {"Content-Type": "application/merge-patch+json"}
    merge = {"method": "PATCH", "path": f"{target.records}/record-0000", "headers": headers, "body": FORGED}
    target.batch(merge, put(f"{target.records}/patched", {"data": {"operations": operations}}))


def the_credentials_inside_the_batch(target: Target) -> None:
    """A batch sent by nobody, whose parts carry S's password in their headers."""
    stolen = {"Authorization": target.app.extra_environ["HTTP_AUTHORIZATION"]}
    content = {"requests": [put(f"{target.records}/forged", FORGED) | {"headers": stolen}]}
    target.send("POST", "/batch", content, headers={"Authorization": ""})


def deleted_and_made_again(target: Target) -> None:
    """A batch that deletes a record and makes it again, altered, under the same timestamp."""
    altered = {**record(target.second), "text": "forged"}
    path = f"{target.records}/record-0000"
    target.batch({"method": "DELETE", "path": path}, put(path, {"data": altered}))


def made_and_deleted_again(target: Target) -> None:
    """A batch that makes a record and deletes it: the same live records, and a tombstone and an ETag that nobody signed."""
    path = f"{target.records}/forged"
    target.batch(put(path, FORGED), {"method": "DELETE", "path": path})


def marker_made_and_deleted(target: Target) -> None:
    """A batch that makes and deletes the marker which carries a signed timestamp where nothing else does, far ahead."""
    path = f"{target.records}/{TIMESTAMP_MARKER}"
    target.batch(put(path, {"data": {}}), {"method": "DELETE", "path": f"{path}?last_modified={YEAR_2100}"})


def tombstone_moved_back(target: Target) -> None:
    """A batch that makes a deleted record again and deletes it at an old moment: the live records stay as they are.

    A reader who asks what came after the first state is not told of the deletion any more.
    """
    path = f"{target.records}/record-0002"
    made = put(path, {"data": {"last_modified": target.first.timestamp - 90}})
    target.batch(made, {"method": "DELETE", "path": f"{path}?last_modified={target.first.timestamp - 80}"})


def deleted_and_made_again_later(target: Target) -> None:
    """A batch that deletes a record and makes it again unaltered, so that what was signed stands at another moment."""
    path = f"{target.records}/record-0000"
    same = {key: value for key, value in record(target.second).items() if key != "last_modified"}
    target.batch({"method": "DELETE", "path": path}, put(path, {"data": same}))


def older_state_request_by_request(target: Target) -> None:
    """A batch that writes the records and the signature of an older state: valid in itself, a rollback."""
    older = [put(f"{target.records}/{change['id']}", {"data": change}) for change in target.first.records]
    emptied = {"method": "DELETE", "path": target.records}
    attributes = {"method": "PATCH", "path": target.collection, "body": {"data": dict(target.first.metadata)}}
    target.batch(emptied, *older, attributes)


def half_of_a_publication(target: Target) -> None:
    """The first half of a signed publication: records of the new state under the signature of the old one."""
    requests = list(target.replay(target.second, target.third))
    target.batch(*requests[:2])


def a_publication_without_its_deletions(target: Target) -> None:
    """A signed publication from which the deletions were left out."""
    target.batch(*(one for one in target.replay(target.second, target.third) if one["method"] != "DELETE"))


def signature_first(target: Target) -> None:
    """The signature of the next state, without its records."""
    *_, attributes = target.replay(target.second, target.third)
    target.batch(attributes)


def a_conflict_after_the_forgery(target: Target) -> None:
    """An inner 409 undoes the forgery and whatever was registered with it; a second forgery follows."""

    first, second = (put(f"{FREE}/collections/things/records/{name}", {"data": {"last_modified": 5}}) for name in "ab")
    target.batch(first, put(f"{target.records}/forged", FORGED), second, put(f"{target.records}/forged-again", FORGED))


def a_conflict_of_the_guarded_collection(target: Target) -> None:
    """An inner 409 that comes from the guarded collection itself, with the forgery behind it."""
    clash = {**record(target.second), "last_modified": record(target.second, "record-0005")["last_modified"]}
    target.batch(put(f"{target.records}/record-0003", {"data": clash}), put(f"{target.records}/forged", FORGED))


def a_crash_after_the_forgery(target: Target) -> None:
    """A 304 inside a batch makes Kinto answer 500: memory storage keeps what was stored before."""
    etag = f'"{record(target.second)["last_modified"]}"'
    unchanged = {"method": "GET", "path": f"{target.records}/record-0000", "headers": {"If-None-Match": etag}}
    target.batch(put(f"{target.records}/forged", FORGED), unchanged)


def a_refusal_after_the_forgery(target: Target) -> None:
    """A batch whose last part is refused with a 412: Kinto keeps the parts before it."""
    refused = put(f"{target.records}/record-0000", FORGED) | {"headers": {"If-Match": '"1"'}}
    target.batch(put(f"{target.records}/forged", FORGED), refused)


def more_parts_than_allowed(target: Target) -> None:
    """A batch of more requests than `batch_max_requests`."""
    target.batch(*(put(f"{target.records}/forged-{number}", FORGED) for number in range(26)))


def _batch_within(target: Target, path: str) -> None:
    inner = {"requests": [put(f"{target.records}/forged", FORGED)]}
    target.batch({"method": "POST", "path": path, "body": inner})


def a_batch_inside_a_batch(target: Target) -> None:
    """A batch that holds a batch."""
    _batch_within(target, "/batch")


def a_hidden_batch_inside_a_batch(target: Target) -> None:
    """A batch that holds a batch whose path is spelled with %-escapes, which Kinto does not notice."""
    _batch_within(target, "/%62atch")


ATTACKS = (
    Attack(42, good_part_first),
    Attack(42, bad_part_in_the_middle, prepare=_free_collection),
    Attack(42, everything_in_the_defaults),
    Attack(55, a_path_with_the_version),
    Attack(55, a_path_with_a_slash_at_its_end),
    Attack(55, a_path_in_percent_encoding),
    Attack(55, a_path_with_two_slashes, StoppedBy.KINTO),
    Attack(45, a_path_with_a_query),
    Attack(42, a_content_type_inside_the_batch),
    Attack(42, the_credentials_inside_the_batch),
    Attack(12, deleted_and_made_again),
    Attack(42, made_and_deleted_again),
    Attack(14, marker_made_and_deleted),
    Attack(45, tombstone_moved_back),
    Attack(12, deleted_and_made_again_later),
    Attack(11, older_state_request_by_request),
    Attack(15, half_of_a_publication),
    Attack(15, a_publication_without_its_deletions),
    Attack(15, signature_first),
    Attack(42, a_conflict_after_the_forgery, prepare=_free_collection, backends=(POSTGRESQL,)),
    Attack(42, a_conflict_of_the_guarded_collection),
    Attack(42, a_crash_after_the_forgery, backends=(MEMORY,), crashes=True),
    Attack(42, a_refusal_after_the_forgery),
    Attack(42, more_parts_than_allowed, StoppedBy.KINTO),
    Attack(42, a_batch_inside_a_batch, StoppedBy.KINTO),
    Attack(42, a_hidden_batch_inside_a_batch),
)
