"""A Kinto plugin that refuses what changed (``registry.objects``), or writes to the collection (``registry.writes``)."""

import transaction
from kinto.core.errors import ERRORS, http_error
from kinto.core.events import ResourceChanged
from pyramid.httpexceptions import HTTPForbidden

URI = "/buckets/main/collections/regions"


def includeme(config):
    config.registry.objects = False
    config.registry.writes = None
    config.add_subscriber(on_change, ResourceChanged, for_resources=("record",))


def on_change(event):
    registry = event.request.registry
    if registry.objects:
        raise http_error(HTTPForbidden(), errno=ERRORS.FORBIDDEN, message="I object")
    if registry.writes == "subscriber":
        write(registry)
    if registry.writes == "hook":
        transaction.get().addBeforeCommitHook(write, (registry,))


def write(registry):
    registry.storage.update("record", URI, "record-0003", {"text": "evil"})
