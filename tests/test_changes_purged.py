"""Tombstones that are gone: a client that would need them starts from scratch, and ends with what was signed."""

import subprocess
import sys

import pytest
import transaction

from kinto_signer.core.changeset import tombstone
from kinto_signer.core.repository import MemoryRepository, Synchronizer, Verify
from kinto_signer.plugin import purged
from kinto_signer.remote import RemoteRepository
from kinto_signer.transport import Deadline, Session
from kinto_signer.updater.cache import SqliteRepository
from tests.support.changes import CHANGESET, NAME, URI, reading_app, repository, store
from tests.support.contract import content
from tests.support.servers import write_ini
from tests.support.settings import kinto_settings
from tests.support.states import START, make_records, new_key, signed_state, trust_in

KEY = new_key()
OTHER_URI = "/buckets/main/collections/regions2"
FIRST = signed_state(KEY, make_records(5))
SECOND = signed_state(KEY, [*make_records(3), tombstone("record-0003", START + 100), tombstone("record-0004", START + 101)])
THIRD = signed_state(KEY, [*SECOND.records, {"id": "new", "last_modified": START + 200}])


@pytest.fixture
def app(storage_url):
    return reading_app(storage_url)


@pytest.fixture
def storage(app):
    return app.app.registry.storage


def purge(storage, **options):
    options = {"resource_name": "record", "parent_id": "*", "force_commit": True} | options
    return storage.purge_deleted(**options)


def status(app, since):
    return app.get(f"{CHANGESET}?_expected=0&_since={since}", status="*").status_int


@pytest.mark.parametrize(
    ("options", "count", "complete_from"),
    [
        ({}, 2, START + 101),
        ({"max_retained": 0}, 2, START + 101),
        ({"max_retained": 1}, 1, START + 100),
        ({"max_retained": 2}, 0, 0),
        ({"before": START + 101}, 1, START + 100),
        ({"before": START + 100}, 0, 0),
        ({"parent_id": URI}, 2, START + 101),
        ({"parent_id": "/buckets/main*", "resource_name": None}, 2, START + 101),
        ({"parent_id": "/buckets/nope*"}, 0, 0),
        ({"resource_name": "group"}, 0, 0),
    ],
)
def test_the_collection_remembers_from_where_differences_are_complete(app, storage, options, count, complete_from):
    store(app, FIRST)
    store(app, SECOND)
    assert status(app, START + 4) == 200
    assert purge(storage, **options) == count
    transaction.commit()
    assert purged.before(storage, URI) == complete_from
    for since in (START + 4, START + 99, START + 100, START + 101, START + 102):
        assert status(app, since) == (307 if since < complete_from else 200)
    assert len(app.get(f"{CHANGESET}?_expected=0").json["changes"]) == 3


def test_the_redirect_keeps_everything_but_since(app, storage):
    store(app, SECOND)
    purge(storage)
    answer = app.get(f'{CHANGESET}?_since="{START}"&_expected=7&_limit=2', status=307)
    assert answer.headers["Location"] == f"http://localhost/v1{CHANGESET}?_expected=7&_limit=2"
    assert len(app.get(answer.headers["Location"].removeprefix("http://localhost")).json["changes"]) == 2


def test_the_greatest_timestamp_counts(app, storage):
    store(app, SECOND)
    purge(storage)
    assert purge(storage) == 0
    storage.update("record", URI, "late", {"last_modified": START + 20})
    storage.delete("record", URI, "late", last_modified=START + 30)
    assert purge(storage, before=START + 50) == 1
    assert purged.before(storage, URI) == START + 101


def test_of_the_other_collections_nothing_is_said(app, storage):
    store(app, SECOND)
    store(app, SECOND, "main/regions2")
    purge(storage, parent_id=OTHER_URI)
    assert (purged.before(storage, URI), purged.before(storage, OTHER_URI)) == (0, START + 101)


def test_live_records_of_the_same_id_stay(app, storage):
    """Kinto's own statement on PostgreSQL removes them with the tombstones of other collections."""
    store(app, SECOND)
    store(app, FIRST, "main/regions2")
    assert purge(storage, max_retained=0) == 2
    assert len(repository(app).records("main/regions2")) == 5


def test_control_kintos_own_statement_removes_them(create_database):
    app = reading_app(create_database())
    storage = app.app.registry.storage
    store(app, SECOND)
    store(app, FIRST, "main/regions2")
    type(storage).purge_deleted(storage, "record", "*", max_retained=0)
    assert len(repository(app).records("main/regions2")) == 3


def test_what_is_wrong_is_refused(app, storage):
    with pytest.raises(ValueError, match="exclusive"):
        purge(storage, before=1, max_retained=1)


def test_undone_with_the_transaction(create_database):
    app = reading_app(create_database())
    storage = app.app.registry.storage
    store(app, SECOND)
    assert purge(storage, force_commit=False) == 2
    assert purged.before(storage, URI) == START + 101
    transaction.abort()
    assert purged.before(storage, URI) == 0
    assert status(app, START) == 200


@pytest.mark.parametrize("victim", [URI, "/buckets/main"])
def test_a_collection_that_was_deleted_and_made_again(app, storage, victim):
    """Its records leave no tombstones: nobody who read it before is told of a difference."""
    store(app, FIRST)
    app.delete(victim)
    app.put_json("/buckets/main", {"permissions": {"read": ["system.Everyone"]}})
    store(app, signed_state(KEY, [{"id": "new", "last_modified": START + 200}]))
    assert status(app, START + 4) == 307
    assert status(app, START + 200) == 200


def test_deleting_records_the_usual_way_is_nothing_special(app, storage):
    store(app, FIRST)
    app.delete(f"{URI}/records/record-0001")
    app.delete(f"{URI}/records")
    assert purged.before(storage, URI) == 0
    assert len(app.get(f"{CHANGESET}?_expected=0&_since={START + 4}").json["changes"]) == 5


def test_kintos_command_is_covered(create_database, tmp_path):
    database = create_database()
    app = reading_app(database)
    store(app, SECOND)
    settings = kinto_settings(database) | {"kinto.includes": "kinto_signer.changes"}
    write_ini(tmp_path / "kinto.ini", settings)
    command = [sys.executable, "-c", "from kinto.__main__ import main; main()", "purge-deleted", "record", "1"]
    subprocess.run([*command, "--ini", tmp_path / "kinto.ini"], check=True, capture_output=True)
    assert status(app, START + 99) == 307
    assert status(app, START + 100) == 200


# --- what becomes of a client ---------------------------------------------------------------------------------------------------


class Counting:
    """A source that remembers what was asked and what came back."""

    def __init__(self, source):
        self.source = source
        self.asked = []

    def changeset(self, name, since=0):
        found = self.source.changeset(name, since)
        self.asked.append((since, found.since))
        return found


@pytest.fixture
def server(live_kinto, create_database):
    database = create_database()
    settings = kinto_settings(database) | {"kinto.includes": "kinto_signer.changes"}
    live = live_kinto(settings)
    live.app = reading_app(database)
    return live


def source(server):
    return Counting(RemoteRepository(Session(server.url, deadline=Deadline(60))))


def behind(server, client):
    """`client` has the first state; on the server two records were deleted, the tombstones purged, and one record made."""
    store(server.app, FIRST)
    Synchronizer(source(server), client).sync(NAME)
    store(server.app, SECOND)
    return server.app.app.registry.storage


@pytest.mark.parametrize("place", ["memory", "sqlite"])
def test_a_client_that_is_behind_starts_from_scratch(server, place, tmp_path):
    inner = MemoryRepository() if place == "memory" else SqliteRepository(tmp_path, trust_in(KEY))
    client = Verify(inner, trust_in(KEY))
    purge(behind(server, client))
    store(server.app, THIRD)
    asked = source(server)
    Synchronizer(asked, client).sync(NAME)
    assert asked.asked == [(START + 4, 0)]
    held = client.changeset(NAME)
    assert content(held)[:2] == content(THIRD)[:2]


def test_a_client_that_does_not_verify_is_right_too(server):
    client = MemoryRepository()
    purge(behind(server, client))
    store(server.app, THIRD)
    Synchronizer(source(server), client).sync(NAME)
    assert sorted(record["id"] for record in client.changeset(NAME).records) == sorted(r["id"] for r in THIRD.records)


def test_control_without_the_note_it_would_keep_what_was_deleted(server):
    client, verified = MemoryRepository(), Verify(MemoryRepository(), trust_in(KEY))
    storage = behind(server, client)
    verified.apply(NAME, FIRST)
    type(storage).purge_deleted(storage, "record", URI, force_commit=True)
    store(server.app, THIRD)
    Synchronizer(source(server), client).sync(NAME)
    assert {"record-0003", "record-0004"} <= {record["id"] for record in client.changeset(NAME).records}
    asked = source(server)
    Synchronizer(asked, verified).sync(NAME)  # finds it out, and asks a second time
    assert asked.asked == [(START + 4, START + 4), (0, 0)]
