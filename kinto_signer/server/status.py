"""What S and each authority hold of a collection, how the last publication went, and whether readers see what was approved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kinto_signer.core.ahead import Signed
from kinto_signer.errors import KintoSignerError
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.server.connection import Connection, as_object
from kinto_signer.server.journal import Entry
from kinto_signer.server.own import Own
from kinto_signer.server.root import Sender
from kinto_signer.server.signing import AuthoritySettings, Signing

ASK_S = 2.0
"""How long an authority is asked what it holds, in seconds."""


def sources(registry: Any) -> Iterator[Resource]:
    """Every source collection that is there, with collections filled in."""
    return sources_in(registry.signing, registry.storage)


def sources_in(signing: Signing, storage: Any) -> Iterator[Resource]:
    """The same of any storage."""
    repository = StorageRepository(storage)
    for configured in signing.resources.configured:
        bucket, collection = configured.source.bucket, configured.source.collection
        for found in [collection] if collection else repository.collections(bucket):
            resource = signing.resources.of_source(bucket, found)
            if resource is not None and repository.attributes(resource.source.name) is not None:
                yield resource


def status(registry: Any, resource: Resource) -> dict[str, Any]:
    """The state of one collection, as JSON. Asks each authority for its collection's attributes, 2 seconds at most each.

    ``reader_sees_last_approval`` is true, false, or null where nobody knows; ``why`` says why not.
    """
    signing: Signing = registry.signing
    repository = StorageRepository(registry.storage)
    own = Own(repository, resource.destination.name, signing.copied_attributes(resource))
    source = repository.attributes(resource.source.name) or {}
    authorities = [
        _authority(settings, own, registry.signer_journal.entry(own.name, settings.label))
        for settings in signing.authorities(resource)
    ]
    return {
        "source": resource.source.name,
        "status": source.get("status"),
        "last_signature_date": source.get("last_signature_date"),
        "destination": own.name,
        "timestamp": own.timestamp,
        "hash": own.signed.hash if own.timestamp else None,
        "authorities": authorities,
    }


def _authority(settings: AuthoritySettings, own: Own, entry: Entry) -> dict[str, Any]:
    timestamp, sees, why = _reader(settings, own, entry)
    return {
        "label": settings.label,
        "url": settings.url,
        "required": settings.required,
        "timestamp": timestamp,
        "reader_sees_last_approval": sees,
        "why": why,
        "last_success": entry.last_success,
        "last_error": entry.last_error,
        "failing": entry.failing,
    }


def _reader(settings: AuthoritySettings, own: Own, entry: Entry) -> tuple[int | None, bool | None, str | None]:
    """What the authority holds (None: unknown, 0: nothing), whether that is what was signed last here, and why not."""
    hurried = replace(settings, timeout_s=min(settings.timeout_s, ASK_S))
    try:
        answer = Sender(Connection(hurried)).send("GET", collection_uri(own.name), accept=(200, 401, 403, 404))
    except KintoSignerError as error:
        return None, None, f"it does not say what it has: {error}"
    data = as_object(answer.body.get("data"))
    signed = data.get("signed_timestamp")
    timestamp = signed if isinstance(signed, int) else 0
    if not timestamp:
        return 0, own.timestamp == 0, "it does not have the collection, or not signed" if own.timestamp else None
    theirs = Signed(timestamp, str(data.get("hash")))
    if theirs == own.signed:
        return timestamp, True, None
    return timestamp, False, _why(own, theirs, entry)


def _why(own: Own, theirs: Signed, entry: Entry) -> str:
    if theirs.timestamp < own.timestamp:
        return f"it holds {theirs.timestamp}, older than the {own.timestamp} that was signed last: `kinto-signer push` mends that"
    if theirs.timestamp == own.timestamp:
        return f"it holds another content under the timestamp {theirs.timestamp}: it was altered there"
    if theirs in entry.attempts:
        return f"it holds {theirs.timestamp}, which S did not finish publishing: set the status to `to-sign` again"
    return f"it holds {theirs.timestamp}, newer than the {own.timestamp} known here: was S restored from an older back-up?"
