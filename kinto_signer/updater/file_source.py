"""A file as a source of changesets: what somebody carried here, to be verified like the answer of a server."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from kinto_signer.core.changeset import Changeset
from kinto_signer.core.repository import Source
from kinto_signer.errors import BadAnswerError, ConfigurationError, OtherCollectionError
from kinto_signer.remote import check_name
from kinto_signer.updater.saved import load

MAX_ID = 200
"""Of a name that nobody asked for; ``--json`` makes files of it."""


@dataclass(frozen=True)
class FileSource:
    """The state in a file. It is always handed out as a whole: of a difference nobody would look at the rest."""

    state: Changeset

    def changeset(self, name: str, since: int = 0) -> Changeset:
        return self.state


def open_source(path: Path, wanted: Collection[str], max_bytes: int) -> tuple[str, Source]:
    """The name of the collection in a file, and the file as its source. Nothing is verified here.

    wanted: collections that may be taken; any if there is none. Raises what `load` raises, OtherCollectionError for one that is
    not wanted, BadAnswerError for a file that does not say which one it is.
    """
    said, state = load(path, max_bytes)
    return _name(path, said, wanted), FileSource(state)


def _name(path: Path, said: str, wanted: Collection[str]) -> str:
    if wanted:
        fitting = [name for name in wanted if _may_be(said, name)]
        if not fitting:
            raise OtherCollectionError(
                f"{path}: it is about {said[:160]!r}, and only {', '.join(wanted)} may be taken (`-c`, or `collections` in the "
                "configuration). Nothing was accepted."
            )
        if len(fitting) == 1:
            return fitting[0]
    try:
        if max(map(len, said.split("/"))) <= MAX_ID:
            return check_name(said)
    except ConfigurationError:
        pass
    raise BadAnswerError(
        f"{path}: it does not say which collection it is ({said[:160]!r}). Nothing was accepted; name it with "
        "`-c BUCKET/COLLECTION`."
    )


def _may_be(said: str, name: str) -> bool:
    """Whether what a file says of its bucket and its collection is nothing else than `name`."""
    return all(part in ("", wanted) for part, wanted in zip(said.split("/", 1), name.split("/", 1), strict=True))
