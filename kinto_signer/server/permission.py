"""Permissions for addresses below a source, checked by Kinto as for the collection itself: groups, buckets, settings."""

from __future__ import annotations

from typing import Any

from kinto.authorization import RouteFactory
from kinto.views import raise_404_if_invalid_id

from kinto_signer.plugin.storage import StorageRepository


class _OnCollection(RouteFactory):
    """bucket, collection: the ids in the address."""

    resource_name = "collection"

    def __init__(self, request: Any) -> None:
        super().__init__(request)
        self.bucket, self.collection = request.matchdict["bucket_id"], request.matchdict["collection_id"]
        raise_404_if_invalid_id(request, "bucket", self.bucket)
        raise_404_if_invalid_id(request, "collection", self.collection)
        self.permission_object_id = f"/buckets/{self.bucket}/collections/{self.collection}"


class ReadingRecords(_OnCollection):
    """Asks for the permission to read the records. That of the attributes is not enough: who may only create records has it."""

    required_permission = "read"

    def __init__(self, request: Any) -> None:
        super().__init__(request)
        self.permission_object_id += "/records"


class Writing(_OnCollection):
    """Asks for the permission to write the collection."""

    required_permission = "write"

    def __init__(self, request: Any) -> None:
        super().__init__(request)
        # For an unknown object Kinto asks for `read` on the parent instead, so as to answer 404: it has to know this one.
        name = f"{self.bucket}/{self.collection}"
        self.current_object = StorageRepository(request.registry.storage).attributes(name)
