"""Everything that a Kinto stores, taken out of its backends and put back: for tests with one beginning a thousand times."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

Key = tuple[str, str, str]
"""``(parent_id, resource_name, id)``."""


@dataclass(frozen=True)
class Stored:
    """objects: live ones and tombstones, as JSON. timestamps: of each list, in ms. permissions: by the memory backend's keys."""

    objects: Mapping[Key, str]
    timestamps: Mapping[tuple[str, str], int]
    permissions: Mapping[str, frozenset[str]]

    def get(self, parent: str, resource: str, object_id: str) -> dict[str, Any] | None:
        """The live object or the tombstone; None where there is neither."""
        text = self.objects.get((parent, resource, object_id))
        return None if text is None else json.loads(text)

    def list(self, parent: str, resource: str = "record") -> dict[str, dict[str, Any]]:
        """Live objects and tombstones of a list by id."""
        return {key[2]: json.loads(text) for key, text in self.objects.items() if key[:2] == (parent, resource)}

    def having(self, parent: str, resource: str, data: Mapping[str, Any]) -> Stored:
        """The same with this object in place of the one with its id."""
        return replace(self, objects={**self.objects, (parent, resource, data["id"]): text_of(data)})


def text_of(data: Mapping[str, Any]) -> str:
    return json.dumps(data, sort_keys=True)


class MemoryStore:
    """The memory backends of the Kinto of one registry."""

    def __init__(self, registry: Any) -> None:
        self._storage, self._permission = registry.storage, registry.permission

    def take(self) -> Stored:
        objects = {
            (parent, resource, object_id): text_of(data)
            for place in (self._storage._store, self._storage._cemetery)
            for parent, resources in place.items()
            for resource, found in resources.items()
            for object_id, data in found.items()
        }
        timestamps = {(parent, name): time for parent, names in self._storage._timestamps.items() for name, time in names.items()}
        return Stored(objects, timestamps, {key: frozenset(held) for key, held in self._permission._store.items() if held})

    def put(self, stored: Stored) -> None:
        self._storage.flush()
        for (parent, resource, object_id), text in stored.objects.items():
            data = json.loads(text)
            place = self._storage._cemetery if data.get("deleted") is True else self._storage._store
            place[parent][resource][object_id] = data
        for (parent, resource), time in stored.timestamps.items():
            self._storage._timestamps[parent][resource] = time
        self._permission._store = {key: set(held) for key, held in stored.permissions.items()}


class PostgresStore:
    """The PostgreSQL backends of a Kinto whose three backends are one database."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self._cursor = self._connection.cursor()

    def take(self) -> Stored:
        objects = {}
        for parent, resource, object_id, time, data in self._rows(_OBJECTS):
            objects[parent, resource, object_id] = text_of({**data, "id": object_id, "last_modified": time})
        timestamps = {(parent, resource): time for parent, resource, time in self._rows(_TIMESTAMPS)}
        permissions: dict[str, set[str]] = {}
        for user, principal in self._rows("SELECT user_id, principal FROM user_principals"):
            permissions.setdefault(f"user:{user}", set()).add(principal)
        for uri, name, principal in self._rows("SELECT object_id, permission, principal FROM access_control_entries"):
            permissions.setdefault(f"permission:{uri}:{name}", set()).add(principal)
        return Stored(objects, timestamps, {key: frozenset(held) for key, held in permissions.items()})

    def put(self, stored: Stored) -> None:
        self._cursor.execute("BEGIN; SET LOCAL session_replication_role = replica;" + _EMPTY)  # Kinto's trigger keeps off
        objects = [(*key, *_columns(json.loads(text))) for key, text in stored.objects.items()]
        execute_values(self._cursor, _INSERT_OBJECTS, objects, template="(%s, %s, %s, from_epoch(%s), %s, %s::jsonb)")
        timestamps = [(*key, time) for key, time in stored.timestamps.items()]
        execute_values(self._cursor, "INSERT INTO timestamps VALUES %s", timestamps, template="(%s, %s, from_epoch(%s))")
        execute_values(self._cursor, "INSERT INTO user_principals VALUES %s", _principals(stored.permissions))
        execute_values(self._cursor, "INSERT INTO access_control_entries VALUES %s", _entries(stored.permissions))
        self._cursor.execute("COMMIT")

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        self._cursor.execute(query)
        return self._cursor.fetchall()


_OBJECTS = "SELECT parent_id, resource_name, id, as_epoch(last_modified), data FROM objects"
_TIMESTAMPS = "SELECT parent_id, resource_name, as_epoch(last_modified) FROM timestamps"
_EMPTY = "DELETE FROM objects; DELETE FROM timestamps; DELETE FROM user_principals; DELETE FROM access_control_entries"
_INSERT_OBJECTS = "INSERT INTO objects (parent_id, resource_name, id, last_modified, deleted, data) VALUES %s"


def _columns(data: dict[str, Any]) -> tuple[int, bool, str]:
    kept = {name: value for name, value in data.items() if name not in ("id", "last_modified")}
    return data["last_modified"], data.get("deleted") is True, json.dumps(kept)


def _principals(permissions: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    return [(key[5:], principal) for key, held in permissions.items() if key.startswith("user:") for principal in held]


def _entries(permissions: Mapping[str, Iterable[str]]) -> list[tuple[str, str, str]]:
    found = []
    for key, held in permissions.items():
        if key.startswith("permission:"):
            uri, _, name = key[len("permission:") :].rpartition(":")
            # "collection:create" and its like have a colon of their own
            if name == "create":
                uri, _, kind = uri.rpartition(":")
                name = f"{kind}:{name}"
            found += [(uri, name, principal) for principal in held]
    return found
