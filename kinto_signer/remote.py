"""RemoteRepository: the collections of a Kinto over HTTP.

Any Kinto will do: a collection and its records, page by page, such that both belong to one publication. Where the server has
``/changeset``, that is one request.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kinto_signer.core.changeset import EMPTY, Changeset, Packing
from kinto_signer.core.collected_json import parse_collecting
from kinto_signer.core.packed import Packed
from kinto_signer.errors import (
    BadAnswerError,
    ConfigurationError,
    ConflictError,
    CredentialsError,
    NotFoundError,
    TooLargeError,
)
from kinto_signer.transport import Answer, Session

PAGE_RECORDS = 5_000
ATTEMPTS = 8
PAUSE_S = 0.2

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*/[a-zA-Z0-9][a-zA-Z0-9_-]*\Z")
_ETAG = re.compile(r'"([0-9]{1,18})"\Z')


class RemoteRepository:
    """What a server offers. Nothing that it says is verified here but its shape."""

    atomic = False

    def __init__(self, session: Session) -> None:
        self.session = session
        self._root: Mapping[str, Any] | None = None

    def timestamp(self, name: str) -> int:
        """The signed timestamp that the server has now; 0 if it does not have the collection."""
        try:
            metadata = self._metadata(name)[0]
        except NotFoundError:
            return 0
        return _signed_timestamp(name, metadata) or _etag(self.session.request("HEAD", f"{_path(name)}/records"))

    def highest(self, name: str) -> int:
        return self.timestamp(name)

    def changeset(self, name: str, since: int = 0) -> Changeset:
        """What changed after `since`; EMPTY if the server does not have the collection.

        The timestamp is the changeset's, else the attribute ``signed_timestamp``, else the ETag of the records; no other is
        tried. Raises BadAnswerError, TooLargeError, OffOriginError, CredentialsError, a TryLaterError, or ConflictError if
        the collection is published again and again while it is read.
        """
        path = _path(name)
        if self._may_offer_changesets():
            try:
                return self._offered_changeset(name, path, since)
            except NotFoundError:  # by this server, or of this collection
                self.capabilities()
        try:
            return self._assembled_changeset(name, path, since)
        except NotFoundError:
            return EMPTY

    def collections(self, bucket: str) -> list[str]:
        """The ids of the bucket's collections; none if the server does not have the bucket, or does not show it."""
        found: list[str] = []
        try:
            answer = self.session.get(f"/buckets/{bucket}/collections")
            while True:
                found += [check_name(f"{bucket}/{entry['id']}") for entry in _object(bucket, answer).get("data") or []]
                following = answer.headers.get("Next-Page")
                if not following:
                    return sorted(name.partition("/")[2] for name in found)
                answer = self.session.get(self.session.absolute(answer.url, following))
        except NotFoundError:
            return []
        except (KeyError, TypeError) as error:
            raise BadAnswerError(f"{bucket}: the list of collections is malformed.") from error

    def capabilities(self) -> Mapping[str, Any]:
        """What the server says it can do. Raises CredentialsError if it does not accept ours."""
        if self._root is None:
            root = self.session.get("/").json()
            if not isinstance(root, dict) or not isinstance(root.get("capabilities", {}), dict):
                raise BadAnswerError(
                    f"{self.session.server_url} does not look like a Kinto: no capabilities. Look at the address."
                )
            if self.session.authenticated and "user" not in root:
                raise CredentialsError(
                    f"{self.session.server_url} does not know the credentials. Nothing was read; correct them, or leave "
                    "them out to read as anybody."
                )
            self._root = root
        capabilities: Mapping[str, Any] = self._root.get("capabilities", {})
        return capabilities

    def _may_offer_changesets(self) -> bool:
        """Where no credentials are to be checked, the first request is the one for the changeset: it is the only one then."""
        if self._root is None and not self.session.authenticated:
            return True
        return "changes" in self.capabilities()

    def _offered_changeset(self, name: str, path: str, since: int) -> Changeset:
        query: dict[str, str | int] = {"_expected": 0}
        if since:
            query["_since"] = f'"{since}"'
        answer = self.session.get(f"{path}/changeset", query)
        changes = self._packing(name)
        body = _object(name, answer, changes=changes)
        metadata = body.get("metadata")
        if not isinstance(metadata, dict) or body.get("changes") is not changes:
            raise BadAnswerError(f"{name}: the changeset has no `metadata` or no `changes`. The local copy was kept.")
        timestamp = body.get("timestamp")
        if timestamp is None:
            timestamp = _signed_timestamp(name, metadata) or _etag(answer)
        if "_since" not in parse_qs(urlsplit(answer.url).query):
            since = 0  # too long ago for the server, which sent us on to everything
        return Changeset(_proper_timestamp(name, "timestamp", timestamp), changes.packed(), metadata, since)

    def _assembled_changeset(self, name: str, path: str, since: int) -> Changeset:
        metadata, etag = self._metadata(name)
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(PAUSE_S * attempt, self.session.deadline.remaining()))
            try:
                changes, records_etag = self._records(name, path, since)
            except ConflictError:
                metadata, etag = self._metadata(name)
                continue
            metadata_after, etag = self._metadata(name, (metadata, etag))
            if metadata_after == metadata:
                timestamp = _signed_timestamp(name, metadata) or records_etag
                return Changeset(timestamp, changes, metadata, since)
            metadata = metadata_after
        raise ConflictError(
            f"{name}: it was published again each of the {ATTEMPTS} times that it was read. The local copy was kept. "
            "Try again later."
        )

    def _metadata(self, name: str, known: tuple[Mapping[str, Any], str] | None = None) -> tuple[Mapping[str, Any], str]:
        """The collection's attributes and their ETag, which need not travel again if they are still the known ones."""
        conditions = {"If-None-Match": known[1]} if known and known[1] else {}
        answer = self.session.get(_path(name), headers=conditions)
        if known and conditions and answer.status == 304:
            return known
        return _collection_attributes(name, answer), answer.headers.get("ETag", "")

    def _records(self, name: str, path: str, since: int) -> tuple[Packed, int]:
        """Records (and tombstones, for a difference) and their ETag. Raises ConflictError if they change between pages."""
        changes = self._packing(name)
        size = etag = 0
        for answer in self._pages(name, path, since):
            size += len(answer.body)
            if size > self.session.limits.max_collection_bytes:
                raise TooLargeError(
                    f"{name}: more than {self.session.limits.max_collection_bytes} bytes in all pages. The local copy was kept."
                )
            if etag and _etag(answer) != etag:
                raise ConflictError(f"{name}: the records changed between two pages.")
            etag = _etag(answer)
            if _object(name, answer, data=changes).get("data") is not changes:
                raise BadAnswerError(f"{name}: a page of records without `data`. The local copy was kept.")
        return changes.packed(), etag

    def _pages(self, name: str, path: str, since: int) -> Iterator[Answer]:
        query: dict[str, str | int] = {"_limit": PAGE_RECORDS}
        if since:
            query["_since"] = f'"{since}"'
        answer = self.session.get(f"{path}/records", query)
        etag = answer.headers.get("ETag", "")
        seen = {answer.url}
        yield answer
        while following := answer.headers.get("Next-Page"):
            url = self.session.absolute(answer.url, following)
            if url in seen or len(seen) >= self.session.limits.max_pages:
                raise TooLargeError(f"{name}: the server's pages do not end (after {len(seen)}). The local copy was kept.")
            seen.add(url)
            answer = self.session.request("GET", url, headers={"If-Match": etag})
            yield answer

    def _packing(self, name: str) -> _BoundedPacking:
        return _BoundedPacking(name, self.session.limits.max_records)


class _BoundedPacking(Packing):
    """Takes so many records, and no more."""

    def __init__(self, name: str, most: int) -> None:
        super().__init__(name)
        self._most = most

    def append(self, change: Any) -> None:
        if len(self) >= self._most:
            raise TooLargeError(f"{self.name}: more than {self._most} records. The local copy was kept.")
        super().append(change)


def check_name(name: str) -> str:
    """`name` if it is ``bucket/collection`` as Kinto allows it. Raises ConfigurationError."""
    if not _NAME.match(name):
        raise ConfigurationError(f"{name!r} is not the name of a collection: write bucket/collection.")
    return name


def _path(name: str) -> str:
    bucket, _, collection = check_name(name).partition("/")
    return f"/buckets/{bucket}/collections/{collection}"


def _object(name: str, answer: Answer, **lists: Packing) -> dict[str, Any]:
    """The answer's object. lists: what takes the values of lists in it, by key."""
    body = parse_collecting(answer.body, lists, where=f"{name}: the answer")
    if not isinstance(body, dict):
        raise BadAnswerError(f"{name}: the answer is no JSON object. The local copy was kept.")
    return body


def _collection_attributes(name: str, answer: Answer) -> Mapping[str, Any]:
    attributes = _object(name, answer).get("data")
    if not isinstance(attributes, dict):
        raise BadAnswerError(f"{name}: the collection has no `data`. The local copy was kept.")
    return attributes


def _signed_timestamp(name: str, metadata: Mapping[str, Any]) -> int | None:
    value = metadata.get("signed_timestamp")
    return None if value is None else _proper_timestamp(name, "signed_timestamp", value)


def _proper_timestamp(name: str, field: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise BadAnswerError(f"{name}: {field} is {str(value)[:80]!r}, which is no timestamp. The local copy was kept.")
    return value


def _etag(answer: Answer) -> int:
    match = _ETAG.match(answer.headers.get("ETag", ""))
    if not match:
        raise BadAnswerError(f"{answer.url} answered without a proper ETag. The local copy was kept.")
    return int(match[1])
