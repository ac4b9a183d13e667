"""Clients of other projects that read A: each pulls what is newer than it holds, and verifies what it then holds.

``read()`` returns what the client holds, or raises Refused. Those in JavaScript are installed by ``make npm-clients``.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature

from tests.support.editing import Records, independently_verified
from tests.support.servers import ROOT, LiveKinto

NPM_CLIENTS = ROOT / "build" / "npm-clients"
READER = Path(__file__).with_name("reader_from_peers.py")
TIMEOUT_S = 60


class RefusedError(Exception):
    """What the client was given does not verify."""


@dataclass(frozen=True)
class Read:
    """What a client holds, and how many changes travelled to get there."""

    records: Records
    timestamp: int
    changes: int


class ForeignClient:
    """One reader of one collection in the bucket ``main``, which remembers what it read."""

    def __init__(self, server: LiveKinto, collection: str, public_key: Path, folder: Path) -> None:
        self.server, self.collection, self.public_key, self.folder = server, collection, public_key, folder
        self.where = {"bucket": "main", "collection": collection}
        self.held: dict[str, Any] = {}
        self.timestamp = 0

    def read(self) -> Read:
        raise NotImplementedError

    def close(self) -> None:
        """End what it started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _verified(self, changes: Records, timestamp: int, metadata: dict[str, Any]) -> Read:
        """Merge a difference into what is held, and keep the result if it verifies."""
        merged = self.held | {change["id"]: change for change in changes}
        live = [record for record in merged.values() if not record.get("deleted")]
        try:
            independently_verified(self.public_key.read_bytes(), live, timestamp, metadata["signature"]["signature"])
        except InvalidSignature as error:
            raise RefusedError(f"{self.collection} at {timestamp}") from error
        self.held, self.timestamp = {record["id"]: record for record in live}, timestamp
        return Read(live, timestamp, len(changes))


class GetChangeset(ForeignClient):
    """``kinto_http``: the collection's entry in ``monitor/changes``, then ``get_changeset``."""

    def read(self) -> Read:
        client = self.server.client("reader")
        entries = client.get_changeset(bucket="monitor", collection="changes", bust_cache=True)["changes"]
        (entry,) = [entry for entry in entries if (entry["bucket"], entry["collection"]) == ("main", self.collection)]
        since = {"_since": f'"{self.timestamp}"'} if self.held else {}
        answer = client.get_changeset(**self.where, _expected=entry["last_modified"], **since)
        return self._verified(answer["changes"], answer["timestamp"], answer["metadata"])


class GetRecords(ForeignClient):
    """``kinto_http``: ``get_records``, whose ETag is what is signed, and ``get_collection``."""

    def read(self) -> Read:
        client = self.server.client("reader")
        entries = client.get_records(bucket="monitor", collection="changes")
        assert [entry["bucket"] for entry in entries if entry["collection"] == self.collection] == ["main"]
        timestamp = int(client.get_records_timestamp(**self.where))
        since = {"_since": f'"{self.timestamp}"'} if self.held else {}
        changes = client.get_records(**self.where, **since)
        return self._verified(changes, timestamp, client.get_collection(bucket="main", id=self.collection)["data"])


class FromPeers(ForeignClient):
    """Forty lines that somebody wrote from the description of the protocol."""

    def read(self) -> Read:
        state = self.folder / "state.json"
        command = [sys.executable, "-I", READER, self.server.url, f"main/{self.collection}", self.public_key, state]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        if "InvalidSignature" in done.stderr:
            raise RefusedError(done.stderr)
        assert done.returncode == 0, done.stderr
        found = json.loads(state.read_text())
        return Read(found["records"], found["timestamp"], found["changes"])


class InJavaScript(ForeignClient):
    """A script of ``tests/clients``, which reads once for each line that it is sent and verifies with WebCrypto."""

    script: str

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        command = ["node", ROOT / "tests" / "clients" / self.script, NPM_CLIENTS, self.server.url, "main", self.collection]
        self._errors = (self.folder / "stderr").open("w+b")
        self._process = subprocess.Popen(
            [str(part) for part in [*command, self.public_key]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def read(self) -> Read:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"read\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, (self.folder / "stderr").read_text()
        found = json.loads(line)
        if not found["verified"]:
            raise RefusedError(f"{self.collection} at {found['timestamp']}")
        return Read(found["records"], int(found["timestamp"]), found["changes"])

    def close(self) -> None:
        self._process.communicate(timeout=TIMEOUT_S)
        self._errors.close()


class KintoJs(InJavaScript):
    """The npm package ``kinto``: what it has in its IndexedDB."""

    script = "kinto.mjs"


class KintoHttpJs(InJavaScript):
    """The npm package ``kinto-http``."""

    script = "kinto-http.mjs"


CLIENTS = (GetChangeset, GetRecords, KintoJs, KintoHttpJs, FromPeers)
