"""How far back a difference can be told: where tombstones are gone, the collection remembers up to which timestamp.

``kinto purge-deleted`` removes old tombstones. A client whose copy is older would be told of a difference in which those
deletions are missing. So whatever removes tombstones, or records without leaving one (the deletion of a collection or bucket),
notes in the same transaction, beside the collection and outside ``/buckets``, from which timestamp on differences are complete;
``GET changeset`` sends a client with an earlier ``_since`` to the same address without it (307).

The methods of the registry's storage are wrapped, so that Kinto's views, its command line (which loads the plugins of the
configuration file) and other plugins are covered. On PostgreSQL the tombstones are removed by a statement of our own, which
notes what it removes: Kinto's, with ``max_retained``, removes every object that has the id of an old tombstone, live records of
other collections included.

Not seen: tombstones that somebody removes with SQL, or on a server that runs without this plugin. A difference that lacks them
does not verify, and readers that verify start from scratch then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy
from kinto.core.storage.exceptions import ObjectNotFoundError

from kinto_signer.plugin.storage import NOTES, notes_uri

ID = "purged"

_NOTE = f"""
INSERT INTO objects (id, parent_id, resource_name, data, last_modified, deleted)
SELECT '{ID}', '/{NOTES}' || parent_id, '{NOTES}', jsonb_build_object('before', before), NULL, FALSE FROM noted
ON CONFLICT (id, parent_id, resource_name) DO UPDATE
   SET data = CASE WHEN (objects.data->>'before')::bigint > (EXCLUDED.data->>'before')::bigint
                   THEN objects.data ELSE EXCLUDED.data END,
       last_modified = EXCLUDED.last_modified
"""  # noqa: S608 - constants
_PURGE = """
WITH ranked AS (
  SELECT id, parent_id, resource_name,
         row_number() OVER (PARTITION BY parent_id, resource_name ORDER BY last_modified DESC) AS rank
    FROM objects
   WHERE deleted AND {conditions}
), gone AS (
  DELETE FROM objects USING ranked
   WHERE objects.id = ranked.id AND objects.parent_id = ranked.parent_id AND objects.resource_name = ranked.resource_name
     AND objects.deleted AND ranked.rank > :retained
  RETURNING objects.parent_id, objects.resource_name, objects.last_modified
), noted AS (
  SELECT parent_id, as_epoch(max(last_modified)) AS before FROM gone WHERE resource_name = 'record' GROUP BY parent_id
), written AS ({note} RETURNING 1)
SELECT count(*) FROM gone
"""
_NOTE_EVERYTHING = """
WITH noted AS (
  SELECT parent_id, as_epoch(max(last_modified)) + 1 AS before
    FROM objects WHERE resource_name = 'record' AND {conditions} GROUP BY parent_id
) {note}
"""


def includeme(config: Any) -> None:
    """Wrap the storage's methods that remove objects without leaving a trace, once."""
    storage = config.registry.storage
    if getattr(storage, "notes_what_is_purged", False):
        return
    storage.notes_what_is_purged = True
    if hasattr(storage, "client"):
        storage.purge_deleted = functools.partial(_purge_on_postgresql, storage)
        storage.delete_all = functools.partial(_delete_on_postgresql, storage, storage.delete_all)
    else:
        storage.purge_deleted = functools.partial(_remove_from_memory, storage, storage.purge_deleted)
        storage.delete_all = functools.partial(_remove_from_memory, storage, storage.delete_all)


def before(storage: Any, uri: str) -> int:
    """Differences of the collection that start from an earlier timestamp are incomplete; 0 if all are complete."""
    try:
        return int(storage.get(NOTES, notes_uri(uri), ID)["before"])
    except ObjectNotFoundError:
        return 0


def note(storage: Any, uri: str, complete_from: int) -> None:
    """Remember that differences of the collection that start before `complete_from` are incomplete."""
    storage.update(NOTES, notes_uri(uri), ID, {"before": max(before(storage, uri), complete_from)})


# --- PostgreSQL: noted by the statement that removes them -----------------------------------------------------------------


def _purge_on_postgresql(
    storage: Any,
    resource_name: str | None,
    parent_id: str,
    before: int | None = None,
    max_retained: int | None = None,
    force_commit: bool = False,
    **_: Any,
) -> int:
    """As `purge_deleted` of Kinto's storage: remove tombstones; returns how many."""
    if max_retained is not None and before is not None:
        raise ValueError("`before` and `max_retained` are exclusive.")
    conditions, values = _conditions(resource_name, parent_id)
    if before is not None:
        conditions += " AND last_modified < from_epoch(:before)"
        values["before"] = before
    purge = sqlalchemy.text(_PURGE.format(conditions=conditions, note=_NOTE))
    with storage.client.connect(force_commit=force_commit) as session:
        count = session.execute(purge, {**values, "retained": max_retained or 0}).scalar_one()
        if resource_name is None and before is None:  # everything of the parent: its clocks too, as Kinto does
            clocks, values = _conditions(None, parent_id)
            session.execute(sqlalchemy.text(f"DELETE FROM timestamps WHERE {clocks}"), values)  # noqa: S608 - constants
    return int(count)


def _delete_on_postgresql(
    storage: Any, delete_all: Callable[..., Any], resource_name: str | None, parent_id: str, **options: Any
) -> Any:
    if not options.get("with_deleted", True) and resource_name in (None, "record"):
        conditions, values = _conditions(resource_name, parent_id)
        with storage.client.connect() as session:
            session.execute(sqlalchemy.text(_NOTE_EVERYTHING.format(conditions=conditions, note=_NOTE)), values)
    return delete_all(resource_name, parent_id, **options)


def _conditions(resource_name: str | None, parent_id: str) -> tuple[str, dict[str, Any]]:
    conditions = "parent_id LIKE :parent_id" if "*" in parent_id else "parent_id = :parent_id"
    values = {"parent_id": parent_id.replace("*", "%")}
    if resource_name is None:
        return conditions, values
    return f"{conditions} AND resource_name = :resource_name", {**values, "resource_name": resource_name}


# --- memory: noted by comparing ---------------------------------------------------------------------------------------------


def _remove_from_memory(storage: Any, remove: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    # Its clocks are no list of what it holds: Kinto forgets those of a bucket before it removes what is in the bucket.
    uris = {uri for tree in (storage._store, storage._cemetery) for uri, held in list(tree.items()) if "record" in held}
    earlier = {uri: _held_in_memory(storage, uri) for uri in uris}
    timestamps = storage.all_resources_timestamps("record")
    result = remove(*arguments, **options)
    for uri, held in earlier.items():
        gone = [held[record_id] for record_id in held.keys() - _held_in_memory(storage, uri).keys()]
        if not gone:
            continue
        complete_from = max(one["last_modified"] for one in gone)
        if not all(one.get("deleted") for one in gone):
            complete_from = max(complete_from, timestamps.get(uri, 0)) + 1
        note(storage, uri, complete_from)
    return result


def _held_in_memory(storage: Any, uri: str) -> dict[str, Mapping[str, Any]]:
    return {found["id"]: found for found in storage.list_all("record", uri, include_deleted=True)}
