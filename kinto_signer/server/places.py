"""Buckets and collections that the plugin makes on S, and who may use them."""

from __future__ import annotations

from typing import Any

from kinto_signer.plugin.resources import Place, Resource
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.server.groups import make_missing_groups


def create_place(registry: Any, place: Place, resource: Resource) -> bool:
    """Make a bucket or collection where it is missing; returns whether anything was made.

    resource: to which it belongs. Its source may be written by ``auto_create_resources_principals``, and has its
    groups; the signed copies are read by ``destination_readers``.
    """
    source, writable = resource.source, place == resource.source
    repository = StorageRepository(registry.storage)
    settings = registry.signing.settings
    if writable:
        principals = settings.get("auto_create_resources_principals")
    else:
        principals = settings.get("destination_readers", source.bucket, source.collection)

    def grant(uri: str) -> None:
        for principal in principals:
            registry.permission.add_principal_to_ace(uri, "write" if writable else "read", principal)

    made = repository.ensure_bucket(place.bucket)
    if made and (writable or place.collection is None):
        grant(f"/buckets/{place.bucket}")
    if place.collection and repository.attributes(place.name) is None:
        repository.set_attributes(place.name, {})
        grant(collection_uri(place.name))
        if writable:
            make_missing_groups(registry, resource)
        made = True
    return made
