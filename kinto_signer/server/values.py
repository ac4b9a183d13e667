"""Refuse, before anything is stored, what would not reach every reader unchanged, and take the collection's lock.

At `NewRequest`, since Kinto itself fails with a 500 on some of these values while it looks for the object. The event comes for
every request inside a batch too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import transaction
from kinto.core.errors import ERRORS, http_error
from kinto.core.storage.exceptions import ObjectNotFoundError
from kinto.core.utils import apply_json_patch
from pyramid.events import NewRequest
from pyramid.httpexceptions import HTTPBadRequest

from kinto_signer.core.changeset import TIMESTAMP_MARKER
from kinto_signer.core.problems import find_malformed, find_problem, find_record_problem
from kinto_signer.core.repository import DAY_MS
from kinto_signer.errors import WorkflowError
from kinto_signer.plugin.answers import log_refusal
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.rollback import SAFE_METHODS
from kinto_signer.plugin.storage import StorageRepository, collection_uri

_TARGET = re.compile(
    r"/v\d+/buckets/(?P<bucket>[^/]+)/collections(/(?P<collection>[^/]+)(?P<records>/records(/(?P<record>[^/]+)"
    r"(?P<attachment>/attachment)?)?)?)?/?$"
)
_BATCH = re.compile(r"/v\d+/batch/?$")
_TOO_DEEP = "The body is nested too deep. Nothing was stored."
JSON_PATCH = "application/json-patch+json"
KINTO_MAX_DEPTH = 300
_CREDENTIALS = "kinto_signer.server.values.credentials"


def includeme(config: Any) -> None:
    config.add_subscriber(on_new_request, NewRequest)


def on_new_request(event: Any) -> None:
    request = event.request
    if request.method in SAFE_METHODS:
        return
    try:
        _look_at(request)
    except HTTPBadRequest as refusal:
        log_refusal(request, refusal)
        raise


def _look_at(request: Any) -> None:
    if _BATCH.match(request.path_info):
        _refuse_charset(request)
        _refuse_malformed_batch(_parse(request.body))
        return
    target = _TARGET.match(request.path_info)
    if target is None:
        return
    signing = request.registry.signing
    bucket, collection = target["bucket"], target["collection"]
    if collection is None:
        if signing.resources.has_source_in(bucket):
            refuse_several_people(request)
            _refuse_values(request, target, allow_floats=False)
        return
    if signing.resources.involves(bucket, collection):
        resource = signing.resources.of_source(bucket, collection)
        if resource is not None:
            refuse_several_people(request)
            lock(request, f"{bucket}/{collection}")
        _refuse_values(request, target, allow_floats=resource is not None and signing.allow_floats(resource))


def refuse_several_people(request: Any) -> None:
    """Refuse a batch as a whole whose parts change sources in the name of several people.

    Kinto sends one event for all of a batch, with the name of whoever came first: nobody could tell who edited and who approved.
    """
    current, credentials = transaction.get(), request.headers.get("Authorization")
    try:
        first = current.data(_CREDENTIALS)
    except KeyError:
        current.set_data(_CREDENTIALS, credentials)
        return
    if first != credentials:
        raise WorkflowError(
            "This batch changes what is signed in the name of several people. Nothing was stored; each of them has to send their "
            "own."
        )


def lock(request: Any, name: str) -> None:
    """Take the collection's lock, once in a transaction, before Kinto reads what it is going to replace as a whole.

    Raises ConflictError, which refuses a batch as a whole: the rest of it without this part would be something else.
    """
    current = transaction.get()
    try:
        held: set[str] = current.data(request.registry)
    except KeyError:
        held = set()
        current.set_data(request.registry, held)
    if name not in held:
        StorageRepository(request.registry.storage).lock(name, request.registry.signing.lock_timeout_s)
        held.add(name)


def _refuse_charset(request: Any) -> None:
    """Kinto would decode the body by it, and we would have looked at something else."""
    charset = re.search(r"charset=[\"']?([^;\"'\s]+)", request.headers.get("Content-Type", ""), re.IGNORECASE)
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        message = f"The body is to be in UTF-8, not in {charset[1][:40]!r}. Nothing was stored."
        raise _bad_request(message, {"reason": "unsignable"})


def _refuse_values(request: Any, target: re.Match[str], *, allow_floats: bool) -> None:
    _refuse_charset(request)
    if target["record"] == TIMESTAMP_MARKER and request.method != "DELETE":
        raise _refusal(target, f"the id {TIMESTAMP_MARKER!r} is kept for the signer", "$.id", None)
    for value in _posted(request, target):
        find = find_record_problem if target["records"] and isinstance(value, dict) else find_problem
        problem = find(value, allow_floats=allow_floats)
        if problem:
            raise _refusal(target, problem.why, problem.path, value)
        if target["records"] and isinstance(value, dict) and value.get("id") == TIMESTAMP_MARKER:
            raise _refusal(target, f"the id {TIMESTAMP_MARKER!r} is kept for the signer", "$.id", value)
        if isinstance(value, dict) and "last_modified" in value:
            why = _bad_timestamp(value["last_modified"])
            if why:
                raise _refusal(target, why, "$.last_modified", value)
    if request.method == "DELETE" and "last_modified" in request.GET:
        text = request.GET["last_modified"].strip('"')
        why = _bad_timestamp(int(text) if re.fullmatch(r"\d{1,20}", text) else text)
        if why:
            raise _refusal(target, why, "?last_modified", None)


def _posted(request: Any, target: re.Match[str]) -> Iterator[Any]:
    """The objects as they would be stored, as far as they can be known before Kinto looks at them."""
    content_type = (request.content_type or "").lower()
    if target["attachment"]:
        if content_type.startswith("multipart/") and isinstance(request.POST.get("data"), str):
            yield _parse(request.POST["data"].encode("utf-8", "surrogatepass"))
        return
    if not request.body:
        return
    body = _parse(request.body)
    if content_type == JSON_PATCH and request.method == "PATCH":
        yield from _patched(request, target, body)
    elif isinstance(body, dict) and "data" in body:
        yield body["data"]


def _patched(request: Any, target: re.Match[str], operations: Any) -> Iterator[Any]:
    """What a JSON patch makes of the stored object; an impossible patch is left to Kinto to refuse."""
    bucket, collection, record = target["bucket"], target["collection"], target["record"]
    where = ("record", collection_uri(f"{bucket}/{collection}"), record)
    if record is None:
        where = ("collection", f"/buckets/{bucket}", collection)
    try:
        stored = request.registry.storage.get(*where)
        yield apply_json_patch(stored, operations)["data"]
    except RecursionError:
        for operation in operations:
            problem = find_malformed(_at_pointer(operation["path"], operation.get("value")))
            if problem:
                raise _refusal(target, problem.why, problem.path, None) from None
        raise _bad_request(_TOO_DEEP, {"reason": "unsignable"}) from None
    except (ObjectNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return


def _at_pointer(pointer: str, value: Any) -> Any:
    """An object that holds `value` where the JSON pointer of a patch, below ``/data``, would put it."""
    for token in reversed(pointer.split("/")[2:]):
        value = {token: value}
    return value


def _parse(body: bytes) -> Any:
    """The JSON of a body; None where it is none, which Kinto refuses itself; a 400 for what would make Kinto fail."""
    try:
        return json.loads(body)
    except RecursionError:
        raise _bad_request(_TOO_DEEP, {"reason": "unsignable"}) from None
    except ValueError:
        return None


def _refuse_malformed_batch(body: Any) -> None:
    """Refuse what Kinto fails on as a whole, with a 500 or without a word on where: name the part of the batch."""
    if not _deeper_than(body, KINTO_MAX_DEPTH) and find_malformed(body) is None:
        return
    requests = body.get("requests") if isinstance(body, dict) else None
    defaults = body.get("defaults") if isinstance(body, dict) else None
    for part in requests if isinstance(requests, list) else ():
        merged = {**(defaults if isinstance(defaults, dict) else {}), **(part if isinstance(part, dict) else {})}
        path = str(merged.get("path"))
        target = _TARGET.match(path) or _TARGET.match(f"/v1{path}")
        data = merged["body"].get("data") if isinstance(merged.get("body"), dict) else None
        problem = find_malformed(data)
        if target and problem:
            raise _refusal(target, problem.why, problem.path, data)
    if _deeper_than(body, KINTO_MAX_DEPTH):
        raise _bad_request(_TOO_DEEP, {"reason": "unsignable"})


def _deeper_than(body: Any, limit: int) -> bool:
    level, depth = [body], 0
    while level and depth <= limit:
        level = [child for item in level for child in _children(item)]
        depth += 1
    return depth > limit


def _children(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def _bad_timestamp(value: Any) -> str | None:
    latest = now_ms() + DAY_MS
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= latest:
        return None
    return f"last_modified is {value!r}, not an integer from 0 to 24 hours from now (milliseconds)"


def _refusal(target: re.Match[str], why: str, path: str, value: Any) -> Exception:
    record = target["record"] or (value.get("id") if isinstance(value, dict) else None)
    if target["records"]:
        what = f"record {record!r}" if record else "the new record"
    else:
        what = f"collection {target['collection'] or record!r}"
    details = {"reason": "unsignable", "record": str(record or ""), "path": path}
    return _bad_request(f"{what}, {path}: {why}. Nothing was stored.", details)


def _bad_request(message: str, details: dict[str, str]) -> Exception:
    error: Exception = http_error(HTTPBadRequest(), errno=ERRORS.INVALID_POSTED_DATA, message=message, details=details)
    return error
