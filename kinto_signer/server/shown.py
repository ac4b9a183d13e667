"""What a reviewer is shown: what a source holds that one of its copies does not, both as they were at one moment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kinto_signer.core.canonical import Record
from kinto_signer.core.difference import Difference, difference, reviewed_digest
from kinto_signer.errors import ConflictError, NotFoundError
from kinto_signer.plugin.exclusive import exclusive
from kinto_signer.plugin.resources import Place, Resource
from kinto_signer.plugin.snapshot import snapshot
from kinto_signer.plugin.storage import StorageRepository

ATTEMPTS = 3


@dataclass(frozen=True)
class Shown:
    """attributes: the source's own object. digest: of what would be published (`reviewed_digest`).

    state: the same only while both the source and the copy say the same; hexadecimal digits.
    """

    attributes: Mapping[str, Any]
    difference: Difference
    digest: str
    state: str


def shown(registry: Any, resource: Resource, against: Place) -> Shown:
    """Compare the source with `against`, its destination or preview; a copy that is not there is an empty one.

    Raises NotFoundError where there is no such source, ConflictError where it changes all the time.
    """
    with exclusive(registry):
        source, attributes, copy, copied_attributes = _read(registry, resource, against)
    copied = registry.signing.copied_attributes(resource)
    digest = reviewed_digest(source, attributes, copied)
    both = (against.name, digest, reviewed_digest(copy, copied_attributes, copied))
    state = hashlib.sha256(json.dumps(both).encode()).hexdigest()[:32]
    return Shown(attributes, difference(source, copy, attributes, copied_attributes, copied), digest, state)


def _read(
    registry: Any, resource: Resource, against: Place
) -> tuple[list[Record], Mapping[str, Any], list[Record], Mapping[str, Any]]:
    """Records and attributes of both.

    Each is read in one statement. A publication changes both in one transaction, and whatever changes the source's records
    moves its object's timestamp: where that is the same before the copy is read and after, they were so at the same time.
    """
    repository = StorageRepository(registry.storage)
    name = resource.source.name
    for _ in range(ATTEMPTS):
        before = repository.attributes(name)
        copy, copied_attributes = _snapshot(registry.storage, against.name)
        source, attributes = _snapshot(registry.storage, name)
        if before is None or not attributes:
            raise NotFoundError(f"There is no collection {name!r} (any more). Nothing was compared.")
        if attributes["last_modified"] == before["last_modified"]:
            return source, attributes, copy, copied_attributes
    raise ConflictError(f"{name} is being edited or published all the time. Nothing was read; try again.")


def _snapshot(storage: Any, name: str) -> tuple[list[Record], Mapping[str, Any]]:
    found = snapshot(storage, name)
    return ([], {}) if found is None else ([json.loads(change) for change in found.changes], found.attributes)
