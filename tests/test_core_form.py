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
        assert before.proven(timestamp, before_digests, form) is not None
        timestamp += 1
        assert form.digests(timestamp) == digests(state.values(), timestamp)
        assert form.signed_bytes(timestamp) == signed_bytes(state.values(), timestamp)
        assert list(form.ids) == sorted(state)
        assert len(form) == len(state)
        assert form.holds_together
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
        proven = poisoned.proven(5000, signed, changed) is not None
        assert proven is (number < 3)  # those in front are not hashed again
        assert right or not proven  # and what is proven is right


def test_a_form_with_blocks_in_another_order_or_without_a_record_does_not_hold_together():
    form = form_of({name: record(name, 1) for name in IDS})
    form.digests(5000)
    one, two, *rest = form.blocks
    without = [one, Block(two.ids[1:], two.chunks[1:]), *rest]
    for blocks, whole in ((form.blocks, True), ([two, one, *rest], False), (without, False)):
        other = Form(blocks)
        other._marks = form._marks
        assert other.holds_together is whole
    assert Form(without).holds_together  # nothing was hashed yet
    assert Form().holds_together


def test_altered_hashes_prove_nothing():
    form = form_of({name: record(name, 1) for name in IDS})
    signed = form.digests(5000)
    form._marks[3] = form._marks[2]
    changed = form.changed(as_chunks({IDS[-1]: 2}))
    assert form.proven(5000, signed, changed) is not None  # the mark in front of the last block is another
    changed = form.changed(as_chunks({IDS[6]: 2}))
    assert form.proven(5000, signed, changed) is None
    assert form.proven(5000, replace(signed, hash="sha384-other"), form.changed(as_chunks({IDS[-1]: 2}))) is None


def test_what_did_not_change_is_not_hashed_again(monkeypatch):
    form = form_of({name: record(name, 1) for name in IDS})
    form.digests(5000)
    hashed = []
    after = module._after
    monkeypatch.setattr(module, "_after", lambda mark, block, **first: hashed.append(block.ids[0]) or after(mark, block, **first))
    form.changed(as_chunks({IDS[9]: 2})).digests(6000)
    assert hashed == [IDS[8], IDS[10]]
    assert form.changed({}).blocks == form.blocks


# --- two copies of one source ------------------------------------------------------------------------------------------------


def two_copies(first, differing):
    """The forms of a copy and of another one with the same records but for `differing`; both were hashed."""
    state = {name: record(name, value) for name, value in first.items() if value is not None}
    other = {**state, **{name: record(name, 7) for name in differing}}
    forms = form_of(state), form_of(other)
    return (state, other), forms, [form.digests(5000 + number) for number, form in enumerate(forms)]


def published(forms, signed, changes):
    """As S does for a copy and its preview: what was proven and hashed of the one serves the other."""
    after, like = forms[0].changed(as_chunks(changes[0])), forms[1].sharing(forms[0])
    proven = forms[0].proven(5000, signed[0], after)
    after.digests(6000)
    other = like.changed(as_chunks(changes[1]))
    proofs = proven, like.proven(5001, signed[1], other, proven)
    return [proof is not None for proof in proofs], (after, other.sharing(after if proven is not None else None))


@pytest.mark.proof
@settings(max_examples=rounds(200, 5000), deadline=None)
@given(changes_of_ids, st.sets(st.sampled_from(IDS), max_size=2), st.tuples(changes_of_ids, changes_of_ids))
def test_whatever_two_copies_share_each_has_its_own_digests(first, differing, changes):
    states, forms, signed = two_copies(first, differing)
    proofs, after = published(forms, signed, changes)
    assert all(proofs)
    for number, state in enumerate(states):
        for name, value in changes[number].items():
            state.pop(name, None)
            state |= {} if value is None else {name: record(name, value)}
        assert after[number].digests(6000) == digests(state.values(), 6000)
        assert after[number].signed_bytes(6000) == signed_bytes(state.values(), 6000)


@pytest.mark.proof
@settings(max_examples=rounds(300, 5000), deadline=None)
@given(st.data())
def test_of_two_copies_with_altered_bytes_and_hashes_nothing_wrong_is_proven(data):
    first, differing = dict.fromkeys(IDS, 1), data.draw(st.sets(st.sampled_from(IDS), max_size=1))
    states, forms, signed = two_copies(first, differing)
    poisoned = list(forms)
    for which, part in data.draw(st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from(["bytes", "hash"])), max_size=3)):
        number = data.draw(st.integers(0, len(forms[which].blocks) - 1))
        if part == "bytes":
            poisoned[which] = altered(poisoned[which], number, data.draw(st.integers(0, 1)))
        else:
            marks = [*poisoned[which]._marks]
            marks[number] = marks[data.draw(st.integers(0, len(forms[which].blocks)))]
            poisoned[which] = Form(poisoned[which].blocks)
            poisoned[which]._take(marks)
    changes = [data.draw(changes_of_ids), data.draw(changes_of_ids)]
    proofs, after = published(poisoned, signed, changes)
    for number, state in enumerate(states):
        for name, value in changes[number].items():
            state.pop(name, None)
            state |= {} if value is None else {name: record(name, value)}
        if proofs[number]:
            assert after[number].digests(6000) == digests(state.values(), 6000)


def test_what_was_hashed_of_one_copy_is_not_hashed_of_the_other(monkeypatch):
    _, forms, signed = two_copies(dict.fromkeys(IDS, 1), ())
    hashed = []
    after = module._after
    monkeypatch.setattr(module, "_after", lambda mark, block, **first: hashed.append(block.ids[0]) or after(mark, block, **first))
    change = {IDS[9]: 2}
    proofs, copies = published(forms, signed, (change, change))
    assert all(proofs)
    copies[1].digests(6001)
    assert hashed == [IDS[8], IDS[10]] * 2  # the old ones and the new ones, once each
    assert all(one is other for one, other in zip(copies[0].blocks, copies[1].blocks, strict=True))
