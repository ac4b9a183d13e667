"""What is made before the first request: buckets and collections, and, on a new S, the content that A holds already."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import transaction
from pyramid.events import ApplicationCreated

from kinto_signer.core.workflow import Status
from kinto_signer.errors import KintoSignerError, NotFoundError
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.places import create_place
from kinto_signer.server.taking_over import collections, furthest, with_marker

logger = logging.getLogger(__name__)


def includeme(config: Any) -> None:
    config.add_subscriber(on_application_created, ApplicationCreated)


def on_application_created(event: Any) -> None:
    """Do what ``auto_create_resources`` and ``authority.bootstrap`` ask for, unless a command loads the application."""
    registry = event.app.registry
    if getattr(registry, "command", None):
        return
    settings = registry.signing.settings
    if settings.get("auto_create_resources"):
        with transaction.manager:
            StorageRepository(registry.storage).lock_everything()
            for resource in registry.signing.resources.configured:
                for place in resource.places:
                    create_place(registry, place, resource)
    if settings.get("authority.bootstrap"):
        for done in bootstrap(registry):
            logger.log(logging.ERROR if done.error else logging.INFO, "bootstrap: %s", done)


@dataclass(frozen=True)
class Done:
    """What became of one collection, or of one configured resource."""

    name: str
    what: str
    error: KintoSignerError | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.error or self.what}"


def bootstrap(registry: Any) -> Iterator[Done]:
    """Fill each configured collection that is empty here from its authorities, each in a transaction of its own.

    The authority's state is verified with the signer's own keys and written, with its timestamps, to source and destination.
    One that fails does not stop the others.
    """
    for configured in registry.signing.resources.configured:
        authorities = registry.signing.authorities(configured)
        if not authorities:
            yield Done(configured.source.bucket, "no kinto.signer.authority.url, nothing to start from")
        found: dict[str, Resource] = {}
        for authority in authorities:
            try:
                listed = collections(configured, authority)
            except KintoSignerError as error:
                yield Done(configured.destination.bucket, "", error)
                continue
            if not listed:
                missing = f"{authority.url} does not have it, or does not show it to the signer"
                yield Done(configured.destination.bucket, missing)
            of_source = registry.signing.resources.of_source
            listed = [one for one in listed if of_source(one.source.bucket, str(one.source.collection)) == one]
            found |= {resource.destination.name: resource for resource in listed}
        for resource in found.values():
            try:
                with transaction.manager:
                    yield Done(resource.destination.name, _fill(registry, resource))
            except KintoSignerError as error:
                yield Done(resource.destination.name, "", error)


def _fill(registry: Any, resource: Resource) -> str:
    repository = StorageRepository(registry.storage)
    repository.lock_everything()
    source, destination = resource.source.name, resource.destination.name
    for name in (source, destination):
        count = len(repository.records(name))
        if count:
            return f"left alone, {name} holds {count} records"
    try:
        best = furthest(registry.signing.authorities(resource), destination, registry.signing.trust(resource))
    except NotFoundError as error:
        return error.message.removesuffix(f" {destination}.") + " it"
    state = best.state
    create_place(registry, resource.destination, resource)
    made = create_place(registry, resource.source, resource)
    repository.apply(destination, with_marker(state))
    copied = {
        key: state.metadata[key] for key in (*registry.signing.copied_attributes(resource), "hash") if key in state.metadata
    }
    repository.write(source, state.records)
    repository.set_attributes(source, {**copied, "status": Status.SIGNED.value})
    writers = " ".join(registry.signing.settings.get("auto_create_resources_principals"))
    who = f"; {source} may be written by {writers}" if made else ""
    return f"{state.count} records of {state.timestamp} verified and taken over from {best.authority.url}{who}"
