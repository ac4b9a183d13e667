"""What an authority has beyond S, and what S's source becomes when it takes that over."""

from hypothesis import given
from hypothesis import strategies as st

from kinto_signer.core.ahead import adopt, beyond, describe, differing
from kinto_signer.core.changeset import by_record_id, diff

contents = st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0, 1, True, "x"]), max_size=5)


def records(content, start=1):
    return [{"id": name, "n": value, "last_modified": start + number} for number, (name, value) in enumerate(content.items())]


def content(found):
    return {record["id"]: repr(record["n"]) for record in found}


def test_what_is_in_the_source_is_not_lost():
    ours = records({"a": 1, "b": 1})
    theirs = records({"a": 2, "c": 1}, 10)
    assert beyond(theirs, ours, records({"a": 2, "c": 1, "d": 5}, 50)).loses_nothing
    found = beyond(theirs, ours, ours)
    assert set(found.lost) == {"a", "b", "c"}
    assert str(found) == "1 records created (c), 1 updated (a), 1 deleted (b)"
    assert set(beyond(theirs, ours, records({"a": 2, "b": 1, "c": 1})).lost) == {"b"}
    assert set(beyond(theirs, ours, records({"a": True, "c": 1})).lost) == {"a"}
    assert set(beyond(theirs, ours, records({"a": 2})).lost) == {"c"}


def test_only_the_first_ids_are_named():
    found = diff(records(dict.fromkeys("abcdefgh", 1)), [])
    assert describe(found) == "8 records created (a, b, c, d, e, …), 0 updated, 0 deleted"


def test_attributes_that_the_source_has_otherwise():
    theirs, ours = {"sort": "a", "schema": 1, "flags": 1}, {"sort": "b", "schema": 1}
    assert differing(("sort", "schema", "flags"), theirs, ours, {"sort": "a"}) == ("flags",)


@given(ours=contents, theirs=contents, source=contents)
def test_adopting_keeps_every_edit_and_everything_else_of_theirs(ours, theirs, source):
    found = adopt(records(theirs), records(ours), records(source))
    expected = dict(theirs)
    for name in {*ours, *source}:
        if (name in ours) != (name in source) or repr(ours.get(name)) != repr(source.get(name)):
            expected.pop(name, None)
            if name in source:
                expected[name] = source[name]
    assert content(found.records) == {name: repr(value) for name, value in expected.items()}
    again = diff(found.records, records(theirs))
    assert content(again.created) == content(found.pending.created)
    assert set(found.conflicts) <= {*ours, *theirs, *source}
    for name in found.conflicts:
        assert repr(by_record_id(records(theirs)).get(name)) != repr(by_record_id(records(ours)).get(name))


def test_without_edits_the_source_becomes_theirs():
    found = adopt(records({"a": 2, "c": 1}), records({"a": 1, "b": 1}), records({"a": 1, "b": 1}, 30))
    assert content(found.records) == {"a": "2", "c": "1"}
    assert not found.pending
    assert found.conflicts == ()


def test_the_same_edit_in_both_places_is_no_conflict():
    found = adopt(records({"a": 2}), records({"a": 1}), records({"a": 2}))
    assert not found.pending
    assert found.conflicts == ()
