"""Sees every write to a guarded collection, whoever makes it, and has the state verified before it is committed.

The methods of the registry's storage are wrapped, so that views, batches, the deletion of a collection or a bucket (which
tells nobody about the records), other plugins and commands are all seen. An inner 409 of a batch throws away the writes that
came before it, and with them the transaction in which they were noted; what comes after is noted anew.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import transaction

from kinto_signer.plugin.storage import collection_uri

WATCHED = ("create", "update", "delete", "delete_all")

_COLLECTION = re.compile(r"/buckets/([^/*]+)/collections/([^/*]+)\Z")
_BUCKET = re.compile(r"/buckets/([^/*]+)\Z")


class Watcher(Protocol):
    """Who is told."""

    def guards(self, bucket: str, collection: str) -> bool: ...

    def names(self) -> Iterable[str]:
        """Every guarded collection that there is, or was."""
        ...

    def before_write(self, name: str) -> None:
        """Called before the first write to a collection in a transaction; takes its lock."""
        ...

    def verify(self, name: str, ids: set[str]) -> None:
        """Called before commit, with the ids of the records that were written. Raises to undo the transaction."""
        ...


class Watch:
    """Wraps the methods of a storage. One object serves all threads."""

    def __init__(self, storage: Any, watcher: Watcher) -> None:
        self._watcher = watcher
        self._off = threading.local()
        for method in WATCHED:
            setattr(storage, method, functools.partial(self._watched, getattr(storage, method), method))

    @contextmanager
    def off(self) -> Iterator[None]:
        """For a publication, which verifies what it writes itself."""
        before, self._off.on = getattr(self._off, "on", False), True
        try:
            yield
        finally:
            self._off.on = before

    def _watched(
        self, write: Callable[..., Any], method: str, resource_name: Any = None, parent_id: Any = None, *rest: Any, **options: Any
    ) -> Any:
        resource_name = options.pop("collection_id", resource_name)  # Kinto's old name for it
        if getattr(self._off, "on", False):
            return write(resource_name, parent_id, *rest, **options)
        written = options.get("object_id", options.get("obj", rest[0] if rest else None))
        noted = [self._note(name) for name in self._affected(method, resource_name, str(parent_id), written)]
        result = write(resource_name, parent_id, *rest, **options)
        if resource_name in ("record", None):
            for ids in noted:
                ids.update(found["id"] for found in (result if isinstance(result, list) else [result]))
        if resource_name == "collection" and method == "create":  # its id may have been made by the storage
            for name in self._affected(method, resource_name, str(parent_id), result):
                self._note(name)
        return result

    def _affected(self, method: str, resource_name: Any, parent_id: str, written: Any) -> list[str]:
        """The guarded collections that a call writes to. written: the object, or its id."""
        object_id = written.get("id") if isinstance(written, dict) else written
        collection, bucket = _COLLECTION.match(parent_id), _BUCKET.match(parent_id)
        if resource_name == "record" and collection:
            return [f"{collection[1]}/{collection[2]}"] if self._watcher.guards(collection[1], collection[2]) else []
        if resource_name == "collection" and bucket and method != "delete_all":
            return [f"{bucket[1]}/{object_id}"] if object_id and self._watcher.guards(bucket[1], object_id) else []
        if resource_name == "bucket" and method == "delete":
            return self._below(f"/buckets/{object_id}")
        if resource_name in ("bucket", "collection", "record", None) and method == "delete_all":
            return self._below("/buckets" if resource_name == "bucket" else parent_id.partition("*")[0])
        return []

    def _below(self, prefix: str) -> list[str]:
        """The guarded collections whose URI begins so, or is the beginning of it."""
        uris = {name: collection_uri(name) for name in self._watcher.names()}
        return [name for name, uri in uris.items() if uri.startswith(prefix) or prefix.startswith(uri)]

    def _note(self, name: str) -> set[str]:
        current = transaction.get()
        noted = _data(current, self)
        if noted is None:
            noted = {}
            current.set_data(self, noted)
            current.addBeforeCommitHook(self._verify_all, (noted,))
        if name not in noted:
            self._watcher.before_write(name)
            noted[name] = set()
        return noted[name]

    def _verify_all(self, noted: dict[str, set[str]]) -> None:
        transaction.get().set_data(self, None)
        for name, ids in noted.items():
            self._watcher.verify(name, ids)


def _data(current: Any, key: object) -> dict[str, set[str]] | None:
    try:
        found: dict[str, set[str]] | None = current.data(key)
    except KeyError:
        return None
    return found
