"""What S and each authority hold of a collection, how the last publication went, and whether readers see what was approved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kinto_signer.core.ahead import Signed
from kinto_signer.core.renewal import Validity, validity_of
from kinto_signer.errors import KintoSignerError, TryLaterError
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.server.connection import Connection, as_object
from kinto_signer.server.journal import Entry
from kinto_signer.server.lasting import validity
from kinto_signer.server.own import Own
from kinto_signer.server.root import Sender
from kinto_signer.server.signing import AuthoritySettings, Signing
from kinto_signer.validities import as_json

ASK_S = 2.0
"""How long an authority is asked what it holds, in seconds."""


def sources(registry: Any) -> Iterator[Resource]:
    """Every source collection that is there, with collections filled in."""
    return sources_in(registry.signing, registry.storage)


def sources_in(signing: Signing, storage: Any) -> Iterator[Resource]:
    """The same of any storage."""
    repository, seen = StorageRepository(storage), set[Resource]()
    for configured in signing.resources.configured:
        bucket, collection = configured.source.bucket, configured.source.collection
        for found in [collection] if collection else repository.collections(bucket):
            resource = signing.resources.of_source(bucket, found)
            if resource is not None and resource not in seen and repository.attributes(resource.source.name) is not None:
                seen.add(resource)
                yield resource


def left_over(registry: Any) -> Iterator[Resource]:
    """The resources whose source was deleted and whose signed copy, the empty state that readers have since, is still there."""
    signing: Signing = registry.signing
    repository = StorageRepository(registry.storage)
    for configured in signing.resources.configured:
        bucket, destination = configured.source.bucket, configured.destination
        for found in [configured.source.collection] if destination.collection else repository.collections(destination.bucket):
            resource = signing.resources.of_source(bucket, str(found))
            if resource is None or resource != configured.concrete(str(found)):
                continue
            if repository.attributes(resource.source.name) is None and repository.timestamp(resource.destination.name):
                yield resource


@dataclass(frozen=True)
class _Read:
    """What an authority shows. timestamp: None if it is not known, 0 for nothing. sees: whether its readers get what was signed
    last here, and `why` not; None if nobody knows. validity: of what it holds, where that is what was signed last.
    """

    timestamp: int | None
    sees: bool | None
    why: str | None = None
    validity: Validity | None = None


def status(registry: Any, resource: Resource, silent: dict[str, str] | None = None) -> dict[str, Any]:
    """The state of one collection, as JSON. Asks each authority for its collection's attributes, 2 seconds at most each.

    ``reader_sees_last_approval`` is true, false, or null where nobody knows; ``why`` says why not. ``validity``: when S's own
    copy was signed and what of it ends; of an authority, that of the same publication there. ``deleted``: the source is not there
    any more.
    silent: the authorities, by address, that did not answer before and are not asked again; added to.
    """
    signing: Signing = registry.signing
    repository = StorageRepository(registry.storage)
    own = Own(repository, resource.destination.name, signing.copied_attributes(resource))
    there = repository.attributes(resource.source.name)
    source = there or {}
    ours = validity(own.attributes or {}, source)
    reading = _Reading(own, ours, {} if silent is None else silent)
    authorities = [
        _authority(settings, reading, registry.signer_journal.entry(own.name, settings.label))
        for settings in signing.authorities(resource)
    ]
    return {
        "source": resource.source.name,
        "deleted": there is None,
        "status": source.get("status"),
        "last_signature_date": source.get("last_signature_date"),
        "destination": own.name,
        "timestamp": own.timestamp,
        "hash": own.signed.hash if own.timestamp else None,
        "validity": as_json(ours),
        "authorities": authorities,
    }


def _authority(settings: AuthoritySettings, reading: _Reading, entry: Entry) -> dict[str, Any]:
    found = reading.read(settings, entry)
    return {
        "label": settings.label,
        "url": settings.url,
        "required": settings.required,
        "timestamp": found.timestamp,
        "reader_sees_last_approval": found.sees,
        "why": found.why,
        "validity": None if found.validity is None else as_json(found.validity),
        "last_success": entry.last_success,
        "last_error": entry.last_error,
        "failing": entry.failing,
    }


@dataclass(frozen=True)
class _Reading:
    """Asks authorities for what they hold of the collection `own`, whose validity is `ours`. silent: see `status`."""

    own: Own
    ours: Validity
    silent: dict[str, str]

    def read(self, settings: AuthoritySettings, entry: Entry) -> _Read:
        if settings.url in self.silent:
            return _Read(None, None, self.silent[settings.url])
        hurried = replace(settings, timeout_s=min(settings.timeout_s, ASK_S))
        try:
            answer = Sender(Connection(hurried)).send("GET", collection_uri(self.own.name), accept=(200, 401, 403, 404))
        except KintoSignerError as error:
            why = f"it does not say what it has: {error}"
            if isinstance(error, TryLaterError):
                self.silent[settings.url] = why
            return _Read(None, None, why)
        return self._compare(as_object(answer.body.get("data")), entry)

    def _compare(self, data: Mapping[str, Any], entry: Entry) -> _Read:
        own, signed = self.own, data.get("signed_timestamp")
        timestamp = signed if isinstance(signed, int) else 0
        if not timestamp:
            return _Read(0, own.timestamp == 0, "it does not have the collection, or not signed" if own.timestamp else None)
        theirs = Signed(timestamp, str(data.get("hash")))
        if theirs != own.signed:
            return _Read(timestamp, False, _why(own, theirs, entry))
        # Without a statement nothing there says when it was signed; another signature than the last one is an older one.
        same = data.get("signature") == (own.attributes or {}).get("signature")
        return _Read(timestamp, True, None, validity_of(data, self.ours.signed_at if same else None))


def _why(own: Own, theirs: Signed, entry: Entry) -> str:
    if theirs.timestamp < own.timestamp:
        return f"it holds {theirs.timestamp}, older than the {own.timestamp} that was signed last: `kinto-signer push` mends that"
    if theirs.timestamp == own.timestamp:
        return f"it holds another content under the timestamp {theirs.timestamp}: it was altered there"
    if theirs in entry.attempts:
        return f"it holds {theirs.timestamp}, which S did not finish publishing: set the status to `to-sign` again"
    return f"it holds {theirs.timestamp}, newer than the {own.timestamp} known here: was S restored from an older back-up?"
