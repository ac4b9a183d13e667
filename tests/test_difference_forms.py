"""A difference in pages of JSON, and in words."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinto_signer.core.canonical import same_content
from kinto_signer.core.difference import MISSING, Difference, difference
from kinto_signer.core.difference_pages import as_json, counts, from_json, page
from kinto_signer.core.difference_text import FIELDS, PATH, VALUE, changed_fields, lines, summary, visible
from kinto_signer.errors import BadAnswerError
from tests.support.campaigns import rounds
from tests.test_core_difference import as_list, states, values

WHOLE = Difference(
    ({"id": "b", "n": 1}, {"id": "e"}),
    (({"id": "a", "n": 1}, {"id": "a", "n": True}), ({"id": "d"}, {"id": "d", "x": None})),
    ({"id": "c"},),
    {"schema": (MISSING, {"type": "object"}), "sort": ("-x", MISSING), "flags": (None, [])},
)


# --- pages ----------------------------------------------------------------------------------------------------------------


def test_as_json_and_back():
    data = json.loads(json.dumps(as_json(WHOLE)))
    assert data["updated"][0] == {"before": {"id": "a", "n": 1}, "after": {"id": "a", "n": True}}
    assert data["attributes"]["schema"] == {"after": {"type": "object"}}
    assert data["attributes"]["flags"] == {"before": None, "after": []}
    assert from_json([data]) == WHOLE
    assert counts(WHOLE) == {"created": 2, "updated": 2, "deleted": 1, "attributes": 3}


@settings(max_examples=rounds(60, 500), deadline=None)
@given(states, states, st.integers(1, 6))
def test_the_pages_are_the_whole(source, against, limit):
    whole = difference(as_list(source), as_list(against), {"sort": 1}, {}, ("sort",))
    pages, after = [], ""
    while after is not None:
        part, after = page(whole, after, limit)
        assert part.count == limit or after is None
        assert part.ids <= whole.ids
        pages.append(part)
    assert len(pages) == max(1, -(-whole.count // limit))
    assert [name for part in pages for name in sorted(part.ids)] == sorted(whole.ids)
    assert from_json(as_json(part) for part in pages) == whole


@pytest.mark.parametrize(
    "change",
    [
        {"created": None},
        {"updated": {}},
        {"deleted": ["a"]},
        {"deleted": [{"id": 1}]},
        {"updated": [{"before": {"id": "a"}}]},
        {"updated": [{"before": {"id": "a"}, "after": {"id": "b"}}]},
        {"attributes": []},
        {"attributes": {"sort": "x"}},
    ],
)
def test_another_shape_is_a_bad_answer(change):
    with pytest.raises(BadAnswerError, match="no difference"):
        from_json([{**as_json(WHOLE), **change}])


# --- words ----------------------------------------------------------------------------------------------------------------


def test_one_line_for_each_record_and_attribute():
    assert list(lines(WHOLE)) == [
        '* $.schema: (nothing) -> {"type":"object"}',
        '* $.sort: "-x" -> (nothing)',
        "* $.flags: null -> []",
        '+ b  {"n":1}',
        "+ e  {}",
        "~ a  $.n: 1 -> true",
        "~ d  $.x: (nothing) -> null",
        "- c  {}",
    ]
    assert (
        summary(WHOLE)
        == f"2 created, 2 updated, 1 deleted, attributes schema, sort, flags; {WHOLE.size_bytes} bytes for each reader"
    )
    assert summary(Difference()) == "no difference"
    assert list(lines(Difference())) == []


def test_only_so_many_lines_and_how_many_more():
    assert list(lines(WHOLE, 2)) == [*list(lines(WHOLE))[:2], "… and 6 more"]
    assert list(lines(WHOLE, 8)) == list(lines(WHOLE))
    assert list(lines(WHOLE, 0)) == ["… and 8 more"]


def test_paths_of_what_changed():
    before = {"id": "a", "last_modified": 1, "map": {"x": 1, "odd name": [1, 2]}, "list": [{"n": 1}, 2, 3]}
    after = {"id": "a", "last_modified": 2, "map": {"x": 1.0, "odd name": [1]}, "list": [{"n": 2}, 2, {}]}
    (line,) = lines(Difference(updated=((before, after),)))
    assert line == ("~ a  $.list[0].n: 1 -> 2; $.list[2]: 3 -> {}; $.map['odd name'][1]: 2 -> (nothing); $.map.x: 1 -> 1.0")


def test_many_changed_fields_are_counted():
    before, after = ({"id": "a", **{f"f{number}": side for number in range(9)}} for side in (1, 2))
    (line,) = lines(Difference(updated=((before, after),)))
    assert line.count(": 1 -> 2") == FIELDS
    assert line.endswith(f"; and {9 - FIELDS} more")


def test_a_long_value_is_shown_where_it_changes():
    before, after = ({"id": "a", "text": f"{'x' * 5000}{word}{'y' * 5000}"} for word in ("old", "new"))
    (line,) = lines(Difference(updated=((before, after),)))
    assert "xold" in line
    assert "xnew" in line
    assert len(line) < 2 * VALUE + 40
    (line,) = lines(Difference(updated=(({"id": "a", "t": "x" * 300}, {"id": "a", "t": "x" * 301}),)))
    assert 'xx" -> ' in line


def test_long_contents_and_paths_are_cut():
    (line,) = lines(Difference(created=({"id": "a", "text": "x" * 5000},)))
    assert line == '+ a  {"text":"' + "x" * (VALUE - 9) + "…"
    (line,) = lines(Difference(updated=(({"id": "a", "k" * 500 + "end": 1}, {"id": "a"}),)))
    assert line.startswith("~ a  …kkk")
    assert line.endswith("kend: 1 -> (nothing)")
    assert len(line) == len("~ a  : 1 -> (nothing)") + PATH


HIDING = "\x1b[2J\r\n\x00\x7f\x9b\u202e\u200b\u2028\ufeff\ud800\U000e0041"


def test_nothing_hides_or_moves_the_cursor():
    before, after = {"id": "a", HIDING: HIDING}, {"id": "a", HIDING: f"{HIDING}!"}
    shown = lines(Difference(({"id": HIDING},), ((before, after),), (before,), {"schema": (HIDING, {HIDING: 1}), HIDING: (1, 2)}))
    for line in (*shown, summary(Difference(attributes={HIDING: (1, 2)}))):
        assert line.isprintable()
        assert r"\u202e" in line or r"\U000e0041" in line
    assert visible("a\u202eb\U000e0041") == r"a\u202eb\U000e0041"
    assert visible("Žižkov 東京 😀") == "Žižkov 東京 😀"


def test_what_looks_like_an_escape_is_no_escape():
    (one,), (other,) = (lines(Difference(created=({"id": "a", "t": text},))) for text in ("\u202e", r"\u202e"))
    assert one != other


@settings(max_examples=rounds(150, 1000), deadline=None)
@given(values, values)
def test_a_field_is_named_exactly_if_something_changed(before, after):
    changed = list(changed_fields("$", before, after))
    assert bool(changed) is not same_content({"v": before}, {"v": after})
    assert len({path for path, *_ in changed}) == len(changed)
    assert list(changed_fields("$", after, before)) == [(path, two, one) for path, one, two in changed]
