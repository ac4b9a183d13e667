"""Kinto's storage as a repository: the contract on memory and PostgreSQL, exact timestamps, the lock."""

import threading

import kinto
import pytest
import transaction

from kinto_signer.authority.stored import StoredStates
from kinto_signer.core.changeset import EMPTY, Changeset, tombstone
from kinto_signer.core.repository import Middleware
from kinto_signer.errors import ConflictError
from kinto_signer.plugin.kept import KeptForms
from kinto_signer.plugin.storage import StorageRepository
from tests.support.contract import RepositoryContract
from tests.support.settings import kinto_settings

NAME = "main/regions"
KINTOS_OWN = {"id": "regions"}


class WithoutKintosOwn(Middleware):
    """Hides what Kinto itself says of a collection: its names, and when the collection's object was written."""

    def changeset(self, name, since=0):
        found = self.inner.changeset(name, since)
        if found == EMPTY:
            return found
        metadata = {key: value for key, value in found.metadata.items() if key != "bucket"}
        return Changeset(
            found.timestamp, found.changes, {**metadata, **KINTOS_OWN, "last_modified": found.timestamp + 1}, found.since
        )


@pytest.fixture
def storage(storage_url):
    application = kinto.main({}, **kinto_settings(storage_url))
    yield application.registry.storage
    transaction.abort()


class TestKintoStorage(RepositoryContract):
    @pytest.fixture
    def repository(self, storage):
        repository = StorageRepository(storage)
        repository.ensure_bucket("main")
        return WithoutKintosOwn(repository)


@pytest.fixture
def repository(storage):
    return StorageRepository(storage)


def test_timestamps_are_exactly_those_that_were_asked_for(repository):
    first = [{"id": name, "last_modified": 1_700_000_000_000 + number} for number, name in enumerate("dcba")]
    repository.write(NAME, first)
    changes = [{**first[2], "n": 1, "last_modified": 1_700_000_000_500}, tombstone("a", 1_700_000_000_501)]
    repository.write(NAME, list(reversed(changes)))
    held = {record["id"]: record for record in repository.records(NAME, with_tombstones=True)}
    assert held["b"] == changes[0]
    assert held["a"] == changes[1]
    assert held["d"] == first[0]
    assert repository.etag(NAME) == 1_700_000_000_501


def test_pages_are_put_together(repository, monkeypatch):
    monkeypatch.setattr("kinto_signer.plugin.storage.PAGE", 7)
    repository.write(NAME, [{"id": f"r{i}", "last_modified": 1_700_000_000_000 + i} for i in range(30)])
    repository.write(NAME, [tombstone("r3", 1_700_000_001_000)])
    assert len(repository.records(NAME)) == 29
    assert len(repository.records(NAME, with_tombstones=True)) == 30
    assert [record["id"] for record in repository.records(NAME)] == sorted(f"r{i}" for i in range(30) if i != 3)


@pytest.mark.parametrize("whose", [StorageRepository, lambda storage: StoredStates(storage, KeptForms())], ids=["S", "A"])
def test_one_writer_at_a_time(create_database, whose):
    """PostgreSQL only: on memory the tween keeps writers apart."""
    application = kinto.main({}, **kinto_settings(create_database()))
    repository = StorageRepository(application.registry.storage)
    locks = whose(application.registry.storage)
    repository.ensure_bucket("main")
    repository.set_attributes(NAME, {})
    repository.set_attributes("main/other", {})
    transaction.commit()
    locks.lock(NAME, 0.2)
    outcomes = []

    def another():
        try:
            locks.lock("main/other", 0.2)
            locks.lock("main/unknown", 0.2)
            locks.lock(NAME, 0.2)
        except ConflictError as error:
            outcomes.append(error.message)
            repository.set_attributes("main/other", {"still": "usable"})
            transaction.commit()
        finally:
            transaction.abort()

    thread = threading.Thread(target=another)
    thread.start()
    thread.join()
    assert "try again" in outcomes[0]
    assert repository.attributes("main/other")["still"] == "usable"
    transaction.abort()


def test_other_database_errors_are_not_taken_for_a_conflict(create_database, postgres):
    url = create_database()
    application = kinto.main({}, **kinto_settings(url))
    repository = StorageRepository(application.registry.storage)
    postgres.execute("DROP TABLE objects", url)
    with pytest.raises(Exception, match="objects"):
        repository.lock(NAME, 0.2)
    transaction.abort()
