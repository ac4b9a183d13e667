"""Buckets and collections that the plugin makes on S, and who may use them."""

from __future__ import annotations

from typing import Any

from kinto_signer.plugin.resources import EVERYONE, Place
from kinto_signer.plugin.storage import StorageRepository, collection_uri


def create_place(registry: Any, place: Place, *, writable: bool = False) -> bool:
    """Make a bucket or collection where it is missing; returns whether anything was made.

    writable: for ``auto_create_resources_principals``, as sources are; otherwise everybody reads it.
    """
    repository = StorageRepository(registry.storage)
    principals = registry.signing.settings.get("auto_create_resources_principals") if writable else [EVERYONE]

    def grant(uri: str) -> None:
        for principal in principals:
            registry.permission.add_principal_to_ace(uri, "write" if writable else "read", principal)

    made = repository.ensure_bucket(place.bucket)
    if made and (writable or place.collection is None):
        grant(f"/buckets/{place.bucket}")
    if place.collection and repository.attributes(place.name) is None:
        repository.set_attributes(place.name, {})
        grant(collection_uri(place.name))
        made = True
    return made
