"""What S remembers about its authorities: it outlives what the request undoes, the process, and holds no secret."""

import pytest
import transaction

from kinto_signer.core.ahead import Signed
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.plan import Held
from kinto_signer.errors import StorageError, UnreachableError
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.authorities import is_ahead
from kinto_signer.server.journal import MOST_ATTEMPTS, Entry, Journal
from kinto_signer.server.own import Own, Seen
from tests.support.site import SOURCE, set_status, signer_app

NAME = "main/regions"
ERROR = UnreachableError("nobody answers")


@pytest.fixture
def storage(key_pair, storage_url):
    return signer_app(key_pair, database=storage_url).app.registry.storage


@pytest.fixture
def journal(storage):
    return Journal(storage)


def test_an_entry_follows_what_happens(journal):
    assert journal.entry(NAME, "eu") == Entry()
    journal.change(NAME, "eu", lambda entry: entry.tried(Signed(1, "a")))
    journal.change(NAME, "eu", lambda entry: entry.tried(Signed(2, "b")))
    journal.change(NAME, "eu", lambda entry: entry.tried(Signed(1, "a")))
    journal.change(NAME, "eu", lambda entry: entry.failed(ERROR, "then"))
    found = journal.entry(NAME, "eu")
    assert found.attempts == (Signed(2, "b"), Signed(1, "a"))
    assert (found.failing, found.known, found.last_success) == (True, None, None)
    assert found.last_error == {"reason": "unreachable", "message": "nobody answers", "when": "then"}
    journal.change(NAME, "eu", lambda entry: entry.succeeded(2, "later"))
    found = journal.entry(NAME, "eu")
    assert (found.attempts, found.known, found.failing) == ((), 2, False)
    assert found.last_success == {"timestamp": 2, "when": "later"}
    assert found.last_error["when"] == "then"
    assert journal.entry(NAME, "us") == Entry()
    journal.change(NAME, "us", lambda entry: entry.adopted(5))
    journal.change(NAME, "us", lambda entry: entry.adopted(4))
    assert {key: entry.known for key, entry in journal.entries().items()} == {(NAME, "eu"): 2, (NAME, "us"): 5}


def test_only_so_many_attempts_are_kept():
    entry = Entry()
    for number in range(MOST_ATTEMPTS + 5):
        entry = entry.tried(Signed(number, ""))
    assert [attempt.timestamp for attempt in entry.attempts] == list(range(5, MOST_ATTEMPTS + 5))


def test_it_outlives_the_requests_transaction(key_pair, database):
    """The control: what the same request wrote to the storage itself is undone."""
    storage = signer_app(key_pair, database=database).app.registry.storage
    journal = Journal(storage)
    transaction.abort()
    storage.create("record", SOURCE, {"id": "undone"})
    journal.change(NAME, "eu", lambda entry: entry.tried(Signed(1, "a")))
    transaction.abort()
    assert Journal(storage).entry(NAME, "eu").attempts == (Signed(1, "a"),)
    assert "undone" not in {record["id"] for record in StorageRepository(storage).records("main-workspace/regions")}


def test_a_refused_request_on_memory_leaves_it_too(key_pair):
    app = signer_app(key_pair)
    journal = app.app.registry.signer_journal
    journal.change(NAME, "eu", lambda entry: entry.tried(Signed(1, "a")))
    set_status(app, "nope", status=400)
    assert journal.entry(NAME, "eu").attempts == (Signed(1, "a"),)


def test_no_address_of_the_api_leads_to_it(key_pair, database):
    app = signer_app(key_pair, database=database)
    journal = app.app.registry.signer_journal
    journal.change(NAME, "eu", lambda entry: entry.failed(ERROR, "then"))
    for path in ("/kinto-signer/journal", "/buckets/kinto-signer", "/kinto-signer"):
        app.get(path, status=(401, 403, 404))
    assert "nobody answers" not in app.get("/buckets").text


def test_a_database_that_is_gone_is_an_error_of_ours(key_pair, create_database, postgres):
    database = create_database()
    journal = Journal(signer_app(key_pair, database=database).app.registry.storage)
    postgres.drop_database(database)
    for use in (journal.entries, lambda: journal.change(NAME, "eu", lambda entry: entry)):
        with pytest.raises(StorageError, match=r"S's database"):
            use()


def test_it_takes_no_connection_of_the_requests(key_pair, database):
    storage = signer_app(key_pair, database=database).app.registry.storage
    journal = Journal(storage)
    engine = storage.client.session_factory.get_bind()
    before = engine.pool.checkedout()
    with journal._rows._engine.connect():
        assert engine.pool.checkedout() == before


# --- what is known from it ------------------------------------------------------------------------------------------------


def own(timestamp, hash_="ours"):
    found = object.__new__(Own)
    found.name, found.timestamp, found.attributes = NAME, timestamp, {"hash": hash_}
    return found


def seen(timestamp, hash_, *, sound=True, fresh=False):
    metadata = {"hash": hash_, "signer_claim": {"timestamp": timestamp}}
    return Seen(Held(timestamp, (), fresh), Changeset(timestamp, (), metadata), sound)


@pytest.mark.parametrize(
    ("there", "entry", "ahead"),
    [
        (seen(10, "ours"), Entry(), False),
        (seen(10, "other"), Entry(), False),
        (seen(9, "older"), Entry(), False),
        (seen(11, "newer"), Entry(), True),
        (seen(11, "newer"), Entry((Signed(11, "newer"),)), False),
        (seen(11, "newer"), Entry((Signed(11, "another"),)), True),
        (seen(11, "", sound=False), Entry((Signed(11, "newer"),)), False),
        (seen(11, "", sound=False), Entry(), True),
        (seen(11, "newer", fresh=True), Entry(), False),
        (seen(9, "unknown"), Entry(known=8), True),
        (seen(8, "known"), Entry(known=8), False),
        (seen(11, "newer"), Entry(known=12), True),
    ],
)
def test_who_is_ahead(there, entry, ahead):
    assert is_ahead(own(10), there, entry) is ahead
