"""A mutant put before a reader: through the code that reads a server's answer or a saved file, verifies it and keeps it."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinto_signer.core.changeset import EMPTY, Changeset
from kinto_signer.core.freshness import refuse_untimely
from kinto_signer.core.repository import MemoryRepository, Synchronizer, Verify
from kinto_signer.core.statement import check_published
from kinto_signer.core.trust import Trust
from kinto_signer.errors import NotFoundError
from kinto_signer.remote import RemoteRepository
from kinto_signer.transport.bounded import DEFAULT_LIMITS
from kinto_signer.transport.deadline import Deadline
from kinto_signer.transport.session import Answer
from kinto_signer.updater import open_cache
from kinto_signer.updater.reading import open_for_update
from kinto_signer.updater.saved import load, save
from tests.support.fuzzing.mutants import CHANGESET, FILE, Mutant

URL = "https://a.example/v1"


@dataclass(frozen=True)
class Taken:
    """What a reader ended with. key: the fingerprint of the key that it believes."""

    state: Changeset
    key: str


class CannedSession:
    """Answers what a mutant says, in place of `transport.Session`."""

    server_url = URL
    authenticated = False
    limits = DEFAULT_LIMITS

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.deadline = Deadline(60)

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", path, params=params)

    def request(self, _method: str, path: str, *, params: Mapping[str, Any] | None = None, **_options: Any) -> Answer:
        if path == "/":
            offered = {"changes": {}} if self.mutant.door == CHANGESET else {}
            return Answer(200, {}, json.dumps({"capabilities": offered}).encode(), URL)
        part = {"changeset": CHANGESET, "records": "records"}.get(path.rpartition("/")[2], "collection")
        if part not in self.mutant.bodies:
            raise NotFoundError(f"{path} is not offered.")
        query = "?_since=1" if "_since" in (params or {}) else ""
        return Answer(200, {"ETag": self.mutant.etag}, self.mutant.bodies[part], URL + path + query)


class Reader:
    """A reader for every mutant. folder: for saved files and caches on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, mutant: Mutant) -> Taken:
        """What the reader has after the answer. Raises what the product raises; AssertionError if a refusal changed the copy."""
        original = mutant.original
        trust = dataclasses.replace(original.trust, now=lambda: original.now_s)
        if mutant.door == FILE:
            return self._from_file(mutant, trust)
        held = MemoryRepository()
        if original.held is not None:
            held.apply(original.name, original.held)
        before = held.changeset(original.name), held.highest(original.name)
        try:
            return self._from_server(mutant, trust, held)
        except BaseException:
            if (held.changeset(original.name), held.highest(original.name)) != before:
                raise AssertionError("the copy was changed though the answer was refused") from None
            raise

    def _from_server(self, mutant: Mutant, trust: Trust, held: MemoryRepository) -> Taken:
        original = mutant.original
        source = RemoteRepository(CannedSession(mutant))  # type: ignore[arg-type]
        verify = Verify(held, trust, lambda: original.now_s * 1000, original.rules)
        if Synchronizer(source, verify).sync(original.name) == EMPTY:
            raise NotFoundError(f"{original.name}: nothing there.")
        state = verify.changeset(original.name)
        return Taken(state, check_published(original.name, state, trust)[0].fingerprint)

    def _from_file(self, mutant: Mutant, trust: Trust) -> Taken:
        """As `kinto-updater verify NAME --file FILE`."""
        original, path = mutant.original, self.folder / "saved.json"
        path.write_bytes(mutant.bodies[FILE])
        _, state = load(path)
        key, found = check_published(original.name, state, trust)
        refuse_untimely(original.name, found, state.timestamp, original.rules, original.now_s * 1000)
        return Taken(state, key.fingerprint)

    def keep(self, mutant: Mutant, taken: Taken) -> Changeset:
        """The state as the updater's cache and its JSON file give it back, after it was stored there."""
        original, directory = mutant.original, Path(tempfile.mkdtemp(prefix="cache-", dir=self.folder))
        trust = dataclasses.replace(original.trust, now=lambda: original.now_s)
        verify = open_for_update(directory, trust, lambda: original.now_s * 1000, rules=original.rules)
        verify.apply(original.name, taken.state)
        path = save(directory, original.name, taken.state)
        kept = open_cache(directory, policies=lambda _name: trust, now=lambda: original.now_s).changeset(original.name)
        check_published(original.name, load(path)[1], trust)
        shutil.rmtree(directory)
        return kept
