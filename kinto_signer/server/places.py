"""Buckets and collections that the plugin makes on S, and who may use them."""

from __future__ import annotations

from typing import Any

from kinto_signer.plugin.resources import Place
from kinto_signer.plugin.storage import StorageRepository, collection_uri

EVERYONE = "system.Everyone"


def create_place(registry: Any, place: Place, *, writable: bool = False) -> None:
    """Make a bucket or collection where it is missing; everybody reads the signed copies."""
    repository = StorageRepository(registry.storage)
    made = repository.ensure_bucket(place.bucket)
    uri = f"/buckets/{place.bucket}"
    if place.collection:
        made = repository.attributes(place.name) is None or made
        uri = collection_uri(place.name)
        if repository.attributes(place.name) is None:
            repository.set_attributes(place.name, {})
    if not made:
        return
    principals = registry.signing.settings.get("auto_create_resources_principals") if writable else [EVERYONE]
    for principal in principals:
        registry.permission.add_principal_to_ace(uri, "write" if writable else "read", principal)
