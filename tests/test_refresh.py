"""``kinto-signer refresh`` from cron: what is due, what is left alone and why, and several machines at the same time."""

import json
import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace

import psycopg2
import pytest
from kinto_http.exceptions import KintoException

from kinto_signer.cli import output, refresh
from kinto_signer.cli.signer import cli
from kinto_signer.cli.told import Told
from kinto_signer.core.renewal import Conditions, Validity
from kinto_signer.core.spans import DAY_MS
from kinto_signer.core.statement import peek
from tests.support.aging import aged, set_attributes
from tests.support.certificates import make_pki
from tests.support.keys import write_key_pair
from tests.support.servers import LiveKinto, webtest_app
from tests.support.settings import PASSWORD, authority_settings, kinto_settings, signer_settings

BUCKET = "main-workspace"
NAMES = ("fresh", "old", "short")
MISSING = "lists/missing"
GONE = refresh.GONE


class Site:
    """S with three collections, of which one has statements of a day, and A, both live and on PostgreSQL."""

    def __init__(self, postgres, key_pair, signer, authority):
        self.postgres, self.signer, self.authority = postgres, signer, authority
        self.key = key_pair.key()
        self.client = signer.client("alice")
        self.client.create_bucket(id=BUCKET, permissions={"read": ["system.Authenticated"]})
        for collection in NAMES:
            self.client.create_collection(bucket=BUCKET, id=collection)
            self.client.create_record(bucket=BUCKET, collection=collection, id="r1", data={"n": 1})
            self.publish(collection)

    def publish(self, collection):
        self.client.patch_collection(bucket=BUCKET, id=collection, data={"status": "to-sign"})

    def attributes(self, collection, server=None):
        return (server or self.signer).client("alice").get_collection(bucket="main", id=collection)["data"]

    def serials(self):
        return {collection: peek(self.attributes(collection)).statement.serial for collection in NAMES}

    def age(self, collection, days, *servers):
        for server in servers or (self.signer, self.authority):
            envelope = aged(self.key, self.attributes(collection, server), days)
            self.set(server, f"main/{collection}", publication=envelope)

    def set(self, server, name, **attributes):
        set_attributes(self.postgres, server.settings["kinto.storage_url"], name, **attributes)

    def run(self, *arguments, user="alice"):
        """Exit code and what is printed as JSON."""
        environment = {"KINTO_SERVER": self.signer.url, "KINTO_AUTH": f"{user}:{PASSWORD}"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            return output.run(cli, ["refresh", *map(str, arguments)])


@pytest.fixture(scope="module")
def site(postgres, tmp_path_factory):
    key_pair = write_key_pair(tmp_path_factory.mktemp("keys"))
    resources = f"/buckets/{BUCKET} -> /buckets/main\n{MISSING};main/missing"
    urls = [postgres.create_database(), postgres.create_database()]
    with LiveKinto(authority_settings(urls[0]), name="authority") as authority:
        settings = signer_settings(key_pair.private, database=urls[1], authority=authority.url, resources=resources)
        settings |= {"kinto.signer.lock_timeout_seconds": "0.2", "kinto.signer.authority.timeout_seconds": "60"}
        settings[f"kinto.signer.{BUCKET}.short.statement_lifetime_days"] = "1"
        settings["kinto.signer.status_principals"] = webtest_app(kinto_settings()).get("/").json["user"]["id"]
        with LiveKinto(settings, name="signer") as signer:
            yield Site(postgres, key_pair, signer, authority)
    for url in urls:
        postgres.drop_database(url)


@pytest.fixture
def run(site, capsys):
    """``run("--older-than", "7d")`` -> exit code and JSON."""

    def run(*arguments, **options):
        code = site.run(*arguments, "--format", "json", **options)
        found = json.loads(capsys.readouterr().out)
        assert found["exit_code"] == code
        return code, found

    return run


@pytest.fixture(autouse=True)
def renewed(site):
    for collection in NAMES:
        site.client.patch_collection(bucket=BUCKET, id=collection, data={"status": "to-resign"})


def names(listed):
    return [one["name"] for one in listed]


def full(*collections):
    return [f"{BUCKET}/{collection}" for collection in collections]


def why(found):
    return {one["name"]: one["why"] for one in found["left_alone"]}


# --- what is due ----------------------------------------------------------------------------------------------------------


def test_only_what_is_older_or_ends_soon(site, run):
    site.age("old", 8)
    before = site.serials()
    code, found = run("--older-than", "7d", "--dry-run")
    assert (code, found["dry_run"], names(found["refreshed"])) == (0, True, full("old"))
    assert site.serials() == before

    code, found = run("--older-than", "7d", "--before-expiry", "36h")
    assert (code, names(found["refreshed"])) == (0, full("old", "short"))
    assert found["refreshed"][0]["why"].startswith("it was signed 8 d 0 h ago, longer than the 7 d 0 h")
    assert found["refreshed"][1]["why"].startswith("its statement ends in 23 h 59 min, within the 1 d 12 h")
    assert why(found).keys() == {*full("fresh"), MISSING}
    assert why(found)[MISSING] == GONE
    assert "its statement ends in 29 d 23 h" in why(found)[full("fresh")[0]]
    after = site.serials()
    assert {name for name in NAMES if after[name] != before[name]} == {"old", "short"}
    assert peek(site.attributes("old", site.authority)) == peek(site.attributes("old"))

    code, found = run("--older-than", "7d")
    assert (code, found["refreshed"]) == (0, [])
    assert site.serials() == after


def test_without_conditions_all_of_them(site, run):
    before = site.serials()
    code, found = run()
    assert (code, names(found["refreshed"]), names(found["left_alone"])) == (0, full(*NAMES), [MISSING])
    assert all(site.serials()[name] > before[name] for name in NAMES)


def test_one_that_is_named_is_asked_about_too(site, run):
    code, found = run(f"{BUCKET}/fresh", "--older-than", "7d")
    assert (code, found["refreshed"], names(found["left_alone"])) == (0, [], full("fresh"))
    site.age("fresh", 8)
    code, found = run(f"{BUCKET}/fresh", "--older-than", "7d")
    assert (code, names(found["refreshed"]), found["left_alone"]) == (0, full("fresh"), [])


def test_what_readers_of_the_authority_have_counts_too(site, run):
    site.age("fresh", 8, site.authority)
    _, found = run("--older-than", "7d")
    assert names(found["refreshed"]) == full("fresh")
    assert found["refreshed"][0]["why"].startswith("on authority: it was signed 8 d 0 h ago")
    assert run("--older-than", "7d")[1]["refreshed"] == []


def test_without_statements_the_last_signature_counts(site, run):
    """S says when it signed; an authority that has the same signature was given it then."""
    where = "resource_name = 'collection' AND id = 'fresh' AND parent_id = '/buckets/main'"
    for server in (site.signer, site.authority):
        site.postgres.execute(
            f"UPDATE objects SET data = data - 'publication' || '{{\"signed_timestamp\": 1600000000000}}' WHERE {where}",
            server.settings["kinto.storage_url"],
        )
    assert run("--older-than", "7d")[1]["refreshed"] == []
    site.publish("fresh")


def test_a_certificate_that_ends(site, run, monkeypatch):
    """It is signed again; and said that this does not help, as long as the signer has no other certificate."""
    pki, renew = make_pki(leaf={"begin": 1_700_000_000, "end": 1_790_000_000}), refresh._renew

    def carry_chain():
        signatures = [{**one, "x5u": "https://x"} for one in site.attributes("fresh")["signatures"]]
        for server in (site.signer, site.authority):
            site.set(server, "main/fresh", chains={"https://x": pki.pem.decode()}, signatures=signatures)

    def renew_with_the_same(signer, name):
        done = renew(signer, name)
        carry_chain()
        return done

    carry_chain()
    with monkeypatch.context() as patched:
        patched.setattr(refresh, "_renew", renew_with_the_same)
        code, found = run("--before-expiry", "12h")
    assert (code, names(found["refreshed"])) == (0, full("fresh"))
    assert "the certificate of 'regions.content-signature.example.org' ended" in found["refreshed"][0]["why"]
    (note,) = found["notes"]
    assert "ended" in note
    assert "give the signer a new one" in note
    code, found = run("--before-expiry", "12h")  # with another signer, here one without certificates
    assert (code, names(found["refreshed"]), "notes" in found) == (0, full("fresh"), False)
    assert "chains" not in site.attributes("fresh")


def test_what_was_never_signed_is_left_alone(site, run):
    """Signed by nobody, as after a move from a plain Kinto: nothing to renew, and no failure every night."""
    site.client.create_collection(bucket=BUCKET, id="unsigned")
    database = site.signer.settings["kinto.storage_url"]
    site.postgres.execute("DELETE FROM objects WHERE id = 'unsigned' AND parent_id = '/buckets/main'", database)
    code, found = run()
    assert (code, why(found)[f"{BUCKET}/unsigned"]) == (0, "nothing is signed here yet")
    code, found = run(f"{BUCKET}/unsigned")  # who names it is told what S says
    assert (code, "error" in found["refreshed"][0]) == (6, True)
    site.postgres.execute("DELETE FROM objects WHERE id = 'unsigned'", database)


def test_what_readers_have_of_a_source_that_was_deleted(site, run):
    """Its signed empty state ends like any other, and nobody can set a status any more."""
    site.client.create_collection(bucket=BUCKET, id="gone")
    site.client.session.request("delete", f"/buckets/{BUCKET}/collections/gone")
    site.age("gone", 8)
    before = peek(site.attributes("gone")).statement
    code, found = run("--older-than", "7d", "--dry-run")
    assert (code, names(found["refreshed"]), peek(site.attributes("gone")).statement) == (0, full("gone"), before)
    code, found = run("--older-than", "7d")
    assert (code, names(found["refreshed"]), found["refreshed"][0]["what"]) == (0, full("gone"), "signed again")
    after = peek(site.attributes("gone")).statement
    assert (after.serial > before.serial, after.timestamp, after.records) == (True, before.timestamp, 0)
    assert peek(site.attributes("gone", site.authority)).statement == after
    code, found = run("--older-than", "7d")
    assert (code, found["refreshed"], full("gone")[0] in why(found)) == (0, [], True)
    for arguments in ([], full("gone")):
        assert full("gone")[0] in names(run(*arguments)[1]["refreshed"])
    assert peek(site.attributes("gone")).statement.serial > after.serial

    bob = site.signer.client("bob").session
    for client, name, status in ((bob, "gone", 403), (site.client.session, "fresh", 404), (site.client.session, "nothing", 404)):
        with pytest.raises(KintoException) as error:
            client.request("post", "/signer/refresh", payload={"collection": f"{BUCKET}/{name}"})
        assert error.value.response.status_code == status
    site.postgres.execute("DELETE FROM objects WHERE id = 'gone'", site.signer.settings["kinto.storage_url"])


def test_one_that_fails_does_not_stop_the_others(site, run, capsys):
    for collection in NAMES:
        site.age(collection, 8)
    sound = site.attributes("old")
    site.set(site.signer, "main/old", hash="sha384-" + "A" * 64)
    code = site.run("--older-than", "7d")
    captured = capsys.readouterr()
    assert code == 1
    assert f"1 of 3 not renewed: {BUCKET}/old" in captured.err
    assert captured.out.count("signed again (it was signed 8 d 0 h ago") == 2
    site.set(site.signer, "main/old", hash=sound["hash"])
    code, found = run("--older-than", "7d")
    assert (code, names(found["refreshed"])) == (0, full("old"))


def test_the_text_says_what_was_left_alone(site, capsys):
    assert site.run("--older-than", "7d") == 0
    out = capsys.readouterr().out
    assert f"{BUCKET}/fresh: left alone: signed 0 min " in out
    assert f"{MISSING}: left alone: {GONE}" in out


# --- who may know, and usage ----------------------------------------------------------------------------------------------


def test_conditions_are_for_those_whom_the_signer_tells(site, run, capsys):
    code, found = run("--older-than", "7d", user="bob")
    assert (code, found["error"]["reason"]) == (6, "refused")
    assert "kinto.signer.status_principals" in found["error"]["message"]
    site.client.patch_collection(bucket=BUCKET, id="old", data={}, permissions={"write": [site.signer.userid("bob")]})
    before = site.serials()
    code, found = run(user="bob")
    assert "kinto.signer.status_principals" in found["notes"][0]
    assert {name for name in NAMES if site.serials()[name] != before[name]} == {"old"}
    assert code == 1


@pytest.mark.parametrize("flag", ["--older-than", "--before-expiry"])
@pytest.mark.parametrize("value", ["7", "soon", "0d", "-1d", "7 d"])
def test_a_span_that_is_none_is_a_usage_error(site, capsys, flag, value):
    assert site.run(f"{flag}={value}") == 2
    err = capsys.readouterr().err
    assert flag in err
    assert "7d, 36h, 90m or 30s" in " ".join(err.replace("│", " ").split())


# --- several at once ------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(site):
    """Somebody else is at work on the collection `old`: its row is locked until ``held.release()``."""
    with closing(psycopg2.connect(site.signer.settings["kinto.storage_url"])) as connection:
        where = "resource_name = 'collection' AND id = 'old' AND parent_id = '/buckets/main-workspace'"
        connection.cursor().execute(f"SELECT 1 FROM objects WHERE {where} FOR UPDATE")
        yield SimpleNamespace(release=connection.rollback)


@pytest.fixture
def on_wait(monkeypatch):
    """``on_wait(what)`` is called instead of waiting."""

    def set_(what):
        monkeypatch.setattr(refresh, "time", SimpleNamespace(sleep=what))

    return set_


def test_who_finds_it_locked_waits_and_asks_again(site, run, held, on_wait):
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            held.release()

    on_wait(wait)
    before = site.serials()["old"]
    code, found = run(f"{BUCKET}/old")
    assert (code, found["refreshed"][0]["what"], len(waits)) == (0, "signed again", 2)
    assert site.serials()["old"] > before


def test_what_somebody_else_signed_meanwhile_will_do(site, run, held, on_wait):
    def wait(_seconds):
        held.release()
        site.client.patch_collection(bucket=BUCKET, id="old", data={"status": "to-resign"})

    on_wait(wait)
    code, found = run(f"{BUCKET}/old")
    assert (code, found["refreshed"][0]["what"]) == (0, "was signed by somebody else meanwhile")


def test_who_waited_long_enough_says_so(site, run, held, on_wait):
    waits = []
    on_wait(waits.append)
    code, found = run(f"{BUCKET}/old")
    assert (code, found["refreshed"][0]["error"]["reason"], tuple(waits)) == (6, "conflict", refresh.WAITS_S)


def test_another_conflict_is_no_reason_to_wait(site, run, on_wait):
    """A has another state: asking again does not help."""
    waits = []
    on_wait(waits.append)
    hash_ = site.attributes("old", site.authority)["hash"]
    site.set(site.authority, "main/old", hash="sha384-" + "A" * 64)
    code, found = run(f"{BUCKET}/old")
    assert (code, found["refreshed"][0]["error"]["reason"], waits) == (6, "conflict", [])
    site.set(site.authority, "main/old", hash=hash_)


def test_two_machines_at_the_same_time(site):
    for collection in NAMES:
        site.age(collection, 8)
    before = site.serials()
    environment = {"KINTO_SERVER": site.signer.url, "KINTO_AUTH": f"alice:{PASSWORD}"}
    command = [sys.executable, "-m", "kinto_signer.cli.signer", "refresh", "--older-than", "7d", "--format", "json"]
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    answers = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], answers
    found = [json.loads(out) for out, _ in answers]
    assert all("error" not in one for answer in found for one in answer["refreshed"])
    assert {one["name"] for answer in found for one in answer["refreshed"]} == set(full(*NAMES))
    after = site.serials()
    assert all(after[name] - before[name] > 7 * DAY_MS for name in NAMES)
    for collection in NAMES:
        assert peek(site.attributes(collection, site.authority)) == peek(site.attributes(collection))


# --- what S tells, as a rule ----------------------------------------------------------------------------------------------


def test_an_authority_that_says_nothing_is_mentioned():
    now = 100 * DAY_MS
    told = Told("b/c", Validity(now), now, {"eu": None, "us": Validity(now)})
    verdict = told.judge(Conditions(older_than_ms=DAY_MS))
    assert (verdict.due, verdict.why) == (False, "signed 0 min 0 s ago (eu is not known to have it)")
    assert Told("b/c", Validity(0), now, {"eu": None}).judge(Conditions(older_than_ms=DAY_MS)).due
