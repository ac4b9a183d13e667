"""How old the signatures of the configured sources are and what of them ends, as S's own signed copies say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from kinto_signer.core.renewal import Validity, validity_of
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository


def validity(signed: Mapping[str, Any], source: Mapping[str, Any]) -> Validity:
    """The validity of one collection. signed, source: the attributes of S's signed copy, and of the source.

    A statement says itself when it was made; without one the source's ``last_signature_date`` does.
    """
    return validity_of(signed, milliseconds(source.get("last_signature_date")))


def look(registry: Any) -> Iterator[tuple[Resource, Validity]]:
    """Every source that is there, and what readers have of those that were deleted.

    One query for each bucket, two thousand collections each.
    """
    repository, resources = StorageRepository(registry.storage), registry.signing.resources
    buckets: dict[str, dict[str, Mapping[str, Any]]] = {}

    def of_bucket(bucket: str) -> dict[str, Mapping[str, Any]]:
        if bucket not in buckets:
            buckets[bucket] = {one["id"]: one for one in repository.collections_attributes(bucket)}
        return buckets[bucket]

    for configured in resources.configured:
        sources, signed = of_bucket(configured.source.bucket), of_bucket(configured.destination.bucket)
        single = configured.source.collection
        for collection in [single] if single else sorted(sources.keys() | signed.keys()):
            resource = resources.of_source(configured.source.bucket, collection)
            if resource is None or resource != configured.concrete(collection):
                continue
            source, copy = sources.get(collection), signed.get(str(resource.destination.collection), {})
            found = validity(copy, source or {})
            if source is not None or found.signed_at is not None:
                yield resource, found


def milliseconds(date: Any) -> int | None:
    """A tracking field's date; None for what is no date."""
    try:
        return round(datetime.fromisoformat(date).timestamp() * 1000)
    except (TypeError, ValueError):
        return None
