"""``kinto-signer check --ini`` of a signer: everything right is exit code 0, and each thing that is wrong is named."""

import json
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer import examining
from kinto_signer.core.trust import PinnedRoot, Trust
from kinto_signer.plugin.resources import Place
from kinto_signer.server import checking_authority
from kinto_signer.server.checking_authority import Destination
from tests.support.certificates import DAY, SIGNER, make_pki, write_pki
from tests.support.checking import Command
from tests.support.emptied import emptied, memory_kinto
from tests.support.hostile import HostileServer, http_json
from tests.support.keys import write_key_pair
from tests.support.servers import write_ini
from tests.support.settings import PASSWORD, authority_settings, guarded_settings, kinto_settings, signer_settings
from tests.support.site import SOURCE, set_status, signer_app
from tests.support.unmeasured import unmeasured  # noqa: F401

pytestmark = pytest.mark.usefixtures("unmeasured")

NAME = "main/regions"


@pytest.fixture
def check(capsys, monkeypatch, tmp_path):
    return Command(capsys, monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def plain_kinto():
    with memory_kinto("plain") as server:
        yield server


@pytest.fixture
def plain(plain_kinto):
    return emptied(plain_kinto)


@pytest.fixture
def guarded(live_kinto, key_pair, create_database):
    return live_kinto(guarded_settings(key_pair.public, create_database()), name="guarded")


@pytest.fixture(params=["plain", "guarded"])
def authority(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def settings(key_pair, authority, database):
    return signer_settings(key_pair.private, database=database, authority=authority.url)


def published(key_pair, authority, database):
    """A signer that published three records."""
    app = signer_app(key_pair, database=database, authority=authority.url if authority else None)
    for number in range(3):
        app.put_json(f"{SOURCE}/records/r{number}", {"data": {"n": number}})
    app.patch_json(SOURCE, {"data": {"displayFields": ["n"]}})
    set_status(app, "to-sign")
    return app


def alter(postgres, database, where, data='{"n": 666}'):
    postgres.execute(f"UPDATE objects SET data = data || '{data}' WHERE {where}", database)


def everything_stored(postgres, database):
    tables = ("objects", "timestamps", "access_control_entries", "user_principals", "metadata")
    return {table: sorted(map(str, postgres.execute(f"SELECT * FROM {table}", database))) for table in tables}


# --- everything is right ------------------------------------------------------------------------------------------------------


def test_before_and_after_the_first_publication(check, settings, key_pair, authority, database):
    before = check(settings)
    assert (before.code, before.errors, before.of("warning")) == (0, [], [])
    said = " ".join(finding["message"] for finding in before.findings)
    for part in ("fingerprint", "kinto_signer is last", "answers", "may write there", "nothing was published", "PostgreSQL"):
        assert part in said, part
    assert authority.client("signer").get_buckets() == [], "asking what may be made made nothing"
    published(key_pair, authority, database)
    after = check(settings)
    assert (after.code, after.errors) == (0, [])
    verified = [finding["where"] for finding in after.of("ok") if finding["collection"] == NAME]
    assert verified == ["storage", authority.url]
    assert "Everything is right" in after.summary


def test_nothing_is_changed_anywhere(check, settings, key_pair, authority, database, postgres):
    app = published(key_pair, authority, database)
    app.put_json("/buckets/main-workspace/collections/unsigned", {})
    stored = [database]
    if authority.name == "guarded":
        stored.append(authority.settings["kinto.storage_url"])
    postgres.execute("DELETE FROM timestamps", database)  # a clock that reading would start
    there = authority.client("signer").get_collection(bucket="main", id="regions")
    buckets = authority.client("signer").get_buckets()
    before = [everything_stored(postgres, url) for url in stored]
    assert check(settings).code == 0
    assert [everything_stored(postgres, url) for url in stored] == before
    assert authority.client("signer").get_collection(bucket="main", id="regions") == there
    assert authority.client("signer").get_buckets() == buckets


def test_as_a_person_sees_it(check, settings, key_pair, authority, database, postgres, tmp_path):
    published(key_pair, authority, database)
    write_ini(tmp_path / "signer.ini", settings)
    code, out, err = check.run("check", "--ini", tmp_path / "signer.ini")
    *lines, summary = out.splitlines()
    assert (code, err) == (0, "")
    assert {line.partition(" ")[0] for line in lines} == {"ok"}
    assert len({line.index(NAME) for line in lines if NAME + " " in line}) == 1, "aligned"
    assert summary.startswith("Everything is right")
    alter(postgres, database, "id = 'r1' AND parent_id LIKE '/buckets/main/%'")
    code, out, _ = check.run("check", "--ini", tmp_path / "signer.ini")
    assert code == 3
    assert "[hash-mismatch]" in out
    assert out.splitlines()[-1].startswith("1 error (exit code 3), worst: main/regions on storage. Readers refuse")


# --- what is stored -------------------------------------------------------------------------------------------------------------


def test_a_row_altered_in_the_signers_database(check, settings, key_pair, authority, database, postgres):
    app = published(key_pair, authority, database)
    assert check(settings).code == 0
    alter(postgres, database, "id = 'r1' AND parent_id LIKE '/buckets/main/%'")
    report = check(settings)
    assert report.code == 3
    compared = f"Compared with {authority.url}: records: 1 different (r1)."
    found = report.one("hash-mismatch", "past Kinto", "approve it again", compared)
    assert (found["where"], found["collection"]) == ("storage", NAME)
    set_status(app, "to-sign")
    assert check(settings).code == 0, "what the message says to do helps"


def test_a_source_altered_in_the_signers_database(check, settings, key_pair, authority, database, postgres):
    app = published(key_pair, authority, database)
    alter(postgres, database, "id = 'r2' AND parent_id LIKE '/buckets/main-workspace/%'")
    report = check(settings)
    assert report.code == 10
    found = report.one("differs", "1 records are not those of main/regions (r2)", "altered past Kinto")
    assert (found["where"], found["collection"]) == ("storage", "main-workspace/regions")
    app.put_json(f"{SOURCE}/records/r2", {"data": {"n": 7}})
    assert check(settings).code == 0, "an edit that waits for approval is no damage"


def test_a_record_altered_on_a_plain_authority(check, key_pair, plain, database):
    settings = signer_settings(key_pair.private, database=database, authority=plain.url)
    published(key_pair, plain, database)
    plain.client("signer").patch_record(bucket="main", collection="regions", id="r1", data={"n": 666})
    report = check(settings)
    assert report.code == 3
    found = report.one("hash-mismatch", "Compared with storage: records: 1 different (r1).")
    assert (found["where"], found["collection"]) == (plain.url, NAME)


def test_an_authority_that_is_behind(check, settings, key_pair, authority, database):
    """S signed again while the authority was not among those it publishes to."""
    published(key_pair, authority, database)
    alone = signer_app(key_pair, database=database, collection=False)
    alone.put_json(f"{SOURCE}/records/r0", {"data": {"n": 10}})
    alone.delete(f"{SOURCE}/records/r1")
    for number in range(10, 17):
        alone.put_json(f"{SOURCE}/records/r{number}", {"data": {"n": number}})
    alone.patch_json(SOURCE, {"data": {"displayFields": ["other"]}})
    set_status(alone, "to-sign")
    report = check(settings)
    assert report.code == 10
    words = (
        "7 missing (r10, r11, r12, r13, r14, …)",
        "1 extra (r1)",
        "1 different (r0)",
        "displayFields",
        "hash",
        "signed_timestamp",
    )
    found = report.one("differs", *words)
    assert (found["where"], found["collection"]) == (authority.url, NAME)
    assert "kinto-signer push" in report.summary


def test_collections_that_only_one_side_has(check, key_pair, plain, database):
    settings = signer_settings(key_pair.private, database=database, authority=plain.url)
    published(key_pair, plain, database)
    plain.client("signer").create_collection(bucket="main", id="strange", permissions={"read": ["system.Everyone"]})
    report = check(settings)
    assert report.code == 3
    assert report.one("unsigned")["collection"] == "main/strange"
    plain.client("signer").delete_collection(bucket="main", id="strange")
    plain.client("signer").delete_collection(bucket="main", id="regions")
    report = check(settings)
    assert report.code == 10
    assert report.one("differs", "missing there")["collection"] == NAME


def test_an_authority_that_lost_its_database(check, key_pair, live_kinto, guarded, database, create_database, postgres):
    published(key_pair, guarded, database)
    settings = signer_settings(key_pair.private, database=database, authority=guarded.url)
    postgres.execute("DELETE FROM objects; DELETE FROM access_control_entries", guarded.settings["kinto.storage_url"])
    report = check(settings)
    assert report.code == 10
    assert report.one("differs", "missing there; storage has it")["collection"] == NAME


def test_an_authority_that_cannot_list_its_collections(check, key_pair, database):
    root = {"user": {"id": "basicauth:x"}, "capabilities": {}, "settings": {"batch_max_requests": 20000}}

    def answer(request):
        if request.method != "GET":
            return http_json(400, {})
        return http_json(200, root if request.path == "/v1/" else {"data": [{"no": "id"}]})

    with HostileServer(answer) as server:
        report = check(signer_settings(key_pair.private, database=database, authority=server.url))
    assert report.code == 3
    assert report.one("bad-answer", "the list of collections is malformed")["where"] == server.url


def test_a_probe_that_tells_nothing_is_a_warning(check, key_pair, database):
    root = {"user": {"id": "basicauth:x"}, "capabilities": {}, "settings": {"batch_max_requests": 20000}}

    def answer(request):
        if request.path == "/v1/":
            return http_json(200, root)
        return http_json(404 if request.method == "GET" else 405, {})

    with HostileServer(answer) as server:
        report = check(signer_settings(key_pair.private, database=database, authority=server.url))
    assert report.code == 0
    report.one("permissions", "answered 405", level="warning")


def test_a_collection_that_readers_may_not_read(check, key_pair, plain, database):
    published(key_pair, plain, database)
    settings = signer_settings(key_pair.private, database=database, authority=plain.url)
    plain.client("signer").patch_collection(bucket="main", id="regions", permissions={"read": []})
    report = check(settings)
    assert report.code == 4
    assert report.one("refused", "readers may not read it", "system.Everyone")["collection"] == NAME


def test_a_collection_that_the_authority_alone_has(check, key_pair, plain, database, create_database):
    published(key_pair, plain, create_database())
    report = check(signer_settings(key_pair.private, database=database, authority=plain.url))
    assert report.code == 10
    assert report.one("differs", "not on storage")["collection"] == NAME


def test_what_is_wrong_for_a_moment_is_no_finding(check, settings, key_pair, authority, database, monkeypatch):
    """The first look meets a publication that S has not committed yet."""
    app = published(key_pair, authority, database)
    looks = []
    whole = examining._look

    def look(subject):
        looks.append(subject.name)
        found = whole(subject)
        if len(looks) == 1:
            found.append(examining.differs("elsewhere", "for a moment", subject.name))
        return found

    monkeypatch.setattr(examining, "_look", look)
    report = check(settings)
    assert (report.code, looks) == (0, [NAME, NAME])
    assert app.get(SOURCE).json["data"]["status"] == "signed"


# --- the configuration ----------------------------------------------------------------------------------------------------------


def wrong_curve(folder):
    path = folder / "p256.pem"
    path.touch(0o600)
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            {"kinto.signer.ecdsa.private_key": "/nowhere.pem"},
            ["kinto.signer.ecdsa.private_key", "/nowhere.pem", "cannot be read"],
        ),
        ({"kinto.signer.ecdsa.private_key": "P256"}, ["kinto.signer.ecdsa.private_key", "not a key on the curve P-384"]),
        ({"kinto.signer.ecdsa.public_key": "/nowhere.pem"}, ["kinto.signer.ecdsa.public_key", "cannot be read"]),
        ({"kinto.signer.resources": "/buckets/a -> /buckets/a"}, ["kinto.signer.resources", "the same place twice"]),
        ({"kinto.signer.authority.timeout_seconds": "soon"}, ["kinto.signer.authority.timeout_seconds = soon"]),
        (
            {
                "kinto.signer.authorities": "eu us",
                "kinto.signer.authority.eu.url": "http://127.0.0.1:9/v1",
                "kinto.signer.authority.us.url": "http://127.0.0.1:9/",
            },
            ["kinto.signer.authority.us.url", "kinto.signer.authority.eu.url is the same server"],
        ),
    ],
)
def test_settings_that_keep_it_from_starting(check, key_pair, database, tmp_path, lines, words):
    lines = {key: str(wrong_curve(tmp_path)) if value == "P256" else value for key, value in lines.items()}
    report = check(signer_settings(key_pair.private, database=database) | lines)
    assert report.code == 2
    found = report.one("configuration", *words)
    assert found["where"] == "settings"


def test_everything_that_keeps_it_from_starting_is_named_at_once(check, key_pair, database):
    settings = signer_settings(
        key_pair.private, database=database, resources="/buckets/a -> /buckets/b\n/buckets/c -> /buckets/d"
    )
    settings |= {"kinto.signer.a.ecdsa.private_key": "/no-a.pem", "kinto.signer.c.ecdsa.private_key": "/no-c.pem"}
    report = check(settings)
    assert (report.code, len(report.errors)) == (2, 2)
    assert ["/no-a.pem" in report.errors[0]["message"], "/no-c.pem" in report.errors[1]["message"]] == [True, True]


def test_settings_that_are_only_strange(check, settings, key_pair, tmp_path):
    key_pair.private.chmod(0o660)
    settings |= {
        "kinto.includes": "kinto_signer kinto.plugins.history",
        "kinto.signer.ecdsa.public_key": str(key_pair.public),
        "kinto.signer.ressources": "x",
    }
    report = check(settings)
    assert report.code == 0
    report.one("file-mode", "kinto.signer.ecdsa.private_key", "may change it", "chmod 600", level="warning")
    report.one("order", "list kinto_signer last", level="warning")
    report.one("settings", "kinto.signer.ressources", "did you mean kinto.signer.resources", level="warning")
    assert any("the same key" in finding["message"] for finding in report.of("ok"))


def test_a_file_without_the_plugin_and_a_missing_one(check, tmp_path, database):
    report = check(kinto_settings(database))
    assert report.code == 2
    report.one("configuration", "neither kinto_signer nor kinto_signer.authority")
    code, out, _ = check.run("check", "--ini", tmp_path / "nothing.ini", "--format", "json")
    assert (code, "there is no such file" in out) == (2, True)


def test_storage_in_memory_without_tables_and_out_of_reach(check, key_pair, postgres, plain):
    report = check(signer_settings(key_pair.private, authority=plain.url))
    assert report.code == 0
    report.one("memory", "kinto.storage_backend", level="warning")
    bare = postgres.create_database("template0")
    report = check(signer_settings(key_pair.private, database=bare, authority=plain.url))
    assert report.code == 2
    report.one("no-tables", "kinto migrate --ini")
    assert any(finding["where"] == plain.url for finding in report.of("ok")), "the authority was asked all the same"
    postgres.drop_database(bare)
    report = check(signer_settings(key_pair.private, database=bare, authority=plain.url))
    assert report.code == 5
    report.one("unreachable", "the database cannot be used")


# --- the authority ----------------------------------------------------------------------------------------------------


def test_an_authority_that_is_down(check, settings, key_pair, authority, database):
    published(key_pair, authority, database)
    authority.sigkill()
    report = check(settings)
    assert report.code == 5
    assert report.one("unreachable", "kinto.signer.authority.url")["where"] == authority.url
    assert [finding["where"] for finding in report.of("ok") if finding["collection"] == NAME] == ["storage"]


def test_an_authority_that_hangs(check, key_pair, database):
    with HostileServer(lambda request: (time.sleep(3), b"")[1:]) as server:
        settings = signer_settings(key_pair.private, database=database, authority=server.url)
        started = time.monotonic()
        report = check(settings | {"kinto.signer.authority.timeout_seconds": "0.5"})
    assert (report.code, time.monotonic() - started < 3) == (5, True)
    report.one("unreachable", "does not answer within 0.5 s")


@pytest.fixture
def with_accounts(live_kinto, key_pair, create_database):
    """Authorities that know who somebody is: only `signer` may make buckets."""

    def start(settings):
        settings = settings | {
            "kinto.includes": f"kinto.plugins.accounts {settings.get('kinto.includes', '')}",
            "multiauth.policies": "account",
            "multiauth.policy.account.use": "kinto.plugins.accounts.AccountsPolicy",
            "kinto.account_create_principals": "system.Everyone",
            "kinto.bucket_create_principals": "account:signer",
        }
        server = live_kinto(settings, name="accounts")
        for user in ("signer", "other"):
            server.client(user).session.request("put", f"/accounts/{user}", payload={"data": {"password": PASSWORD}}, auth=None)
        return server

    return start


@pytest.mark.parametrize("kind", ["plain", "guarded"])
def test_credentials_and_permissions(check, key_pair, with_accounts, create_database, kind):
    database = create_database()
    server = with_accounts(authority_settings(database) if kind == "plain" else guarded_settings(key_pair.public, database))

    def ask(user, own):
        return check(signer_settings(key_pair.private, database=own, authority=server.url, auth=user))

    own = create_database()
    assert ask(f"signer:{PASSWORD}", own).code == 0
    report = ask("signer:wrong", own)
    assert report.code == 4
    report.one("refused", "kinto.signer.authority.auth")
    report = ask(f"other:{PASSWORD}", own)
    assert report.code == 4
    report.one("refused", "account:other", "may not")
    if kind == "plain":
        server.client("signer").create_bucket(id="main")
        report = ask(f"other:{PASSWORD}", own)
        assert report.code == 4
    app = signer_app(key_pair, database=own, authority=server.url, kinto__signer__authority__auth=f"signer:{PASSWORD}")
    app.put_json(f"{SOURCE}/records/r", {"data": {"n": 1}})
    set_status(app, "to-sign")
    assert ask(f"signer:{PASSWORD}", own).code == 0
    report = ask(f"other:{PASSWORD}", own)
    assert report.code == 4
    report.one("refused", "account:other may not write /buckets/main/collections/regions")
    app.put_json("/buckets/main-workspace/collections/second", {})
    assert ask(f"signer:{PASSWORD}", own).code == 0


def test_a_plain_authority_with_kintos_own_limit_and_schema_validation(check, key_pair, live_kinto, database):
    server = live_kinto(kinto_settings() | {"kinto.experimental_collection_schema_validation": "true"}, name="default")
    settings = signer_settings(key_pair.private, database=database, authority=server.url)
    report = check(settings)
    assert report.code == 0
    report.one("batch-max-requests", "kinto.batch_max_requests", "it is 25", level="warning")
    report.one("schema", "experimental_collection_schema_validation", level="warning")
    app = signer_app(key_pair, database=database)
    app.patch_json(SOURCE, {"data": {"schema": {"type": "object"}}})
    report = check(settings)
    assert report.code == 2
    assert report.one("schema")["collection"] == NAME


def test_a_guarded_authority_with_other_keys_or_other_buckets(check, key_pair, live_kinto, tmp_path, database):
    other = write_key_pair(tmp_path, "other")
    strange = live_kinto(guarded_settings(other.public), name="strange")
    report = check(signer_settings(key_pair.private, database=database, authority=strange.url))
    assert report.code == 2
    report.one("key-not-trusted", "will refuse", "kinto.authority.public_keys")
    assert not report.of("warning"), "no batch with the plugin"
    elsewhere = live_kinto(guarded_settings(key_pair.public, resources="/buckets/elsewhere"), name="elsewhere")
    report = check(signer_settings(key_pair.private, database=database, authority=elsewhere.url))
    assert report.code == 2
    report.one("not-guarded", "/buckets/main is not guarded there (elsewhere/* is)", "kinto.authority.resources")


def test_a_guarded_authority_that_trusts_a_root():
    root = PinnedRoot(bytes(32), SIGNER)
    shown = {"resources": [{"bucket": "main", "public_keys": [], **Trust(roots=(root,)).as_json()}]}
    for pinned, level in ((root, "ok"), (PinnedRoot(bytes(32), "else"), "error"), (PinnedRoot(b"x" * 32, SIGNER), "error")):
        (found,) = checking_authority._guard("https://a", shown, Destination(Place("main"), ("AA:BB",), pinned=(pinned,)))
        assert (found.level, "x5u_roots and signer_ids" in found.message) == (level, level == "error")


def test_a_certificate_that_ends_soon(check, tmp_path):
    now = int(time.time())
    for days, level in ((14, "warning"), (16, "ok")):
        files = write_pki(tmp_path, make_pki(leaf={"begin": now - DAY, "end": now + days * DAY}))
        report = check(signer_settings(files.key) | {"kinto.signer.ecdsa.chain": str(files.chain)})
        assert f"{SIGNER} ends at" in str(report.of(level))


def test_attachments_without_the_plugin(check, key_pair, database):
    root = {"user": {"id": "basicauth:x"}, "capabilities": {"attachments": {}}, "settings": {"batch_max_requests": 20000}}
    with HostileServer(lambda request: http_json(200, root)) as server:
        report = check(signer_settings(key_pair.private, database=database, authority=server.url))
    assert report.code == 2
    report.one("configuration", "kinto-attachment without kinto_signer.authority")


@pytest.mark.parametrize(
    ("date", "words"), [("Sat, 01 Jan 2000 00:00:00 GMT", "behind"), ("Fri, 01 Jan 2100 00:00:00 GMT", "ahead of")]
)
def test_clocks(check, key_pair, database, plain, date, words):
    settings = signer_settings(key_pair.private, database=database, authority=plain.url)
    assert not check(settings).of("warning")
    (found,) = checking_authority._clock(plain.url, date, time.time())
    assert (found.level, found.reason, words in found.message) == ("warning", "clock", True)
    root = {"user": {"id": "basicauth:x"}, "capabilities": {}, "settings": {"batch_max_requests": 20000}}
    with HostileServer(lambda request: http_json(200, root, Date=date)) as server:
        report = check(settings | {"kinto.signer.authority.url": server.url})
    report.one("clock", words, level="warning")


def test_an_authority_that_is_the_signer_itself(check, key_pair, live_kinto, database):
    server = live_kinto(signer_settings(key_pair.private, database=database), name="signer")
    report = check(signer_settings(key_pair.private, database=database, authority=server.url))
    assert report.code == 2
    report.one("configuration", "kinto.signer.authority.url", "is this server itself")


def test_an_authority_on_the_signers_own_database(check, key_pair, live_kinto, plain, database):
    published(key_pair, plain, database)
    server = live_kinto(authority_settings(database), name="same")
    report = check(signer_settings(key_pair.private, database=database, authority=server.url))
    assert report.code == 2
    report.one("same-server", "kinto.signer.authority.url", "own database")


def test_a_signer_whose_readers_come_to_itself(check, key_pair, database, postgres):
    settings = signer_settings(key_pair.private, database=database)
    published(key_pair, None, database)
    report = check(settings)
    assert report.code == 0
    alter(
        postgres, database, "id = 'regions' AND parent_id = '/buckets/main'", json.dumps({"signatures": None, "signature": None})
    )
    report = check(settings)
    assert report.code == 3
    assert report.one("unsigned")["collection"] == NAME


def test_one_collection_of_many(check, key_pair, plain, database):
    settings = signer_settings(key_pair.private, database=database, authority=plain.url)
    published(key_pair, plain, database)
    plain.client("signer").create_collection(bucket="main", id="strange", permissions={"read": ["system.Everyone"]})
    assert check(settings, "-c", "main/strange").code == 3
    assert check(settings, "-c", NAME).code == 0
    report = check(settings, "-c", "main/none")
    assert report.code == 2
    report.one("configuration", "-c main/none")


def test_a_signer_that_nobody_answers_for(check, key_pair, database):
    """Its keys have to be asked for: without them nothing can be said about what it signed, and that is said."""
    settings = signer_settings(key_pair.private, database=database) | {
        "kinto.signer.signer_backend": "autograph",
        "kinto.signer.autograph.server_url": "http://127.0.0.1:9",
        "kinto.signer.autograph.hawk_id": "alice",
        "kinto.signer.autograph.hawk_secret": "hunter2",
    }
    report = check(settings)
    assert report.code == 1
    report.one("signer", "http://127.0.0.1:9", "cannot be reached")
    assert any(
        "AutographSigner http://127.0.0.1:9/sign/hash remote-settings" in finding["message"] for finding in report.of("ok")
    )
    assert "hunter2" not in str(report.findings)
