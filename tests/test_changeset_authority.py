"""S against an A with the plugin: one POST, cost that follows the change, every refusal with A's reason and S as before."""

import gzip
import json

import pytest

from kinto_signer.core.changeset import TIMESTAMP_MARKER, Changeset, by_record_id
from kinto_signer.server.changeset_authority import ChangesetAuthority
from kinto_signer.server.connection import COMPRESS_FROM_BYTES, Connection, _Requests
from tests.support.keys import write_key_pair
from tests.support.settings import PASSWORD, guarded_settings
from tests.support.site import DESTINATION, SOURCE, attributes, everything, set_status, signer_app

NAME = {"bucket": "main", "collection": "regions"}
WHO_MAY = {"kinto__signer__status_principals": "system.Authenticated"}


@pytest.fixture
def authority(live_kinto, create_database, key_pair):
    return live_kinto(guarded_settings(key_pair.public, create_database()), name="authority")


@pytest.fixture
def database(create_database):
    return create_database()


@pytest.fixture
def app(key_pair, authority, database):
    return signer_app(key_pair, database=database, authority=authority.url, **WHO_MAY)


@pytest.fixture
def asked(monkeypatch):
    """Every request that S makes of A: ``["GET /", …]``."""
    seen, request = [], Connection.request

    def recorded(self, method, path, *arguments, **options):
        seen.append(f"{method} {path.partition('/buckets/main')[2] or path}")
        return request(self, method, path, *arguments, **options)

    monkeypatch.setattr(Connection, "request", recorded)
    return seen


def put(app, name, **data):
    return app.put_json(f"{SOURCE}/records/{name}", {"data": data})


def held(authority):
    return by_record_id(authority.client("reader").get_records(**NAME))


def signed(app):
    return by_record_id(app.get(f"{DESTINATION}/records").json["data"])


def refused(app, reason, *words, status=503):
    before = everything(app)
    answer = set_status(app, "to-sign", status=status)
    assert answer.json["details"]["reason"] == reason, answer.json
    for word in words:
        assert word in answer.json["message"], answer.json["message"]
    assert PASSWORD not in answer.text
    assert everything(app) == before
    return answer


def test_one_post_and_no_record_is_read_where_nothing_else_happened(app, authority, asked):
    for i in range(5):
        put(app, f"r{i}", n=i)
    set_status(app, "to-sign")
    timestamp = attributes(app, DESTINATION)["signed_timestamp"]
    put(app, "r1", n=10)
    app.delete(f"{SOURCE}/records/r2")
    asked.clear()
    set_status(app, "to-sign")
    new = attributes(app, DESTINATION)["signed_timestamp"]
    uri = "/collections/regions"
    assert asked == [
        "GET /",
        f"GET {uri}",
        f"POST {uri}/changeset",
        f'GET {uri}/changeset?_since="{timestamp}"&_expected={new}',
    ]
    assert held(authority) == signed(app)
    assert int(authority.client().get_records_timestamp(**NAME)) == new
    changes = authority.client().get_records(**NAME, _since=timestamp)
    assert {change["id"] for change in changes} == {"r1", "r2"}


def test_a_makes_the_collection_and_everybody_reads_it(app, authority, asked, key_pair):
    there = authority.client("signer").get_collection(bucket="main", id="regions")
    assert there["permissions"] == {"read": ["system.Everyone"], "write": [authority.userid("signer")]}
    assert "published_to" not in there["data"]
    app.put_json("/buckets/main-workspace/collections/other", {})
    assert [request.partition(" ")[0] for request in asked] == ["GET", "GET", "POST", "GET"]


def test_attributes_come_and_go_with_the_source(app, authority):
    app.patch_json(SOURCE, {"data": {"displayFields": ["n"]}})
    first = attributes(app, DESTINATION)["signed_timestamp"]
    set_status(app, "to-sign")
    there = authority.client().get_collection(bucket="main", id="regions")["data"]
    assert there["displayFields"] == ["n"]
    assert there["signed_timestamp"] > first, "the plugin takes other attributes with a new signature only"
    app.put_json(SOURCE, {"data": {name: value for name, value in attributes(app).items() if name != "displayFields"}})
    set_status(app, "to-sign")
    assert "displayFields" not in authority.client().get_collection(bucket="main", id="regions")["data"]
    again = attributes(app, DESTINATION)["signed_timestamp"]
    set_status(app, "to-sign")
    assert attributes(app, DESTINATION)["signed_timestamp"] == again


def test_a_refresh_reads_and_writes_no_record(app, authority, asked):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    put(app, "r1", n=2)
    before = authority.client().get_collection(bucket="main", id="regions")["data"]
    asked.clear()
    set_status(app, "to-resign")
    after = authority.client().get_collection(bucket="main", id="regions")["data"]
    assert asked == ["GET /", "GET /collections/regions", "POST /collections/regions/changeset"]
    assert after["signature"] != before["signature"]
    assert after["signature"] == attributes(app, DESTINATION)["signature"]
    assert after["signed_timestamp"] == before["signed_timestamp"]
    assert held(authority)["r1"]["n"] == 1


def test_a_refresh_of_what_a_does_not_hold(app, authority, monkeypatch):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    storage = app.app.registry.storage
    import transaction

    other = attributes(app, DESTINATION)
    put(app, "r1", n=2)
    set_status(app, "to-sign")
    storage.update("collection", "/buckets/main", "regions", other)
    transaction.commit()
    answer = set_status(app, "to-resign", status=409)
    assert "signed_timestamp, hash differs" in answer.json["message"]


def test_a_large_body_is_compressed(app, authority, monkeypatch):
    sent, request = [], _Requests.request

    def recorded(self, method, url, **options):
        answer = request(self, method, url, **options)
        sent.append((method, answer.request.headers.get("Content-Encoding"), answer.request.body))
        return answer

    monkeypatch.setattr(_Requests, "request", recorded)
    put(app, "small", n=1)
    set_status(app, "to-sign")
    put(app, "large", text="x" * COMPRESS_FROM_BYTES)
    set_status(app, "to-sign")
    small, large = [(encoding, body) for method, encoding, body in sent if method == "POST"]
    assert small[0] is None
    assert large[0] == "gzip"
    assert len(large[1]) < COMPRESS_FROM_BYTES / 10
    assert json.loads(gzip.decompress(large[1]))["changes"][0]["id"] == "large"
    assert held(authority) == signed(app)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_key_that_a_does_not_trust(live_kinto, key_pair, tmp_path, create_database):
    (tmp_path / "other").mkdir()
    other = write_key_pair(tmp_path / "other")
    authority = live_kinto(guarded_settings(other.public, create_database()), name="authority")
    app = signer_app(key_pair, database=create_database(), authority=authority.url, collection=False)
    answer = app.put_json(SOURCE, {}, status=503)
    assert answer.json["details"]["reason"] in ("unknown-key", "bad-signature")
    assert "refused" in answer.json["message"]
    app.get(SOURCE, status=404)


def test_more_than_a_takes(live_kinto, key_pair, create_database):
    settings = guarded_settings(key_pair.public, create_database()) | {"kinto.authority.max_changeset_bytes": "5000"}
    authority = live_kinto(settings, name="authority")
    app = signer_app(key_pair, database=create_database(), authority=authority.url)
    put(app, "large", text="x" * 6000)
    refused(app, "too-large", "kinto.authority.max_changeset_bytes", "5000")


def test_what_another_key_signed_is_described_and_kept(live_kinto, key_pair, tmp_path, create_database):
    """A trusts both signers; each knows its own key only."""
    (tmp_path / "other").mkdir()
    other = write_key_pair(tmp_path / "other")
    settings = guarded_settings(key_pair.public, create_database())
    settings["kinto.authority.public_keys"] += f" {other.public}"
    authority = live_kinto(settings, name="authority")
    app = signer_app(key_pair, database=create_database(), authority=authority.url, **WHO_MAY)
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    theirs = signer_app(other, database=create_database(), authority=authority.url, collection=False)
    signing = theirs.app.registry.signing
    trusting = app.app.registry.signing
    both = signing.trust(signing.resources.configured[0]).keys + trusting.trust(trusting.resources.configured[0]).keys
    from kinto_signer.core.trust import Trust

    signing.trust = lambda resource: Trust(both)
    parts = [{"method": "PUT", "path": SOURCE, "body": {"data": {"status": "to-sign"}}}]
    parts += [{"method": "PUT", "path": f"{SOURCE}/records/{name}", "body": {"data": {"n": 1}}} for name in ("r1", "theirs")]
    theirs.post_json("/batch", {"requests": parts})
    there = held(authority)
    assert set(there) == {"r1", "theirs"}
    put(app, "r2", n=2)
    found = attributes(app, DESTINATION)
    refused(app, "unknown-key", "1 records created (theirs)", str(found["signed_timestamp"]), found["hash"], "another bucket")
    (done,) = app.post_json("/signer/push", {}).json["data"]
    assert done["error"]["reason"] == "unknown-key"
    assert held(authority) == there


def between(monkeypatch, happen):
    """Let something happen between S's look and its push, once."""
    push, done = ChangesetAuthority.push, []

    def pushing(self, *arguments):
        if not done:
            done.append(True)
            happen(self)
        push(self, *arguments)

    monkeypatch.setattr(ChangesetAuthority, "push", pushing)


def test_an_earlier_attempt_that_arrives_late_is_continued(app, authority, monkeypatch):
    """A took the first attempt only when the second was on its way: 412, and the second goes on top of it."""
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    put(app, "r2", n=2)
    late = []

    def lose(self, base, changes, attributes, **options):
        late.append((base, changes, attributes))
        raise OSErrorOfOurs("The test loses it on the way.")

    from kinto_signer.errors import UnreachableError as OSErrorOfOurs

    post = ChangesetAuthority._post
    with monkeypatch.context() as patched:
        patched.setattr(ChangesetAuthority, "_post", lose)
        refused(app, "unreachable")
    with monkeypatch.context() as patched:
        between(patched, lambda self: post(self, *late[0]))
        set_status(app, "to-sign")
    assert held(authority) == signed(app)
    assert attributes(app)["status"] == "signed"
    assert attributes(app, DESTINATION)["signed_timestamp"] > late[0][2]["signed_timestamp"]


def test_an_earlier_attempt_that_cannot_be_built_upon_says_ask_again(app, authority, monkeypatch):
    """It holds a record that was taken back since: what was planned does not remove it."""
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    put(app, "r2", n=2)
    late = []
    from kinto_signer.errors import UnreachableError

    def lose(self, base, changes, attributes, **options):
        late.append((base, changes, attributes))
        raise UnreachableError("The test loses it on the way.")

    post = ChangesetAuthority._post
    with monkeypatch.context() as patched:
        patched.setattr(ChangesetAuthority, "_post", lose)
        refused(app, "unreachable")
    app.delete(f"{SOURCE}/records/r2")
    put(app, "r3", n=3)
    with monkeypatch.context() as patched:
        between(patched, lambda self: post(self, *late[0]))
        refused(app, "conflict", "ask again", "1 records created (r2)", status=409)
    set_status(app, "to-sign")
    assert set(held(authority)) == {"r1", "r3"}
    assert held(authority) == signed(app)


def test_another_signer_with_the_same_key_between_look_and_push(app, authority, monkeypatch, key_pair, create_database, back_up):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    url = app.app.registry.settings["storage_url"]
    twin_database = back_up(url)
    twin = signer_app(key_pair, database=twin_database, authority=authority.url, collection=False)
    app = signer_app(key_pair, database=url, authority=authority.url, collection=False)
    put(twin, "theirs", n=1)
    put(app, "r2", n=2)

    published = []

    def twin_publishes(self):
        import threading

        thread = threading.Thread(target=lambda: published.append(set_status(twin, "to-sign").status_int))
        thread.start()
        thread.join()

    with monkeypatch.context() as patched:
        between(patched, twin_publishes)
        refused(app, "conflict", "1 records created (theirs)", "two signers", status=409)
    assert published == [200]
    assert set(held(authority)) == {"r1", "theirs"}


# --- reading back -----------------------------------------------------------------------------------------------------


def tampering(monkeypatch, change):
    """What A shows of the publication is changed on the way to S; the look before it is not."""
    state = ChangesetAuthority._state

    def shown(self, query="_expected=0"):
        found = state(self, query)
        return change(found) if "_expected=0" not in query else found

    monkeypatch.setattr(ChangesetAuthority, "_state", shown)


def changed(found, **metadata):
    return Changeset(found.timestamp, found.changes, {**found.metadata, **metadata})


def other_record(found):
    changes = [{**one, "n": 666} if one["id"] == "r2" else one for one in found.changes]
    return Changeset(found.timestamp, changes, found.metadata)


def added_record(found):
    return Changeset(found.timestamp, [*found.changes, {"id": "x", "last_modified": found.timestamp}], found.metadata)


def without(name):
    def less(found):
        return Changeset(found.timestamp, [one for one in found.changes if one["id"] != name], found.metadata)

    return less


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda found: changed(found, hash="other"), "hash differs"),
        (lambda found: changed(found, signature={}), "signature differs"),
        (lambda found: changed(found, signatures=[]), "signatures differs"),
        (lambda found: changed(found, signed_timestamp=1), "signed_timestamp differs"),
        (lambda found: changed(found, signer_claim=None), "signer_claim differs"),
        (lambda found: Changeset(found.timestamp + 1, found.changes, found.metadata), "its timestamp is"),
        (other_record, "1 records differ (r2)"),
        (added_record, "1 records differ (x)"),
        (without("r2"), "1 records differ (r2)"),
        (without("r1"), "1 records differ (r1)"),
    ],
)
def test_what_a_shows_is_compared_with_what_was_sent(app, monkeypatch, change, word):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    app.delete(f"{SOURCE}/records/r1")
    put(app, "r2", n=2)
    with monkeypatch.context() as patched:
        tampering(patched, change)
        refused(app, "bad-answer", word)
    set_status(app, "to-sign")


def test_an_empty_collection_carries_its_timestamp(app, authority):
    found = attributes(app, DESTINATION)
    assert int(authority.client().get_records_timestamp(**NAME)) == found["signed_timestamp"]
    changes = authority.client().get_records(**NAME, _since="0")
    assert [change["id"] for change in changes] == [TIMESTAMP_MARKER]


# --- healing ----------------------------------------------------------------------------------------------------------


def test_push_heals_an_a_that_was_altered_behind_its_back(app, authority, postgres):
    put(app, "r1", n=1)
    put(app, "r2", n=1)
    set_status(app, "to-sign")
    before = everything(app)
    postgres.execute(
        """UPDATE objects SET data = data || '{"n": 666}' WHERE id = 'r1' AND resource_name = 'record'""",
        authority.settings["kinto.storage_url"],
    )
    assert held(authority)["r1"]["n"] == 666
    (done,) = app.post_json("/signer/push", {}).json["data"]
    assert "it did not verify; replaced as a whole, 2 records" in done["what"], done
    assert held(authority) == signed(app)
    assert everything(app) == before
    (again,) = app.post_json("/signer/push", {}).json["data"]
    assert again["what"] == "up to date"


def test_a_publication_to_an_altered_a_says_what_heals_it(app, authority, postgres):
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    postgres.execute(
        """UPDATE objects SET data = data || '{"n": 666}' WHERE id = 'r1' AND resource_name = 'record'""",
        authority.settings["kinto.storage_url"],
    )
    put(app, "r2", n=1)
    refused(app, "hash-mismatch", "kinto-signer push")
    app.post_json("/signer/push", {})
    set_status(app, "to-sign")
    assert held(authority) == signed(app)


def test_push_brings_a_newer_signature(app, authority, database, key_pair):
    options = {"kinto__signer__authority__required": "false"} | WHO_MAY
    app = signer_app(key_pair, database=database, authority=authority.url, collection=False, **options)
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    authority.stop()
    set_status(app, "to-resign")
    authority.start()
    (done,) = app.post_json("/signer/push", {}).json["data"]
    assert "the newer signature" in done["what"]
    there = authority.client().get_collection(bucket="main", id="regions")["data"]
    assert there["signature"] == attributes(app, DESTINATION)["signature"]


def test_a_collection_whose_attributes_were_altered_too_is_read_as_a_whole(app, authority, postgres):
    """The shortcut compares timestamp and hash; what differs there is verified, and the message says what mends it."""
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    postgres.execute(
        """UPDATE objects SET data = data || '{"hash": "other"}' WHERE id = 'regions' AND resource_name = 'collection'""",
        authority.settings["kinto.storage_url"],
    )
    refused(app, "hash-mismatch", "kinto-signer push", "0 records created, 0 updated, 0 deleted")
    app.post_json("/signer/push", {})
    set_status(app, "to-sign")
    assert held(authority) == signed(app)


def test_readers_of_a_healed_a_get_every_difference():
    """What is older than the state that A shows would be missed by readers who have that: then the whole is sent."""
    from kinto_signer.core.plan import Held
    from kinto_signer.server.own import Own, Seen
    from kinto_signer.server.pushing import _differences_do, _missing

    own = object.__new__(Own)
    own.name, own.timestamp, own.attributes = "main/regions", 30, {}
    own.__dict__["held"] = Held(30, [{"id": "a", "last_modified": 10}, {"id": "b", "last_modified": 30}])

    def there(*records, timestamp=20):
        return Seen(Held(timestamp, records), Changeset(timestamp, records), sound=True)

    cases = [
        (there({"id": "a", "last_modified": 10}), True),
        (there(), False),
        (there({"id": "a", "last_modified": 10}, {"id": "unknown", "last_modified": 15}), False),
    ]
    assert [_differences_do(own, seen, _missing(own, seen)) for seen, _ in cases] == [expected for _, expected in cases]
    own.timestamp = 31  # carried by a tombstone that was purged: no difference brings it
    assert not _differences_do(own, cases[0][0], _missing(own, cases[0][0]))
