"""How long the oldest draft has been waiting, and how old the oldest signature is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kinto_signer.core.workflow import Status
from kinto_signer.plugin import metrics
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.lasting import milliseconds


@dataclass(frozen=True)
class Ages:
    """In seconds; 0 where there is no draft, and where nothing was signed."""

    oldest_draft_s: float
    oldest_signature_s: float


def ages(sources: Iterable[Mapping[str, Any]], now: float) -> Ages:
    """The ages in these source collections' attributes. now: epoch seconds."""
    drafts, signatures = [0.0], [0.0]
    for attributes in sources:
        signed = _age(attributes.get("last_signature_date"), now)
        signatures.append(signed or 0.0)
        if attributes.get("status") not in (None, Status.SIGNED.value):
            # Who only wrote attributes before this plugin kept dates has a draft as old as what was signed before it.
            drafts.append(_age(attributes.get("last_edit_date"), now) or signed or 0.0)
    return Ages(max(drafts), max(signatures))


def look(registry: Any) -> Ages:
    """The ages now: one query for each bucket of sources, two thousand collections each."""
    repository, resources = StorageRepository(registry.storage), registry.signing.resources
    buckets = dict.fromkeys(resource.source.bucket for resource in resources.configured)
    found = [
        attributes
        for bucket in buckets
        for attributes in repository.collections_attributes(bucket)
        if resources.of_source(bucket, attributes["id"]) is not None
    ]
    return ages(found, time.time())


def report(registry: Any, seen: Ages) -> None:
    metrics.measured(registry, metrics.OLDEST_DRAFT, seen.oldest_draft_s)
    metrics.measured(registry, metrics.OLDEST_SIGNATURE, seen.oldest_signature_s)


def _age(date: Any, now: float) -> float | None:
    """Seconds since a tracking field's date; None for what is no date."""
    then = milliseconds(date)
    return None if then is None else now - then / 1000
