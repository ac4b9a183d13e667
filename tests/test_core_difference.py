"""What would be published: records, attributes, sizes, and the digest of what a reviewer is shown."""

import base64
import copy
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinto_signer.core.canonical import same_content
from kinto_signer.core.changeset import TIMESTAMP_MARKER
from kinto_signer.core.difference import MISSING, Difference, difference, reviewed_digest, same_value
from tests.support.campaigns import rounds
from tests.support.states import make_records, tombstone_of

COPIED = ("schema", "sort")
RECORDS = make_records(4)
ALIKE_BUT_DIFFERENT = (1, 1.0, True, "1", None, MISSING)


def of_records(source, against):
    return difference(source, against, {}, {}, COPIED)


def shown(source, against=(), published=None):
    return reviewed_digest(of_records(source, against), {}, published or {}, COPIED)


def with_value(value):
    return {} if value is MISSING else {"schema": value}


def test_the_same_content_is_no_difference_whatever_its_order_and_timestamps():
    moved = [{**record, "last_modified": 1} for record in reversed(RECORDS)]
    found = difference(RECORDS, moved, {"sort": "x", "status": "signed"}, {"sort": "x", "signature": {}}, COPIED)
    assert found == Difference((), (), (), {})
    assert (found.empty, found.count, found.size_bytes, found.ids) == (True, 0, 0, set())


def test_created_updated_and_deleted_are_told_apart_and_sorted():
    against = [RECORDS[3], {**RECORDS[2], "text": "before"}, {**RECORDS[1], "text": "before"}, {"id": "b"}, {"id": "a"}]
    found = of_records([{"id": "z"}, {"id": "y"}, *RECORDS[1:]], against)
    assert found.created == ({"id": "y"}, {"id": "z"})
    assert found.updated == ((against[2], RECORDS[1]), (against[1], RECORDS[2]))
    assert found.deleted == ({"id": "a"}, {"id": "b"})
    assert (found.count, found.empty) == (6, False)
    assert found.ids == {"y", "z", "record-0001", "record-0002", "a", "b"}


def test_tombstones_and_the_record_that_carries_a_timestamp_are_no_records():
    marker = {"id": TIMESTAMP_MARKER, "last_modified": 5}
    assert of_records([tombstone_of("gone", 1)], [marker, tombstone_of("went", 2)]).empty
    assert of_records([marker], []).empty


@pytest.mark.parametrize("one", ALIKE_BUT_DIFFERENT)
@pytest.mark.parametrize("other", ALIKE_BUT_DIFFERENT)
def test_values_that_python_takes_for_equal_are_different(one, other):
    same = one is other
    assert same_value(one, other) is same
    assert difference([], [], with_value(one), with_value(other), COPIED).empty is same
    records = [[{"id": "a", **with_value(value)}] for value in (one, other)]
    assert of_records(*records).empty is same
    assert (shown(records[0]) == shown(records[1])) is same
    assert (shown([], records[0]) == shown([], records[1])) is same
    digests = {reviewed_digest(Difference(), with_value(value), {}, COPIED) for value in (one, other)}
    assert len(digests) == (1 if same else 2)


def test_attributes_before_and_after():
    found = difference([], [], {"sort": "a", "status": "x"}, {"schema": None, "sort": "b", "hash": "y"}, COPIED)
    assert found.attributes == {"schema": (None, MISSING), "sort": ("b", "a")}
    assert (found.count, found.empty) == (0, False)


def test_an_attribute_that_is_not_copied_is_never_published():
    assert difference([], [], {"comment": "a"}, {}, COPIED).empty
    assert list(difference([], [], {"comment": "a"}, {}, ("comment",)).attributes) == ["comment"]


def test_the_size_is_that_of_canonical_json():
    found = of_records([{"id": "a", "last_modified": 10}, {"id": "b", "x": "é"}], [{"id": "b"}, {"id": "c", "last_modified": 99}])
    texts = ['{"id":"a","last_modified":10}', '{"id":"b","x":"\\u00e9"}', '{"deleted":true,"id":"c","last_modified":99}']
    assert found.size_bytes == sum(len(text) for text in texts)


def sha384(text):
    return "sha384-" + base64.b64encode(hashlib.sha384(text.encode("ascii")).digest()).decode("ascii")


def test_the_digest_covers_exactly_what_its_description_says():
    lines = ' -> {"id":"a","n":1.5,"x":"\\u007f\\u00e9"}\n{"id":"b","y":null} -> {"id":"b"}\n{"id":"d"} -> \n'
    expected = sha384(f'{{"attributes":{{"sort":null}},"changes":"{sha384(lines)}","published":"sha384-x"}}')
    records = [tombstone_of("c", 1), {"id": "b", "last_modified": 9}, {"x": "\x7fé", "n": 1.5, "id": "a", "last_modified": 8}]
    same, marker = {"id": "s", "last_modified": 1}, {"id": TIMESTAMP_MARKER, "last_modified": 5}
    found = of_records(
        [*records, same, marker], [{"id": "b", "y": None, "last_modified": 3}, {"id": "d"}, {**same, "last_modified": 2}]
    )
    published = {"hash": "sha384-x", "signed_timestamp": 7, "signature": {}}
    assert reviewed_digest(found, {"sort": None, "status": "to-review"}, published, COPIED) == expected
    assert shown([]) == sha384(f'{{"attributes":{{}},"changes":"{sha384("")}","published":null}}')


def test_the_same_changes_of_another_published_state_are_shown_anew():
    one, other = {"hash": "sha384-x"}, {"hash": "sha384-y"}
    assert shown([{"id": "a"}], (), one) == shown([{"id": "a", "last_modified": 5}], (), dict(one))
    assert shown([{"id": "a"}], (), one) != shown([{"id": "a"}], (), other)
    assert shown([], [{"id": "a"}], one) != shown([], [{"id": "a", "x": 1}], one)


def test_what_cannot_be_signed_can_still_be_shown():
    odd = {"id": "a", "big": 2**80, "float": 1e300}
    assert of_records([odd], []).size_bytes == len(json.dumps(odd, separators=(",", ":")))
    assert shown([odd]).startswith("sha384-")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, -0.0, 1.0]) | st.text("aé\x00\u202e", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=4,
)
states = st.dictionaries(st.sampled_from("abcde"), st.fixed_dictionaries({"v": values, "last_modified": st.integers(0, 9)}))


def as_list(state):
    return [{"id": name, **copy.deepcopy(record)} for name, record in state.items()]


@settings(max_examples=rounds(150, 1000), deadline=None)
@given(states, states, st.dictionaries(st.sampled_from(COPIED), values), st.dictionaries(st.sampled_from(COPIED), values))
def test_a_difference_makes_the_copy_say_what_the_source_says(source, against, source_attributes, against_attributes):
    source, against = as_list(source), as_list(against)
    found = difference(source, against, source_attributes, against_attributes, COPIED)
    made = {record["id"]: record for record in against}
    for before, after in found.updated:
        assert made[before["id"]] == before
        assert not same_content(before, after)
        made[before["id"]] = after
    for record in found.deleted:
        del made[record["id"]]
    for record in found.created:
        assert record["id"] not in made
        made[record["id"]] = record
    attributes = dict(against_attributes)
    for name, (_, after) in found.attributes.items():
        attributes.pop(name, None)
        attributes |= {} if after is MISSING else {name: after}
    assert difference(source, made.values(), source_attributes, attributes, COPIED).empty
    nothing = reviewed_digest(difference(against, against, {}, {}, COPIED), against_attributes, {}, COPIED)
    assert (reviewed_digest(found, source_attributes, {}, COPIED) == nothing) is found.empty
