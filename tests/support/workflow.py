"""A signer with reviews and groups, and people in them; for tests of who may do what."""

import uuid
from dataclasses import dataclass

from webtest import TestApp

from tests.support.servers import authorization, webtest_app
from tests.support.settings import signer_settings

BUCKET = "/buckets/main-workspace"
SOURCE = f"{BUCKET}/collections/regions"
PREVIEW = "/buckets/main-preview/collections/regions"
DESTINATION = "/buckets/main/collections/regions"
WITH_PREVIEW = "/buckets/main-workspace -> /buckets/main-preview -> /buckets/main"

ADMIN, EDITOR, EDITOR_AND_REVIEWER, REVIEWER, READER = "admin", "alice", "bob", "carol", "dave"


@dataclass(frozen=True)
class ReviewSite:
    """S in this process. principals: of the people, as the server knows them."""

    app: TestApp
    principals: dict[str, str]

    def headers(self, user):
        return authorization(user)

    def set_status(self, user, wanted, *, status=None, **data):
        """Ask for the status `wanted`; status: of the answer. data: further attributes."""
        body = {"data": {"status": wanted, **data}}
        return self.app.patch_json(SOURCE, body, headers=authorization(user), status=status)

    def put(self, user, record_id, **data):
        return self.app.put_json(f"{SOURCE}/records/{record_id}", {"data": data}, headers=authorization(user))

    def delete(self, user, record_id):
        return self.app.delete(f"{SOURCE}/records/{record_id}", headers=authorization(user))

    def make_ready(self):
        """Take back what earlier tests left pending, and edit something that was never published."""
        if self.attributes()["status"] != "signed":
            self.set_status(ADMIN, "to-rollback")
        self.put(EDITOR, "fr", name=str(uuid.uuid4()))

    def attributes(self, uri=SOURCE):
        return self.app.get(uri).json["data"]

    def records(self, uri):
        """By id, without timestamps."""
        found = self.app.get(f"{uri}/records").json["data"]
        return {record["id"]: {k: v for k, v in record.items() if k not in ("id", "last_modified")} for record in found}


def review_settings(key_pair, *, database=None, authority=None, preview=True, **extra):
    """Settings of S with reviews, as kinto-remote-settings names its groups. extra: further lines, dots as ``__``."""
    resources = WITH_PREVIEW if preview else "/buckets/main-workspace -> /buckets/main"
    settings = signer_settings(key_pair.private, database=database, authority=authority, resources=resources)
    del settings["kinto.signer.group_check_enabled"]
    settings["kinto.signer.to_review_enabled"] = "true"
    return settings | {name.replace("__", "."): value for name, value in extra.items()}


def review_site(key_pair, *, database=None, authority=None, preview=True, **extra) -> ReviewSite:
    """S with the source main-workspace/regions: alice edits, bob edits and reviews, carol reviews, dave reads, admin made it."""
    app = webtest_app(review_settings(key_pair, database=database, authority=authority, preview=preview, **extra), user=ADMIN)
    principals = {
        user: app.get("/", headers=authorization(user)).json["user"]["id"]
        for user in (ADMIN, EDITOR, EDITOR_AND_REVIEWER, REVIEWER, READER)
    }
    app.put_json(BUCKET, {"permissions": {"read": [principals[READER]]}})
    app.put_json(SOURCE, {})
    site = ReviewSite(app, principals)
    for group, members in (("editors", (EDITOR, EDITOR_AND_REVIEWER)), ("reviewers", (EDITOR_AND_REVIEWER, REVIEWER))):
        body = {"data": {"members": [principals[user] for user in members]}}
        app.put_json(f"{BUCKET}/groups/regions-{group}", body)
    return site


class Unwilling:
    """Joins a transaction and refuses it at the very end, when every hook before the commit has run."""

    transaction_manager = None

    def __init__(self, error):
        self.error = error

    def tpc_vote(self, _transaction):
        raise self.error

    def sortKey(self):  # noqa: N802 - the interface of the package transaction
        return "~"

    def nothing(self, _transaction):
        """The other steps."""

    abort = tpc_begin = commit = tpc_finish = tpc_abort = nothing
