"""``POST /buckets/{bucket_id}/collections/{collection_id}/changeset``: publish at once, or not at all."""

from __future__ import annotations

import logging
from typing import Any

from kinto.authorization import RouteFactory
from kinto.core.authorization import DYNAMIC
from kinto.views import raise_404_if_invalid_id

from kinto_signer.authority import body
from kinto_signer.authority.announcing import announce
from kinto_signer.authority.guard import Guard
from kinto_signer.authority.publication import Publication, Published
from kinto_signer.core.acceptance import parse_posted
from kinto_signer.errors import BadAnswerError, GuardRefusedError, MalformedChangesetError
from kinto_signer.plugin.collector import paused
from kinto_signer.plugin.exclusive import exclusive
from kinto_signer.plugin.resources import EVERYONE
from kinto_signer.plugin.storage import StorageRepository, collection_uri

logger = logging.getLogger(__name__)


class Publishing(RouteFactory):
    """Asks for `write` on the collection; for the permission to make it, or its bucket, where it does not exist."""

    def __init__(self, request: Any) -> None:
        super().__init__(request)
        bucket, collection = request.matchdict["bucket_id"], request.matchdict["collection_id"]
        raise_404_if_invalid_id(request, "bucket", bucket)
        raise_404_if_invalid_id(request, "collection", collection)
        repository = StorageRepository(request.registry.storage)
        self.current_object = repository.attributes(f"{bucket}/{collection}")
        self.resource_name, self.required_permission = "collection", "write"
        self.permission_object_id = f"/buckets/{bucket}/collections/{collection}"
        if self.current_object is None:
            self.on_plural_endpoint, self.required_permission = True, "create"
            self.permission_object_id = f"/buckets/{bucket}/collections"
            if not repository.has_bucket(bucket):
                self.resource_name, self.permission_object_id = "bucket", "/buckets"


def includeme(config: Any) -> None:
    """Add the route before the one that reads, which has the same address."""
    path = "/buckets/{bucket_id}/collections/{collection_id}/changeset"
    config.add_route("post-changeset", path, request_method="POST", factory=Publishing)
    config.add_view(post_changeset, route_name="post-changeset", permission=DYNAMIC, renderer="ultrajson")


def post_changeset(request: Any) -> dict[str, Any]:
    """Accept a publication: what results is verified, and stored as a whole."""
    name = f"{request.matchdict['bucket_id']}/{request.matchdict['collection_id']}"
    guard = request.registry.guard
    if getattr(request, "parent", None) is not None:
        raise MalformedChangesetError(
            f"{name}: a changeset is a request of its own and not a part of a batch. Nothing was stored."
        )
    if not guard.guards(*name.split("/")):
        raise GuardRefusedError(f"{name} is not guarded here: kinto.authority.resources does not name it. Nothing was stored.")
    received = body.receive(request, guard.guarding.max_bytes)
    with paused():
        published = _publish(request, name, guard, received)
    request.response.status = 201 if published.before is None else 200
    _log(request, name, published)
    return _answer(published)


def _publish(request: Any, name: str, guard: Guard, received: list[bytes]) -> Published:
    try:
        posted = parse_posted(name, body.parse(received))
    except BadAnswerError as error:
        raise MalformedChangesetError(error.message) from error
    with exclusive(request.registry):
        publication = Publication(guard, name, posted)
        published = publication.carry_out()
        _give_permissions(request, name, bucket=publication.made_bucket, collection=published.before is None)
    announce(request, name, published)
    return published


def _give_permissions(request: Any, name: str, *, bucket: bool, collection: bool) -> None:
    """What was made is written by who made it, as in Kinto; a new collection is read by everybody."""
    grant, user = request.registry.permission.add_principal_to_ace, request.prefixed_userid
    if bucket and user:
        grant(f"/buckets/{name.partition('/')[0]}", "write", user)
    if collection:
        grant(collection_uri(name), "read", EVERYONE)
        if user:
            grant(collection_uri(name), "write", user)


def _answer(published: Published) -> dict[str, Any]:
    counts = _counts(published)
    return {
        "data": {"timestamp": published.timestamp, "hash": published.hash, **counts},
        "metadata": dict(published.attributes),
    }


def _counts(published: Published) -> dict[str, int]:
    changes = published.changes
    if changes is None:
        return {"created": 0, "updated": 0, "deleted": 0}
    return {"created": len(changes.created), "updated": len(changes.updated), "deleted": len(changes.deleted)}


def _log(request: Any, name: str, published: Published) -> None:
    counts = _counts(published)
    logger.info(
        "accepted %s signed_timestamp=%s hash=%s created=%s updated=%s deleted=%s by=%s%s",
        name,
        published.timestamp,
        published.hash,
        counts["created"],
        counts["updated"],
        counts["deleted"],
        request.prefixed_userid,
        "" if published.changes else " (held already)",
    )
