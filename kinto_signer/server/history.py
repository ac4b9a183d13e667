"""Kinto's history plugin: a refreshed signature leaves no entry on the source.

The plugin writes an entry for each write of a collection, a PATCH with ``to-resign`` included, and its settings leave out users
or whole resources only. A refresh changes nothing that anybody edited or approved, and a timer asks for it often, so its entry is
taken out again before the request commits. One that says anything else is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kinto.core.storage import Filter
from kinto.core.utils import COMPARISON

from kinto_signer.core.workflow import Status
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.resources import Place

_LATELY_MS = 3_600_000
"""The entry was made in this request; older ones are not looked at, as histories are long."""


def forget_refreshes(registry: Any, source: Place, changes: Iterable[dict[str, Any]]) -> None:
    """Remove the entries of those of a source's `changes` (``{"old", "new"}``) that only asked for ``to-resign``."""
    if "history" not in registry.api_capabilities:
        return
    for change in changes:
        if _only_refreshes(change):
            _forget(registry, source, change["new"]["last_modified"])


def _only_refreshes(change: dict[str, Any]) -> bool:
    old, new = change.get("old") or {}, change["new"]
    different = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    return new.get("status") == Status.TO_RESIGN.value and different <= {"status", "last_modified"}


def _forget(registry: Any, source: Place, last_modified: int) -> None:
    bucket_uri = f"/buckets/{source.bucket}"
    filters = [
        Filter("last_modified", now_ms() - _LATELY_MS, COMPARISON.GT),
        Filter("uri", source.uri, COMPARISON.EQ),
        Filter("target.data.last_modified", last_modified, COMPARISON.EQ),
    ]
    for entry in registry.storage.list_all("history", bucket_uri, filters=filters):
        registry.storage.delete("history", bucket_uri, entry["id"], with_deleted=False)
        registry.permission.delete_object_permissions(f"{bucket_uri}/history/{entry['id']}")
