"""A refused request leaves nothing behind, on any storage.

PostgreSQL undoes it, once the transaction is ended. Where a hook before the commit refuses, nobody ends it: ``transaction`` has
not begun to commit, and pyramid_tm takes a commit that failed for one that cleaned up. The locks would be held until the same
thread serves another request. A tween ends it.

Kinto's memory backends have no rollback. There a tween keeps writing requests apart, one at a time, and puts back
what was there when one of them ends in an error. Objects in those stores are replaced and never changed in place, so that
copying the dictionaries around them is enough (about 0.1 ms for 10,000 records).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transaction
from kinto.core.decorators import synchronized
from kinto.core.permission.memory import Permission
from kinto.core.storage.memory import Storage
from pyramid.tweens import INGRESS

from kinto_signer.plugin import exclusive

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def includeme(config: Any) -> None:
    """Add the tween that the storage needs."""
    config.include(exclusive)
    tween = "tween_factory" if isinstance(config.registry.storage, Storage) else "ending_tween_factory"
    config.add_tween(f"kinto_signer.plugin.rollback.{tween}", over="pyramid_tm.tm_tween_factory", under=INGRESS)


def ending_tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """Wrap `handler` so that no transaction is open when its answer leaves."""

    def tween(request: Any) -> Any:
        try:
            return handler(request)
        finally:
            transaction.abort()  # nothing is left of one that was committed

    return tween


def tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """Wrap `handler`, transaction included, so that a request that fails changes nothing."""

    def tween(request: Any) -> Any:
        if request.method in SAFE_METHODS:
            return handler(request)
        with exclusive.exclusive(registry):
            put_back = _remember(registry)
            try:
                response = handler(request)
            except BaseException:
                put_back()
                raise
            if response.status_code >= 400:
                put_back()
            return response

    return tween


def _remember(registry: Any) -> Callable[[], None]:
    storage, permission = registry.storage, registry.permission
    held = _held_by_storage(storage)
    principals = _held_by_permission(permission) if _in_memory(permission) else None

    def put_back() -> None:
        _put_into_storage(storage, *held)
        if principals is not None:
            _put_into_permission(permission, principals)

    return put_back


# Each of these under the backend's own mutex: reading requests, which are not kept apart, grow its dictionaries too.


@synchronized
def _held_by_storage(storage: Any) -> tuple[Any, Any, Any]:
    timestamps = {parent: dict(resources) for parent, resources in storage._timestamps.items()}
    return _copy(storage._store), _copy(storage._cemetery), timestamps


@synchronized
def _put_into_storage(storage: Any, store: Any, cemetery: Any, timestamps: Any) -> None:
    _restore(storage._store, store)
    _restore(storage._cemetery, cemetery)
    storage._timestamps.clear()
    storage._timestamps.update(timestamps)


@synchronized
def _held_by_permission(permission: Any) -> dict[str, set[str]]:
    return {key: set(value) for key, value in permission._store.items()}


@synchronized
def _put_into_permission(permission: Any, principals: dict[str, set[str]]) -> None:
    permission._store.clear()
    permission._store.update(principals)


def _in_memory(permission: Any) -> bool:
    return isinstance(permission, Permission)


def _copy(tree: Any) -> dict[str, dict[str, dict[str, Any]]]:
    return {parent: {name: dict(objects) for name, objects in resources.items()} for parent, resources in tree.items()}


def _restore(tree: Any, copy: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Put `copy` back into a tree whose missing branches grow by themselves when they are looked at."""
    tree.clear()
    for parent, resources in copy.items():
        for name, objects in resources.items():
            tree[parent][name].update(objects)
