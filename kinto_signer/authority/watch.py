"""Sees every write to a guarded collection, whoever makes it, and has the state verified before it is committed.

The methods of the registry's storage are wrapped, so that views, batches, the deletion of a collection or a bucket (which
tells nobody about the records), other plugins and commands are all seen. An inner 409 of a batch throws away the writes that came
before it, and with them the transaction in which they were noted; what comes after is noted anew.
"""

from __future__ import annotations

import fnmatch
import functools
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import transaction

_COLLECTION = re.compile(r"/buckets/(?P<bucket>[^/*]+)/collections/(?P<collection>[^/*]+)\Z")
_BUCKET = re.compile(r"/buckets/(?P<bucket>[^/*]+)\Z")
WATCHED = ("create", "update", "delete", "delete_all")


class Watch:
    """touched: called with the name of a guarded collection before the first write to it in a transaction.

    verify: called before commit with the name and the ids of the records that were written one by one.
    """

    def __init__(self, storage: Any, names_in: Callable[[str], list[str]], guards: Callable[[str, str], bool]) -> None:
        self._names_in = names_in
        self._guards = guards
        self._off = threading.local()
        self.touched: Callable[[str], None] = lambda name: None
        self.verify: Callable[[str, set[str]], None] = lambda name, ids: None
        self._storage = storage
        for method in WATCHED:
            setattr(storage, method, functools.partial(self._watched, getattr(storage, method), method))

    @contextmanager
    def off(self) -> Iterator[None]:
        """For a publication, which verifies what it writes itself."""
        self._off.on = True
        try:
            yield
        finally:
            self._off.on = False

    def _watched(self, write: Callable[..., Any], method: str, resource_name: Any, parent_id: str, *rest: Any, **options: Any) -> Any:
        if getattr(self._off, "on", False) or not parent_id.startswith("/buckets/"):
            return write(resource_name, parent_id, *rest, **options)
        names = list(self._affected(method, resource_name, parent_id, *rest, **options))
        noted = [self._note(name) for name in names]
        result = write(resource_name, parent_id, *rest, **options)
        if resource_name == "record":
            for ids in noted:
                ids.update(found["id"] for found in (result if isinstance(result, list) else [result]))
        return result

    def _affected(self, method: str, resource_name: Any, parent_id: str, *rest: Any, **options: Any) -> Iterator[str]:
        if "*" in parent_id or (resource_name is None and method == "delete_all"):
            for bucket in self._buckets():
                for name in self._names_in(bucket):
                    uri = f"/buckets/{bucket}/collections/{name.partition('/')[2]}"
                    if fnmatch.fnmatchcase(uri, parent_id) or fnmatch.fnmatchcase(f"/buckets/{bucket}", parent_id):
                        yield name
            return
        collection, bucket_only = _COLLECTION.match(parent_id), _BUCKET.match(parent_id)
        if resource_name == "record" and collection and self._guards(collection["bucket"], collection["collection"]):
            yield f"{collection['bucket']}/{collection['collection']}"
        elif resource_name == "collection" and bucket_only:
            bucket = bucket_only["bucket"]
            if method == "delete_all":
                yield from self._names_in(bucket)
            else:
                collection_id = options.get("object_id") or _object_id(rest)
                if collection_id and self._guards(bucket, collection_id):
                    yield f"{bucket}/{collection_id}"
