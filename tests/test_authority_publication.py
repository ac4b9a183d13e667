"""POST changeset on A: what is accepted, what is refused, and that it is all or nothing."""

import gc
import io
import json

import pytest

from kinto_signer.authority.publication import Publication
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.trust import check
from tests.support.publications import CHANGESET, URI, body_of, post, post_gzipped, refreshed, successive_states
from tests.support.servers import authorization, webtest_app
from tests.support.settings import guarded_settings
from tests.support.states import NAME, new_key, signed_state, trust_in


@pytest.fixture
def app(key_pair, storage_url):
    return webtest_app(guarded_settings(key_pair.public, storage_url))


@pytest.fixture
def states(key_pair):
    return successive_states(key_pair.key(), 4)


def served(app, since=None):
    query = "?_expected=0" + (f'&_since="{since}"' if since else "")
    body = app.get(CHANGESET + query).json
    return Changeset(body["timestamp"], body["changes"], body["metadata"], since or 0)


def by_id(changes):
    return {change["id"]: change for change in changes}


def test_publications_are_served_and_verify(app, states, key_pair):
    base = 0
    for state in states:
        answer = post(app, body_of(state, base), status=201 if base == 0 else 200)
        assert answer.json["data"]["timestamp"] == state.timestamp
        found = served(app)
        check(NAME, found, trust_in(key_pair.key()))
        assert by_id(found.changes) == by_id(state.records)
        assert app.get(f"{URI}/records").headers["ETag"] == f'"{state.timestamp}"'
        base = state.timestamp
    difference = served(app, states[0].timestamp)
    wanted = [change for change in states[-1].changes if change["last_modified"] > states[0].timestamp]
    assert by_id(difference.changes) == by_id(wanted)


def test_the_same_publication_twice_is_not_written_twice(app, states):
    body = body_of(states[0])
    post(app, body, status=201)
    before = app.get(URI).json["data"]["last_modified"]
    again = post(app, {**body, "base": states[0].timestamp, "changes": []}, status=200)
    assert (again.json["data"]["created"], app.get(URI).json["data"]["last_modified"]) == (0, before)
    post(app, {**body, "base": states[0].timestamp, "complete": True}, status=200)
    assert app.get(URI).json["data"]["last_modified"] == before


def test_another_base_is_a_412_that_says_what_is_held(app, states):
    post(app, body_of(states[0]))
    for base in (0, states[0].timestamp + 1, states[0].timestamp - 1):
        answer = post(app, body_of(states[1], base), status=412)
        assert answer.json["errno"] == 114
        assert answer.json["details"]["timestamp"] == states[0].timestamp
        assert answer.json["details"]["hash"] == app.get(URI).json["data"]["hash"]


def test_a_refresh_renews_the_signature_and_nothing_else(app, states, key_pair):
    state = states[0]
    post(app, body_of(state))
    fresh = refreshed(key_pair.key(), state)
    post(app, body_of(fresh, state.timestamp), status=200)
    found = served(app)
    assert found.metadata["signature"] == fresh.metadata["signature"] != state.metadata["signature"]
    assert (found.timestamp, by_id(found.changes)) == (state.timestamp, by_id(state.changes))
    body = body_of(refreshed(key_pair.key(), state), state.timestamp)
    body["metadata"]["displayFields"] = ["evil"]
    assert post(app, body, status=403).json["details"]["reason"] == "refused"


def test_gzip_and_limits(key_pair, storage_url, states):
    app = webtest_app(guarded_settings(key_pair.public, storage_url) | {"kinto.authority.max_changeset_bytes": "5000"})
    body = body_of(states[0])
    post_gzipped(app, body, status=201)
    bomb = {**body_of(states[1], states[0].timestamp), "changes": [{"id": "bomb", "last_modified": 1, "text": "0" * 100_000}]}
    assert post_gzipped(app, bomb, status=413).json["details"]["reason"] == "too-large"
    assert post(app, bomb, status=413).json["errno"] == 113
    for broken in (b"no gzip", b"\x1f\x8b\x08\x00"):
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        assert app.post(CHANGESET, broken, headers=headers, status=400).json["details"]["reason"] == "bad-answer"


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"changes": None}, 400, "bad-answer"),
        ({"timestamp": "1"}, 400, "bad-answer"),
        ({"timestamp": True}, 400, "bad-answer"),
        ({"metadata": []}, 400, "bad-answer"),
        ({"complete": 1}, 400, "bad-answer"),
        ({"more": 1}, 400, "bad-answer"),
        ({"changes": [{"id": "a\tb", "last_modified": 1}]}, 400, "bad-answer"),
        ({"changes": [{"id": "a", "last_modified": 5}, {"id": "b", "last_modified": 5}]}, 400, "bad-answer"),
        ({"changes": [{"id": "a", "last_modified": 2**52}]}, 400, "bad-answer"),
        ({"metadata": {}}, 403, "unsigned"),
        ({"metadata": {"signature": {"signature": "A" * 128}}}, 403, "bad-signature"),
        ({"metadata": {"signature": 7}}, 403, "bad-signature"),
    ],
)
def test_what_is_malformed_or_unsigned_is_refused(app, states, change, status, reason):
    answer = post(app, {**body_of(states[0]), **change}, status=status)
    assert answer.json["details"]["reason"] == reason
    app.get(URI, status=403)  # Kinto's way to say that it is not there
    post(app, body_of(states[0]), status=201)


def test_who_may_not_write_does_not_publish(app, states):
    post(app, body_of(states[0]))
    answer = post(app, body_of(states[1], states[0].timestamp), headers=authorization("mallory"), status=403)
    assert "details" not in answer.json
    app.authorization = None
    post(app, body_of(states[1], states[0].timestamp), status=401)
    app.get(CHANGESET + "?_expected=0", status=200)


def test_not_inside_a_batch(app, states):
    request = {"method": "POST", "path": CHANGESET, "body": body_of(states[0])}
    answer = app.post_json("/batch", {"requests": [request]}, status=400)
    assert "a request of its own" in answer.json["message"]


def test_only_what_is_guarded(key_pair, storage_url, states):
    app = webtest_app(guarded_settings(key_pair.public, storage_url, resources="/buckets/main/collections/other"))
    assert post(app, body_of(states[0]), status=403).json["details"]["reason"] == "refused"


def test_tombstones_of_what_was_never_there_are_left_out(app, states):
    body = body_of(states[0])
    body["changes"].append({"id": "never", "last_modified": states[0].timestamp - 30_000, "deleted": True})
    post(app, body, status=201)
    assert all(change["id"] != "never" for change in app.get(f"{URI}/records?_since=0").json["data"])


def test_a_float_that_is_spelled_differently_is_not_stored(key_pair, database, states):
    app = webtest_app(guarded_settings(key_pair.public, database))
    record = {"id": "one", "last_modified": states[0].timestamp, "big": 1e21}
    odd = signed_state(key_pair.key(), [record])
    assert post(app, body_of(odd), status=503).json["details"]["reason"] == "storage"
    app.get(URI, status=403)
    fine = signed_state(key_pair.key(), [{**record, "big": 1.5}])
    post(app, body_of(fine), status=201)
    check(NAME, served(app), trust_in(key_pair.key()))


def test_an_empty_state_is_published_too(app, states, key_pair):
    post(app, body_of(states[0]))
    at = states[0].timestamp + 1000
    graves = [
        {"id": record["id"], "last_modified": at + number, "deleted": True} for number, record in enumerate(states[0].records)
    ]
    empty = signed_state(key_pair.key(), graves)
    assert post(app, body_of(empty, states[0].timestamp)).json["data"]["deleted"] == 5
    assert served(app).changes == []
    again = signed_state(new_key(), [])
    assert post(app, body_of(again, empty.timestamp), status=403)


def test_what_a_complete_publication_removes_is_told_to_readers_of_older_states(app, states, key_pair):
    """An authority that was far behind: the tombstones in between are known to nobody any more."""
    post(app, body_of(states[0]))
    last = signed_state(key_pair.key(), states[3].records, states[3].timestamp)
    answer = post(app, {**body_of(last, complete=True), "base": states[0].timestamp})
    assert answer.json["data"]["deleted"] == 3
    redirect = app.get(f'{CHANGESET}?_expected=1&_since="{states[0].timestamp}"', status=307)
    assert "_since" not in redirect.headers["Location"]
    assert by_id(served(app).changes) == by_id(states[3].records)
    assert app.get(f'{CHANGESET}?_expected=1&_since="{last.timestamp}"').json["changes"] == []


class WatchedBody(io.BytesIO):
    """A body that notes, whenever a piece of it is awaited, whether the garbage collector is on."""

    def __init__(self, content):
        super().__init__(content)
        self.seen = []

    def read(self, *args):
        self.seen.append(gc.isenabled())
        return super().read(*args)


def test_nobody_keeps_the_garbage_collector_off_by_sending_slowly(app, states, monkeypatch):
    during = []
    carry_out = Publication.carry_out

    def watched(self):
        during.append(gc.isenabled())
        return carry_out(self)

    monkeypatch.setattr(Publication, "carry_out", watched)
    content = json.dumps(body_of(states[0])).encode()
    stream = WatchedBody(content)
    request = app.RequestClass.blank(CHANGESET, method="POST")
    request.environ |= {"wsgi.input": stream, "CONTENT_LENGTH": str(len(content)), "CONTENT_TYPE": "application/json"}
    request.headers.update(authorization("alice"))
    assert request.get_response(app.app).status_int == 201
    assert (during, gc.isenabled()) == ([False], True)
    assert stream.seen
    assert all(stream.seen)
