"""Signs again what readers have of a source that was deleted: nobody can set the status of that one any more."""

from __future__ import annotations

from typing import Any

from kinto_signer.core.workflow import Effect
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server import actions
from kinto_signer.server.actions import Action
from kinto_signer.server.publisher import Publisher
from kinto_signer.server.signoff import now, user_who_asks
from kinto_signer.server.values import lock


def renew(request: Any, resource: Resource) -> None:
    """Renew the signed copy, and the preview's where there is one, here and on the authorities. Raises what a refresh raises."""
    registry = request.registry
    # There is no row of the source that could be locked.
    lock(request, resource.destination.name)
    user = user_who_asks(request)
    actions.record(registry, Action(Effect.REFRESH, resource, user, now()))
    publisher = Publisher(registry, user)
    publisher.refresh(resource)
    preview = resource.as_preview
    if preview and StorageRepository(registry.storage).timestamp(preview.destination.name):
        publisher.refresh(preview)
