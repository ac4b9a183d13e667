"""Kinto's history plugin: a refreshed signature leaves no entry on the source.

The plugin writes an entry for each write of a collection, a PATCH with ``to-resign`` included, and its settings leave out users
or whole resources only. A refresh changes nothing that anybody edited or approved, and a timer asks for it often, so its entry is
taken out again before the request commits. One that says anything else is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kinto.core.storage import Filter
from kinto.core.utils import COMPARISON

from kinto_signer.core.workflow import Status
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.resources import Place

_LATELY_MS = 3_600_000
"""The entry was made in this request; older ones are not looked at, as histories are long."""


def forget_refresh(request: Any, source: Place, change: Mapping[str, Any]) -> None:
    """Remove the entry of a source's `change` (``{"old", "new"}``), if it does nothing but ask for ``to-resign``."""
    old, new = change.get("old") or {}, change["new"]
    different = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    if different <= {"status", "last_modified"} and not _mentions_permissions(request):
        _forget(request.registry, source, new["last_modified"])


def _mentions_permissions(request: Any) -> bool:
    """Whether the request, or anything in its batch, may have changed permissions: the entry would be all that tells of it."""
    whole = getattr(request, "parent", request)
    return "permissions" in json.dumps(whole.json_body)


def _forget(registry: Any, source: Place, last_modified: int) -> None:
    bucket_uri = f"/buckets/{source.bucket}"
    filters = [
        Filter("last_modified", now_ms() - _LATELY_MS, COMPARISON.GT),
        Filter("uri", source.uri, COMPARISON.EQ),
        Filter("target.data.last_modified", last_modified, COMPARISON.EQ),
        Filter("target.data.status", Status.TO_RESIGN.value, COMPARISON.EQ),
    ]
    for entry in registry.storage.list_all("history", bucket_uri, filters=filters):
        registry.storage.delete("history", bucket_uri, entry["id"], with_deleted=False)
        registry.permission.delete_object_permissions(f"{bucket_uri}/history/{entry['id']}")
