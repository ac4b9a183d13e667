"""Two live servers: edit, review, sign, publish, verify; then somebody tries to alter a record, on A and behind its back.

``make demo`` runs this (``python -m demo.run``). Each step checks what it says; the exit code is 0 only if all of them
held. ``--keep`` (``make demo KEEP=1``) leaves the servers running, with a change that waits for its review in kinto-admin.
The stops in records.json are real places with invented timetables.
"""

import argparse
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import requests
from kinto_http import KintoException

from demo.servers import DemoError
from demo.stage import DESTINATION, PEOPLE, SOURCE, TIMEOUT_S, Stage, by_id, check, path, stripped
from tests.support.postgres import PostgresUnavailableError

ADMIN = Path(__file__).resolve().parents[1] / "build" / "kinto-admin"
INTEGRITY = 3  # the exit code of kinto-updater for what no trusted key signed
DIFFERENT = 10  # that of kinto-signer where a difference was asked for and there is one
REFUSED = 6  # and for what the workflow does not allow


class Demo(Stage):
    """The steps, in order."""

    def run(self) -> None:
        self.start_servers()
        self.make_the_collection()
        self.enter_and_ask_for_a_review()
        self.approve_the_first_time()
        self.gather_the_first_time()
        self.edit()
        self.review_and_gather_the_difference()
        self.alter_a_record_through_the_authority()
        self.alter_a_record_behind_its_back()
        self.heal()

    def start_servers(self) -> None:
        self.say("A key pair: the private half stays with S, A and the readers are given the public half")
        self.command("kinto-signer", "keygen", "signer-private.pem", "signer-public.pem")
        check((self.folder / "signer-private.pem").stat().st_mode & 0o777 == 0o600, "the private key is readable by others")

        self.say("A, the authority: everybody reads from here, and it takes nothing that the key did not sign")
        self.postgres.start()
        self.authority.start(
            self.create_database("kinto_authority"), KINTO_AUTHORITY_PUBLIC_KEYS=str(self.folder / "signer-public.pem")
        )
        self.create_account(self.authority, "signer")
        self.say(f"   {self.authority.url}   config/authority.ini, a PostgreSQL of the demo's own")

        self.say("S, the signer: people edit and review here")
        self.signer.start(
            self.create_database("kinto_signer"),
            KINTO_SIGNER_ECDSA_PRIVATE_KEY=str(self.folder / "signer-private.pem"),
            KINTO_SIGNER_AUTHORITY_URL=self.authority.url,
            KINTO_SIGNER_AUTHORITY_AUTH=f"signer:{self.passwords['signer']}",
            **({"KINTO_ADMIN_ASSETS_PATH": str(ADMIN)} if ADMIN.is_dir() else {}),
        )
        for person in PEOPLE:
            self.create_account(self.signer, person)
        self.say(f"   {self.signer.url}   config/signer.ini, another database")

    def make_the_collection(self) -> None:
        self.say(f"The administrator makes {SOURCE}; its groups come with it. Alice becomes an editor, Bob a reviewer")
        admin = self.client(self.signer, "admin", SOURCE)
        admin.create_collection(data=self.attributes)
        for group, person in (("stops-editors", "alice"), ("stops-reviewers", "bob")):
            admin.patch_group(id=group, data={"members": [f"account:{person}"]})

    def enter_and_ask_for_a_review(self) -> None:
        self.say(f"Alice enters {len(self.records)} stops of public transport, in {len(self.languages())} languages")
        alice = self.client(self.signer, "alice", SOURCE)
        with alice.batch() as batch:
            for record in self.records:
                batch.create_record(data=record)
        check(self.status() == "work-in-progress", f"the status is {self.status()}")
        self.say(f"   status on S: {self.status()}; records on A: {len(self.published())}")

        self.say("She asks for a review; she cannot approve it herself")
        self.command("kinto-signer", "request-review", SOURCE, "--comment", "all stops", user="alice")
        check(self.status() == "to-review", f"the status is {self.status()}")
        self.command("kinto-signer", "approve", SOURCE, user="alice", expected=REFUSED)
        check(not self.published(), "A holds what nobody approved")

    def approve_the_first_time(self) -> None:
        self.say("Bob approves: S signs the collection and publishes records and signature to A in one request")
        self.approve()
        held = self.published()
        check(stripped(held) == by_id(self.records), "A holds other records than Alice wrote")
        metadata = requests.get(f"{self.authority.url}/{path(DESTINATION)}", timeout=TIMEOUT_S).json()["data"]
        check(metadata["signed_timestamp"] == self.etag(), "A's ETag is not the signed timestamp")
        self.say(f"   A serves {len(held)} records to everybody, ETag = signed timestamp = {metadata['signed_timestamp']}")
        self.say(f"   signature {metadata['signature']['mode']} {metadata['signature']['signature'][:40]}…")

    def gather_the_first_time(self) -> None:
        self.say("A reader pulls the collection from A and verifies it with the public key")
        check(travelled(self.gather()) >= len(self.records), "not everything travelled the first time")
        check(stripped(self.local()) == by_id(self.records), "the reader's copy differs from what Alice wrote")

    def edit(self) -> None:
        self.say("Alice edits: one stop is new, one is renamed, one is closed")
        alice = self.client(self.signer, "alice", SOURCE)
        new = {
            "id": "cz-prg-99",
            "name": "Nové náměstí ✨",
            "label": "🚋 Nové náměstí ✨",
            "zone": 2,
            "lines": ["22"],
            "notices": [],
        }
        renamed = self.records[1] | {"name": self.records[1]["name"] + " / Երևան"}
        closed = self.records[2]
        alice.create_record(data=new)
        alice.update_record(data=renamed)
        alice.delete_record(id=closed["id"])
        self.records = [new, renamed, self.records[0], *self.records[3:]]
        self.command("kinto-signer", "request-review", SOURCE, "--comment", "Nové náměstí opens on Monday", user="alice")
        check(stripped(self.published()) != by_id(self.records), "unapproved edits are on A")

    def review_and_gather_the_difference(self) -> None:
        self.say("Bob looks at what would change, and approves that; the reader pulls again: only the difference travels")
        seen = self.command("kinto-signer", "diff", SOURCE, user="bob", expected=DIFFERENT)
        check("cz-prg-99" in seen.stdout, "the difference does not show what is new")
        digest = re.search(r"--reviewed-digest (\S+)", seen.stdout)
        check(digest is not None, "the difference has no digest")
        self.approve("--reviewed-digest", digest[1] if digest else "")
        changes = travelled(self.gather())
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
        answer = self.heartbeat()
        check(answer.status_code == requests.codes.service_unavailable, "A's heartbeat does not notice")
        self.say(f"   A's /__heartbeat__ answers {answer.status_code}: {json.dumps(answer.json()['authority'])}")

        self.say("The reader pulls, and refuses")
        refused = self.gather(expected=INTEGRITY)
        check("[hash-mismatch]" in refused.stderr or "[bad-signature]" in refused.stderr, "it was refused for another reason")
        check(self.local_bytes() == before, "the reader's copy has changed")
        self.command("kinto-updater", "show", "--cache", "cache", "--public-key", "signer-public.pem")
        self.say(f"   exit code {INTEGRITY}; the old copy of {len(self.local())} records was kept, byte for byte")

    def heal(self) -> None:
        self.say("S still has what was signed: it heals A, without a new signature, and readers are fine again")
        before = self.local()
        self.command("kinto-signer", "push", SOURCE, user="admin")
        check(stripped(self.published()) == by_id(self.records), "A holds other records than Alice wrote")
        self.gather()
        check(self.local() == before, "the reader's copy has changed")
        health = self.heartbeat()
        self.say(f"   A's /__heartbeat__ answers {health.status_code}: {json.dumps(health.json())}")
        check(health.ok, "A's heartbeat still complains")

    def leave_a_change_for_review(self) -> None:
        """Something to look at in kinto-admin."""
        alice = self.client(self.signer, "alice", SOURCE)
        moved = self.records[3]
        alice.patch_record(id=moved["id"], data={"notices": ["Closed from 1 to 14 May"]})
        alice.delete_record(id=self.records[4]["id"])
        comment = {"status": "to-review", "last_editor_comment": f"{moved['name']} is closed in May"}
        alice.patch_collection(data=comment)

    def approve(self, *arguments: str) -> None:
        self.command("kinto-signer", "approve", SOURCE, *arguments, user="bob")
        check(self.status() == "signed", f"the status is {self.status()}")


def travelled(gathered: subprocess.CompletedProcess[str]) -> int:
    """How many changes travelled, as kinto-updater prints it."""
    found = re.search(r"(\d+) changes", gathered.stdout)
    check(found is not None, "kinto-updater does not say what travelled")
    return int(found[1]) if found else 0


def keep_message(demo: Demo) -> str:
    groups = " ".join(f"-{pid}" for pid in (demo.authority.pid, demo.signer.pid, demo.postgres.pid))
    admin = f"{demo.signer.url}/admin/" if ADMIN.is_dir() else "none (run `make admin` before the demo)"
    return f"""
The servers are running:
  S   {demo.signer.url}      admin:{demo.passwords["admin"]}
  A   {demo.authority.url}      signer:{demo.passwords["signer"]}
  A's database: {demo.authority.database}
  keys, the reader's cache and the logs: {demo.folder}
kinto-admin, where two changes by Alice wait for a review: {admin}
  editor     user name alice   password {demo.passwords["alice"]}
  reviewer   user name bob     password {demo.passwords["bob"]}
To end them: kill -- {groups}; sleep 3; rm -r {demo.folder} {demo.postgres.directory}"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Two live servers: edit, review, sign, publish, verify, tamper, refuse, heal.")
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
        if keep:
            demo.leave_a_change_for_review()
        demo.say("Every step did what it says.")
        if keep:
            kept = True
            print(keep_message(demo))
    except (DemoError, KintoException, requests.RequestException, subprocess.TimeoutExpired) as error:
        print(f"\nFAILED: {error}. The logs are in {demo.folder}", file=sys.stderr)
        return 1
    finally:
        if not kept:
            demo.stop()
    if not kept:
        shutil.rmtree(demo.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
