"""Which objects a request on a list of buckets or collections would reach, by Kinto's own reading of its filters."""

from __future__ import annotations

from typing import Any

import colander
from kinto.core.authorization import DYNAMIC
from kinto.core.resource.schema import PluralQuerySchema
from kinto.views.buckets import Bucket
from kinto.views.collections import Collection

from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.plugin.target import Kind, Target

_RESOURCES = {Kind.BUCKETS: ("bucket", Bucket), Kind.COLLECTIONS: ("collection", Collection)}


def reached(request: Any, target: Target) -> list[str]:
    """The ids; of a request that has a `_limit` those that it would reach if it were asked again and again.

    Nothing where Kinto itself is going to refuse: the filters, or the person. Raises what Kinto answers to bad filters.
    """
    kind, resource = _RESOURCES[target.kind]
    if not request.has_permission(DYNAMIC, request.context):  # also finds out what the person may write
        return []
    try:
        query = PluralQuerySchema().deserialize(request.GET)
    except colander.Invalid:
        return []
    before, request.validated = request.validated, {"querystring": query, "header": {}, "body": {}}
    try:
        filters = resource(request, context=request.context)._extract_filters()
    finally:
        request.validated = before
    parent = f"/buckets/{target.bucket}" if target.bucket else ""
    return [found["id"] for found in StorageRepository(request.registry.storage).matching(kind, parent, filters)]
