"""Editors and reviewers at the same time, on PostgreSQL, in several workers."""

import threading

import kinto_http
import pytest

from kinto_signer.core.changeset import by_record_id
from tests.support.settings import authority_settings, signer_settings

SOURCE = {"bucket": "main-workspace", "collection": "regions"}
WHERE = {"bucket": "main-workspace", "id": "regions"}


@pytest.fixture
def servers(live_kinto, create_database, key_pair):
    authority = live_kinto(authority_settings(create_database()), name="authority")
    settings = signer_settings(key_pair.private, database=create_database(), authority=authority.url)
    settings["kinto.signer.lock_timeout_seconds"] = "1"
    signer = live_kinto(settings, name="signer", workers=2)
    client = signer.client()
    client.create_bucket(id="main-workspace", permissions={"write": ["system.Authenticated"]})
    client.create_collection(**WHERE)
    return signer, authority


def until_it_works(method, **arguments):
    for _ in range(200):
        try:
            return method(**arguments)
        except kinto_http.KintoException as error:
            status, headers = error.response.status_code, error.response.headers
            if status not in (409, 412, 503) or (status != 412 and "Retry-After" not in headers):
                raise
    raise AssertionError(f"{method} never worked")


def test_nothing_is_lost_between_editors_and_reviewers(servers):
    signer, authority = servers
    rounds, failures = 25, []

    def edit(number):
        client = signer.client(f"editor-{number}")
        for value in range(rounds):
            until_it_works(client.update_record, **SOURCE, id=f"r{number}-{value}", data={"value": value})

    def annotate():
        client = signer.client("annotator")
        for value in range(rounds):
            until_it_works(client.patch_collection, **WHERE, data={"note": value})

    def approve():
        client = signer.client("reviewer")
        for _ in range(rounds):
            until_it_works(client.patch_collection, **WHERE, data={"status": "to-sign"})

    def guarded(work, *arguments):
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001 - reported by the test's own thread
            failures.append(error)

    work = [(edit, 1), (edit, 2), (annotate,), (approve,), (approve,)]
    threads = [threading.Thread(target=guarded, args=arguments) for arguments in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    client = signer.client()
    until_it_works(client.patch_collection, **WHERE, data={"status": "to-sign"})
    found = client.get_collection(**WHERE)["data"]
    assert found["note"] == rounds - 1
    assert found["status"] == "signed"
    held = by_record_id(authority.client().get_records(bucket="main", collection="regions"))
    assert held.keys() == {f"r{number}-{value}" for number in (1, 2) for value in range(rounds)}
    assert held == by_record_id(client.get_records(bucket="main", collection="regions"))


def test_a_status_that_was_set_while_an_attribute_was_written_is_not_overwritten(servers):
    """Kinto replaces the whole document: two writers of one collection would lose each other's fields."""
    signer, _ = servers
    clients = [signer.client(f"user-{number}") for number in range(4)]
    threads = [
        threading.Thread(target=lambda c=client, n=number: until_it_works(c.patch_collection, **WHERE, data={f"field{n}": n}))
        for number, client in enumerate(clients * 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = signer.client().get_collection(**WHERE)["data"]
    assert {name: value for name, value in found.items() if name.startswith("field")} == {f"field{n}": n for n in range(20)}
