"""The canonical form, with canonicaljson-rs as the judge."""

import hashlib
import json
import random
import sys

import canonicaljson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinto_signer.core.canonical import (
    SIGNATURE_PREFIX,
    canonical_if_known,
    canonical_json,
    canonical_parsed,
    digests,
    digests_of_chunks,
    format_hash,
    parse_hash,
    same_content,
    signed_bytes,
)
from kinto_signer.core.problems import MAX_DEPTH, find_problem
from kinto_signer.errors import ConfigurationError, UnsignableValue
from tests.support.campaigns import rounds

SEED = 20261121
CHARACTERS = [
    "a",
    "Z",
    "0",
    " ",
    '"',
    "\\",
    "/",
    "\x00",
    "\x01",
    "\x1f",
    "\x7f",
    "\x80",
    "é",
    "e\u0301",
    "\u2028",
    "\ud7ff",
    "\ue000",
]
CHARACTERS += ["\uffff", "\U00010000", "😀", "\U0010ffff", "\n", "\r", "\t", "\b", "\f", "<", "{", "\u200f", "\ufeff"]
INTEGERS = [0, -1, 1, 2**31, 2**53 - 1, 2**53, -(2**53), 2**63 - 1, -(2**63), 2**63, 2**64 - 1]
FLOATS = [0.0, -0.0, 1.0, -1.5, 1e16, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 123456789.125, 1e22, 4.35]


def make_text(choose):
    return "".join(choose.choice(CHARACTERS) for _ in range(choose.randrange(6)))


def make_value(choose, depth, *, floats):
    kind = choose.randrange(10 if depth else 7)
    if kind == 0:
        return choose.choice([None, True, False])
    if kind in (1, 2):
        return choose.choice(INTEGERS) if choose.random() < 0.5 else choose.randrange(-(10**6), 10**6)
    if kind == 3 and floats:
        return choose.choice(FLOATS) if choose.random() < 0.5 else choose.uniform(-1e10, 1e10) * 10 ** choose.randrange(-20, 20)
    if kind < 7:
        return make_text(choose)
    count = choose.randrange(5)
    if kind == 7:
        return [make_value(choose, depth - 1, floats=floats) for _ in range(count)]
    return {make_text(choose): make_value(choose, depth - 1, floats=floats) for _ in range(count)}


@pytest.mark.proof
@pytest.mark.parametrize("floats", [False, True], ids=["without floats", "with floats"])
def test_generated_values_are_written_as_canonicaljson_writes_them(floats, report_campaign):
    choose = random.Random(SEED + floats)
    count = rounds(25_000, 50_000)
    for number in range(count):
        value = make_value(choose, 4, floats=floats)
        assert canonical_json(value) == canonicaljson.dumps(value), (number, value)
    report_campaign(
        f"canonical form, {'with' if floats else 'without'} floats", {"values": count, "differences": 0}, SEED + floats
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


@given(json_values)
@settings(max_examples=rounds(500, 5000), deadline=None)
def test_any_value_is_written_as_canonicaljson_writes_it(value):
    assert canonical_json(value) == canonicaljson.dumps(value)


records = st.lists(
    st.fixed_dictionaries(
        {"id": st.text(min_size=1), "last_modified": st.integers(0, 2**53), "value": st.text() | st.booleans()}
    ),
    unique_by=lambda record: record["id"],
    max_size=6,
)


@given(records, st.integers(0, 2**53), st.randoms(use_true_random=False))
@settings(max_examples=rounds(300, 3000), deadline=None)
def test_a_collection_is_written_as_canonicaljson_writes_it(given_records, timestamp, choose):
    """In whatever order the records come; ids sort by code point."""
    by_id = sorted(given_records, key=lambda record: [ord(c) for c in record["id"]])
    expected = canonicaljson.dumps({"data": by_id, "last_modified": str(timestamp)}).encode()
    shuffled = list(given_records)
    choose.shuffle(shuffled)

    assert signed_bytes(shuffled, timestamp) == expected
    found = digests(shuffled, timestamp)
    assert found.signed == hashlib.sha384(SIGNATURE_PREFIX + expected).digest()
    assert parse_hash(found.hash) == hashlib.sha384(expected).digest()


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


UNSIGNABLE = {
    "NaN": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "lone surrogate": "\ud800",
    "lone low": "a\udc00",
    "surrogate in a key": {"\udfff": 1},
    "2^64": 2**64,
    "below -2^63": -(2**63) - 1,
    "bytes": b"x",
    "set": {1},
    "tuple": (1, 2),
    "number as key": {1: 2},
    "None as key": {None: 1},
    "too deep": nested(MAX_DEPTH + 1),
    "complex": 1j,
    "object": object(),
}


@pytest.mark.parametrize("what", UNSIGNABLE)
def test_what_has_no_canonical_form(what):
    with pytest.raises(UnsignableValue):
        canonical_json(UNSIGNABLE[what])
    with pytest.raises(UnsignableValue, match=r"record 'r', \$\.value\[1\]") as caught:
        signed_bytes([{"id": "r", "last_modified": 1, "value": [0, UNSIGNABLE[what]]}], 1)
    assert (caught.value.exit_code, caught.value.reason, caught.value.record) == (3, "bad-answer", "r")


def test_depth_that_is_just_allowed():
    assert canonical_json(nested(MAX_DEPTH)) == "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    with pytest.raises(UnsignableValue, match="64"):
        canonical_json(nested(100_000))


@pytest.mark.parametrize("record_id", [None, 5, ["a"]])
def test_ids_that_are_no_text(record_id):
    with pytest.raises(UnsignableValue, match=r"\$\.id"):
        signed_bytes([{"id": record_id}], 1)


def test_floats_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "canonicaljson", None)
    assert canonical_json([1, "1.5"]) == '[1,"1.5"]'
    with pytest.raises(ConfigurationError, match=r"kinto-signer\[floats\]"):
        canonical_json({"a": [1.5]})


WRITTEN = [
    (1.5, "$", "float"),
    ({"a": {"b c": [0, 1.0]}}, "$.a['b c'][1]", "float"),
    (2**53, "$", "2^53 - 1"),
    (-(2**53), "$", "2^53 - 1"),
    (["a\x00"], "$[0]", "U+0000"),
    ({"a\x00": 1}, "$", "U+0000"),
    ("\ud800", "$", "surrogate"),
    ({"\ud800": 1}, "$", "surrogate"),
    (nested(65), "$" + "[0]" * 64, "64 levels"),
    (float("nan"), "$", "float"),
]


@pytest.mark.parametrize(("value", "path", "why"), WRITTEN)
def test_what_does_not_survive_every_hop(value, path, why):
    problem = find_problem(value)
    assert problem.path == path
    assert why in problem.why


@pytest.mark.parametrize(
    "value", [0, 2**53 - 1, -(2**53) + 1, True, None, "", "é😀\x7f", [], {}, nested(64), {"a": [{"b": None}]}]
)
def test_what_survives(value):
    assert find_problem(value) is None


def test_floats_may_be_allowed():
    assert find_problem({"a": 1.5}, allow_floats=True) is None
    assert find_problem({"a": float("inf")}, allow_floats=True).path == "$.a"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "last_modified": 5}, {"a": 1, "last_modified": 6}, True),
        ({"a": 1}, {"a": 1.0}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 0}, {"a": False}, False),
        ({"a": 0.0}, {"a": -0.0}, False),
        ({"a": [1]}, {"a": [True]}, False),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, True),
        ({"a": "é"}, {"a": "e\u0301"}, False),
    ],
)
def test_same_content(one, other, same):
    assert same_content(one, other) is same
    assert same_content(other, one) is same


@pytest.mark.parametrize(
    "text", [None, 5, "", "sha384-", "sha384-AAAA", "sha256-" + "A" * 64, "sha384-" + "!" * 64, "sha384-é" * 8]
)
def test_hashes_that_are_none(text):
    assert parse_hash(text) is None


def test_a_hash_comes_back():
    assert parse_hash(format_hash(bytes(range(48)))) == bytes(range(48))


# --- the faster way -----------------------------------------------------------------------------------------------------

ODD = st.sampled_from(
    [*INTEGERS, 10**18, 10**19, -(10**20), 2**64, -(2**63) - 1, *FLOATS, float("inf"), "\ud800", "\\ud800", "1.5", ":1e5"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats() | ODD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def outcome(function, value):
    try:
        return function(value)
    except UnsignableValue as error:
        return (error.why, error.path)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5))
@settings(max_examples=rounds(300, 20_000), deadline=None)
def test_the_faster_way_writes_the_same(content):
    record = {**content, "id": "one"}
    assert outcome(canonical_parsed, record) == outcome(lambda value: canonical_json(value).encode(), record)


@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH, 5000])
def test_the_faster_way_knows_the_same_depth(depth):
    value: list = []
    for _ in range(depth):
        value = [value]
    record = {"id": "one", "deep": value}
    assert outcome(canonical_parsed, record) == outcome(lambda value: canonical_json(value).encode(), record)


def test_digests_of_known_forms_are_those_of_the_records():
    records = [{"id": f"r{number:05}", "last_modified": number, "text": "é"} for number in range(1500)]
    chunks = [canonical_parsed(record) for record in records]
    assert digests_of_chunks(chunks, 7) == digests(reversed(records), 7)
    assert digests_of_chunks([], 7) == digests([], 7)


def respelled(choose, value):
    """The value as another store might have kept it: equal in Python, and not always the same."""
    if isinstance(value, dict):
        return {key: respelled(choose, item) for key, item in value.items()}
    if isinstance(value, list):
        return [respelled(choose, item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return choose([value, int(value), -value])
    if value in (0, 1):
        return choose([value, bool(value), float(value)])
    return value


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5), st.data())
@settings(max_examples=rounds(300, 3_000), deadline=None)
def test_an_expected_form_is_taken_for_the_very_same_record_only(content, data):
    record = {**content, "id": "one"}
    known = outcome(canonical_parsed, record)
    stored = respelled(lambda options: data.draw(st.sampled_from(options)), record)
    wanted = outcome(canonical_parsed, stored)
    assert outcome(lambda value: canonical_if_known(value, known if isinstance(known, bytes) else None), stored) == wanted
    if isinstance(known, bytes):
        assert canonical_parsed(json.loads(known)) == known


@pytest.mark.parametrize("value", [1, True, 1.0, "1", [1], None, 10**16, 1e16, 1e21, 10**21, -0.0, 0, 1.5, "\x7f"])
def test_an_expected_form_of_something_else_is_not_taken(value):
    known = {
        repr(other): outcome(canonical_parsed, {"id": "x", "a": other}) for other in (1, True, 1.0, "1", 10**16, 1e16, 0, 1.5)
    }
    wanted = outcome(canonical_parsed, {"id": "x", "a": value})
    for form in known.values():
        assert outcome(lambda found: canonical_if_known(found, form), {"id": "x", "a": value}) == wanted  # noqa: B023
    assert canonical_if_known({"id": "x"}, form := canonical_parsed({"id": "x"})) is form
