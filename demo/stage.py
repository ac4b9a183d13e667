"""What the steps of the demo are made of: a folder, two servers, the people, and commands whose output is shown."""

import json
import os
import re
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import kinto_http
import requests

from demo.servers import SCRIPTS, DemoError, Server
from tests.support.postgres import PostgresServer

RECORDS = Path(__file__).with_name("records.json")
COLLECTION = Path(__file__).with_name("collection.json")
SOURCE, DESTINATION = "main-workspace/stops", "main/stops"
TIMEOUT_S = 60
# Who works on S: `admin` makes collections and looks after the servers, alice edits, bob reviews.
PEOPLE = ("admin", "alice", "bob")


class Stage:
    """The servers, the accounts and what has been published so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = time.monotonic()
        self.postgres = PostgresServer(outlives=True)
        self.authority = Server("authority.ini", folder)
        self.signer = Server("signer.ini", folder)
        self.passwords = {name: secrets.token_urlsafe(12) for name in ("signer", *PEOPLE)}
        self.records: list[dict[str, Any]] = json.loads(RECORDS.read_text(encoding="utf-8"))
        self.attributes: dict[str, Any] = json.loads(COLLECTION.read_text(encoding="utf-8"))

    def stop(self) -> None:
        self.signer.stop()
        self.authority.stop()
        self.postgres.stop()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:5.1f} s  {text}", flush=True)

    def show(self, done: subprocess.CompletedProcess[str], user: str = "") -> None:
        print(f"         {user}$ {' '.join([Path(done.args[0]).name, *map(quoted, done.args[1:])])}")
        for line in (done.stdout + done.stderr).splitlines():
            print(f"         {line}")

    def command(self, name: str, *arguments: str, user: str = "", expected: int = 0) -> subprocess.CompletedProcess[str]:
        """Run one of our commands, as somebody who has an account on S, and show what it printed."""
        environment = os.environ | {"KINTO_SERVER": self.signer.url, "COLUMNS": "160"}
        if user:
            environment["KINTO_AUTH"] = f"{user}:{self.passwords[user]}"
        done = subprocess.run(
            [str(SCRIPTS / name), *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        )  # fmt: skip
        self.show(done, user)
        check(done.returncode == expected, f"{name} ended with {done.returncode} instead of {expected}")
        return done

    def gather(self, expected: int = 0) -> subprocess.CompletedProcess[str]:
        """A reader pulls."""
        arguments = ["gather-changes", self.authority.url, "--collection", DESTINATION, "--public-key", "signer-public.pem"]
        return self.command("kinto-updater", *arguments, "--cache", "cache", "--json", "json", expected=expected)

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

    def heartbeat(self) -> requests.Response:
        return requests.get(f"{self.authority.url}/__heartbeat__", timeout=TIMEOUT_S)

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


def quoted(argument: str) -> str:
    return f'"{argument}"' if re.search(r"\s", argument) else argument


def path(name: str) -> str:
    bucket, collection = name.split("/")
    return f"buckets/{bucket}/collections/{collection}"


def by_id(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {record["id"]: record for record in records}


def stripped(records: dict[str, Any]) -> dict[str, Any]:
    """Without the timestamps, which the servers give."""
    return {key: {k: v for k, v in record.items() if k != "last_modified"} for key, record in records.items()}
