"""Servers that were configured for a peer, moved to this package as ``docs/moving.rst`` says: one line of the file changes."""

import json
import re
from contextlib import closing
from pathlib import Path

import psycopg2
import webtest
from pyramid.paster import get_app

from kinto_signer.core.trust import check
from kinto_signer.plugin.storage import StorageRepository
from tests.support.keys import write_key_pair
from tests.support.servers import PrefixedRequest, authorization

INIS = Path(__file__).parents[1] / "inis"
INCLUDES = {
    "kinto_changes": "kinto_signer.changes",
    "kinto_remote_settings": "kinto_signer",
    "kinto_remote_settings.changes": "kinto_signer.changes",
    "kinto_remote_settings.signer": "kinto_signer",
}
"""What stands in ``kinto.includes`` -> what is written there instead."""


def moved(name, *, includes=INCLUDES):
    """The text of ``tests/inis/NAME``, with nothing but lines of ``kinto.includes`` changed."""
    lines = (INIS / name).read_text().splitlines()
    changed = [re.sub(r"(?<=^ {17})\S+$", lambda found: includes.get(found[0], found[0]), line) for line in lines]

    return "\n".join(changed)


def start(text, folder, *keys):
    """The application of a configuration in `folder`, with new key pairs where it looks for them."""
    for key in keys:
        pair = write_key_pair(folder, key)
        pair.private.rename(folder / f"{key}.private.pem")
        pair.public.rename(folder / f"{key}.public.pem")
    ini = folder / "kinto.ini"
    ini.write_text(text)
    app = webtest.TestApp(get_app(str(ini)))
    app.RequestClass = app.app.RequestClass = PrefixedRequest
    return app


class Person:
    """Somebody with a password who uses the server."""

    def __init__(self, app, name, *, account=False):
        self.app, self.headers = app, authorization(name)
        if account:
            app.put_json(f"/accounts/{name}", {"data": {"password": "secret"}})
        self.id = app.get("/", headers=self.headers).json["user"]["id"]

    def __getattr__(self, method):
        call = getattr(self.app, method)
        return lambda *arguments, **options: call(*arguments, headers=self.headers, **options)

    def set_status(self, uri, wanted, **options):
        return self.patch_json(uri, {"data": {"status": wanted}}, **options)


def verified(app, source):
    """By id, the records of the destination of `source` (``bucket/collection``), which verify with this server's own key."""
    registry = app.app.registry
    resource = registry.signing.resources.of_source(*source.split("/"))
    state = StorageRepository(registry.storage).changeset(resource.destination.name)
    check(resource.destination.name, state, registry.signing.trust(resource))
    return {record["id"]: record for record in state.records}


STORED = Path(__file__).parents[1] / "data" / "kinto-signer-8.json"
_ROWS = {
    "objects": "INSERT INTO objects (resource_name, parent_id, id, last_modified, deleted, data) "
    "VALUES (%s, %s, %s, from_epoch(%s), %s, %s)",
    "timestamps": "INSERT INTO timestamps (resource_name, parent_id, last_modified) VALUES (%s, %s, from_epoch(%s))",
    "access_control_entries": "INSERT INTO access_control_entries (object_id, permission, principal) VALUES (%s, %s, %s)",
    "user_principals": "INSERT INTO user_principals (user_id, principal) VALUES (%s, %s)",
}


def load_stored(database, stored):
    """Put the rows of `STORED`, parsed, into a database that has Kinto's tables only."""
    with closing(psycopg2.connect(database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no trigger: every timestamp stays
        for table, statement in _ROWS.items():
            for row in stored[table]:
                cursor.execute(statement, [json.dumps(value) if isinstance(value, dict) else value for value in row])
