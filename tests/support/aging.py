"""Makes what a live signer, or its authority, holds older than it is, in the database: the statement is signed anew."""

import dataclasses
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core.freshness import DAY_MS
from kinto_signer.core.statement import peek
from tests.support.postgres import PostgresServer
from tests.support.statements import sealed


def aged(key: ec.EllipticCurvePrivateKey, attributes: dict[str, Any], days: float) -> dict[str, Any]:
    """The envelope of a statement that says all that the present one does, and was made so many days earlier."""
    found, by = peek(attributes), round(days * DAY_MS)
    assert found is not None
    said = found.statement
    times = {name: getattr(said, name) - by for name in ("signed_at", "expires", "serial")}
    return sealed(key, dataclasses.replace(said, **times))


def set_attributes(postgres: PostgresServer, database: str, name: str, **attributes: Any) -> None:
    """Write attributes of a collection past Kinto."""
    bucket, _, collection = name.partition("/")
    where = f"resource_name = 'collection' AND parent_id = '/buckets/{bucket}' AND id = '{collection}'"
    text = json.dumps(attributes).replace("'", "''")
    postgres.execute(f"UPDATE objects SET data = data || '{text}'::jsonb WHERE {where}", database)
