"""What S and an authority hold of one collection before a publication."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kinto_signer.core import published
from kinto_signer.core.ahead import Signed
from kinto_signer.core.canonical import Record
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.plan import Held
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.connection import as_object

CLAIM, COPIED_ATTRIBUTES, SIGNED_ATTRIBUTES = published.CLAIM, published.COPIED_ATTRIBUTES, published.SIGNED_ATTRIBUTES

PUBLISHED_TO = "published_to"
"""Attribute of S's own signed copy: where it was published to. Never sent there, so that nobody else's copy has it."""


class Own:
    """S's own signed copy of the collection `name`, read from storage once. timestamp: 0 if nothing was ever signed here.

    copied: which attributes of the source are published.
    """

    def __init__(self, repository: StorageRepository, name: str, copied: Sequence[str] = COPIED_ATTRIBUTES) -> None:
        self.name = name
        self.attributes: Mapping[str, Any] | None = repository.attributes(name)
        self.timestamp = repository.timestamp(name)
        self._repository = repository
        self._names = (*copied, *SIGNED_ATTRIBUTES)
        self.part: Held | None = None

    @cached_property
    def held(self) -> Held:
        """Records and tombstones. Starts the clock of an empty list, as reading it does: only where there is something."""
        return self._repository.held(self.name)

    def look_at(self, part: Sequence[Record]) -> Held:
        """Only what is to be changed: the live records `part`, in which the source differs. Everything else stands for itself."""
        newest = self._repository.newest(self.name)
        etag = self._repository.etag(self.name)
        self.part = Held(etag, part, fresh=newest == 0 and self.timestamp == 0, rest=newest)
        return self.part

    @property
    def near(self) -> Held:
        """What was looked at: the part that is to be changed, if there is one, or everything."""
        return self.held if self.part is None else self.part

    @property
    def signed(self) -> Signed:
        return Signed(self.timestamp, str((self.attributes or {}).get("hash")))

    @property
    def published(self) -> dict[str, Any]:
        """The attributes that readers have."""
        return {key: value for key, value in (self.attributes or {}).items() if key in self._names}

    @property
    def state(self) -> Changeset:
        """The complete signed state, tombstones included."""
        return Changeset(self.timestamp, self.held.changes, {**(self.attributes or {}), "bucket": self.name.partition("/")[0]})


@dataclass(frozen=True)
class Seen:
    """What an authority holds.

    state: complete, but where it is known to be S's own: then as much of it as was looked at there. sound: whether it verifies;
    False where an earlier publication of ours was left unfinished.
    """

    held: Held
    state: Changeset
    sound: bool

    def whole(self, own: Own) -> Seen:
        """The same with all records, of one that holds what S does."""
        return (
            replace(self, held=own.held, state=replace(self.state, changes=own.held.changes)) if self.held is own.part else self
        )

    @property
    def signed(self) -> Signed:
        """Which signed state it is; of an unfinished publication, the timestamp that it claims and no hash."""
        if self.held.fresh:
            return Signed(0, "")
        if not self.sound:
            claimed = as_object(self.state.metadata.get(CLAIM)).get("timestamp")
            return Signed(claimed if isinstance(claimed, int) else 0, "")
        published = self.state.metadata.get("hash")
        return Signed(self.state.timestamp, str(published) if published else self.state.digests().hash)


NOTHING_SEEN = Seen(Held(0, (), fresh=True), Changeset(0), sound=True)
"""An authority that does not have the collection."""
