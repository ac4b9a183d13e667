"""The attributes of a signed copy: those of the source, signatures, statement, chains, and what S notes beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kinto_signer.core.canonical import Digests, format_hash
from kinto_signer.core.published import CARRIED, PUBLICATION
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.resources import Place, Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.own import CLAIM, PUBLISHED_TO
from kinto_signer.server.signing import Signing
from kinto_signer.signers import Signature
from kinto_signer.signers.several import carried_by


class SignedAttributes:
    """Writes them in the current transaction."""

    def __init__(self, signing: Signing, repository: StorageRepository) -> None:
        self._signing = signing
        self._repository = repository

    def publish(
        self,
        resource: Resource,
        timestamp: int,
        content: Digests,
        signatures: Sequence[Signature],
        copied_from: Place,
        count: int,
        others: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """Set the destination's attributes; returns those that go to the authority.

        count: of the records. others: the attributes that the authorities show.
        """
        origin = self._repository.attributes(copied_from.name) or {}
        names = self._signing.copied_attributes(resource)
        published: dict[str, Any] = {key: origin[key] for key in names if key in origin}
        published |= {
            "signature": signatures[0].as_json(),
            "signatures": [made.as_json() for made in signatures],
            "signed_timestamp": timestamp,
            "hash": content.hash,
            CLAIM: {
                "timestamp": timestamp,
                "digest": format_hash(content.signed),
                "signature": signatures[0].signature,
                **({"x5u": signatures[0].x5u} if signatures[0].x5u else {}),
            },
        }
        name = resource.destination.name
        before = self._repository.attributes(name) or {}
        stating, made = self._signing.stating(resource), [*signatures]
        if stating is not None:
            published[PUBLICATION], stated = stating.make(published, count, [before, *others], now_ms())
            made += stated
        if carried := carried_by(made):
            published[CARRIED] = carried
        kept = {key: value for key, value in before.items() if key not in (*names, PUBLICATION, CARRIED)}
        urls = [authority.url for authority in self._signing.authorities(resource)]
        here = {PUBLISHED_TO: " ".join(urls)} if urls else {}
        self._repository.set_attributes(name, {**kept, **published, **here})
        return published
