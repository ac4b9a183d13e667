"""What other plugins offer: attachments, personal buckets, accounts, flushing, history, and a plugin that goes past Kinto."""

import base64
import uuid

from kinto.core.utils import hmac_digest

from tests.support.attacks.attack import Attack
from tests.support.attacks.records import FORGED
from tests.support.attacks.target import UNBORN, Target
from tests.support.settings import PASSWORD, kinto_settings

HOSTILE = "tests.support.attacks.hostile_plugin"
BOUNDARY = "00112233"
FILE = "kept.txt"
ALIAS_SECRET = "of-personal-buckets"


# --- kinto-attachment ------------------------------------------------------------------------------------------------


def _upload(target: Target, record_id: str) -> None:
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="attachment"; filename="forged.txt"\r\n\r\nforged\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    content = f"{part}--{BOUNDARY}--\r\n".encode()
    target.send("POST", f"{target.records}/{record_id}/attachment", content, headers=headers)


def _attached_before(target: Target) -> None:
    """A file that was attached to a record before the guard was switched on."""
    target.files.mkdir(exist_ok=True)
    (target.files / FILE).write_bytes(b"kept")
    link = {
        "location": FILE,
        "bucket_uri": target.bucket,
        "collection_uri": target.collection,
        "record_uri": f"{target.records}/record-0000",
    }
    with target.storage() as storage:
        storage.create("", "__attachments__", link)


def upload_to_a_record(target: Target) -> None:
    """Upload of an attachment, which writes into its record."""
    _upload(target, "record-0000")


def upload_to_a_new_record(target: Target) -> None:
    """Upload of an attachment under an id that makes a new record."""
    _upload(target, "forged")


def delete_an_attachment(target: Target) -> None:
    """DELETE of an attachment, which removes the file and writes into its record."""
    target.send("DELETE", f"{target.records}/record-0000/attachment")


def delete_a_record_with_a_file(target: Target) -> None:
    """DELETE of a record to which a file belongs: a transaction that is undone does not bring the file back."""
    target.send("DELETE", f"{target.records}/record-0000")


def delete_a_collection_with_files(target: Target) -> None:
    """DELETE of the collection to which files belong."""
    target.send("DELETE", target.collection)


# --- default_bucket --------------------------------------------------------------------------------------------------


def _personal_bucket() -> str:
    """The id of the attacker's personal bucket, which is the guarded one in these rows."""
    credentials = hmac_digest(kinto_settings()["kinto.userid_hmac_secret"], f"alice:{PASSWORD}")
    return str(uuid.UUID(hmac_digest(ALIAS_SECRET, f"basicauth:{credentials}")[:32]))


def write_through_the_alias(target: Target) -> None:
    """PUT of a record through /buckets/default, another name of the guarded bucket."""
    target.send("PUT", "/buckets/default/collections/regions/records/forged", FORGED)


def delete_through_the_alias(target: Target) -> None:
    """DELETE of /buckets/default, which deletes the guarded bucket."""
    target.send("DELETE", "/buckets/default")


def make_by_reading_through_the_alias(target: Target) -> None:
    """GET of records in a collection that does not exist: /buckets/default makes it, unsigned."""
    target.send("GET", f"/buckets/default/collections/{UNBORN}/records")


def alter_attributes_through_the_alias(target: Target) -> None:
    """A batch whose PATCH of the collection goes through /buckets/default."""
    change = {"data": {"displayFields": ["forged"]}}
    target.batch({"method": "PATCH", "path": "/buckets/default/collections/regions", "body": change})


# --- accounts, flush, history ----------------------------------------------------------------------------------------


def _account(name: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()}


def write_with_an_account_made_for_it(target: Target) -> None:
    """An account that somebody makes for himself and that owns the bucket of the guarded collection writes a record."""
    target.send("PUT", "/accounts/mallory", {"data": {"password": PASSWORD}}, headers={"Authorization": ""})
    target.send("PATCH", target.bucket, {"permissions": {"write": ["account:mallory"]}})
    target.send("PUT", f"{target.records}/forged", FORGED, headers=_account("mallory"))


def flush_everything(target: Target) -> None:
    """POST /__flush__ wipes all backends at once and says nothing."""
    target.send("POST", "/__flush__", {})


def rewrite_beside_the_history(target: Target) -> None:
    """A write while the history plugin listens, and the deletion of what it noted."""
    target.send("PUT", f"{target.records}/forged", FORGED)
    target.send("DELETE", f"{target.bucket}/history")


# --- a plugin that goes past Kinto -----------------------------------------------------------------------------------


def plugin_writes_in_a_view(target: Target) -> None:
    """A plugin's view writes a record through the storage backend, without an event."""
    target.send("POST", "/hostile/view", {})


def plugin_writes_in_a_subscriber(target: Target) -> None:
    """A plugin's subscriber writes a guarded record when something else changes."""
    target.send("PUT", "/buckets/trigger", {"data": {}})


def plugin_writes_before_commit(target: Target) -> None:
    """A plugin's before-commit hook writes a record, registered in a view."""
    target.send("POST", "/hostile/commit", {})


def plugin_writes_before_the_commit_of_a_change(target: Target) -> None:
    """A plugin's before-commit hook, registered by a subscriber, writes a record after the guard's own hook."""
    target.send("PUT", "/buckets/trigger-hook", {"data": {}})


def plugin_writes_after_a_change(target: Target) -> None:
    """A plugin writes a record once Kinto has committed, in a transaction of its own."""
    target.send("PUT", "/buckets/trigger-after", {"data": {}})


def plugin_writes_with_another_event(target: Target) -> None:
    """A plugin's view writes a guarded record and tells Kinto about another one."""
    target.send("POST", "/hostile/resource", {})


def plugin_deletes_by_cascade(target: Target) -> None:
    """A plugin deletes everything below the collection through the storage backend."""
    target.send("POST", "/hostile/cascade", {})


def plugin_writes_when_a_request_comes(target: Target) -> None:
    """A plugin writes a record when a mere reading request comes in."""
    target.send("GET", "/", headers={"X-Hostile": "request"})


def plugin_writes_when_a_response_goes(target: Target) -> None:
    """A plugin writes a record when the answer is on its way."""
    target.send("GET", "/", headers={"X-Hostile": "response"})


ATTACHMENTS = {
    "plugins": "kinto_attachment",
    "settings": {"kinto.attachment.base_path": "{folder}/files", "kinto.attachment.base_url": "https://files.example/"},
}
ALIAS = {
    "plugins": "kinto.plugins.default_bucket",
    "bucket": _personal_bucket(),
    "settings": {"kinto.default_bucket_hmac_secret": ALIAS_SECRET},
}
ACCOUNTS = {
    "plugins": "kinto.plugins.accounts",
    "settings": {
        "multiauth.policies": "account basicauth",
        "multiauth.policy.account.use": "kinto.plugins.accounts.AccountsPolicy",
        "kinto.account_create_principals": "system.Everyone",
    },
}

ATTACKS = (
    Attack(46, upload_to_a_record, **ATTACHMENTS),
    Attack(46, upload_to_a_new_record, **ATTACHMENTS),
    Attack(46, delete_an_attachment, prepare=_attached_before, **ATTACHMENTS),
    Attack(46, delete_a_record_with_a_file, prepare=_attached_before, **ATTACHMENTS),
    Attack(46, delete_a_collection_with_files, prepare=_attached_before, **ATTACHMENTS),
    Attack(46, write_through_the_alias, **ALIAS),
    Attack(46, delete_through_the_alias, **ALIAS),
    Attack(46, make_by_reading_through_the_alias, **ALIAS),
    Attack(46, alter_attributes_through_the_alias, **ALIAS),
    Attack(46, write_with_an_account_made_for_it, **ACCOUNTS),
    Attack(46, flush_everything, plugins="kinto.plugins.flush", refuses_to_start="flush"),
    Attack(46, rewrite_beside_the_history, plugins="kinto.plugins.history"),
    Attack(46, plugin_writes_in_a_view, plugins=HOSTILE),
    Attack(46, plugin_writes_in_a_subscriber, plugins=HOSTILE),
    Attack(46, plugin_writes_before_commit, plugins=HOSTILE),
    Attack(46, plugin_writes_before_the_commit_of_a_change, plugins=HOSTILE),
    Attack(46, plugin_writes_after_a_change, plugins=HOSTILE),
    Attack(46, plugin_writes_with_another_event, plugins=HOSTILE),
    Attack(46, plugin_deletes_by_cascade, plugins=HOSTILE),
    Attack(46, plugin_writes_when_a_request_comes, plugins=HOSTILE),
    Attack(46, plugin_writes_when_a_response_goes, plugins=HOSTILE),
)
