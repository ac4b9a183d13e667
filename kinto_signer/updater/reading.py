"""The reader's cache, opened: nothing is served that does not verify."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import EMPTY, Changeset
from kinto_signer.core.repository import Verify
from kinto_signer.core.trust import PublicKey, Trust, check
from kinto_signer.errors import NotFoundError
from kinto_signer.updater.cache import SqliteRepository


class Cache:
    """The verified copy of collections on this machine. Use `open_cache`.

    Every answer is one verified state, also while an update runs or has replaced it since the last call. Raises
    CorruptCacheError for a damaged file, NotFoundError for a collection that is not held, another VerificationError where
    keys were given and none of them signed what is held.
    """

    def __init__(self, repository: SqliteRepository, trust: Trust | None) -> None:
        self._repository = repository
        self._trust = trust

    @property
    def path(self) -> Path:
        return self._repository.path

    def names(self) -> list[str]:
        """The collections that are held, as ``bucket/collection``."""
        return self._repository.names()

    def records(self, name: str) -> list[Record]:
        """The records of ``bucket/collection``, by id."""
        return list(self.changeset(name).changes)

    def record(self, name: str, record_id: str) -> Record:
        """One record. Raises NotFoundError."""
        for record in self.changeset(name).changes:
            if record["id"] == record_id:
                return record
        raise NotFoundError(f"{name}: there is no record {record_id!r} in {self.path}.")

    def timestamp(self, name: str) -> int:
        """The signed timestamp of what is held, in milliseconds."""
        return self.changeset(name).timestamp

    def metadata(self, name: str) -> Mapping[str, Any]:
        """The collection's attributes as they were published, the signature among them."""
        return self.changeset(name).metadata

    def highest(self, name: str) -> int:
        """The highest timestamp that was ever verified here; an older state is refused."""
        return self._repository.highest(name)

    def changeset(self, name: str) -> Changeset:
        """The whole state, verified."""
        return self.verified(name)[0]

    def verified(self, name: str) -> tuple[Changeset, PublicKey]:
        """The whole state, and the key that signed it."""
        state = self._repository.changeset(name)
        keys = self._trust.keys if self._trust else self._repository.keys(name)
        if state == EMPTY or not keys:
            held = ", ".join(self.names()) or "nothing"
            raise NotFoundError(f"{name} is not in {self.path}; there is: {held}. Run `kinto-updater gather-changes`.")
        return state, check(name, state, Trust(keys))

    def close(self) -> None:
        """Nothing stays open between two calls; this is for ``with``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_cache(path: str | Path, keys: Iterable[PublicKey] = ()) -> Cache:
    """Open the directory that ``kinto-updater gather-changes --cache`` fills (or the SQLite file in it) for reading.

    keys: the trusted keys; without any, those that were trusted when the state was stored, which find every damage but
    not somebody who may write the file. Raises NotFoundError if nothing is there.
    """
    trusted = tuple(keys)
    directory = Path(path)
    if directory.is_file():
        directory = directory.parent
    repository = SqliteRepository(directory)
    if not repository.path.exists():
        raise NotFoundError(f"There is no cache in {directory}. Run `kinto-updater gather-changes --cache {directory}`.")
    return Cache(repository, Trust(trusted) if trusted else None)


def open_for_update(directory: Path, trust: Trust, now_ms: Callable[[], int]) -> Verify:
    """The cache as the destination of an update: it takes nothing that does not verify."""
    return Verify(SqliteRepository(directory, trust), trust, now_ms)
