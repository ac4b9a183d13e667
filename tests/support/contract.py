"""What every repository promises. A test module subclasses RepositoryContract and gives it a repository."""

import dataclasses
from collections.abc import Iterator

import pytest

from kinto_signer.core.changeset import EMPTY, Changeset, merge, tombstone
from kinto_signer.core.repository import Repository, Synchronizer, Verify
from kinto_signer.errors import VerificationError
from tests.support.states import NAME, START, make_records, new_key, signed_state, since, trust_in

OTHER = "main/others"


def content(changeset: Changeset) -> tuple[int, list[dict], dict]:
    """What two repositories have to agree on: not the order, and not tombstones."""
    return changeset.timestamp, sorted(changeset.records, key=lambda record: record["id"]), dict(changeset.metadata)


class RepositoryContract:
    """Set ``tracks_metadata`` to False where attributes beyond the signature are the place's own."""

    key = new_key()
    trust = trust_in(key)

    @pytest.fixture
    def repository(self) -> Iterator[Repository]:
        raise NotImplementedError

    def states(self) -> list[Changeset]:
        """Successive states: created, one updated and one deleted, one deleted and one brought back, emptied."""
        first = make_records(5)
        second = [*first[:2], {**first[2], "text": "new", "last_modified": START + 100}, first[3]]
        second.append(tombstone(first[4]["id"], START + 101))
        third = [*second[1:4], {**first[4], "last_modified": START + 200}, tombstone(first[0]["id"], START + 201)]
        last = [tombstone(change["id"], START + 300 + number) for number, change in enumerate(third)]
        return [signed_state(self.key, changes) for changes in (first, second, third, last)]

    def test_holds_nothing_at_first(self, repository):
        assert repository.timestamp(NAME) == 0
        assert repository.highest(NAME) == 0
        assert repository.changeset(NAME) == EMPTY

    def test_holds_what_was_applied(self, repository):
        state = self.states()[0]
        repository.apply(NAME, state)

        assert content(repository.changeset(NAME)) == content(state)
        assert repository.timestamp(NAME) == repository.highest(NAME) == state.timestamp
        assert repository.changeset(OTHER) == EMPTY

    def test_a_difference_leads_to_what_merge_says(self, repository):
        held = EMPTY
        for state in self.states():
            difference = since(state, held.timestamp)
            repository.apply(NAME, difference)
            held = merge(held, difference)
            assert content(repository.changeset(NAME)) == content(held) == content(state)

    def test_a_complete_state_replaces_everything(self, repository):
        for state in self.states():
            repository.apply(NAME, state)
            assert content(repository.changeset(NAME)) == content(state)

    def test_a_difference_is_enough_to_follow(self, repository):
        """Whoever holds one state and merges what it gets is at the newest state."""
        first, *others = self.states()
        repository.apply(NAME, first)
        held = repository.changeset(NAME)
        for state in others:
            repository.apply(NAME, since(state, repository.timestamp(NAME)))
            received = repository.changeset(NAME, held.timestamp)
            assert received.since in (0, held.timestamp)
            held = merge(held, received)
            assert content(held) == content(state)

    def test_nothing_changed(self, repository):
        state = self.states()[1]
        repository.apply(NAME, state)

        received = repository.changeset(NAME, state.timestamp)
        assert (received.timestamp, list(received.changes), received.since) == (state.timestamp, [], state.timestamp)

    def test_a_refreshed_signature_is_held(self, repository):
        state = self.states()[0]
        repository.apply(NAME, state)
        fresh = signed_state(self.key, list(state.changes), state.timestamp)
        repository.apply(NAME, dataclasses.replace(fresh, changes=[], since=state.timestamp))

        assert repository.changeset(NAME).metadata["signature"] == fresh.metadata["signature"]
        assert repository.changeset(NAME).metadata["signature"] != state.metadata["signature"]
        assert content(repository.changeset(NAME)) == content(fresh)

    def test_applying_twice_is_applying_once(self, repository):
        first, second, *_ = self.states()
        repository.apply(NAME, first)
        repository.apply(NAME, first)
        repository.apply(NAME, second)
        repository.apply(NAME, second)
        assert content(repository.changeset(NAME)) == content(second)

    def test_collections_do_not_mix(self, repository):
        first, second, *_ = self.states()
        repository.apply(NAME, first)
        repository.apply(OTHER, second)
        repository.wipe(NAME)

        assert repository.changeset(NAME) == EMPTY
        assert content(repository.changeset(OTHER)) == content(second)

    def test_wiping_remembers_the_highest_timestamp(self, repository):
        first, second, *_ = self.states()
        repository.apply(NAME, second)
        repository.wipe(NAME)

        assert (repository.timestamp(NAME), repository.highest(NAME)) == (0, second.timestamp)
        verified = Verify(repository, self.trust)
        with pytest.raises(VerificationError, match="older"):
            verified.apply(NAME, first)
        verified.apply(NAME, second)
        assert content(repository.changeset(NAME)) == content(second)

    def test_values_come_back_as_they_were(self, repository):
        values = {
            "integers": [0, -1, 2**53 - 1, -(2**53) + 1],
            "texts": ["", "\x7f", "\u2028", "é", "e\u0301", "😀", "\ue000", '"\\/\b\f\n\r\t'],
            "others": [None, True, False, {}, [], {"": {"a": [[[]]]}}],
            "ключ": {"😀": 1, "\ue000": 2, "z": 3, "a": 4},
        }
        state = signed_state(self.key, [{"id": "one", "last_modified": START, **values}], displayFields=["é"], sort="-a")
        Verify(repository, self.trust).apply(NAME, state)

        held = Verify(repository, self.trust).changeset(NAME)
        assert content(held) == content(state)
        assert held.digests() == state.digests()

    def test_many_records(self, repository):
        state = signed_state(self.key, make_records(1200))
        repository.apply(NAME, state)
        assert content(repository.changeset(NAME)) == content(state)

    def test_a_synchronizer_brings_it_up_to_date(self, repository):
        class Source:
            state = EMPTY

            def changeset(self, name, timestamp=0):
                return since(self.state, timestamp)

        source = Source()
        for source.state in self.states():
            Synchronizer(source, Verify(repository, self.trust)).sync(NAME)
            assert content(repository.changeset(NAME)) == content(source.state)

    def test_what_is_refused_changes_nothing(self, repository):
        first, second, *_ = self.states()
        verified = Verify(repository, self.trust)
        verified.apply(NAME, first)
        forged = dataclasses.replace(second, metadata=first.metadata)
        with pytest.raises(VerificationError):
            verified.apply(NAME, forged)
        assert content(repository.changeset(NAME)) == content(first)
