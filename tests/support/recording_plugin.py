"""A Kinto plugin that keeps what it is told: ``registry.told`` is a list of (class, resource, action, number of objects)."""

from kinto.core.events import AfterResourceChanged, ResourceChanged


def includeme(config):
    config.registry.told = []
    for kind in (ResourceChanged, AfterResourceChanged):
        config.add_subscriber(remember, kind)


def remember(event):
    payload = event.payload
    told = (type(event).__name__, payload["resource_name"], payload["action"], len(event.impacted_objects))
    event.request.registry.told.append(told)
