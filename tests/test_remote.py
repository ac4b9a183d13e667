"""Reading a Kinto: a real one over HTTP, and one that changes while it is read."""

import dataclasses

import pytest

from kinto_signer.core.changeset import EMPTY, merge, tombstone
from kinto_signer.core.repository import MemoryRepository, Synchronizer, Verify
from kinto_signer.errors import BadAnswerError, ConfigurationError, ConflictError, CredentialsError, TooLargeError
from kinto_signer.remote import RemoteRepository, check_name
from kinto_signer.transport import Deadline, Limits, Session
from tests.support.contract import content
from tests.support.hostile import FakeKinto, HostileServer, http, http_json
from tests.support.settings import PASSWORD, authority_settings
from tests.support.states import NAME, START, make_records, new_key, sign, signed_state, trust_in

KEY = new_key()
TRUST = trust_in(KEY)
FIRST = signed_state(KEY, make_records(25))
SECOND = signed_state(
    KEY,
    [
        *make_records(23),
        {"id": "record-0023", "last_modified": START + 99, "text": "new"},
        tombstone("record-0024", START + 100),
    ],
)


def remote(url, auth=None, **limits):
    return RemoteRepository(Session(url, auth, deadline=Deadline(60), limits=Limits(**limits)))


def paths(server):
    return [f"{request.method} {request.target.partition('/collections/regions')[2]}" for request in server.requests]


# --- a real Kinto ---------------------------------------------------------------------------------------------------


def publish(client, records, *, legacy=False, **attributes):
    """Sign what is there, as S does (or, `legacy`, as kinto-remote-settings does, without `signed_timestamp`)."""
    timestamp = int(client.get_records_timestamp(bucket="main", collection="regions").strip('"'))
    entry = sign(KEY, records, timestamp)
    attributes |= {"signature": entry, "signatures": [entry]} | ({} if legacy else {"signed_timestamp": timestamp})
    client.patch_collection(id="regions", bucket="main", data=attributes)
    return timestamp


@pytest.mark.parametrize("limit", [None, 7], ids=["one page", "pages"])
@pytest.mark.parametrize("legacy", [False, True], ids=["signed_timestamp", "ETag"])
def test_a_real_kinto(live_kinto, limit, legacy):
    server = live_kinto(authority_settings() | ({"kinto.paginate_by": str(limit)} if limit else {}))
    client = server.client()
    client.create_bucket(id="main", permissions={"read": ["system.Everyone"]})
    client.create_collection(id="regions", bucket="main")
    for record in make_records(25):
        client.create_record(data={k: v for k, v in record.items() if k != "last_modified"}, bucket="main", collection="regions")
    first = publish(client, client.get_records(bucket="main", collection="regions"), legacy=legacy)

    source, copy = remote(server.url), MemoryRepository()
    reader = Synchronizer(source, Verify(copy, TRUST))
    assert source.timestamp(NAME) == source.highest(NAME) == first
    assert len(reader.sync(NAME).changes) == 25

    client.delete_record(id="record-0003", bucket="main", collection="regions")
    client.patch_record(id="record-0004", data={"text": "new"}, bucket="main", collection="regions")
    client.create_record(id="more", data={"é": ["€"]}, bucket="main", collection="regions")
    second = publish(client, client.get_records(bucket="main", collection="regions"), legacy=legacy)
    changes = reader.sync(NAME)
    assert (changes.since, changes.timestamp, len(changes.changes)) == (first, second, 3)
    assert {r["id"]: r for r in copy.changeset(NAME).records} == {
        r["id"]: r for r in client.get_records(bucket="main", collection="regions")
    }

    # a refreshed signature arrives although no record changed
    publish(client, client.get_records(bucket="main", collection="regions"), legacy=legacy, note="refreshed")
    changes = reader.sync(NAME)
    assert (changes.timestamp, list(changes.changes), changes.metadata["note"]) == (second, [], "refreshed")
    assert copy.changeset(NAME).metadata["note"] == "refreshed"


def test_what_a_real_kinto_does_not_have(live_kinto):
    server = live_kinto(authority_settings())
    server.client("alice").create_bucket(id="main")
    server.client("alice").create_collection(id="regions", bucket="main")

    assert remote(server.url, f"alice:{PASSWORD}").changeset("main/nothing") == EMPTY
    assert remote(server.url, f"alice:{PASSWORD}").timestamp("main/nothing") == 0
    with pytest.raises(CredentialsError, match="401"):
        remote(server.url).changeset(NAME)
    with pytest.raises(CredentialsError, match="403"):
        remote(server.url, f"bob:{PASSWORD}").changeset(NAME)
    with pytest.raises(CredentialsError, match="does not know the credentials"):
        remote(server.url, "Bearer nonsense").changeset(NAME)


# --- one that is altered --------------------------------------------------------------------------------------------


def test_pages_and_their_conditions():
    with HostileServer(FakeKinto(FIRST, page=10)) as server:
        assert content(remote(server.url).changeset(NAME)) == content(FIRST)
    assert paths(server) == [
        "GET /changeset?_expected=0", "GET ", "GET ", "GET /records?_limit=5000", "GET /records?_token=10",
        "GET /records?_token=20", "GET "
    ]  # fmt: skip
    conditions = [(r.headers.get("if-match"), r.headers.get("if-none-match")) for r in server.requests[3:]]
    etag = f'"{FIRST.timestamp}"'
    assert conditions == [(None, None), (etag, None), (etag, None), (None, f'"{FIRST.timestamp + 1}"')]


def test_only_differences_travel():
    with HostileServer(FakeKinto(SECOND)) as server:
        difference = remote(server.url).changeset(NAME, FIRST.timestamp)
        assert len(difference.changes) == 2
        assert content(merge(FIRST, difference)) == content(SECOND)
        unchanged = remote(server.url).changeset(NAME, SECOND.timestamp)
        assert (list(unchanged.changes), unchanged.since) == ([], SECOND.timestamp)
    assert f"GET /records?_limit=5000&_since=%22{FIRST.timestamp}%22" in paths(server)


def test_changesets_where_the_server_has_them():
    with HostileServer(FakeKinto(SECOND, changes=True)) as server:
        assert content(remote(server.url).changeset(NAME)) == content(SECOND)
        difference = remote(server.url).changeset(NAME, FIRST.timestamp)
    assert content(merge(FIRST, difference)) == content(SECOND)
    assert [path for path in paths(server) if "changeset" in path] == [
        "GET /changeset?_expected=0", f"GET /changeset?_expected=0&_since=%22{FIRST.timestamp}%22"
    ]  # fmt: skip


def test_collections_that_are_not_offered_as_changesets():
    class Some(FakeKinto):
        def changeset(self, request):
            return self.missing(request)

    with HostileServer(Some(SECOND, changes=True)) as server:
        assert content(remote(server.url).changeset(NAME)) == content(SECOND)


def test_a_difference_too_long_ago_is_sent_on_to_everything():
    class Forgetful(FakeKinto):
        def changeset(self, request):
            if "_since" in request.query:
                return http(307, Location=f"{self.path}/changeset?_expected=0")
            return super().changeset(request)

    with HostileServer(Forgetful(SECOND, changes=True)) as server:
        changeset = remote(server.url).changeset(NAME, FIRST.timestamp)
    assert (changeset.since, content(changeset)) == (0, content(SECOND))


@pytest.mark.parametrize("after", ["collection", "records", "second page"])
def test_a_publication_while_it_is_read(after):
    """Records and attributes of one publication, never of two."""

    class Publishing(FakeKinto):
        asked = 0

        def __call__(self, request):
            answer = super().__call__(request)
            self.asked += 1
            if self.asked == {"collection": 2, "records": 3, "second page": 4}[after]:
                self.state = SECOND
            return answer

    with HostileServer(Publishing(FIRST, page=10)) as server:
        changeset = remote(server.url).changeset(NAME)
    records = sorted(SECOND.records, key=lambda record: record["id"])
    assert content(changeset) == (SECOND.timestamp, records, dict(SECOND.metadata))


def test_publications_without_end(monkeypatch):
    monkeypatch.setattr("kinto_signer.remote.PAUSE_S", 0.01)

    class Restless(FakeKinto):
        asked = 0

        def collection(self, request):
            self.asked += 1
            return http_json(200, {"data": {**self.state.metadata, "n": self.asked}}, ETag=f'"{self.asked}"')

    with HostileServer(Restless(FIRST)) as server, pytest.raises(ConflictError, match="published again") as caught:
        remote(server.url).changeset(NAME)
    assert caught.value.exit_code == 6


def test_the_timestamp_rule():
    """changeset.timestamp, else signed_timestamp, else the ETag of the records; and no other is tried."""

    def timestamp(changes, **metadata):
        state = signed_state(KEY, make_records(3), START + 40, **metadata)
        if metadata.get("signed_timestamp", 1) is None:
            del state.metadata["signed_timestamp"]
        with HostileServer(FakeKinto(state, changes=changes)) as server:
            return remote(server.url).changeset(NAME).timestamp

    assert timestamp(True, signed_timestamp=START + 30) == START + 40
    assert timestamp(False, signed_timestamp=START + 30) == START + 30
    assert timestamp(False, signed_timestamp=None) == START + 2
    with pytest.raises(BadAnswerError):
        timestamp(False, signed_timestamp="7")

    class WithoutTimestamp(FakeKinto):
        def changeset(self, request):
            return http_json(200, {"metadata": dict(self.state.metadata), "changes": []}, ETag='"77"')

    with HostileServer(WithoutTimestamp(FIRST, changes=True)) as server:
        assert remote(server.url).changeset(NAME).timestamp == FIRST.timestamp


@pytest.mark.parametrize(
    "limits", [{"max_records": 24}, {"max_pages": 2}, {"max_collection_bytes": 1500}, {"max_size_bytes": 500}]
)
@pytest.mark.parametrize("changes", [False, True])
def test_caps(limits, changes):
    if changes and ("max_pages" in limits or "max_collection_bytes" in limits):
        limits = {"max_records": 24}
    with HostileServer(FakeKinto(FIRST, page=10, changes=changes)) as server:
        assert len(remote(server.url).changeset(NAME).changes) == 25
        with pytest.raises(TooLargeError):
            remote(server.url, **limits).changeset(NAME)


@pytest.mark.parametrize("etag", ["", "5", 'W/"5"', '"x"', '"' + "9" * 30 + '"', '"-5"'])
def test_etags_that_are_none(etag):
    class Odd(FakeKinto):
        def records(self, request):
            return http_json(200, {"data": []}, ETag=etag)

    with HostileServer(Odd(FIRST)) as server, pytest.raises(BadAnswerError, match="ETag"):
        remote(server.url).changeset(NAME)


def test_a_page_of_another_time_without_conditions(monkeypatch):
    """A proxy that ignores If-Match, and records that change without a signature: the ETag of each page is compared too."""
    monkeypatch.setattr("kinto_signer.remote.PAUSE_S", 0.01)
    changed = [{**record, "last_modified": START + 200 + n, "text": "changed"} for n, record in enumerate(FIRST.changes)]

    class Careless(FakeKinto):
        def records(self, request):
            request.headers.pop("if-match", None)
            answer = super().records(request)
            self.state = dataclasses.replace(FIRST, changes=changed)
            return answer

    with HostileServer(Careless(FIRST, page=10)) as server:
        changeset = remote(server.url).changeset(NAME)
    assert {record["text"] for record in changeset.records} == {"changed"}


@pytest.mark.parametrize("name", ["", "main", "main/", "/regions", "a/b/c", "main/re gions", "main/..", "../x", "-a/b", "a/b\n"])
def test_names_that_are_none(name):
    with pytest.raises(ConfigurationError):
        check_name(name)
    with pytest.raises(ConfigurationError):
        remote("http://localhost:1/v1").timestamp(name)
