"""A live S that publishes to a live, guarded A, both on PostgreSQL; and what has to be true of A at any moment."""

import hashlib
import json
from dataclasses import dataclass, field

import requests

from kinto_signer.core.changeset import Changeset, by_record_id
from kinto_signer.core.trust import check
from tests.support.settings import PASSWORD, guarded_settings, signer_settings
from tests.support.states import NAME, trust_in

SOURCE = {"bucket": "main-workspace", "collection": "regions"}
DESTINATION = {"bucket": "main", "collection": "regions"}
URI = "/buckets/main/collections/regions"
CHANGESET = f"{URI}/changeset?_expected=0"


@dataclass
class Published:
    """What S published: the records under each timestamp, as digests."""

    digests: dict[int, str] = field(default_factory=dict)

    def add(self, timestamp, records):
        self.digests[timestamp] = digest(records)


class Site:
    """S and A. on_both: settings; includes: further plugins; options: of both servers."""

    def __init__(self, live_kinto, create_database, key_pair, *, workers=2, on_both=None, includes="", **options):
        self.trust = trust_in(key_pair.key())
        self.databases = {"authority": create_database(), "signer": create_database()}
        settings = guarded_settings(key_pair.public, self.databases["authority"]) | (on_both or {})
        settings["kinto.includes"] += includes
        self.authority = live_kinto(settings, name="authority", workers=workers, threads=6, **options)
        settings = signer_settings(key_pair.private, database=self.databases["signer"], authority=self.authority.url)
        settings = settings | (on_both or {})
        settings["kinto.includes"] += includes
        self.signer = live_kinto(settings, name="signer", workers=2, **options)
        self.client = self.signer.client("alice")
        self.client.create_bucket(id=SOURCE["bucket"], permissions={"write": ["system.Authenticated"]})
        self.client.create_collection(bucket=SOURCE["bucket"], id=SOURCE["collection"])

    def edit(self, number):
        """Round `number`: creations, an update and, but for the first rounds, a deletion, in one batch."""
        with self.client.batch() as batch:
            for part in "ab":
                batch.update_record(**SOURCE, id=f"new-{number}-{part}", data={"value": number, "text": "Žižkov" * 5})
            batch.update_record(**SOURCE, id="always", data={"value": number})
            if number >= 10:
                batch.delete_record(**SOURCE, id=f"new-{number - 10}-a")

    def sign(self):
        self.client.patch_collection(bucket=SOURCE["bucket"], id=SOURCE["collection"], data={"status": "to-sign"})

    def signed(self):
        """The timestamp and the records that S signed last."""
        attributes = self.client.get_collection(bucket=DESTINATION["bucket"], id=DESTINATION["collection"])["data"]
        return attributes["signed_timestamp"], self.client.get_records(**DESTINATION)

    def served(self, session=requests):
        """What A serves, as one changeset."""
        return parse(session.get(self.authority.url + CHANGESET, timeout=60))

    def assert_verifies(self):
        """What A serves verifies; returns it."""
        state = self.served()
        check(NAME, state, self.trust)
        return state

    def assert_equal(self):
        """S, A's changeset and A's plain list say the same, and it verifies."""
        state = self.assert_verifies()
        timestamp, records = self.signed()
        there = requests.get(f"{self.authority.url}{URI}/records", timeout=60)
        there.raise_for_status()
        assert state.timestamp == timestamp == int(there.headers["ETag"].strip('"'))
        assert by_record_id(state.changes) == by_record_id(records) == by_record_id(there.json()["data"])

    def post(self, body, session=requests):
        """The answer to a changeset posted by the signer's account."""
        return session.post(f"{self.authority.url}{URI}/changeset", json=body, auth=("signer", PASSWORD), timeout=120)


def parse(answer):
    answer.raise_for_status()
    body = answer.json()
    return Changeset(body["timestamp"], body["changes"], body["metadata"])


def digest(records):
    ordered = sorted(records, key=lambda record: record["id"])
    return hashlib.sha256(json.dumps(ordered, sort_keys=True).encode()).hexdigest()
