"""What is made when the server starts: the buckets and collections named in ``resources``."""

from __future__ import annotations

from typing import Any

import transaction
from pyramid.events import ApplicationCreated

from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.server.authority import EVERYONE


def includeme(config: Any) -> None:
    config.add_subscriber(on_application_created, ApplicationCreated)


def on_application_created(event: Any) -> None:
    registry = event.app.registry
    if registry.signing.settings.get("auto_create_resources") and getattr(registry, "command", None) != "migrate":
        with transaction.manager:
            for resource in registry.signing.resources.configured:
                create_places(registry, resource)


def create_places(registry: Any, resource: Resource) -> None:
    """Make source, preview and destination where they are missing; everybody reads the signed copies."""
    repository = StorageRepository(registry.storage)
    writers = registry.signing.settings.get("auto_create_resources_principals")
    for place in resource.places:
        if repository.ensure_bucket(place.bucket):
            for principal in writers if place == resource.source else ():
                registry.permission.add_principal_to_ace(f"/buckets/{place.bucket}", "write", principal)
        if place.collection and repository.attributes(place.name) is None:
            repository.set_attributes(place.name, {})
            uri, permission = collection_uri(place.name), "read"
            principals = [EVERYONE]
            if place == resource.source:
                permission, principals = "write", writers
            for principal in principals:
                registry.permission.add_principal_to_ace(uri, permission, principal)
