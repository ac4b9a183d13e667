"""S starts from A: what A holds is verified with S's own keys and taken over, with A's timestamps."""

import json
import logging
import subprocess
import sys

import pytest

from kinto_signer.cli import output
from kinto_signer.cli.signer import cli
from kinto_signer.core.changeset import by_record_id
from tests.support.emptied import emptied, memory_kinto
from tests.support.keys import write_key_pair
from tests.support.servers import ROOT, forget_older_servers, write_ini
from tests.support.settings import PASSWORD, signer_settings
from tests.support.site import DESTINATION, SOURCE, attributes, set_status, signer_app

NAME = {"bucket": "main", "collection": "regions"}


@pytest.fixture(scope="module")
def plain_kinto():
    with memory_kinto("authority") as server:
        yield server


@pytest.fixture
def authority(plain_kinto):
    return emptied(plain_kinto)


@pytest.fixture
def published(key_pair, authority, create_database):
    """An S that published three records and is then lost."""
    app = signer_app(key_pair, database=create_database(), authority=authority.url)
    for i in range(3):
        app.put_json(f"{SOURCE}/records/r{i}", {"data": {"n": i, "name": "Straße"}})
    app.patch_json(SOURCE, {"data": {"displayFields": ["n"]}})
    set_status(app, "to-sign")
    return by_record_id(app.get(f"{DESTINATION}/records").json["data"])


def reborn(key_pair, authority, storage_url, **options):
    options = {"kinto__signer__authority__bootstrap": "true", **options}
    return signer_app(key_pair, database=storage_url, authority=authority.url, collection=False, **options)


def test_a_new_signer_takes_over_what_the_authority_holds(key_pair, authority, published, storage_url):
    app = reborn(key_pair, authority, storage_url)
    assert by_record_id(app.get(f"{SOURCE}/records").json["data"]) == published
    assert by_record_id(app.get(f"{DESTINATION}/records").json["data"]) == published
    assert attributes(app)["status"] == "signed"
    assert attributes(app)["displayFields"] == ["n"]
    etag = authority.client().get_records_timestamp(**NAME)
    assert app.get(f"{DESTINATION}/records").headers["ETag"] == f'"{etag}"'

    before = authority.client().get_records_timestamp(**NAME)
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 10}})
    set_status(app, "to-sign")
    there = by_record_id(authority.client().get_records(**NAME))
    assert there == by_record_id(app.get(f"{DESTINATION}/records").json["data"])
    assert there["r1"]["n"] == 10
    assert there["r0"] == published["r0"], "only the difference was written"
    assert {change["id"] for change in authority.client().get_records(**NAME, _since=before)} == {"r1"}
    set_status(app, "to-resign")


def test_a_state_that_is_not_ours_is_not_taken_over(key_pair, authority, published, create_database, tmp_path, caplog):
    folder = tmp_path / "other"
    folder.mkdir()
    app = reborn(write_key_pair(folder), authority, create_database())
    app.get(SOURCE, status=404)
    assert "unknown-key" in caplog.text


def test_an_altered_state_is_not_taken_over(key_pair, authority, published, storage_url, caplog):
    authority.client("signer").patch_record(**NAME, id="r1", data={"n": 666})
    app = reborn(key_pair, authority, storage_url)
    app.get(SOURCE, status=404)
    assert "hash-mismatch" in caplog.text


def test_what_is_not_empty_is_left_alone(key_pair, authority, published, create_database, caplog):
    database = create_database()
    app = signer_app(key_pair, database=database)
    app.put_json(f"{SOURCE}/records/mine", {"data": {"n": 1}})
    caplog.set_level("INFO")
    app = reborn(key_pair, authority, database)
    assert [record["id"] for record in app.get(f"{SOURCE}/records").json["data"]] == ["mine"]
    assert "left alone, main-workspace/regions holds 1 records" in caplog.text


def test_an_authority_that_is_down_does_not_stop_the_signer(key_pair, authority, published, storage_url, caplog):
    authority.sigkill()
    app = reborn(key_pair, authority, storage_url)
    assert "unreachable" in caplog.text
    assert app.get("/__lbheartbeat__").status_int == 200


def test_an_authority_without_the_bucket_and_a_signer_without_authority(key_pair, authority, storage_url, caplog):
    caplog.set_level("INFO")
    reborn(key_pair, authority, storage_url)
    assert "does not have it" in caplog.text
    signer_app(key_pair, database=storage_url, collection=False, kinto__signer__authority__bootstrap="true")
    assert "nothing to start from" in caplog.text


def test_single_collections_and_marker(key_pair, authority, published, storage_url, create_database):
    """The newest thing on A is a deletion: the timestamp is carried over by a tombstone."""
    options = {"kinto__signer__resources": "/buckets/main-workspace/collections/regions -> /buckets/main/collections/regions"}
    app = reborn(key_pair, authority, create_database(), **options)
    app.delete(f"{SOURCE}/records/r0")
    set_status(app, "to-sign")
    app = reborn(key_pair, authority, storage_url, **options)
    etag = authority.client().get_records_timestamp(**NAME)
    assert app.get(f"{DESTINATION}/records").headers["ETag"] == f'"{etag}"'


# --- the command ----------------------------------------------------------------------------------------------------------


def run_bootstrap(ini, *flags):
    command = [sys.executable, "-m", "kinto_signer.cli.signer", "bootstrap", "--ini", str(ini), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture
def run_here(capsys, caplog):
    """``run_here(ini, …)`` does the same in this process; on `stderr` also what is logged."""
    kintos = logging.getLogger("kinto.core.storage.postgresql.client")
    before = kintos.level

    def run(ini, *flags):
        forget_older_servers()
        caplog.clear()
        code = output.run(cli, ["bootstrap", "--ini", str(ini), *flags])
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(flags, code, printed.out, printed.err + caplog.text)

    yield run
    kintos.setLevel(before)


def test_the_command(key_pair, authority, published, create_database, tmp_path):
    ini, database = tmp_path / "signer.ini", create_database()
    write_ini(ini, signer_settings(key_pair.private, database=database, authority=authority.url))
    done = run_bootstrap(ini)
    assert done.returncode == 0, done.stderr
    assert "main/regions: 3 records" in done.stdout
    assert "main-workspace/regions may be written by system.Authenticated" in done.stdout
    assert "left alone" in run_bootstrap(ini, "--format", "json").stdout
    app = signer_app(key_pair, database=database, authority=authority.url, collection=False)
    assert by_record_id(app.get(f"{DESTINATION}/records").json["data"]) == published


def test_the_command_refuses_what_it_cannot_do(key_pair, authority, published, create_database, postgres, tmp_path, run_here):
    done = run_here(tmp_path / "nothing.ini")
    assert done.returncode == 2
    ini = tmp_path / "memory.ini"
    write_ini(ini, signer_settings(key_pair.private, authority=authority.url))
    done = run_here(ini)
    assert done.returncode == 2
    assert "in memory" in done.stderr
    write_ini(ini, signer_settings(key_pair.private, database=create_database()))
    done = run_here(ini)
    assert (done.returncode, "nothing to start from" in done.stderr) == (2, True)
    write_ini(ini, signer_settings(key_pair.private, database=postgres.create_database("template0"), authority=authority.url))
    done = run_here(ini)
    assert (done.returncode, "kinto migrate" in done.stderr) == (2, True)
    authority.client("signer").patch_record(**NAME, id="r1", data={"n": 666})
    write_ini(ini, signer_settings(key_pair.private, database=create_database(), authority=authority.url))
    done = run_here(ini)
    assert done.returncode == 3
    assert "[hash-mismatch]" in done.stderr
    assert PASSWORD not in done.stderr


def test_one_that_fails_does_not_stop_the_others(key_pair, authority, create_database, tmp_path, run_here):
    app = signer_app(key_pair, database=create_database(), authority=authority.url)
    for name in ("other", "regions"):
        app.put_json(f"/buckets/main-workspace/collections/{name}", {})
        app.put_json(f"/buckets/main-workspace/collections/{name}/records/r", {"data": {"n": 1}})
        app.patch_json(f"/buckets/main-workspace/collections/{name}", {"data": {"status": "to-sign"}})
    authority.client("signer").patch_record(bucket="main", collection="other", id="r", data={"n": 666})
    owner = authority.client("signer")
    owner.patch_bucket(id="main", permissions={"read": ["system.Authenticated"]})
    ini = tmp_path / "signer.ini"
    write_ini(ini, signer_settings(key_pair.private, database=create_database(), authority=authority.url))
    done = run_here(ini, "--format", "json")
    assert done.returncode == 3
    found = json.loads(done.stdout)["done"]
    assert found[0]["error"]["reason"] == "hash-mismatch"
    assert found[1]["what"].startswith("1 records")


def test_buckets_and_collections_are_created_at_start_up(key_pair, storage_url):
    resources = "/buckets/a/collections/x -> /buckets/p/collections/x -> /buckets/b/collections/x\n/buckets/c -> /buckets/d"
    app = signer_app(
        key_pair, database=storage_url, collection=False, kinto__signer__resources=resources,
        kinto__signer__auto_create_resources="true",
    )  # fmt: skip
    app.put_json("/buckets/a/collections/x/records/r", {"data": {"n": 1}})
    app.patch_json("/buckets/a/collections/x", {"data": {"status": "to-sign"}})
    app.put_json("/buckets/c/collections/y", {})
    app.authorization = None
    assert len(app.get("/buckets/b/collections/x/records").json["data"]) == 1
    app.get("/buckets/p/collections/x/records")
    app.get("/buckets/d/collections/y/records")
    app.get("/buckets/a/collections/x/records", status=401)


def test_the_command_says_what_is_wrong_with_the_file(key_pair, authority, tmp_path, run_here):
    """Each in one line, without a traceback."""
    ini = tmp_path / "signer.ini"
    settings = signer_settings(key_pair.private, database="postgresql://nobody@127.0.0.1:1/none", authority=authority.url)
    write_ini(ini, settings)
    done = run_bootstrap(ini)
    assert (done.returncode, "[unreachable]" in done.stderr, "Traceback" in done.stderr) == (5, True, False)
    for text, words in (
        ("[app:main\n", "cannot be loaded"),
        ("[other]\nx = 1\n", "cannot be loaded"),
        (ini.read_text().replace(str(key_pair.private), "/nowhere/key.pem"), "/nowhere/key.pem"),
        (ini.read_text().replace("kinto.includes = kinto_signer", "kinto.includes = no_such_plugin"), "no_such_plugin"),
    ):
        broken = tmp_path / "broken.ini"
        broken.write_text(text)
        done = run_here(broken)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    write_ini(ini, {name: value for name, value in settings.items() if name != "kinto.includes"})
    done = run_here(ini)
    assert (done.returncode, "kinto_signer is not in its kinto.includes" in done.stderr) == (2, True)
