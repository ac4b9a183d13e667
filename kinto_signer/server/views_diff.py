"""``GET …/diff``: what would be published, for who may read the source; ``POST …/discard``, for who may write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kinto.core import Service
from kinto.core.authorization import DYNAMIC
from kinto.core.errors import raise_invalid

from kinto_signer.core import workflow
from kinto_signer.core.difference_pages import as_json, counts, page
from kinto_signer.errors import NotFoundError, SourceChangedError
from kinto_signer.plugin.resources import Place, Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.discarding import discard
from kinto_signer.server.permission import ReadingRecords, Writing
from kinto_signer.server.rules import others_and_you
from kinto_signer.server.shown import Shown, shown
from kinto_signer.server.values import lock, refuse_several_people

PAGE = 1000
"""Records in a page where `_limit` does not say otherwise."""
LARGEST_PAGE = 10_000

_TOKEN = re.compile(r"(?P<state>[0-9a-f]{32})\.(?P<after>[a-zA-Z0-9][a-zA-Z0-9_-]*)")
_LIMIT = re.compile(r"0*[1-9][0-9]{0,8}")

diff_service = Service(
    name="signer-diff",
    path="/buckets/{bucket_id}/collections/{collection_id}/diff",
    description="What would be published",
    factory=ReadingRecords,
    cors_headers=("Next-Page",),
)

discard_service = Service(
    name="signer-discard",
    path="/buckets/{bucket_id}/collections/{collection_id}/discard",
    description="Take pending changes of single records back",
    factory=Writing,
)


@dataclass(frozen=True)
class Query:
    """after: the last id of the page before; state: the one that page was made of; both "" for the first page."""

    against: Place
    limit: int
    after: str
    state: str


@diff_service.get(permission=DYNAMIC, tags=["Signer"], operation_id="get_signer_diff")
def get_diff(request: Any) -> dict[str, Any]:
    """``?against=destination|preview&_limit=&_token=``. Counts, digest, attributes are of the whole, the lists of one page."""
    resource = source_of(request)
    asked = _parse(request, resource)
    found = shown(request.registry, resource, asked.against)
    if asked.state and asked.state != found.state:
        raise SourceChangedError(
            f"{resource.source.name} or {asked.against.name} is something else now than on the page before. "
            "Begin again with the first page."
        )
    part, last = page(found.difference, asked.after, asked.limit)
    token = f"{found.state}.{last}" if last is not None else None
    if token is not None:
        query = {**request.GET, "_limit": asked.limit, "_token": token}
        request.response.headers["Next-Page"] = request.route_url(diff_service.name, _query=query, **request.matchdict)
    return {"data": {**_described(request, resource, asked.against, found), **as_json(part), "next_token": token}}


@discard_service.post(permission=DYNAMIC, tags=["Signer"], operation_id="post_signer_discard")
def post_discard(request: Any) -> dict[str, Any]:
    """``{"ids": [record id, …]}``: all of them or none. The answer is the source's object afterwards."""
    ids = _ids(request)
    refuse_several_people(request)
    lock(request, "/".join(request.matchdict[name] for name in ("bucket_id", "collection_id")))
    resource = source_of(request)
    return {"data": discard(request, resource, ids)}


def source_of(request: Any) -> Resource:
    """The resource of the source collection in the address. Raises NotFoundError where it is none."""
    bucket, collection = request.matchdict["bucket_id"], request.matchdict["collection_id"]
    found: Resource | None = request.registry.signing.resources.of_source(bucket, collection)
    if found is None:
        raise NotFoundError(f"{bucket}/{collection} is not signed here: no line of kinto.signer.resources has it as a source.")
    if StorageRepository(request.registry.storage).attributes(found.source.name) is None:
        raise NotFoundError(f"There is no collection {found.source.name}. Nothing was done.")
    return found


def _described(request: Any, resource: Resource, against: Place, found: Shown) -> dict[str, Any]:
    rules = request.registry.signing.workflow(resource)
    return {
        "source": resource.source.name,
        "against": against.name,
        "last_modified": found.attributes["last_modified"],
        "status": found.attributes.get("status"),
        "reviews": rules.reviews,
        "four_eyes": rules.four_eyes.value,
        "requested_by": found.attributes.get("last_review_request_by"),
        "contributors": workflow.contributors(found.attributes),
        **others_and_you(request, resource, rules),
        "digest": found.digest,
        "records": found.difference.count,
        "size_bytes": found.difference.size_bytes,
        "counts": counts(found.difference),
    }


def _parse(request: Any, resource: Resource) -> Query:
    """Raises Kinto's 400 that names the parameter."""
    limit, token = request.GET.get("_limit"), request.GET.get("_token")
    if limit is not None and not _LIMIT.fullmatch(limit):
        raise_invalid(request, "querystring", "_limit", "The value should be a positive integer.")
    match = _TOKEN.fullmatch(token) if token is not None else None
    if token is not None and match is None:
        raise_invalid(request, "querystring", "_token", "This is no token of a page. Begin again with the first page.")
    return Query(
        _against(request, resource),
        min(int(limit), LARGEST_PAGE) if limit is not None else PAGE,
        match["after"] if match else "",
        match["state"] if match else "",
    )


def _ids(request: Any) -> frozenset[str]:
    """Raises Kinto's 400 that names the field."""
    try:
        body = request.json_body
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise_invalid(request, "body", None, 'The body has to be a JSON object, `{"ids": [record id, …]}`. Nothing was changed.')
    for name in body.keys() - {"ids"}:
        raise_invalid(request, "body", name, "No such field; `ids` is the only one. Nothing was changed.")
    ids = body.get("ids")
    if not isinstance(ids, list) or not ids or not all(isinstance(item, str) for item in ids) or len(set(ids)) < len(ids):
        why = "It has to be a list of ids of records, at least one and none twice. Nothing was changed."
        raise_invalid(request, "body", "ids", why)
    return frozenset(ids)


def _against(request: Any, resource: Resource) -> Place:
    name = request.GET.get("against", "destination")
    if name == "preview" and resource.preview is not None:
        return resource.preview
    if name != "destination":
        why = "No preview is configured here." if name == "preview" else "The value should be `destination` or `preview`."
        raise_invalid(request, "querystring", "against", why)
    return resource.destination
