"""How many SQL statements an edit takes: counted in this process, on PostgreSQL, through SQLAlchemy.

A text with several commands, which is one round trip, counts once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy.event
from sqlalchemy.engine import Engine

from benchmarks.records import make_record, now_ms
from benchmarks.sites import BUCKET, SOURCE, fill
from tests.support.postgres import PostgresServer
from tests.support.servers import webtest_app
from tests.support.settings import Settings, kinto_settings


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that are executed meanwhile."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        statements.append(statement)

    sqlalchemy.event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sqlalchemy.event.remove(Engine, "before_cursor_execute", note)


def of_an_edit(postgres: PostgresServer, settings: Settings, count: int) -> tuple[list[str], list[str]]:
    """The statements of a PUT of one record among so many: the first after a publication, and the one that follows it.

    settings: of S, or of a plain Kinto, where nothing is published; the database is a new one.
    """
    database = postgres.create_database()
    app = webtest_app(settings | kinto_settings(database))
    app.put_json(BUCKET, {})
    app.put_json(SOURCE, {})
    fill(database, count)

    def put(number: int) -> list[str]:
        record = make_record(number, 0) | {"zone": now_ms()}
        del record["last_modified"]
        with counted() as statements:
            app.put_json(f"{SOURCE}/records/{record['id']}", {"data": record})
        return statements

    put(0)
    if "kinto.signer.resources" in settings:
        app.patch_json(SOURCE, {"data": {"status": "to-sign"}})
    found = put(count // 2), put(count // 3)
    postgres.drop_database(database)
    return found
