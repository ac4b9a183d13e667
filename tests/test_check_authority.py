"""``kinto-signer check --ini`` of an authority, and ``check SERVER``: what is stored, who may write, and how servers differ."""

import pytest
import transaction

from kinto_signer.core.changeset import Changeset
from kinto_signer.plugin.looking import looking
from tests.support.checking import Command
from tests.support.hostile import HostileServer, http_json
from tests.support.keys import write_key_pair
from tests.support.publications import URI, body_of, post, successive_states
from tests.support.servers import webtest_app
from tests.support.settings import authority_settings, guarded_settings, kinto_settings, signer_settings
from tests.support.site import SOURCE, set_status, signer_app
from tests.support.states import NAME, make_records, now_ms, signed_state

RECORD = "id = 'record-0003' AND resource_name = 'record'"
COLLECTION = "id = 'regions' AND resource_name = 'collection'"


@pytest.fixture
def check(capsys, monkeypatch, tmp_path):
    return Command(capsys, monkeypatch, tmp_path)


@pytest.fixture
def states(key_pair):
    return successive_states(key_pair.key(), 2, displayFields=["text"])


@pytest.fixture
def settings(key_pair, database):
    return guarded_settings(key_pair.public, database)


@pytest.fixture
def app(settings, states):
    """An authority that accepted a publication."""
    app = webtest_app(settings)
    post(app, body_of(states[0]), status=201)
    return app


@pytest.fixture
def signed_by(app, settings):
    """The same settings, which name the account that published."""
    return settings | {"kinto.authority.signer_principals": app.get("/").json["user"]["id"]}


def everything_stored(postgres, database):
    tables = ("objects", "timestamps", "access_control_entries", "metadata")
    return {table: sorted(map(str, postgres.execute(f"SELECT * FROM {table}", database))) for table in tables}


def test_everything_is_right_and_nothing_is_changed(check, app, signed_by, database, postgres, states):
    before = everything_stored(postgres, database)
    report = check(signed_by)
    assert (report.code, report.errors, report.of("warning")) == (0, [], [])
    (found,) = [finding for finding in report.of("ok") if finding["collection"] == NAME]
    assert (found["where"], f"verifies: {len(states[0].records)} records" in found["message"]) == ("storage", True)
    assert everything_stored(postgres, database) == before


def test_looking_sees_one_moment_and_undoes_what_reading_starts(app, database, postgres):
    storage = app.app.registry.storage
    unknown = "/buckets/main/collections/unknown"
    before = everything_stored(postgres, database)
    with looking(storage) as seen:
        first = seen.list_all("record", URI)
        seen.resource_timestamp("record", unknown)
        postgres.execute(f"DELETE FROM objects WHERE {RECORD}", database)
        assert seen.list_all("record", URI) == first
    assert everything_stored(postgres, database)["timestamps"] == before["timestamps"]
    with looking(storage) as seen:
        assert len(seen.list_all("record", URI)) == len(first) - 1
    with transaction.manager:  # reading does start the clock where nothing undoes it
        storage.resource_timestamp("record", unknown)
    assert everything_stored(postgres, database)["timestamps"] != before["timestamps"]


def test_before_the_first_publication(check, settings):
    report = check(settings)
    assert (report.code, report.errors) == (0, [])
    report.one("settings", "kinto.authority.signer_principals is not set", level="warning")
    assert any("nothing was published here yet" in finding["message"] for finding in report.of("ok"))


@pytest.mark.parametrize(
    ("reason", "statement"),
    [
        ("hash-mismatch", f"""UPDATE objects SET data = data || '{{"text": "evil"}}' WHERE {RECORD}"""),
        ("hash-mismatch", f"DELETE FROM objects WHERE {RECORD}"),
        ("hash-mismatch", f"UPDATE objects SET last_modified = last_modified - interval '1 hour' WHERE {RECORD}"),
        ("unsigned", f"UPDATE objects SET data = data - 'signature' - 'signatures' WHERE {COLLECTION}"),
        ("refused", f"""UPDATE objects SET data = data || '{{"displayFields": ["evil"]}}' WHERE {COLLECTION}"""),
        ("rollback", f"DELETE FROM objects WHERE {COLLECTION}"),
    ],
)
def test_what_was_altered_in_postgresql(check, app, signed_by, database, postgres, reason, statement):
    assert check(signed_by).code == 0
    postgres.execute(statement, database)
    report = check(signed_by)
    assert report.code == 3
    found = report.one(reason, "kinto-signer push")
    assert (found["where"], found["collection"]) == ("storage", NAME)
    assert "Readers refuse" in report.summary


def test_an_older_state_put_back_in_postgresql(check, app, signed_by, database, postgres, states):
    """It verifies; but another one was accepted since."""
    postgres.execute("CREATE TABLE old AS SELECT * FROM objects", database)
    post(app, body_of(states[1], states[0].timestamp), status=200)
    assert check(signed_by).code == 0
    kept = "resource_name IN ('record', 'collection')"
    put_back = f"DELETE FROM objects WHERE {kept}; INSERT INTO objects SELECT * FROM old WHERE {kept}"
    postgres.execute(f"SET session_replication_role = replica; {put_back}", database)  # without Kinto's triggers
    report = check(signed_by)
    assert report.code == 3
    assert report.one("rollback")["collection"] == NAME


def test_who_else_may_write(check, app, signed_by):
    app.app.registry.permission.add_principal_to_ace(URI, "write", "account:mallory")
    app.app.registry.permission.add_principal_to_ace("/buckets/main", "collection:create", "system.Authenticated")
    transaction.commit()
    report = check(signed_by | {"kinto.record_create_principals": "account:intern"})
    assert report.code == 0
    found = [finding["message"] for finding in report.of("warning") if finding["reason"] == "writers"]
    assert ["kinto.record_create_principals lets account:intern" in found[0], "account:mallory system.Auth" in found[1]] == [
        True,
        True,
    ]


def test_settings_that_keep_it_from_starting(check, settings, database):
    report = check(settings | {"kinto.includes": "kinto_signer.authority kinto.plugins.flush"})
    assert report.code == 2
    report.one("configuration", "kinto.includes has kinto.plugins.flush")
    report = check(settings | {"kinto.authority.public_keys": "/nowhere.pem"})
    assert report.code == 2
    report.one("configuration", "kinto.authority.public_keys = /nowhere.pem", "cannot be read")
    report = check(settings | {"kinto.storage_backend": "no.such.thing"})
    assert report.code == 2
    report.one("configuration", "cannot be loaded")


def test_storage_in_memory_and_strange_settings(check, key_pair):
    report = check(guarded_settings(key_pair.public) | {"kinto.authority.recources": "x", "kinto.signer.resources": "y"})
    assert report.code == 0
    report.one("memory", "kinto.storage_backend", level="warning")
    said = " ".join(finding["message"] for finding in report.of("warning"))
    assert "did you mean kinto.authority.resources" in said
    assert "kinto_signer is not in kinto.includes" in said


# --- servers, by their URLs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def live(live_kinto, settings, states, key_pair):
    server = live_kinto(settings, name="one")
    publish(server, states[0])
    return server


def publish(server, state, base=0):
    session = server.client("signer").session
    session.request("post", f"{URI}/changeset", payload=body_of(state, base))


def test_a_server_and_the_keys_that_are_given(check, live, key_pair, tmp_path, database, postgres):
    report = check(None, live.url, "--public-key", key_pair.public)
    assert (report.code, [finding["collection"] for finding in report.of("ok")]) == (0, [NAME])
    other = write_key_pair(tmp_path, "other")
    report = check(None, live.url, "--public-key", other.public)
    assert report.code == 3
    assert report.one("unknown-key")["where"] == live.url
    assert check(None, live.url, "--public-key", other.public, "--public-key", key_pair.public).code == 0
    code, _, err = check.run("check", live.url)
    assert (code, "--public-key FILE" in err) == (2, True)
    code, _, err = check.run("check")
    assert (code, "Nothing to check" in err) == (2, True)
    postgres.execute(f"""UPDATE objects SET data = data || '{{"text": "evil"}}' WHERE {RECORD}""", database)
    report = check(None, live.url, "--public-key", key_pair.public)
    assert report.code == 3
    assert report.one("hash-mismatch")["collection"] == NAME


def test_several_servers_against_each_other(check, live, live_kinto, key_pair, create_database, states):
    second = live_kinto(guarded_settings(key_pair.public, create_database()), name="two")
    flags = (live.url, second.url, "--public-key", key_pair.public)
    report = check(None, *flags)
    assert report.code == 10
    assert report.one("differs", "missing there", live.url)["where"] == second.url
    publish(second, states[0])
    assert check(None, *flags).code == 0
    publish(second, states[1], states[0].timestamp)
    report = check(None, *flags)
    assert report.code == 10
    found = report.one("differs", "1 missing", "1 extra", "1 different", "signed_timestamp")
    assert (found["where"], found["collection"]) == (second.url, NAME)
    second.sigkill()
    report = check(None, *flags)
    assert report.code == 5
    assert report.one("unreachable")["where"] == second.url
    assert [finding["where"] for finding in report.of("ok")] == [live.url]


def test_a_server_against_a_signer(check, live_kinto, key_pair, create_database):
    authority = live_kinto(guarded_settings(key_pair.public, create_database()), name="authority")
    mirror = live_kinto(guarded_settings(key_pair.public, create_database()), name="mirror")
    own = create_database()
    app = signer_app(key_pair, database=own, authority=authority.url)
    app.put_json(f"{SOURCE}/records/r", {"data": {"n": 1}})
    set_status(app, "to-sign")
    settings = signer_settings(key_pair.private, database=own, authority=authority.url)
    assert check(settings, authority.url).code == 0
    report = check(settings, mirror.url)
    assert report.code == 10
    assert report.one("differs", "missing there; storage has it")["where"] == mirror.url
    shown = authority.client("signer").session.request("get", f"{URI}/changeset?_expected=0")[0]
    publish(mirror, Changeset(shown["timestamp"], shown["changes"], shown["metadata"]))
    report = check(settings, mirror.url)
    assert report.code == 0
    assert [finding["where"] for finding in report.of("ok") if finding["collection"]] == ["storage", authority.url, mirror.url]


def test_a_plain_server_says_nothing_of_what_it_has(check, live_kinto, key_pair, create_database):
    plain = live_kinto(authority_settings(), name="plain")
    app = signer_app(key_pair, database=create_database(), authority=plain.url)
    set_status(app, "to-sign")
    report = check(None, plain.url, "--public-key", key_pair.public)
    assert report.code == 2
    report.one("configuration", "does not say what it has", "-c BUCKET/COLLECTION")
    assert check(None, plain.url, "--public-key", key_pair.public, "-c", NAME).code == 0
    report = check(None, plain.url, "--public-key", key_pair.public, "-c", "main/none")
    assert report.code == 4
    assert report.one("refused")["collection"] == "main/none"


def test_a_signer_and_its_previews_by_url(check, live_kinto, key_pair, database):
    resources = "/buckets/main-workspace -> /buckets/main-preview -> /buckets/main"
    settings = signer_settings(key_pair.private, database=database, resources=resources)
    server = live_kinto(settings, name="signer")
    client = server.client("alice")
    client.create_bucket(id="main-workspace")
    client.create_collection(bucket="main-workspace", id="regions")
    client.create_record(bucket="main-workspace", collection="regions", id="r", data={"n": 1})
    client.patch_collection(bucket="main-workspace", id="regions", data={"status": "to-sign"})
    report = check(None, server.url, "--public-key", key_pair.public)
    assert (report.code, [finding["collection"] for finding in report.of("ok")]) == (0, [NAME])
    report = check(settings, server.url)
    assert (report.code, [finding["where"] for finding in report.of("ok") if finding["collection"]]) == (
        0,
        ["storage", server.url],
    )


@pytest.mark.parametrize(
    ("entries", "code", "reason"),
    [
        ([{"bucket": "main"}], 3, "bad-answer"),
        ([{"bucket": "main", "collection": "../x"}], 3, "bad-answer"),
        ("x", 3, "bad-answer"),
        (None, 0, None),
    ],
)
def test_odd_answers(check, key_pair, entries, code, reason):
    def answer(request):
        if request.path == "/v1/":
            capabilities = {"changes": {}, "authority": {"resources": [1, {"bucket": 2}, None]}, "signer": {"resources": "x"}}
            return http_json(200, {"capabilities": capabilities})
        return http_json(200, {"data": entries})

    with HostileServer(answer) as server:
        report = check(None, server.url, "--public-key", key_pair.public)
    assert (report.code, [finding["reason"] for finding in report.errors]) == (code, [reason] if reason else [])


def test_an_authority_without_monitor_changes_is_asked_for_its_collections(check, key_pair):
    """And what is dated too far ahead is refused by readers, although it is signed."""
    ahead = signed_state(key_pair.key(), make_records(2, start=now_ms() + 2 * 24 * 3600 * 1000))
    answers = {
        "/v1/": {"capabilities": {"authority": {"resources": [{"bucket": "main", "collection": None}]}}},
        "/v1/buckets/main/collections": {"data": [{"id": "regions"}]},
        "/v1/buckets/main/collections/regions": {"data": dict(ahead.metadata)},
        "/v1/buckets/main/collections/regions/records": {"data": list(ahead.changes)},
    }

    def answer(request):
        found = answers.get(request.path)
        return http_json(404, {}) if found is None else http_json(200, found, ETag=f'"{ahead.timestamp}"')

    with HostileServer(answer) as server:
        report = check(None, server.url, "--public-key", key_pair.public)
    assert report.code == 3
    found = report.one("not-yet-valid", "more than 24 hours")
    assert (found["where"], found["collection"]) == (server.url, NAME)


def test_a_server_that_lists_a_name_for_which_the_file_has_no_key(check, live, live_kinto, key_pair, create_database, states):
    settings = guarded_settings(key_pair.public, create_database(), resources="/buckets/other")
    report = check(settings, live.url)
    assert report.code == 2
    assert report.one("configuration", "--public-key FILE")["collection"] == NAME
    assert check(settings, live.url, "--public-key", key_pair.public).code == 0
    assert check(kinto_settings(create_database()), live.url, "--public-key", key_pair.public).code == 2
