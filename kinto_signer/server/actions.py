"""What was done in the workflow: an entry for each action, kept beside the collection in the order in which they happened."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kinto.core.storage import Filter, Sort
from kinto.core.utils import COMPARISON

from kinto_signer.core.workflow import Effect
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import collection_uri, notes_uri

logger = logging.getLogger(__name__)

KIND = "signer-action"


@dataclass(frozen=True)
class Action:
    """One action on a source collection.

    date: ISO 8601. created, updated, deleted: records in which the source differed from what is published; size_bytes: what
    readers download of that. digest: of what was shown to the reviewers (`core.difference.reviewed_digest`). alone: approved by
    one of ``self_approval_principals`` who took part.
    """

    effect: Effect
    resource: Resource
    user: str
    date: str
    comment: str = ""
    created: int = 0
    updated: int = 0
    deleted: int = 0
    size_bytes: int = 0
    digest: str = ""
    requested_by: str | None = None
    alone: bool = False

    @property
    def count(self) -> int:
        return self.created + self.updated + self.deleted

    def as_json(self) -> dict[str, Any]:
        entry = asdict(self)
        del entry["resource"], entry["effect"], entry["user"]
        return {"action": self.effect.value, "by": self.user, **entry}


def record(registry: Any, action: Action) -> None:
    """Write the action down, in the current transaction, and into the server's log."""
    name = action.resource.source.name
    registry.storage.create(KIND, notes_uri(collection_uri(name)), action.as_json())
    logger.info(
        "sign-off %s action=%r by=%s created=%s updated=%s deleted=%s digest=%s requested_by=%s alone=%s",
        name,
        action.effect.value,
        action.user,
        action.created,
        action.updated,
        action.deleted,
        action.digest or None,
        action.requested_by,
        str(action.alone).lower(),
    )


def recorded(registry: Any, name: str, *, limit: int, before: int | None = None) -> Sequence[dict[str, Any]]:
    """The entries of the source `name`, newest first. before: only those older than this ``last_modified``, milliseconds."""
    rules = [Filter("last_modified", before, COMPARISON.LT)] if before is not None else None
    found: list[dict[str, Any]] = registry.storage.list_all(
        KIND, notes_uri(collection_uri(name)), filters=rules, sorting=[Sort("last_modified", -1)], limit=limit
    )
    return found
