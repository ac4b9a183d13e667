"""What S remembers about each authority, apart from every request's transaction.

A publication that fails is undone on S as a whole, and S may be killed between the authority's commit and its own. What was
tried has to outlive both, so that an authority that is ahead can be told from an S that was restored from an older back-up. On
PostgreSQL it is written through a connection of its own and committed at once; it is in the back-ups of the same database.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy

from kinto_signer.core.ahead import Signed
from kinto_signer.errors import KintoSignerError, StorageError

PARENT = "/kinto-signer/journal"
KIND = "kinto-signer-authority"
MOST_ATTEMPTS = 100

_READ = sqlalchemy.text("SELECT id, data FROM objects WHERE parent_id = :parent AND resource_name = :kind ORDER BY id")
_READ_ONE = sqlalchemy.text("SELECT id, data FROM objects WHERE parent_id = :parent AND resource_name = :kind AND id = :id")
_WRITE = sqlalchemy.text(
    "INSERT INTO objects (id, parent_id, resource_name, last_modified, data, deleted) "
    "VALUES (:id, :parent, :kind, NULL, CAST(:data AS JSONB), FALSE) "
    "ON CONFLICT (id, parent_id, resource_name) DO UPDATE SET data = EXCLUDED.data"
)


@dataclass(frozen=True)
class Entry:
    """What is remembered about one authority of one collection. Times are ISO 8601; nothing here is a secret.

    attempts: what was sent since S committed last, oldest first. known: up to which timestamp S knows what the authority was
    given; None before the first success. failing: the last publication failed and was not made good since.
    """

    attempts: tuple[Signed, ...] = ()
    known: int | None = None
    last_success: Mapping[str, Any] | None = None
    """``{"timestamp", "when"}``"""
    last_error: Mapping[str, str] | None = None
    """``{"reason", "message", "when"}``"""
    failing: bool = False

    def tried(self, attempt: Signed) -> Entry:
        """Before it is sent."""
        kept = tuple(other for other in self.attempts if other != attempt)
        return replace(self, attempts=(*kept, attempt)[-MOST_ATTEMPTS:])

    def succeeded(self, timestamp: int, when: str) -> Entry:
        """After S has committed."""
        return replace(self, attempts=(), known=timestamp, last_success={"timestamp": timestamp, "when": when}, failing=False)

    def adopted(self, timestamp: int) -> Entry:
        """S has taken over a state: whatever the authority held up to there is known."""
        return replace(self, attempts=(), known=max(self.known or 0, timestamp))

    def failed(self, error: KintoSignerError, when: str) -> Entry:
        return replace(self, last_error={"reason": error.reason, "message": error.message, "when": when}, failing=True)

    def as_json(self) -> dict[str, Any]:
        attempts = [{"timestamp": attempt.timestamp, "hash": attempt.hash} for attempt in self.attempts]
        return {
            "attempts": attempts,
            "known": self.known,
            "last_success": self.last_success,
            "last_error": self.last_error,
            "failing": self.failing,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Entry:
        attempts = tuple(Signed(attempt["timestamp"], attempt["hash"]) for attempt in data["attempts"])
        return cls(attempts, data["known"], data["last_success"], data["last_error"], data["failing"])


@dataclass
class _Memory:
    """Where Kinto's storage is in memory: a dictionary of the process, which ends with the collections themselves."""

    rows: dict[str, str] = field(default_factory=dict)

    def read(self, key: str | None = None) -> dict[str, str]:
        return {name: text for name, text in dict(self.rows).items() if key in (None, name)}

    def write(self, key: str, text: str) -> None:
        self.rows[key] = text


class _Postgres:
    """Rows in Kinto's own table, below a parent that no address of its API reaches."""

    def __init__(self, storage: Any) -> None:
        # Not from the storage's pool: requests that each hold one connection and wait for a second wait for ever.
        url = storage.client.session_factory.get_bind().url
        self._engine = sqlalchemy.create_engine(url, pool_size=1, max_overflow=-1, pool_pre_ping=True)

    def read(self, key: str | None = None) -> dict[str, str]:
        with self._engine.connect() as connection:
            found = connection.execute(_READ if key is None else _READ_ONE, {"parent": PARENT, "kind": KIND, "id": key})
            return {row.id: json.dumps(row.data) for row in found}

    def write(self, key: str, text: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(_WRITE, {"id": key, "parent": PARENT, "kind": KIND, "data": text})


class Journal:
    """The entries of all collections (by the name of the destination) and labels. Raises StorageError."""

    def __init__(self, storage: Any) -> None:
        self._rows = _Postgres(storage) if hasattr(storage, "client") else _Memory()
        self._lock = threading.Lock()

    def entry(self, name: str, label: str) -> Entry:
        return self._read(f"{name} {label}").get((name, label), Entry())

    def entries(self) -> dict[tuple[str, str], Entry]:
        """Everything that is remembered, by collection and label."""
        return self._read(None)

    def _read(self, key: str | None) -> dict[tuple[str, str], Entry]:
        try:
            found = self._rows.read(key)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise _unusable("read", error) from error
        return {_parsed(key): Entry.from_json(json.loads(text)) for key, text in found.items()}

    def change(self, name: str, label: str, changed: Callable[[Entry], Entry]) -> None:
        """Replace an entry, at once and for good. Callers keep others of the same collection out by its lock."""
        try:
            with self._lock:
                self._rows.write(f"{name} {label}", json.dumps(changed(self.entry(name, label)).as_json()))
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise _unusable("written", error) from error


def _parsed(key: str) -> tuple[str, str]:
    name, _, label = key.partition(" ")
    return name, label


def _unusable(done: str, error: Exception) -> StorageError:
    why = str(getattr(error, "orig", error)).strip().splitlines()
    return StorageError(
        f"What S remembers about its authorities cannot be {done} ({type(error).__name__}: {(why or [''])[0][:200]}). Nothing "
        "was published; look at S's database."
    )
