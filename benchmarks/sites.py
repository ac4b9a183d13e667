"""Databases with a source full of records, and the servers that work on copies of them."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks.measured import Client, FailedError
from benchmarks.records import make_record, now_ms
from tests.support.editing import independently_verified
from tests.support.keys import KeyPair, write_key_pair
from tests.support.servers import LiveKinto

BUCKET, DESTINATION = "/buckets/main-workspace", "/buckets/main/collections/stops"
SOURCE = f"{BUCKET}/collections/stops"
EDITOR, REVIEWER = "editor", "reviewer"
# Up to here every scenario's last state is also verified: canonical form and signature, by code that is not ours.
VERIFIED_UP_TO = 10_000
GOLDEN = 0.618034

_TABLE = "CREATE TEMPORARY TABLE filling (id text, epoch bigint, data jsonb)"
_INSERT = """
INSERT INTO objects (id, parent_id, resource_name, data, last_modified, deleted)
SELECT id, %s, 'record', data, from_epoch(epoch), false FROM filling
"""


@contextmanager
def key_pair_in_a_folder() -> Iterator[tuple[KeyPair, Path]]:
    with tempfile.TemporaryDirectory(prefix="kinto-signer-bench-") as folder:
        yield write_key_pair(Path(folder)), Path(folder)


def fill(database: str, count: int) -> None:
    """Put so many records into the source, as if they had come in one after the other until now, and let PostgreSQL analyse."""
    start = now_ms() - count - 1000
    lines = io.StringIO()
    for number in range(count):
        record = make_record(number, start + number)
        record_id, last_modified = record.pop("id"), record.pop("last_modified")
        text = json.dumps(record, ensure_ascii=False).replace("\\", "\\\\")
        lines.write(f"{record_id}\t{last_modified}\t{text}\n")
    lines.seek(0)
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLE)
        cursor.copy_expert("COPY filling FROM STDIN", lines)
        cursor.execute(_INSERT, (SOURCE,))
        connection.commit()
        connection.autocommit = True
        cursor.execute("ANALYZE objects")


class Desk:
    """An editor and a reviewer in front of a server whose source holds `count` records."""

    def __init__(self, server: LiveKinto, count: int) -> None:
        self.server, self.count = server, count
        self.editor, self.reviewer = (Client(server, user) for user in (EDITOR, REVIEWER))
        self._edits = 0

    def create(self) -> None:
        """The bucket, which everybody may write, the source, and its groups, which some peers insist on."""
        self.editor.call("PUT", BUCKET, {"permissions": {"write": ["system.Authenticated"]}})
        self.editor.call("PUT", SOURCE, {})
        members = [client.get("/")["user"]["id"] for client in (self.editor, self.reviewer)]
        for group in ("stops-editors", "stops-reviewers"):
            self.editor.call("PUT", f"{BUCKET}/groups/{group}", {"data": {"members": members}})

    def warm_up(self) -> None:
        """Open the connections."""
        for client in (self.editor, self.reviewer):
            client.call("GET", SOURCE)

    def edit(self) -> float:
        """Change one record, another one each time, spread over the collection. Seconds."""
        self._edits += 1
        number = int(self.count * (self._edits * GOLDEN % 1))
        record = make_record(number, 0) | {"zone": now_ms()}
        del record["last_modified"]
        return self.editor.call("PUT", f"{SOURCE}/records/{record['id']}", {"data": record})

    def ask(self, status: str, client: Client | None = None) -> float:
        """PATCH the status. Seconds."""
        return (client or self.editor).call("PATCH", SOURCE, {"data": {"status": status}})

    def publish_one_change(self) -> float:
        self.edit()
        return self.ask("to-sign")

    def check(self, key_pair: KeyPair) -> None:
        """Raise FailedError unless the destination holds everything, and, where it is small, what was signed."""
        total = self.editor.total(DESTINATION)
        if total != self.count:
            raise FailedError(f"{total} of {self.count} records are in the destination.")
        if self.count <= VERIFIED_UP_TO:
            self._verify(key_pair)

    def _verify(self, key_pair: KeyPair) -> None:
        signature = self.editor.get(DESTINATION)["data"]["signature"]["signature"]
        records: list[dict[str, Any]] = self.editor.get(f"{DESTINATION}/records")["data"]
        newest = max(record["last_modified"] for record in records)
        independently_verified(key_pair.public.read_bytes(), records, newest, signature)
