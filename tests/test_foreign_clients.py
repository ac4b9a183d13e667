"""Clients that nobody here wrote read A and verify: real states, one publication after the other, and altered ones."""

import ast
import contextlib
import json
import sys

import pytest

from tests.support.editing import WORKSPACE, content, edit, history
from tests.support.foreign import CLIENTS, NPM_CLIENTS, READER, RefusedError
from tests.support.servers import ROOT
from tests.support.settings import guarded_settings, signer_settings

# Successive states between which records were created, updated and deleted.
STATES = {"search-config-icons": (2, 4, 8), "search-telemetry-v2": (0, 6, 7)}


@pytest.fixture
def authority_database(create_database):
    return create_database()


@pytest.fixture
def authority(live_kinto, authority_database, key_pair):
    return live_kinto(guarded_settings(key_pair.public, authority_database), name="authority")


@pytest.fixture
def signer(live_kinto, create_database, key_pair, authority):
    settings = signer_settings(key_pair.private, database=create_database(), authority=authority.url)
    return live_kinto(settings, name="signer")


@pytest.fixture
def publish(signer):
    """``publish(collection, records)``: an editor enters them on S and approves."""
    editor = signer.client("editor")
    editor.create_bucket(id=WORKSPACE)

    def enter(collection, records):
        editor.create_collection(bucket=WORKSPACE, id=collection, if_not_exists=True)
        edit(editor, collection, records)
        editor.patch_collection(bucket=WORKSPACE, id=collection, data={"status": "to-sign"})
        assert editor.get_collection(bucket=WORKSPACE, id=collection)["data"]["status"] == "signed"

    return enter


@pytest.fixture
def clients(authority, key_pair, tmp_path):
    """``clients(collection)``: a new one of each kind, which holds nothing."""
    assert (NPM_CLIENTS / "node_modules").is_dir(), "The clients in JavaScript are missing: run `make npm-clients`."
    with contextlib.ExitStack() as stack:
        made = iter(range(1000))

        def make(collection):
            folders = [tmp_path / f"client-{next(made)}" for _ in CLIENTS]
            for folder in folders:
                folder.mkdir()
            arguments = authority, collection, key_pair.public
            return [stack.enter_context(kind(*arguments, folder)) for kind, folder in zip(CLIENTS, folders, strict=True)]

        yield make


@pytest.fixture
def alter(postgres, authority_database):
    """``alter(collection, record_id, data, last_modified)``: a record as an SQL statement leaves it. No timestamp, no bump."""

    def write(collection, record_id, data, last_modified):
        where = f"parent_id = '/buckets/main/collections/{collection}' AND resource_name = 'record' AND id = '{record_id}'"
        value = json.dumps(data).replace("'", "''")
        statement = f"UPDATE objects SET data = '{value}'::jsonb, last_modified = from_epoch({last_modified}) WHERE {where}"
        # Without Kinto's trigger, which gives an altered row a new timestamp.
        postgres.execute(f"SET session_replication_role = replica; {statement}", authority_database)

    return write


def all_refuse(clients):
    for client in clients:
        with pytest.raises(RefusedError):
            client.read()


def how_many_differ(before, after):
    return sum(before.get(record_id) != after.get(record_id) for record_id in before.keys() | after.keys())


@pytest.mark.postgres
@pytest.mark.parametrize("collection", STATES)
def test_they_verify_what_is_published_and_refuse_what_is_altered(publish, clients, authority, alter, shared, collection):
    before, readers = {}, clients(collection)
    for number in STATES[collection]:
        records = history(shared, collection)[number]["data"]
        publish(collection, records)
        attributes = authority.client("reader").get_collection(bucket="main", id=collection)["data"]
        expected = attributes["signed_timestamp"], how_many_differ(before, content(records))
        for reader in readers:
            found = reader.read()
            assert content(found.records) == content(records), reader
            assert (found.timestamp, found.changes) == expected, reader
        before = content(records)

    victim = found.records[0]
    name, data = victim["id"], {key: value for key, value in victim.items() if key not in ("id", "last_modified")}
    altered = data | {"altered": "behind Kinto's back"}
    alter(collection, name, altered, victim["last_modified"])
    all_refuse(clients(collection))
    for reader in readers:  # who asks for what is newer is not given it
        assert content(reader.read().records) == before, reader

    alter(collection, name, data, victim["last_modified"])
    for reader in clients(collection):  # control: nothing but the alteration was refused
        assert content(reader.read().records) == before, reader

    alter(collection, name, altered, found.timestamp + 1000)
    all_refuse(readers)


def test_the_reader_from_the_description_has_forty_lines_and_nothing_of_ours():
    source = READER.read_text()
    imported = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for name in node.names}

    assert len(source.splitlines()) <= 40
    assert {name.partition(".")[0] for name in imported if name.partition(".")[0] not in sys.stdlib_module_names} == {
        "cryptography"
    }


def test_the_packages_are_pinned_and_come_from_whatever_registry_the_machine_uses():
    folder = ROOT / "tests" / "clients"
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]

    assert all(locked[f"node_modules/{name}"]["version"] == version for name, version in wanted.items())
    assert not [name for name, package in locked.items() if name and "integrity" not in package]
    assert not [name for name, package in locked.items() if "resolved" in package]
