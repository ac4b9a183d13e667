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
    """Every source that is there: one query for each bucket, two thousand collections each."""
    repository, resources = StorageRepository(registry.storage), registry.signing.resources
    signed: dict[str, dict[str, Mapping[str, Any]]] = {}
    for bucket in dict.fromkeys(configured.source.bucket for configured in resources.configured):
        for source in repository.collections_attributes(bucket):
            resource = resources.of_source(bucket, source["id"])
            if resource is None:
                continue
            there = resource.destination
            if there.bucket not in signed:
                signed[there.bucket] = {one["id"]: one for one in repository.collections_attributes(there.bucket)}
            yield resource, validity(signed[there.bucket].get(str(there.collection), {}), source)


def milliseconds(date: Any) -> int | None:
    """A tracking field's date; None for what is no date."""
    try:
        return round(datetime.fromisoformat(date).timestamp() * 1000)
    except (TypeError, ValueError):
        return None
