"""The canonical form that is kept from one publication to the next, against the one that is made from nothing."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinto_signer.core import form as module
from kinto_signer.core.canonical import canonical_parsed, digests, signed_bytes
from kinto_signer.core.form import Block, Form
from tests.support.campaigns import rounds

IDS = [f"r{number:02d}" for number in range(12)]
changes_of_ids = st.dictionaries(st.sampled_from(IDS), st.none() | st.integers(0, 9), max_size=6)


def record(name, value):
    return {"id": name, "last_modified": 1000 + value, "v": value}


def form_of(state):
    return Form.of((name, canonical_parsed(state[name])) for name in sorted(state))


def as_chunks(changes):
    return {name: None if value is None else canonical_parsed(record(name, value)) for name, value in changes.items()}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 2)


@pytest.mark.proof
@settings(max_examples=rounds(200, 5000), deadline=None)
@given(changes_of_ids, st.lists(changes_of_ids, max_size=6))
def test_whatever_changes_it_is_the_form_of_what_is_there(first, following):
    state = {name: record(name, value) for name, value in first.items() if value is not None}
    form, timestamp = form_of(state), 5000
    for changes in following:
        before, before_digests = form, form.digests(timestamp)
        form = form.changed(as_chunks(changes))
        for name, value in changes.items():
            state.pop(name, None)
            state |= {} if value is None else {name: record(name, value)}
        assert before.proves(timestamp, before_digests, form)
        timestamp += 1
        assert form.digests(timestamp) == digests(state.values(), timestamp)
        assert form.signed_bytes(timestamp) == signed_bytes(state.values(), timestamp)
        assert list(form.ids) == sorted(state)
        assert len(form) == len(state)
        assert {name: form.chunk(name) for name in IDS} == {
            name: canonical_parsed(state[name]) if name in state else None for name in IDS
        }
        assert all(len(block.ids) <= 4 for block in form.blocks)
        assert before.digests(timestamp - 1) == before_digests  # it never changes


def altered(form, number, at=0):
    """The same form, hashes kept, in which one byte of one record is another."""
    block = form.blocks[number]
    chunks = list(block.chunks)
    chunks[at] = chunks[at].replace(b'"v":', b'"w":')
    other = Form([*form.blocks[:number], Block(block.ids, tuple(chunks)), *form.blocks[number + 1 :]])
    other._marks = form._marks
    return other


def test_altered_bytes_from_the_change_on_prove_nothing():
    state = {name: record(name, 1) for name in IDS}
    form = form_of(state)
    signed = form.digests(5000)
    change = as_chunks({IDS[6]: 2})
    for number in range(len(form.blocks)):
        poisoned = altered(form, number)
        changed = poisoned.changed(change)
        right = changed.digests(6000) == form.changed(change).digests(6000)
        proven = poisoned.proves(5000, signed, changed)
        assert proven is (number < 3)  # those in front are not hashed again
        assert right or not proven  # and what is proven is right


def test_altered_hashes_prove_nothing():
    form = form_of({name: record(name, 1) for name in IDS})
    signed = form.digests(5000)
    form._marks[3] = form._marks[2]
    changed = form.changed(as_chunks({IDS[-1]: 2}))
    assert form.proves(5000, signed, changed)  # the mark in front of the last block is another
    changed = form.changed(as_chunks({IDS[6]: 2}))
    assert not form.proves(5000, signed, changed)
    assert not form.proves(5000, replace(signed, hash="sha384-other"), form.changed(as_chunks({IDS[-1]: 2})))


def test_what_did_not_change_is_not_hashed_again(monkeypatch):
    form = form_of({name: record(name, 1) for name in IDS})
    form.digests(5000)
    hashed = []
    after = module._after
    monkeypatch.setattr(module, "_after", lambda mark, block, **first: hashed.append(block.ids[0]) or after(mark, block, **first))
    form.changed(as_chunks({IDS[9]: 2})).digests(6000)
    assert hashed == [IDS[8], IDS[10]]
    assert form.changed({}) is form
