"""A Kinto plugin that edits a source once, when it hears of a change of it; ``registry.meddles``: a record or the collection."""

from kinto.core.events import ACTIONS, ResourceChanged

BUCKET = "/buckets/main-workspace"


def includeme(config):
    config.registry.meddles = None
    config.add_subscriber(meddle, ResourceChanged, for_resources=("collection",))


def meddle(event):
    registry, what = event.request.registry, event.request.registry.meddles
    if what is None:
        return
    registry.meddles, collection = None, event.impacted_objects[0]["new"]["id"]
    if what == "record":
        write(event, "record", f"{BUCKET}/collections/{collection}", "fr", {"name": "evil"}, collection_id=collection)
    else:
        write(event, "collection", BUCKET, collection, {"sort": "evil"})


def write(event, kind, parent, name, changes, **data):
    storage = event.request.registry.storage
    old = storage.get(kind, parent, name)
    new = storage.update(kind, parent, name, {**old, **changes})
    event.request.notify_resource_event(
        parent_id=parent,
        timestamp=new["last_modified"],
        data=new,
        action=ACTIONS.UPDATE,
        old=old,
        resource_name=kind,
        resource_data={"bucket_id": "main-workspace", "id": name, **data},
    )
