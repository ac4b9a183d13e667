"""Records that are kept as their canonical forms, and large answers that are taken record by record."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinto_signer.core import collected_json
from kinto_signer.core.canonical import digests
from kinto_signer.core.changeset import Changeset, Packing, tombstone
from kinto_signer.core.collected_json import parse_collecting
from kinto_signer.core.packed import Packed, forms, live_forms
from kinto_signer.core.strict_json import parse_json
from kinto_signer.errors import BadAnswerError, CorruptCacheError, UnsignableValue
from tests.support.states import NAME, START, make_records

RECORDS = [*make_records(4), tombstone("gone", START + 9), {"id": "a", "last_modified": START, "é": ["\U0001f600", 1.5]}]


def packed(changes):
    packing = Packing(NAME)
    for change in changes:
        packing.append(change)
    return packing.packed()


# --- packed records -------------------------------------------------------------------------------------------------


def test_packed_records_are_the_records():
    found = packed(RECORDS)
    assert list(found) == RECORDS
    assert found == RECORDS
    assert found == packed(RECORDS)
    assert found != RECORDS[1:]
    assert found != [*RECORDS[:-1], {}]
    assert found != 5
    assert (found[1], found[-2], found[1:3], len(found)) == (RECORDS[1], RECORDS[-2], RECORDS[1:3], len(RECORDS))
    assert not packed([])
    assert "6 records" in repr(found)


def test_a_state_of_packed_records_is_the_state():
    plain, short = Changeset(START + 9, RECORDS), Changeset(START + 9, packed(RECORDS))
    assert (short.digests(), short.count, short.records) == (plain.digests(), plain.count, plain.records)
    assert plain.count == len(RECORDS) - 1
    assert sorted(forms(plain.changes)) == sorted(forms(short.changes))
    assert plain.digests() == digests(plain.records, START + 9)


def test_digests_go_by_the_timestamp():
    found = packed(RECORDS)
    assert found.digests(5) != found.digests(6)
    assert found.digests(5) == digests(Changeset(5, RECORDS).records, 5)


def test_what_cannot_be_signed_can_be_received():
    odd = {"id": "odd", "last_modified": 1, "n": 2**70}
    found = packed([odd])
    assert (list(found), found.live) == ([odd], 1)
    with pytest.raises(UnsignableValue):
        found.digests(5)


@pytest.mark.parametrize(
    "form", [b'{"id":"b"}', b'{"id":"a"},{"id":"c"}', b'{"id":"a","x":[1', b"5", b"[]", b"", b"\xff", b"[" * 100_000]
)
def test_a_form_that_is_not_the_record_is_not_handed_out(form):
    with pytest.raises(CorruptCacheError, match="'a'"):
        list(Packed(["a"], [form]))


def test_forms_by_id():
    assert list(live_forms([{"id": "b"}, {"id": "é"}, tombstone("c", 1), {"id": "a"}])) == [
        b'{"id":"a"}', b'{"id":"b"}', b'{"id":"\\u00e9"}'
    ]  # fmt: skip


# --- large answers --------------------------------------------------------------------------------------------------


@pytest.fixture(params=[1, 3, 2**18], ids=["byte by byte", "three bytes", "whole"])
def window(request, monkeypatch):
    monkeypatch.setattr(collected_json, "WINDOW_BYTES", request.param)


def both(body):
    """What the two parsers make of a text; they have to agree."""
    results = []
    for parse in (parse_json, lambda text: parse_collecting(text, {"changes": []})):
        try:
            results.append(parse(body))
        except BadAnswerError as error:
            results.append(error.reason)
    collected, plain = results[1], results[0]
    assert collected == plain, body
    return plain


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=3), children, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["changes", "metadata", "n"]), VALUES | st.lists(VALUES)),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
    st.sampled_from([1, 2, 5, 2**18]),
)
def test_it_finds_what_the_other_parser_finds(value, indent, ascii_only, size):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collected_json, "WINDOW_BYTES", size)
        assert both(text.encode("utf-8", "surrogatepass")) in (value, "bad-answer")  # a lone surrogate


@given(st.text(alphabet='{}[]":,changes1e. \\ud0', max_size=40), st.sampled_from([1, 2**18]))
def test_it_refuses_what_the_other_parser_refuses(text, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collected_json, "WINDOW_BYTES", size)
        both(text.encode())
        both(b'{"changes":[' + text.encode() + b"]}")


ODD = {
    "a key that comes twice": b'{"changes":[],"changes":[]}',
    "in a record": b'{"changes":[{"id":1,"id":2}]}',
    "NaN": b'{"changes":[{"n":NaN}]}',
    "too large": b'{"changes":[{"n":1e999}]}',
    "large, and small again": b'{"changes":[{"n":' + b"9" * 400 + b".5e-300}]}",
    "a lone surrogate": b'{"changes":["\\ud800"]}',
    "a lone surrogate elsewhere": b'{"changes":[1],"x":"\\udc00"}',
    "a pair": b'{"changes":["\\ud83d\\ude00"]}',
    "deep": b'{"changes":[' + b"[" * 66 + b"]" * 66 + b"]}",
    "too deep": b'{"changes":[' + b"[" * 67 + b"]" * 67 + b"]}",
    "much too deep": b'{"changes":[' + b"[" * 100_000,
    "a comma at the end": b'{"changes":[1,]}',
    "no comma": b'{"changes":[1 2]}',
    "more behind": b'{"changes":[1]}{}',
    "a key without quotes": b"{changes:[1]}",
    "nothing": b"",
    "a mark": b'\xef\xbb\xbf{"changes":[1]}',
    "half a character": b'{"changes":["\xc3',
    "no UTF-8": b'{"changes":["\xff"]}',
    "a list": b"[1]",
    "no list": b'{"changes":{"a":1}}',
    "an escaped key": b'{"ch\\u0061nges":[1]}',
    "a number at the end": b'{"changes":[1],"n":12345}',
}


@pytest.mark.parametrize("what", ODD)
def test_odd_texts(what, window):
    both(ODD[what])


def test_the_suite_of_json_parsers(shared, window):
    files = sorted((shared / "vectors" / "json-parsing").glob("[ny]_*"))
    assert len(files) > 130
    for file in files:
        both(file.read_bytes())
        both(b'{"changes":[' + file.read_bytes() + b"]}")


def test_the_byte_that_is_no_utf_8_is_named(window):
    with pytest.raises(BadAnswerError, match="byte 14"):
        parse_collecting(b'{"changes":["a\xff"]}', {})


def test_what_a_collector_raises(window):
    with pytest.raises(BadAnswerError, match="twice"):
        parse_collecting(b'{"changes":[{"id":"a","last_modified":1},{"id":"a","last_modified":1}]}', {"changes": Packing(NAME)})
