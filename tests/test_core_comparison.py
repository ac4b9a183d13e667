"""What differs between two states, and what a check makes of its findings."""

import dataclasses

import pytest

from kinto_signer.core import findings
from kinto_signer.core.comparison import compare, content_differs
from kinto_signer.core.published import PUBLISHED
from tests.support.states import make_records, new_key, signed_state, tombstone_of

RECORDS = make_records(8)


@pytest.fixture(scope="module")
def state():
    return signed_state(new_key(), RECORDS)


def test_the_same(state):
    found = compare(state, dataclasses.replace(state, changes=[*reversed(RECORDS), tombstone_of("gone", 1)]))
    assert not found
    assert str(found) == "the same records"


def test_missing_extra_and_different_records(state):
    there = [{**record, "last_modified": record["last_modified"] + (record["id"] == "record-0006")} for record in RECORDS[6:]]
    there[1] = {**there[1], "text": 1}
    there.append({"id": "strange", "last_modified": 5})
    found = compare(state, dataclasses.replace(state, changes=there))
    assert found.missing == tuple(f"record-000{number}" for number in range(6))
    assert (found.extra, found.different) == (("strange",), ("record-0006", "record-0007"))
    assert "6 missing (record-0000, record-0001, record-0002, record-0003, record-0004, …)" in str(found)
    assert "1 extra (strange), 2 different (record-0006, record-0007)" in str(found)


@pytest.mark.parametrize("name", PUBLISHED)
def test_attributes_that_are_published(state, name):
    here = dataclasses.replace(state, metadata={**state.metadata, name: {"n": 1}})
    for value in ({"n": 1.0}, {"n": True}, None):
        found = compare(here, dataclasses.replace(state, metadata={**state.metadata, name: value}))
        assert (bool(found), found.attributes) == (True, (name,))
    without = {key: value for key, value in state.metadata.items() if key != name}
    assert compare(here, dataclasses.replace(state, metadata=without)).attributes == (name,)
    assert not compare(here, dataclasses.replace(here, metadata={**here.metadata, "last_modified": 1, "published_to": "x"}))


def test_the_signed_timestamp(state):
    found = compare(state, dataclasses.replace(state, timestamp=state.timestamp + 1))
    assert found
    assert f"signed_timestamp {state.timestamp + 1} there, {state.timestamp} here" in str(found)


def test_content_whatever_its_timestamps():
    moved = [{**record, "last_modified": 1} for record in RECORDS]
    assert content_differs(RECORDS, moved) == ()
    assert content_differs(RECORDS[1:], [*moved[:-1], {**moved[-1], "text": "x"}]) == ("record-0000", "record-0007")


def test_the_summary_says_what_to_do():
    ok, warning = findings.fine("a", "x"), findings.warned("a", "clock", "x")
    assert findings.exit_code([ok, warning]) == 0
    assert findings.summary([ok, warning]) == "Everything is right: 1 checks, 1 warnings. Nothing has to be done."
    different = findings.differs("b", "x", "main/regions")
    assert findings.exit_code([different, ok]) == 10
    assert "main/regions on b" in findings.summary([different])
    assert "kinto-signer push" in findings.summary([different])
    wrong = findings.misconfigured("settings", "configuration", "x")
    assert findings.exit_code([different, wrong]) == 2
    assert findings.summary([different, wrong]).startswith("2 errors (exit code 2), worst: settings. Correct the settings")
