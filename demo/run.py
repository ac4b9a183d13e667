"""Two live servers: edit, sign, publish, verify; then somebody tries to alter a record, on A and behind its back.

``make demo`` runs this (``python -m demo.run``). Each step checks what it says; the exit code is 0 only if all of them
held. ``--keep`` (``make demo KEEP=1``) leaves the servers running. The stops in records.json are real places with invented
timetables.
"""

import argparse
import json
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import kinto_http
import requests
from kinto_http import KintoException

from demo.servers import SCRIPTS, DemoError, Server
from tests.support.postgres import PostgresServer, PostgresUnavailableError

RECORDS = Path(__file__).with_name("records.json")
SOURCE, DESTINATION = "main-workspace/stops", "main/stops"
TIMEOUT_S = 60
INTEGRITY = 3  # the exit code of kinto-updater for what no trusted key signed


class Demo:
    """The steps, in order. They share the folder, the servers and the accounts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = time.monotonic()
        self.postgres = PostgresServer(outlives=True)
        self.authority = Server("authority.ini", folder)
        self.signer = Server("signer.ini", folder)
        self.passwords = {name: secrets.token_urlsafe(12) for name in ("signer", "alice")}
        self.records: list[dict[str, Any]] = json.loads(RECORDS.read_text(encoding="utf-8"))

    def run(self) -> None:
        self.start_servers()
        self.load()
        self.sign_the_first_time()
        self.gather_the_first_time()
        self.edit()
        self.sign_and_gather_the_difference()
        self.alter_a_record_through_the_authority()
        self.alter_a_record_behind_its_back()
        self.heal()

    def start_servers(self) -> None:
        self.say("A key pair: the private half stays with S, A and the readers are given the public half")
        self.show(self.command("kinto-signer", "keygen", "signer-private.pem", "signer-public.pem"))
        check((self.folder / "signer-private.pem").stat().st_mode & 0o777 == 0o600, "the private key is readable by others")

        self.say("A, the authority: everybody reads from here, and it takes nothing that the key did not sign")
        self.postgres.start()
        self.authority.start(
            self.create_database("kinto_authority"), KINTO_AUTHORITY_PUBLIC_KEYS=str(self.folder / "signer-public.pem")
        )
        self.create_account(self.authority, "signer")
        self.say(f"   {self.authority.url}   config/authority.ini, a PostgreSQL of the demo's own")

        self.say("S, the signer: people edit here")
        self.signer.start(
            self.create_database("kinto_signer"),
            KINTO_SIGNER_ECDSA_PRIVATE_KEY=str(self.folder / "signer-private.pem"),
            KINTO_SIGNER_AUTHORITY_URL=self.authority.url,
            KINTO_SIGNER_AUTHORITY_AUTH=f"signer:{self.passwords['signer']}",
            KINTO_SIGNER_AUTO_CREATE_RESOURCES_PRINCIPALS="account:alice",
            KINTO_SIGNER_STATUS_PRINCIPALS="account:alice",
        )
        self.create_account(self.signer, "alice")
        self.say(f"   {self.signer.url}   config/signer.ini, another database")

    def load(self) -> None:
        self.say(f"Alice puts {len(self.records)} stops of public transport, in {len(self.languages())} languages, into {SOURCE}")
        alice = self.client(self.signer, "alice", SOURCE)
        alice.create_collection()
        with alice.batch() as batch:
            for record in self.records:
                batch.create_record(data=record)
        status = self.status()
        check(status == "work-in-progress", f"the status is {status}")
        self.say(f"   status on S: {status}; records on A: {len(self.published())}")

    def sign_the_first_time(self) -> None:
        self.say("She approves: S signs the collection and publishes records and signature to A in one request")
        self.show(self.approve())
        held = self.published()
        check(stripped(held) == by_id(self.records), "A holds other records than Alice wrote")
        metadata = requests.get(f"{self.authority.url}/{path(DESTINATION)}", timeout=TIMEOUT_S).json()["data"]
        check(metadata["signed_timestamp"] == self.etag(), "A's ETag is not the signed timestamp")
        self.say(f"   A serves {len(held)} records to everybody, ETag = signed timestamp = {metadata['signed_timestamp']}")
        self.say(f"   signature {metadata['signature']['mode']} {metadata['signature']['signature'][:40]}…")

    def gather_the_first_time(self) -> None:
        self.say("A reader pulls the collection from A and verifies it with the public key")
        check(self.gather() >= len(self.records), "not everything travelled the first time")
        check(stripped(self.local()) == by_id(self.records), "the reader's copy differs from what Alice wrote")

    def edit(self) -> None:
        self.say("Alice edits: one stop is new, one is renamed, one is closed")
        alice = self.client(self.signer, "alice", SOURCE)
        new = self.records[0] | {"id": "cz-prg-99", "name": "Nové náměstí ✨", "label": "🚋 Nové náměstí ✨", "notices": []}
        renamed = self.records[1] | {"name": self.records[1]["name"] + " / Երևան"}
        closed = self.records[2]
        alice.create_record(data=new)
        alice.update_record(data=renamed)
        alice.delete_record(id=closed["id"])
        self.records = [new, renamed, self.records[0], *self.records[3:]]
        check(stripped(self.published()) != by_id(self.records), "unapproved edits are on A")
        self.say(f"   created {new['id']}, updated {renamed['id']}, deleted {closed['id']}; A has not changed")

    def sign_and_gather_the_difference(self) -> None:
        self.say("She approves again, and the reader pulls again: only the difference travels")
        self.show(self.approve())
        changes = self.gather()
        check(changes == 3, f"{changes} changes travelled instead of 3")
        check(stripped(self.local()) == by_id(self.records), "the reader's copy differs from what Alice wrote")

    def alter_a_record_through_the_authority(self) -> None:
        victim = self.records[5]["id"]
        self.say(f"Somebody with the password of A tries to alter the record {victim} there, past S")
        before = self.published()
        thief = self.client(self.authority, "signer", DESTINATION)
        try:
            thief.patch_record(id=victim, data={"name": "Free tickets at evil.example"})
        except KintoException as refused:
            answer = refused.response
        else:
            raise DemoError("A took it")
        check(answer.status_code == requests.codes.forbidden, f"A answered {answer.status_code}")
        self.say(f"   A answers {answer.status_code}: {answer.json()['message']} [{answer.json()['details']['reason']}]")
        check(self.published() == before, "A's records have changed")

    def alter_a_record_behind_its_back(self) -> None:
        victim = self.records[5]["id"]
        self.say(f"Somebody with access to A's database alters the record {victim} there, behind Kinto's back")
        # Kinto's trigger dates a row without a timestamp: readers who ask for what is newer are to get it.
        altered = """data = data || '{"name": "Free tickets at evil.example"}', last_modified = NULL"""
        statement = f"UPDATE objects SET {altered} WHERE id = '{victim}'"
        print(f"         SQL> {statement}")
        before = self.local_bytes()
        self.postgres.execute(statement, self.authority.database)
        check(self.published()[victim]["name"] == "Free tickets at evil.example", "A does not serve what its database holds")
        answer = requests.get(f"{self.authority.url}/__heartbeat__", timeout=TIMEOUT_S)
        check(answer.status_code == requests.codes.service_unavailable, "A's heartbeat does not notice")
        self.say(f"   A's /__heartbeat__ answers {answer.status_code}: {json.dumps(answer.json()['authority'])}")

        self.say("The reader pulls, and refuses")
        done = self.command("kinto-updater", *self.gather_arguments(), expected=INTEGRITY)
        self.show(done)
        check("[hash-mismatch]" in done.stderr or "[bad-signature]" in done.stderr, "it was refused for another reason")
        check(self.local_bytes() == before, "the reader's copy has changed")
        held = self.command("kinto-updater", "show", "--cache", "cache", "--public-key", "signer-public.pem")
        self.show(held)
        self.say(f"   exit code {INTEGRITY}; the old copy of {len(self.local())} records was kept, byte for byte")

    def heal(self) -> None:
        self.say("S still has what was signed: it heals A, without a new signature, and readers are fine again")
        before = self.local()
        self.show(self.command("kinto-signer", "push", SOURCE))
        check(stripped(self.published()) == by_id(self.records), "A holds other records than Alice wrote")
        self.show(self.command("kinto-updater", *self.gather_arguments()))
        check(self.local() == before, "the reader's copy has changed")
        health = requests.get(f"{self.authority.url}/__heartbeat__", timeout=TIMEOUT_S)
        self.say(f"   A's /__heartbeat__ answers {health.status_code}: {json.dumps(health.json())}")
        check(health.ok, "A's heartbeat still complains")

    # What the steps are made of.

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:5.1f} s  {text}", flush=True)

    def show(self, done: subprocess.CompletedProcess[str]) -> None:
        print(f"         $ {' '.join([Path(done.args[0]).name, *done.args[1:]])}")
        for line in (done.stdout + done.stderr).splitlines():
            print(f"         {line}")

    def command(self, name: str, *arguments: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "KINTO_SERVER": self.signer.url,
            "KINTO_AUTH": f"alice:{self.passwords['alice']}",
            "COLUMNS": "160",
        }
        done = subprocess.run(
            [str(SCRIPTS / name), *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        )  # fmt: skip
        if done.returncode != expected:
            self.show(done)
        check(done.returncode == expected, f"{name} ended with {done.returncode} instead of {expected}")
        return done

    def approve(self) -> subprocess.CompletedProcess[str]:
        done = self.command("kinto-signer", "approve", SOURCE)
        check(self.status() == "signed", f"the status is {self.status()}")
        return done

    def gather_arguments(self) -> list[str]:
        arguments = ["gather-changes", self.authority.url, "--collection", DESTINATION, "--public-key", "signer-public.pem"]
        return [*arguments, "--cache", "cache", "--json", "json"]

    def gather(self) -> int:
        """Returns how many changes travelled, as the command prints it."""
        done = self.command("kinto-updater", *self.gather_arguments())
        self.show(done)
        found = re.search(r"(\d+) changes", done.stdout)
        check(found is not None, "kinto-updater does not say what travelled")
        return int(found[1]) if found else 0

    def create_database(self, name: str) -> str:
        self.postgres.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
        return self.postgres.url(name)

    def create_account(self, server: Server, name: str) -> None:
        body = {"data": {"password": self.passwords[name]}}
        answer = requests.put(f"{server.url}/accounts/{name}", json=body, timeout=TIMEOUT_S)
        check(answer.status_code == requests.codes.created, f"no account {name}: {answer.text}")

    def client(self, server: Server, user: str, name: str) -> kinto_http.Client:
        bucket, collection = name.split("/")
        auth = (user, self.passwords[user])
        return kinto_http.Client(
            server_url=server.url, auth=auth, bucket=bucket, collection=collection, retry=0, timeout=TIMEOUT_S
        )

    def status(self) -> str:
        status: str = self.client(self.signer, "alice", SOURCE).get_collection()["data"]["status"]
        return status

    def published(self) -> dict[str, Any]:
        """A's records, as anybody reads them."""
        answer = requests.get(f"{self.authority.url}/{path(DESTINATION)}/records", timeout=TIMEOUT_S)
        check(answer.ok, f"A does not let everybody read: {answer.text}")
        return by_id(answer.json()["data"])

    def etag(self) -> int:
        answer = requests.head(f"{self.authority.url}/{path(DESTINATION)}/records", timeout=TIMEOUT_S)
        return int(answer.headers["ETag"].strip('"'))

    def local(self) -> dict[str, Any]:
        """The reader's copy, by id."""
        return by_id(json.loads(self.local_bytes())["data"])

    def local_bytes(self) -> bytes:
        return (self.folder / "json" / f"{DESTINATION}.json").read_bytes()

    def languages(self) -> set[str]:
        return {record["city"]["languages"][0] for record in self.records}


def check(held: bool, otherwise: str) -> None:
    if not held:
        raise DemoError(otherwise)


def path(name: str) -> str:
    bucket, collection = name.split("/")
    return f"buckets/{bucket}/collections/{collection}"


def by_id(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {record["id"]: record for record in records}


def stripped(records: dict[str, Any]) -> dict[str, Any]:
    """Without the timestamps, which the servers give."""
    return {key: {k: v for k, v in record.items() if k != "last_modified"} for key, record in records.items()}


def keep_message(demo: Demo) -> str:
    groups = " ".join(f"-{pid}" for pid in (demo.authority.pid, demo.signer.pid, demo.postgres.pid))
    return f"""
The servers are running:
  S   {demo.signer.url}      alice:{demo.passwords["alice"]}
  A   {demo.authority.url}      signer:{demo.passwords["signer"]}
  A's database: {demo.authority.database}
  keys, the reader's cache and the logs: {demo.folder}
To end them: kill -- {groups}; sleep 3; rm -r {demo.folder} {demo.postgres.directory}"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Two live servers: sign, publish, verify, tamper, refuse, heal.")
    parser.add_argument("--keep", action="store_true", help="leave the servers running")
    keep = parser.parse_args().keep
    logging.getLogger("kinto_http").setLevel(logging.ERROR)  # it warns of each record in a batch that went well
    try:
        demo = Demo(Path(tempfile.mkdtemp(prefix="kinto-signer-demo-")))
    except PostgresUnavailableError as error:
        print(f"FAILED: {error} The demo needs one of them.", file=sys.stderr)
        return 1
    kept = False
    try:
        demo.run()
        demo.say("Every step did what it says.")
        if keep:
            kept = True
            print(keep_message(demo))
    except (DemoError, KintoException, requests.RequestException, subprocess.TimeoutExpired) as error:
        print(f"\nFAILED: {error}. The logs are in {demo.folder}", file=sys.stderr)
        return 1
    finally:
        if not kept:
            demo.signer.stop()
            demo.authority.stop()
            demo.postgres.stop()
    if not kept:
        shutil.rmtree(demo.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
