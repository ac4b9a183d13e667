"""Two live servers: edit, sign, publish, verify; then somebody alters a record, and the reader refuses it.

``make demo`` runs this. Each step checks what it says; the exit code is 0 only if all of them held. ``--keep`` (``make
demo KEEP=1``) leaves both servers running. The stops in records.json are real places with invented timetables.
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
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import kinto_http
import requests
from kinto_http import KintoException
from servers import DemoError, Server

RECORDS = Path(__file__).with_name("records.json")
SCRIPTS = Path(sysconfig.get_path("scripts"))
SOURCE, DESTINATION = "main-workspace/stops", "main/stops"
TIMEOUT_S = 60
INTEGRITY = 3  # the exit code of kinto-updater for what no trusted key signed


class Demo:
    """The steps, in order. They share the folder, the servers and the accounts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = time.monotonic()
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
        self.alter_a_record_on_the_authority()

    def start_servers(self) -> None:
        self.say("A, the authority: everybody reads from here")
        self.authority.start()
        self.create_account(self.authority, "signer")
        self.say(f"   {self.authority.url}   config/authority.ini, Kinto's memory storage")

        self.say("A key pair: the private half stays with S, readers are given the public half")
        self.show(self.command("kinto-signer", "keygen", "signer-private.pem", "signer-public.pem"))
        check((self.folder / "signer-private.pem").stat().st_mode & 0o777 == 0o600, "the private key is readable by others")

        self.say("S, the signer: people edit here")
        self.signer.start(
            KINTO_SIGNER_ECDSA_PRIVATE_KEY=str(self.folder / "signer-private.pem"),
            KINTO_SIGNER_AUTHORITY_URL=self.authority.url,
            KINTO_SIGNER_AUTHORITY_AUTH=f"signer:{self.passwords['signer']}",
            KINTO_SIGNER_AUTO_CREATE_RESOURCES_PRINCIPALS="account:alice",
        )
        self.create_account(self.signer, "alice")
        self.say(f"   {self.signer.url}   config/signer.ini, Kinto's memory storage")

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

    def alter_a_record_on_the_authority(self) -> None:
        victim = self.records[5]["id"]
        self.say(f"Somebody with the password of A alters the record {victim} there, past S")
        before = self.local_bytes()
        self.client(self.authority, "signer", DESTINATION).patch_record(id=victim, data={"name": "Free tickets at evil.example"})

        self.say("The reader pulls, and refuses")
        done = self.command("kinto-updater", *self.gather_arguments(), expected=INTEGRITY)
        self.show(done)
        check("[hash-mismatch]" in done.stderr or "[bad-signature]" in done.stderr, "it was refused for another reason")
        check(self.local_bytes() == before, "the reader's copy has changed")
        held = self.command("kinto-updater", "show", "--cache", "cache", "--public-key", "signer-public.pem")
        self.show(held)
        self.say(f"   exit code {INTEGRITY}; the old copy of {len(self.local())} records was kept, byte for byte")

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
    groups = " ".join(f"-{server.process.pid}" for server in (demo.authority, demo.signer) if server.process)
    return f"""
Both servers are running:
  S   {demo.signer.url}      alice:{demo.passwords["alice"]}
  A   {demo.authority.url}      signer:{demo.passwords["signer"]}   (the record altered above is still altered)
  keys, the reader's cache and the logs: {demo.folder}
To end them: kill -- {groups}; rm -r {demo.folder}"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Two live servers: sign, publish, verify, tamper, refuse.")
    parser.add_argument("--keep", action="store_true", help="leave both servers running")
    keep = parser.parse_args().keep
    logging.getLogger("kinto_http").setLevel(logging.ERROR)  # it warns of each record in a batch that went well
    demo = Demo(Path(tempfile.mkdtemp(prefix="kinto-signer-demo-")))
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
    if not kept:
        shutil.rmtree(demo.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
