"""The stage of the stories: S and A live on PostgreSQL, what was published on them, and another S that is for staging.

Each collection is published twice: below ``main`` with statements, below ``plain`` without (``kinto.signer.statement = false``).
The attacker has A: its database and the password of S's account there, and every connection between A and the readers.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from kinto_signer.core.changeset import Changeset
from tests.support.keys import KeyPair, write_key_pair
from tests.support.postgres import PostgresServer
from tests.support.servers import ROOT, LiveKinto
from tests.support.settings import PASSWORD, guarded_settings, signer_settings
from tests.support.stored import PostgresStore, Stored, text_of

BUCKETS = ("main", "plain")
NAME = "regions"
RESOURCES = "\n".join(f"/buckets/{bucket}-workspace -> /buckets/{bucket}" for bucket in BUCKETS)
NO_STATEMENTS = {"kinto.signer.plain-workspace.statement": "false"}


@dataclass
class Stage:
    """there, here: the databases of A and of S. held: what A's held, by the names of moments. own: what S's holds.

    new_key_pair: of nobody yet.
    """

    key_pair: KeyPair
    new_key_pair: KeyPair
    authority: LiveKinto
    signer: LiveKinto
    staging: LiveKinto
    there: PostgresStore
    here: PostgresStore
    held: dict[str, Stored]
    own: Stored | None = None

    def put(self, stored: Stored) -> str:
        """Make this what A's database holds. Returns A's address."""
        self.there.put(stored)
        return self.authority.url

    def honest(self) -> str:
        """Both databases as S left them. Returns A's address."""
        self.here.put(self.own)
        return self.put(self.held["next"])

    def reconfigure(self, signer: dict[str, str], authority: dict[str, str]) -> None:
        """Both servers restarted, with these settings besides their own."""
        for server, changes in ((self.signer, signer), (self.authority, authority)):
            server.stop()
            server.settings |= changes
            server.start()

    def refresh(self, bucket: str) -> str:
        """What becomes of a refresh of ``regions`` on S: ``accepted``, or the reason why not."""
        _, answer = command("signer", "refresh", f"{bucket}-workspace/{NAME}", server=self.signer)
        (found,) = answer["refreshed"]
        return found["error"]["reason"] if "error" in found else "accepted"


@contextlib.contextmanager
def staged(postgres: PostgresServer, folder) -> Iterator[Stage]:
    """The stage, after the first, the second and the third publication: ``old``, ``held`` (renewed: ``renewed``) and ``next``."""
    pair = write_key_pair(folder)
    databases = [postgres.create_database() for _ in range(3)]
    with contextlib.ExitStack() as stack:
        authority = stack.enter_context(LiveKinto(_authority(pair, databases[0]), name="authority"))
        signer = stack.enter_context(LiveKinto(_signer(pair, databases[1], authority.url, "production"), name="signer"))
        staging = stack.enter_context(LiveKinto(_signer(pair, databases[2], None, "staging"), name="staging"))
        stage = Stage(
            pair,
            write_key_pair(folder, "new"),
            authority,
            signer,
            staging,
            PostgresStore(databases[0]),
            PostgresStore(databases[1]),
            {},
        )
        _publish_history(stage)
        yield stage
    for server in (authority, signer, staging):
        shutil.rmtree(server.folder, ignore_errors=True)
    for database in databases:
        postgres.drop_database(database)


def _authority(pair: KeyPair, database: str) -> dict[str, str]:
    resources = "\n".join(f"/buckets/{bucket}" for bucket in BUCKETS)
    return guarded_settings(pair.public, database, resources)


def _signer(pair: KeyPair, database: str, authority: str | None, audience: str) -> dict[str, str]:
    settings = signer_settings(pair.private, database=database, authority=authority, resources=RESOURCES)
    return settings | NO_STATEMENTS | {"kinto.signer.audience": audience}


def _publish_history(stage: Stage) -> None:
    """Three publications of each collection; the other collection and staging are dated later than the second."""
    records = {f"r{number}": {"name": f"Straße {number}"} for number in range(3)}
    for client in (stage.signer.client("alice"), stage.staging.client("alice")):
        for bucket in BUCKETS:
            client.create_bucket(id=f"{bucket}-workspace")
            client.create_collection(bucket=f"{bucket}-workspace", id=NAME, data={"displayFields": ["name"]})
    publish(stage.signer, NAME, records)
    stage.held["old"] = stage.there.take()
    publish(stage.signer, NAME, {"r1": {"name": "renamed"}}, displayFields=["id"])
    stage.held["held"] = stage.there.take()
    command("signer", "refresh", server=stage.signer)
    stage.held["renewed"] = stage.there.take()
    client = stage.signer.client("alice")
    for bucket in BUCKETS:
        client.create_collection(bucket=f"{bucket}-workspace", id="languages")
    publish(stage.signer, "languages", {"de": {"name": "Deutsch"}})
    stage.held["languages"] = stage.there.take()
    publish(stage.signer, "languages", {"cs": {"name": "čeština"}})
    publish(stage.staging, NAME, {"r9": {"name": "of staging"}})
    publish(stage.signer, NAME, {"r2": {"name": "third"}, "r3": {"name": "new"}})
    stage.held["next"], stage.own = stage.there.take(), stage.here.take()


def publish(signer: LiveKinto, collection: str, records: dict[str, dict], **attributes) -> None:
    """Edit on S and approve, in both buckets, as an editor does."""
    client = signer.client("alice")
    for bucket in BUCKETS:
        source = {"bucket": f"{bucket}-workspace"}
        if records:
            with client.batch() as batch:
                for record_id, data in records.items():
                    batch.update_record(**source, collection=collection, id=record_id, data=data)
        client.patch_collection(**source, id=collection, data={**attributes, "status": "to-sign"})


def command(name: str, *arguments: object, server: LiveKinto | None = None) -> tuple[int, dict]:
    """``kinto-signer`` or ``kinto-updater`` as a person runs it: the exit code and the object that it printed."""
    access = {"KINTO_SERVER": server.url, "KINTO_AUTH": f"alice:{PASSWORD}"} if server else {}
    line = [sys.executable, "-m", f"kinto_signer.cli.{name}", *map(str, arguments), "--format", "json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **access})
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError as error:
        raise AssertionError(f"{line} ended with {done.returncode}: {done.stdout}{done.stderr}") from error


# --- what the attacker does to A's database -----------------------------------------------------------------------------------


def uri(bucket: str, collection: str = NAME) -> str:
    return f"/buckets/{bucket}/collections/{collection}"


def attributes(stored: Stored, bucket: str, collection: str = NAME) -> dict:
    found = stored.get(f"/buckets/{bucket}", "collection", collection)
    assert found is not None
    return found


def with_attributes(stored: Stored, bucket: str, change: Callable[[dict], dict]) -> Stored:
    """The same with other attributes of ``regions``, changed last of all collections, as the database wants it."""
    parent = f"/buckets/{bucket}"
    last = max(found["last_modified"] for found in stored.list(parent, "collection").values())
    return stored.having(parent, "collection", {**change(attributes(stored, bucket)), "id": NAME, "last_modified": last + 1})


def with_records(stored: Stored, bucket: str, records: dict[str, dict | None]) -> Stored:
    """Records put in the place of those with their ids; None: gone without a trace."""
    objects = {**stored.objects}
    for record_id, data in records.items():
        key = (uri(bucket), "record", record_id)
        if data is None:
            del objects[key]
        else:
            objects[key] = text_of({**data, "id": record_id})
    return replace(stored, objects=objects)


def with_collection(stored: Stored, other: Stored, bucket: str, collection: str = NAME) -> Stored:
    """`collection` of `other` under the name ``regions``: records, tombstones, attributes, timestamp."""
    there, here = uri(bucket, collection), uri(bucket)
    objects = {key: text for key, text in stored.objects.items() if key[0] != here}
    objects |= {(here, kind, name): text for (parent, kind, name), text in other.objects.items() if parent == there}
    timestamps = {**stored.timestamps}
    timestamps |= {(here, kind): time for (parent, kind), time in other.timestamps.items() if parent == there}
    found = replace(stored, objects=objects, timestamps=timestamps)
    return with_attributes(found, bucket, lambda _: attributes(other, bucket, collection))


def with_state(stored: Stored, bucket: str, state: Changeset) -> Stored:
    """A state that was signed elsewhere, as the collection's."""
    here = uri(bucket)
    objects = {key: text for key, text in stored.objects.items() if key[0] != here}
    objects |= {(here, "record", change["id"]): text_of(change) for change in state.changes}
    found = replace(stored, objects=objects, timestamps={**stored.timestamps, (here, "record"): state.timestamp})
    return with_attributes(found, bucket, lambda _: dict(state.metadata))
