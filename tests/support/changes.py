"""Servers of the reading side, and signed collections written straight into their storage."""

import transaction

from kinto_signer.plugin.storage import StorageRepository
from tests.support.servers import webtest_app
from tests.support.settings import kinto_settings

NAME = "main/regions"
URI = "/buckets/main/collections/regions"
CHANGESET = f"{URI}/changeset"
MONITOR = "/buckets/monitor/collections/changes"


def reading_app(database=None, **extra):
    """A server that only serves, with the bucket `main` made, which everybody reads. extra: settings, dots as ``__``."""
    settings = kinto_settings(database) | {"kinto.includes": "kinto_signer.changes", "kinto.changes.resources": "/buckets/main"}
    settings |= {"kinto." + name.replace("__", "."): value for name, value in extra.items()}
    app = webtest_app(settings)
    app.put_json("/buckets/main", {"permissions": {"read": ["system.Everyone"]}})
    return app


def repository(app):
    return StorageRepository(app.app.registry.storage)


def store(app, state, name=NAME):
    """Make `state` what the collection holds, its tombstones included, as one transaction."""
    held = {record["id"] for record in repository(app).records(name, with_tombstones=True)}
    missing = [grave["id"] for grave in state.tombstones if grave["id"] not in held]
    repository(app).write(name, [{"id": record_id, "last_modified": number} for number, record_id in enumerate(missing, start=1)])
    repository(app).apply(name, state)
    transaction.commit()


def etag(answer):
    return int(answer.headers["ETag"].strip('"'))
