"""S in this process for many sequences of steps: brought back to its beginning cheaply, looked at past its HTTP API."""

import json
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from kinto.core.utils import hmac_digest

from kinto_signer.core.difference import difference, reviewed_digest
from tests.support.editing import independently_verified
from tests.support.keys import write_key_pair
from tests.support.servers import authorization
from tests.support.settings import PASSWORD, kinto_settings
from tests.support.site import MERGE_PATCH
from tests.support.workflow import BUCKET, DESTINATION, PREVIEW, SOURCE, review_site
from tests.support.workflow_model import (
    EDITORS,
    MAY_APPROVE_ALONE,
    PUBLISHED_ATTRIBUTES,
    REVIEWERS,
    Content,
    Delete,
    DeleteAll,
    Discard,
    Patch,
    Post,
    Put,
)

RECORDS = f"{SOURCE}/records"
ATTRIBUTES = (*PUBLISHED_ATTRIBUTES, "note")


def principal(user):
    return "basicauth:" + hmac_digest(kinto_settings()["kinto.userid_hmac_secret"], f"{user}:{PASSWORD}")


@dataclass
class Reader:
    """Somebody who downloads only what changed since they came last. records: what they have, tombstones taken away."""

    timestamp: int = 0
    records: dict = field(default_factory=dict)

    def catch_up(self, stored, etag):
        for change in stored:
            if change["last_modified"] > self.timestamp:
                self.records.pop(change["id"], None)
                if not change.get("deleted"):
                    self.records[change["id"]] = change
        self.timestamp = etag


class SequenceSite:
    """A review site whose robot may approve alone. reviews, preview, contributors_rule: as set."""

    def __init__(self, key_pair, *, reviews, preview, contributors_rule):
        self.public_pem = key_pair.public.read_bytes()
        self.reviews, self.preview, self.contributors_rule = reviews, preview, contributors_rule
        settings = {
            "kinto__signer__to_review_enabled": str(reviews).lower(),
            "kinto__signer__four_eyes": "contributors" if contributors_rule else "requester",
            "kinto__signer__self_approval_principals": " ".join(map(principal, MAY_APPROVE_ALONE)),
        }
        self.app = review_site(key_pair, preview=preview, **settings).app
        for group, members in (("editors", EDITORS), ("reviewers", REVIEWERS)):
            body = {"data": {"members": [principal(user) for user in sorted(members)]}}
            self.app.put_json(f"{BUCKET}/groups/regions-{group}", body)
        self.registry = self.app.app.registry
        self._beginning = self.everything()

    @property
    def copies(self):
        return (PREVIEW, DESTINATION) if self.preview else (DESTINATION,)

    def everything(self):
        """All that is stored, as text: objects, tombstones, timestamps, permissions, members."""
        storage, permission = self.registry.storage, self.registry.permission
        trees = [_plain(tree) for tree in (storage._store, storage._cemetery, storage._timestamps)]
        return json.dumps([*trees, permission._store], sort_keys=True, default=sorted)

    def start_again(self):
        storage, permission = self.registry.storage, self.registry.permission
        *trees, principals = json.loads(self._beginning)
        storage.flush()
        for tree, kept in zip((storage._store, storage._cemetery, storage._timestamps), trees, strict=True):
            for parent, kinds in kept.items():
                tree[parent].update(kinds)
        permission._store.clear()
        permission._store.update({key: set(members) for key, members in principals.items()})

    # --- steps -------------------------------------------------------------------------------------------------------------

    def send(self, user, parts, *, headers=None, extra=None, whole=False):
        """One request, or a batch of several. Returns the answer, whatever it is.

        extra: further data of a single PATCH. whole: a single PATCH is sent as a PUT of everything.
        """
        requests = [_request(part, extra or {}) for part in parts]
        if whole:
            requests = [self._whole(request) for request in requests]
        headers = authorization(user) | (headers or {})
        if len(requests) > 1:
            return self.app.post_json("/batch", {"requests": requests}, headers=headers, expect_errors=True)
        (request,) = requests
        headers |= request.get("headers", {})
        options = {"headers": headers, "expect_errors": True}
        if request["method"] == "DELETE":
            return self.app.delete(request["path"], **options)
        send = {"PUT": self.app.put_json, "POST": self.app.post_json, "PATCH": self.app.patch_json}[request["method"]]
        return send(request["path"], request["body"], **options)

    def _whole(self, request):
        changes = request["body"]["data"]
        data = self.attributes() | changes
        gone = [name for name in changes if changes[name] is None]
        return {"method": "PUT", "path": SOURCE, "body": {"data": {k: v for k, v in data.items() if k not in gone}}}

    # --- what is there -----------------------------------------------------------------------------------------------------

    def attributes(self, uri=SOURCE):
        return self.registry.storage.get("collection", uri.rpartition("/collections/")[0], uri.rpartition("/")[2])

    def etag(self, uri):
        return self.registry.storage.resource_timestamp("record", uri)

    def stored(self, uri):
        """Every record and tombstone."""
        return self.registry.storage.list_all("record", uri, include_deleted=True)

    def content(self, uri):
        live = [record for record in self.stored(uri) if not record.get("deleted")]
        found = self.attributes(uri)
        return Content({r["id"]: r["value"] for r in live}, {name: found[name] for name in ATTRIBUTES if name in found})

    def verify(self, uri):
        """Every signature of a copy, and that its timestamp is its ETag. Raises InvalidSignature or AssertionError."""
        metadata, etag = self.attributes(uri), self.etag(uri)
        live = [record for record in self.stored(uri) if not record.get("deleted")]
        assert metadata["signature"] == metadata["signatures"][0]
        assert metadata["signed_timestamp"] == etag
        assert max((change["last_modified"] for change in self.stored(uri)), default=0) <= etag
        for entry in metadata["signatures"]:
            hash_ = independently_verified(self.public_pem, live, etag, entry["signature"])
            assert metadata["hash"] == hash_

    def published_hash(self):
        return self.attributes(DESTINATION).get("hash")

    def digest(self):
        """What a reviewer would name."""
        attributes, published = self.attributes(), self.attributes(DESTINATION)
        found = difference(self.stored(SOURCE), self.stored(DESTINATION), attributes, published, PUBLISHED_ATTRIBUTES)
        return reviewed_digest(found, attributes, published, PUBLISHED_ATTRIBUTES)

    def log(self):
        return self.app.get(f"{SOURCE}/log?_limit=500").json["data"]


def sequence_site(reviews, preview, contributors_rule):
    """As it was when it was made. There is one with these settings in a process."""
    site = _made(reviews, preview, contributors_rule)
    site.start_again()
    return site


@cache
def _made(reviews, preview, contributors_rule):
    with tempfile.TemporaryDirectory(prefix="kinto-signer-keys-") as folder:
        key_pair = write_key_pair(Path(folder))
        return SequenceSite(key_pair, reviews=reviews, preview=preview, contributors_rule=contributors_rule)


def now():
    return datetime.now(UTC)


def _plain(tree):
    """Without the branches that grow when they are looked at."""
    kept = {parent: {kind: found for kind, found in kinds.items() if found} for parent, kinds in tree.items()}
    return {parent: kinds for parent, kinds in kept.items() if kinds}


def _request(part, extra):
    if isinstance(part, Put):
        return {"method": "PUT", "path": f"{RECORDS}/{part.record}", "body": {"data": {"value": part.value}}}
    if isinstance(part, Post):
        return {"method": "POST", "path": RECORDS, "body": {"data": {"id": part.record, "value": part.value}}}
    if isinstance(part, Delete):
        return {"method": "DELETE", "path": f"{RECORDS}/{part.record}"}
    if isinstance(part, DeleteAll):
        return {"method": "DELETE", "path": RECORDS}
    if isinstance(part, Discard):
        return {"method": "POST", "path": f"{SOURCE}/discard", "body": {"ids": sorted(part.records)}}
    assert isinstance(part, Patch)
    data = dict(part.attributes) | ({"status": part.status} if part.status is not None else {}) | extra
    return {"method": "PATCH", "path": SOURCE, "body": {"data": data}, "headers": {"Content-Type": MERGE_PATCH}}
