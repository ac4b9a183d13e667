"""A signer in this process, with one source collection; for tests that look at what S stores and answers."""

import transaction
from webtest import TestApp

from kinto_signer.plugin.storage import StorageRepository
from tests.support.servers import webtest_app
from tests.support.settings import signer_settings

BUCKET = "/buckets/main-workspace"
SOURCE = f"{BUCKET}/collections/regions"
DESTINATION = "/buckets/main/collections/regions"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"


def signer_app(key_pair, *, database=None, authority=None, collection=True, **extra) -> TestApp:
    """S, with the source collection made, unless `collection` is False. extra: further settings, dots as ``__``."""
    settings = signer_settings(key_pair.private, database=database, authority=authority)
    settings |= {name.replace("__", "."): value for name, value in extra.items()}
    app = webtest_app(settings)
    app.put_json(BUCKET, {}, status="*")
    if collection:
        app.put_json(SOURCE, {})
    return app


def set_status(app, wanted, **options):
    return app.patch_json(SOURCE, {"data": {"status": wanted}}, **options)


def delete_source(app, **options):
    """Delete it although readers have its records, as a reviewer confirms it."""
    return app.delete(f"{SOURCE}?confirm=regions", **options)


def store(app, uri, name, **data):
    """Write a record, and what it needs, past Kinto and its plugins: as somebody with the database's password does."""
    repository = StorageRepository(app.app.registry.storage)
    _, _, bucket, _, collection = uri.split("/")
    repository.ensure_bucket(bucket)
    if repository.attributes(f"{bucket}/{collection}") is None:
        repository.set_attributes(f"{bucket}/{collection}", {})
    repository.storage.update("record", uri, name, data)
    transaction.commit()


def attributes(app, uri=SOURCE):
    return app.get(uri).json["data"]


def everything(app, *others):
    """All that S stores about the source, its signed copy and `others`, as its HTTP API shows it."""
    found = {}
    for uri in (SOURCE, DESTINATION, *others):
        answer = app.get(uri, expect_errors=True)
        found[uri] = answer.json
        if answer.status_int == 200:
            found[uri + "/records"] = app.get(f"{uri}/records?_since=0").json["data"]
            found[uri + "/etag"] = app.get(f"{uri}/records").headers["ETag"]
    return found
