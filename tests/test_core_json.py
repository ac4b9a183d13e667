"""Strict JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinto_signer.core.strict_json import parse_json
from kinto_signer.errors import BadAnswerError

REFUSED = {
    "empty": b"",
    "white space": b"  ",
    "NaN": b"[NaN]",
    "infinity": b"[Infinity]",
    "minus infinity": b"-Infinity",
    "overflow": b"1e999",
    "minus overflow": b'{"a": -1e999}',
    "doubled key": b'{"a":1,"a":1}',
    "doubled by escape": b'{"a":1,"\\u0061":2}',
    "doubled deep": b'[{"x":{"a":1,"b":2,"a":3}}]',
    "lone surrogate": b'["\\ud800"]',
    "lone low": b'"\\udc00"',
    "surrogate in a key": b'{"\\uDBFF": 1}',
    "wrong order": b'"\\udd1e\\ud834"',
    "Latin-1": b'"\xe9"',
    "UTF-16": '"é"'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "trailing": b"{} {}",
    "single quotes": b"{'a':1}",
    "comment": b"{}//",
    "comma": b"[1,]",
    "control character": b'"\x01"',
    "encoded surrogate": b'"\xed\xa0\x80"',
    "long integer": b"1" * 5000,
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    with pytest.raises(BadAnswerError, match=r"^the page ") as caught:
        parse_json(REFUSED[what], where="the page")
    assert (caught.value.exit_code, caught.value.reason) == (3, "bad-answer")


@pytest.mark.parametrize("levels", [69, 500, 5_000, 100_000])
@pytest.mark.parametrize("shape", [b"[", b'{"a":'])
def test_too_deep(levels, shape):
    body = shape * levels + b"1" + {b"[": b"]", b'{"a":': b"}"}[shape] * levels
    with pytest.raises(BadAnswerError, match="nested"):
        parse_json(body)


def test_depth_that_is_just_allowed():
    assert parse_json(b"[" * 68 + b"]" * 68)
    with pytest.raises(BadAnswerError):
        parse_json(b"[" * 69 + b"]" * 69)
    assert parse_json(b"[[]]", max_depth=2) == [[]]
    assert parse_json(b"5", max_depth=0) == 5
    with pytest.raises(BadAnswerError):
        parse_json(b"[[[]]]", max_depth=2)


def test_accepted():
    assert parse_json('["\\ud834\\udd1e", "𝄞", "\\\\ud800", 1.5, -0, 1e5, {"é": {}}]'.encode()) == [
        "𝄞",
        "𝄞",
        "\\ud800",
        1.5,
        0,
        1e5,
        {"é": {}},
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_whatever_json_writes_comes_back(value):
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=40) | st.text(alphabet='[]{}:,"\\u0dD8ae1-+. \n', max_size=40).map(str.encode))
def test_any_bytes_are_parsed_or_refused(body):
    try:
        value = parse_json(body)
    except BadAnswerError:
        return
    assert value == json.loads(body)
