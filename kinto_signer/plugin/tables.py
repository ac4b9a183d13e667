"""The settings of the plugins, a row each: parsing, environment, the generated documentation and redaction follow from these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from kinto_signer.plugin.settings import Family, Setting, Table
from kinto_signer.plugin.signer_rows import BACKEND, HEARTBEAT_ROWS, KEY_ROWS

_AUTHORITY_ROWS = (
    Setting("url", "url", None, "Address of the Kinto server that readers use, e.g. `https://a.example.org/v1`."),
    Setting("auth", "auth", None, "The signer's account there: `user:password` or `Bearer TOKEN`.", secret=True),
    Setting("timeout_seconds", "seconds", "300", "Total time that one publication to the authority may take."),
    Setting(
        "required",
        "boolean",
        "true",
        "Whether a publication fails where this authority does. If not, it is left out and remembered.",
    ),
)
"""What is set about one authority: ``authority.url`` where there is one, ``authority.eu.url`` for each of several."""

SIGNER = Table(
    "signer.",
    (
        Setting(
            "resources",
            "text",
            "/buckets/main-workspace -> /buckets/main-preview -> /buckets/main",
            "Which collections are signed, one line each: `/buckets/SOURCE -> /buckets/DESTINATION`, with a preview in the "
            "middle, or with `/collections/ID` for single collections; `bucket/collection` and `;` are understood too.",
            scope="server",
        ),
        Setting("signer_backend", "text", "local", BACKEND),
        Setting(
            "signers",
            "list",
            "",
            "The labels of several signers, e.g. `old new`; each has lines of its own, e.g. `kinto.signer.signer.old.backend`. "
            "All of them sign; `signature` is by the first.",
        ),
        *KEY_ROWS,
        Setting(
            "statement",
            "boolean",
            "true",
            "Publish a signed statement with each publication: which collection it is, its attributes, a serial and an end. "
            "Readers who have seen one take no state without one ever again.",
        ),
        Setting(
            "statement_lifetime_days",
            "days",
            "30",
            "How long readers may use a publication before its statement has to be renewed (`to-resign`, `kinto-signer "
            "refresh`).",
        ),
        Setting(
            "audience",
            "text",
            None,
            "Whom the statements are meant for, e.g. `production`. Readers and authorities with another `audience` refuse them.",
        ),
        Setting("allow_floats", "boolean", "false", "Accept numbers with a fraction (needs the extra `[floats]` everywhere)."),
        Setting(
            "auto_create_resources",
            "boolean",
            "false",
            "Create the buckets and collections named in `resources` when the server starts.",
            scope="server",
        ),
        Setting(
            "auto_create_resources_principals",
            "list",
            "system.Authenticated",
            "Who may write in the source buckets created that way.",
            scope="server",
        ),
        Setting(
            "authorities",
            "list",
            "",
            "The labels of several authorities, e.g. `eu us`; each has lines of its own, e.g. `kinto.signer.authority.eu.url`.",
        ),
        *(replace(row, name=f"authority.{row.name}") for row in _AUTHORITY_ROWS),
        Setting(
            "authority.bootstrap",
            "boolean",
            "false",
            "At start-up, fill configured collections that are empty here from the authority, after verification.",
            scope="server",
        ),
        Setting(
            "lock_timeout_seconds",
            "seconds",
            "5",
            "How long a request waits for another one on the same collection before it is answered 409 with Retry-After.",
            scope="server",
        ),
        Setting(
            "kept_forms_mib",
            "integer",
            "256",
            "How much memory each worker keeps of what it published (about 80 MiB for 100,000 records of 500 bytes), so that a "
            "publication costs what its change does. 0 keeps and saves nothing: then everything is read each time.",
            scope="server",
        ),
        Setting(
            "status_principals",
            "list",
            "",
            "Who may read `/signer/status` and use `kinto-signer push` and `adopt`, e.g. `account:admin`; nobody by default.",
            scope="server",
        ),
        Setting(
            "to_review_enabled",
            "boolean",
            "false",
            "Whether nothing is published without a review: requested by an editor, approved by a reviewer who is somebody else.",
        ),
        Setting(
            "group_check_enabled",
            "boolean",
            None,
            "Whether only the groups of editors and reviewers may request and approve. Default: true; false where this line, "
            "`editors_group` or `reviewers_group` is set anywhere and this one is not, as in kinto-signer 8.",
        ),
        Setting(
            "editors_group",
            "group",
            None,
            "Name of the editors' group in the source bucket; `{bucket_id}` and `{collection_id}` stand for the collection's. "
            "Default: `{collection_id}-editors`; `editors` where one of these three lines is set anywhere.",
        ),
        Setting(
            "reviewers_group",
            "group",
            None,
            "Name of the reviewers' group, likewise. Default: `{collection_id}-reviewers`; `reviewers` where one of these three "
            "lines is set anywhere.",
        ),
        Setting(
            "four_eyes",
            "four_eyes",
            "requester",
            "Who cannot approve where reviews are on: `requester`, who asked for the review last; or `contributors`, whoever "
            "edited or submitted something since the last publication.",
        ),
        Setting(
            "self_approval_principals",
            "list",
            "",
            "Accounts (of bots) that may approve what they requested or edited themselves, e.g. `account:sync-bot`.",
        ),
        Setting(
            "mass_deletion_percent",
            "percent",
            "0",
            "A publication that removes a larger share of the published records, and at least 10, is refused until it is allowed "
            "once: `kinto-signer approve B/C --allow-mass-deletion`. 0: never.",
        ),
        Setting(
            "copied_attributes",
            "attributes",
            "schema sort displayFields attachment flags",
            "Attributes of the source collection that are published beside its records.",
        ),
        Setting(
            "destination_readers",
            "list",
            "system.Everyone",
            "Who may read the preview and destination collections that the plugin makes here.",
        ),
        Setting(
            "webhook.url",
            "address",
            None,
            "Where requests, approvals, refusals and rollbacks are announced by POST, after they happened.",
            secret=True,
        ),
        Setting("webhook.secret", "text", None, "Key of the HMAC-SHA256 that such an announcement carries.", secret=True),
        Setting("webhook.timeout_seconds", "seconds", "5", "Total time that one announcement may take."),
        *HEARTBEAT_ROWS,
        # A name of kinto-signer and kinto-remote-settings that is known, and without effect.
        Setting(
            "hard_delete_destination_on_source_deletion",
            "boolean",
            "false",
            "Where a source is deleted, its destination becomes a signed empty state with tombstones.",
            idle=True,
        ),
    ),
    families=(
        Family("authorities", "authority", _AUTHORITY_ROWS),
        Family("signers", "signer", (Setting("backend", "text", "local", BACKEND), *KEY_ROWS)),
    ),
)
"""S: ``kinto_signer``."""

AUTHORITY = Table(
    "authority.",
    (
        Setting(
            "resources",
            "text",
            None,
            "Which buckets or collections are guarded, one a line: `/buckets/BUCKET` or `/buckets/BUCKET/collections/ID`; "
            "`bucket/collection` is understood too.",
            scope="server",
        ),
        Setting(
            "public_keys",
            "list",
            None,
            "PEM files with the P-384 public keys, or the SHA-256 of keys, any one of which has to have signed what is stored; "
            "several are separated by white space. May be set for one bucket or collection: of `public_keys`, `x5u_roots`, "
            "`signer_ids` and `chains` those lines count that stand at the most specific place with any of them.",
        ),
        Setting(
            "x5u_roots",
            "list",
            None,
            "SHA-256 of root certificates. Signatures are accepted too whose certificate chain leads from one of `signer_ids` to "
            "one of these roots, and is valid at the time of writing.",
        ),
        Setting(
            "signer_ids",
            "list",
            None,
            "Whose certificates are accepted below `x5u_roots`: names as in the certificate, e.g. "
            "`regions.content-signature.example.com`. Each counts below each root.",
        ),
        Setting(
            "chains",
            "list",
            None,
            "Files with certificate chains (PEM) for publications that do not carry theirs. They are trusted for nothing.",
        ),
        Setting(
            "x5u_hosts",
            "list",
            "",
            "Hosts (`HOST` or `HOST:PORT`) from which chains may be fetched that are neither carried nor in `chains`: over "
            "https, within 10 seconds. Nothing is fetched from any other.",
            scope="server",
        ),
        Setting(
            "certificate_tolerance_seconds",
            "lifetime",
            "0",
            "By how much this machine's clock may miss the time in which a certificate is valid.",
        ),
        Setting(
            "require_statement",
            "boolean",
            "false",
            "Refuse publications without a publication statement. One that is there is always checked, and once there was one, "
            "none without is accepted again.",
        ),
        Setting("audience", "text", None, "Refuse statements that are meant for another audience than this one."),
        Setting(
            "signer_principals",
            "list",
            "",
            "The accounts of the signers, e.g. `account:signer`. The heartbeat names everybody else who may write a guarded "
            "collection.",
        ),
        Setting(
            "future_tolerance_seconds",
            "seconds",
            "86400",
            "How far ahead of this machine's clock a signed timestamp may be.",
            scope="server",
        ),
        Setting(
            "lock_timeout_seconds",
            "seconds",
            "5",
            "How long a publication waits for another one of the same collection before it is answered 409 with Retry-After.",
            scope="server",
        ),
        Setting(
            "max_changeset_bytes",
            "bytes",
            "268435456",
            "The largest body of a posted changeset, decompressed; more is answered 413.",
            scope="server",
        ),
    ),
)
"""A: ``kinto_signer.authority``."""

CHANGES = Table(
    "changes.",
    (
        Setting(
            "resources",
            "text",
            None,
            "Which buckets or collections are listed in `monitor/changes`, separated by white space: `/buckets/BUCKET` or "
            "`/buckets/BUCKET/collections/ID`. Default: what is signed or guarded here.",
            scope="server",
        ),
        Setting(
            "excluded_collections",
            "text",
            "",
            "Collections of those buckets that are not listed.",
            scope="server",
        ),
        Setting(
            "http_host",
            "text",
            "",
            "The `host` of the entries. Default: `kinto.http_host`, else the host that the client asked.",
            scope="server",
        ),
        Setting(
            "since_max_age_days",
            "integer",
            "21",
            "A client of `monitor/changes` whose `_since` is older is sent to the whole list (307). Negative: it never is.",
            scope="server",
        ),
        Setting(
            "since_max_age_redirect_ttl_seconds",
            "integer",
            "86400",
            "How long caches may keep that answer. Negative: nothing is said of it.",
            scope="server",
        ),
    ),
)
"""The reading side: ``kinto_signer.changes``."""

RECORD_CACHE = Table(
    "",
    (
        Setting(
            "record_cache_expires_seconds",
            "lifetime",
            None,
            "How long caches may keep changesets and `monitor/changes` (and, in Kinto itself, lists of records), in seconds. "
            "May be set for one bucket or collection: `kinto.BUCKET.record_cache_expires_seconds`, "
            "`kinto.BUCKET.COLLECTION.record_cache_expires_seconds`; the monitor is `kinto.monitor.changes.…`. Not set: they "
            "keep nothing.",
            scope="collection, bucket or server",
        ),
        Setting(
            "BUCKET.COLLECTION.record_cache_minimum_expires_seconds",
            "lifetime",
            None,
            "The same for requests with `_expected=0` or `_expected=9999…`.",
            scope="one collection only",
        ),
        Setting(
            "BUCKET.COLLECTION.record_cache_maximum_expires_seconds",
            "lifetime",
            None,
            "The same for requests with any other `_expected`.",
            scope="one collection only",
        ),
    ),
)
"""How long caches may keep what is served: Kinto's own setting, and the two that the peers add to it."""

TABLES = (SIGNER, AUTHORITY, CHANGES, RECORD_CACHE)

_READ_BY = {SIGNER.prefix: "kinto_signer", AUTHORITY.prefix: "kinto_signer.authority"}


def lines_without_plugin(raw: Mapping[str, Any]) -> Iterator[str]:
    """A warning for each line of a plugin that is not in ``kinto.includes``."""
    included = raw.get("includes", raw.get("kinto.includes", ""))
    listed = included.split() if isinstance(included, str) else list(included or ())
    for prefix, plugin in _READ_BY.items():
        for key in raw:
            if key.removeprefix("kinto.").startswith(prefix) and plugin not in listed:
                yield f"kinto.{key.removeprefix('kinto.')} means nothing: {plugin} is not in kinto.includes."
