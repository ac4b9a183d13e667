"""Stored records that are parsed with an eye on what needs a closer look, and forms that are given another timestamp."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinto_signer.core.canonical import canonical_json, canonical_parsed, plain_json, without_timestamp
from kinto_signer.core.problems import MAX_DEPTH, find_record_problem
from kinto_signer.core.redated import redated, says_when_once, undated
from kinto_signer.core.stored_json import StoredJson
from kinto_signer.errors import UnsignableValue
from tests.support.campaigns import rounds

ODD = st.sampled_from(
    [
        2**53 - 1,
        2**53,
        -(2**53),
        10**15 - 1,
        10**15,
        10**19,
        -(10**20),
        1.0,
        -0.0,
        1e22,
        5e-324,
        "1.5",
        "[{",
        "\\u0041",
        "\x00",
        "\x1f",
        "東京",
        "😀",
    ]
)
KEYS = st.sampled_from(["a", "deleted", "last_modified", "z", "é", "{", ":1.5"]) | st.text(max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False) | ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.dictionaries(KEYS, JSON, max_size=5)


def as_stored(record):
    return json.dumps(record, ensure_ascii=False)


@pytest.mark.proof
@given(st.lists(RECORDS, max_size=4))
@settings(max_examples=rounds(400, 5_000), deadline=None)
def test_what_is_plain_needs_no_closer_look(records):
    parse = StoredJson().parse
    for record in records:
        try:
            text = as_stored(record)
            text.encode("utf-8")
        except UnicodeEncodeError:
            continue  # PostgreSQL has no lone surrogates
        found, plain = parse(text)
        assert plain_json(found) == plain_json(json.loads(text))
        if plain:
            assert find_record_problem(found) is None
            assert canonical_parsed(found, plain=True) == canonical_json(found).encode()


@pytest.mark.parametrize("value", [1, 10**15 - 1, -(10**13), "text", '東京 \\ \t "', None, True, [], {}, [[{"b": {}}]]])
def test_what_most_records_hold_is_plain(value):
    assert StoredJson().parse(as_stored({"a": value, "n": 5})) == ({"a": value, "n": 5}, True)


@pytest.mark.parametrize(
    "value", [1.5, 1e300, -0.0, 2**53, -(10**15), "\x00", "\x1f", {"deleted": 1}, json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)]
)
def test_what_needs_a_closer_look_is_not(value):
    parse = StoredJson().parse
    assert parse(as_stored({"a": value})) == ({"a": value}, False)
    assert parse('{"a": 1}')[1]  # it is forgotten with the next text


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": Infinity}'])
def test_what_is_no_json_is_not_plain(text):
    found, plain = StoredJson().parse(text)
    assert not plain
    with pytest.raises(UnsignableValue):
        canonical_parsed(found)


TIMES = st.sampled_from([17, 170, 1700, 17001])


@pytest.mark.proof
@given(RECORDS, TIMES, TIMES, st.none() | TIMES)
@settings(max_examples=rounds(400, 5_000), deadline=None)
def test_a_form_with_another_timestamp_is_the_form_of_the_record_with_it(content, before, after, nested):
    record = {**content, "id": "one", "last_modified": before}
    if nested is not None:
        record["a"] = {"b": 1, "last_modified": nested}
    form = plain_json(record)
    if says_when_once(form, before):
        assert redated(form, before, after) == plain_json({**record, "last_modified": after})
        assert undated(form, before) == plain_json(without_timestamp(record))
    else:
        assert form.count(b'"last_modified":') > 1
