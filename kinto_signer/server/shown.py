"""What a reviewer is shown: what a source holds that one of its copies does not, both as they were at one moment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kinto_signer.core.difference import Difference, reviewed_digest
from kinto_signer.errors import ConflictError, NotFoundError
from kinto_signer.plugin.exclusive import exclusive
from kinto_signer.plugin.resources import Place, Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.compared import Compared

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
        return _read(registry, resource, against)


def _read(registry: Any, resource: Resource, against: Place) -> Shown:
    """A publication changes source and copies in one transaction, and whatever changes the source's records moves its object's
    timestamp: where that is the same before anything else is read and afterwards, all was so at the same time.
    """
    repository, name = StorageRepository(registry.storage), resource.source.name
    for _ in range(ATTEMPTS):
        before = repository.attributes(name)
        if before is None:
            raise NotFoundError(f"There is no collection {name!r} (any more). Nothing was compared.")
        found, digest = _compare(registry, resource, resource.destination, before)
        shown_digest = digest
        if against != resource.destination:
            found, shown_digest = _compare(registry, resource, against, before)
        if before == repository.attributes(name):
            state = hashlib.sha256(json.dumps((against.name, digest, shown_digest)).encode()).hexdigest()[:32]
            return Shown(before, found, digest, state)
    raise ConflictError(f"{name} is being edited or published all the time. Nothing was read; try again.")


def _compare(registry: Any, resource: Resource, copy: Place, attributes: Mapping[str, Any]) -> tuple[Difference, str]:
    """What differs, and the digest of that."""
    copied = registry.signing.copied_attributes(resource)
    published = StorageRepository(registry.storage).attributes(copy.name) or {}
    found = Compared(registry, resource.source, copy).difference(copied)
    return found, reviewed_digest(found, attributes, published, copied)
