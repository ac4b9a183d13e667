"""S's side of A: look at what it holds, push one publication in one request, read it back as a reader would.

Nothing here decides what is published (`core.plan`) or is part of S's transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinto_signer.core import signature
from kinto_signer.core.canonical import Record, parse_hash
from kinto_signer.core.changeset import TIMESTAMP_MARKER, Changeset, is_tombstone, merge
from kinto_signer.core.plan import Held
from kinto_signer.core.trust import Trust, check, check_signed
from kinto_signer.errors import (
    BadAnswerError,
    BadSignatureError,
    ConfigurationError,
    ConflictError,
    CredentialsError,
    KintoSignerError,
    UnreachableError,
    VerificationError,
)
from kinto_signer.plugin.storage import collection_uri
from kinto_signer.server.connection import Answer, Connection
from kinto_signer.server.places import EVERYONE

logger = logging.getLogger(__name__)

CLAIM = "signer_claim"
"""Attribute of a published collection: ``{"timestamp", "digest", "signature"}``, the digest that was signed and the signature.

It is written first and last in every publication. An authority that was left with part of a publication shows by it that what it
holds comes from this signer, and may be repaired; and a refresh signs this digest again (decision 8).
"""

COPIED_ATTRIBUTES = ("schema", "sort", "displayFields", "attachment", "flags")
"""Attributes of the source that the signed copies show too."""


@dataclass(frozen=True)
class Seen:
    """What an authority holds before a publication.

    state: complete. sound: whether it verifies; False where an earlier publication of ours was left unfinished.
    """

    held: Held
    state: Changeset
    sound: bool
    max_requests: int = 0


class Authority:
    """One authority during one publication of one collection; `connection` carries the deadline."""

    def __init__(self, connection: Connection, name: str, trust: Trust, instance: str = "") -> None:
        self.connection = connection
        self.name = name
        self.trust = trust
        self.instance = instance
        self._bucket = f"/buckets/{name.partition('/')[0]}"
        self._collection = collection_uri(name)
        self._account = ""

    # --- looking -----------------------------------------------------------------------------------------------------

    def look(self, ours: int) -> Seen:
        """Read everything that A holds, after making sure that the collection is there.

        ours: the timestamp of S's own signed copy. Raises a VerificationError if A holds what S's keys do not verify.
        """
        max_requests = self._refuse_server()
        attributes = self._ensure_collection()
        changes, etag = self.records()
        timestamp = attributes.get("signed_timestamp")
        state = Changeset(timestamp if isinstance(timestamp, int) else etag, changes, attributes)
        fresh = not changes and not signature.entries(attributes)
        sound = fresh or self._is_sound(state, ours)
        return Seen(Held(etag, changes, fresh), state, sound, max_requests)

    def _refuse_server(self) -> int:
        """Refuse a server that cannot be published to; returns its `batch_max_requests` (0: no limit)."""
        root = self._send("GET", "/").body
        user = _object(root.get("user"))
        if self.connection.authenticated and not user:
            raise CredentialsError(
                f"{self.connection.url} does not accept the account in kinto.signer.authority.auth. Nothing was published."
            )
        self._account = str(user.get("id", "an anonymous user"))
        capabilities = _object(root.get("capabilities"))
        if self.instance and _object(capabilities.get("signer")).get("instance") == self.instance:
            raise ConfigurationError(
                f"kinto.signer.authority.url = {self.connection.url} is this server itself. Name the server that readers use, "
                "or remove the line to let them read here."
            )
        if "attachments" in capabilities and "authority" not in capabilities:
            raise ConfigurationError(
                f"{self.connection.url} has kinto-attachment without kinto_signer.authority: it would refuse changed attachments "
                "and keep the rest. Add the plugin there. Nothing was published."
            )
        limit = _object(root.get("settings")).get("batch_max_requests")
        return limit if isinstance(limit, int) else 0

    def _ensure_collection(self) -> Mapping[str, Any]:
        """The collection's attributes on A; bucket and collection are made where they are missing, readable for everybody."""
        answer = self._send("GET", self._collection, accept=(200, 401, 403, 404))
        if answer.status != 200:
            only_new = {"If-None-Match": "*"}
            made = self._send("PUT", self._bucket, {"data": {}}, headers=only_new, accept=(200, 201, 412, 403))
            lacks = "bucket:create (or collection:create in that bucket)" if made.status == 403 else "collection:create"
            body = {"data": {}, "permissions": {"read": [EVERYONE]}}
            self._send("PUT", self._collection, body, headers=only_new, accept=(200, 201, 412), lacks=lacks)
            answer = self._send("GET", self._collection, lacks="read")
        readers = _object(answer.body.get("permissions")).get("read") or []
        if EVERYONE not in readers:
            body = {"permissions": {"read": [*readers, EVERYONE]}}
            answer = self._send("PATCH", self._collection, body, lacks="write")
        writers = _object(answer.body.get("permissions")).get("write") or []
        others = [writer for writer in writers if writer != self._account]
        if others:
            logger.warning("%s on %s can be written by others than the signer: %s", self.name, self.connection.url, others)
        return self._attributes(answer)

    def records(self, since: int = 0) -> tuple[list[Record], int]:
        """Records and tombstones that changed after `since`, and the ETag of the list."""
        return self.connection.listing(f"{self._collection}/records?_since={since}")

    def _is_sound(self, state: Changeset, ours: int) -> bool:
        try:
            check(self.name, state, self.trust)
        except VerificationError as error:
            if self._is_unfinished(state.metadata, ours):
                logger.warning("%s on %s was left unfinished; it will be repaired.", self.name, self.connection.url)
                return False
            raise _in_context(error, self) from error
        return True

    def _is_unfinished(self, attributes: Mapping[str, Any], ours: int) -> bool:
        """Whether what A holds is what a publication of this signer left that S never committed."""
        claim = attributes.get(CLAIM)
        if not isinstance(claim, Mapping):
            return False
        digest, timestamp = parse_hash(claim.get("digest")), claim.get("timestamp")
        if digest is None or not isinstance(timestamp, int) or timestamp <= ours:
            return False
        try:
            check_signed(self.name, [{"signature": claim.get("signature")}], digest, self.trust)
        except VerificationError:
            return False
        return True

    # --- pushing -----------------------------------------------------------------------------------------------------

    def refuse_too_many(self, writes: Sequence[Record], max_requests: int) -> None:
        """Raises ConfigurationError if the publication does not fit one request: it is never cut in pieces."""
        needed = len(self._batch(writes, {}, {}))
        if max_requests and needed > max_requests:
            raise ConfigurationError(
                f"Publishing {self.name} takes {needed} requests in one batch, and {self.connection.url} allows {max_requests}. "
                f"Raise `kinto.batch_max_requests` there, or add the plugin kinto_signer.authority. Nothing was published."
            )

    def push(self, writes: Sequence[Record], attributes: Mapping[str, Any], before: Seen) -> None:
        """Write records, tombstones and attributes in one batch. Raises if any part of it was refused."""
        requests = self._batch(writes, attributes, _kept(attributes, before.state.metadata))
        answer = self._send("POST", "/batch", {"requests": requests})
        responses = answer.body.get("responses")
        responses = responses if isinstance(responses, list) else []
        for request, response in zip(requests, responses, strict=False):
            response = _object(response)
            if response.get("status") not in (200, 201):
                body = _object(response.get("body"))
                raise UnreachableError(
                    f"{self.connection.url} refused a part of the publication of {self.name}: {request['method']} "
                    f"{request['path']} answered {response.get('status')} {str(body.get('message'))[:200]!r}. "
                    "S is as before; asking again is safe and repairs what was left there."
                )
        if len(responses) != len(requests):
            raise UnreachableError(f"{self.connection.url} answered {len(responses)} of {len(requests)} parts of {self.name}.")

    def _batch(self, writes: Sequence[Record], attributes: Mapping[str, Any], kept: Mapping[str, Any]) -> list[dict[str, Any]]:
        """kept: what a PUT of the collection has to repeat; empty for a PATCH."""
        claim = {"method": "PATCH", "path": self._collection, "body": {"data": {CLAIM: attributes.get(CLAIM)}}}
        final = {"method": "PUT" if kept else "PATCH", "path": self._collection, "body": {"data": {**kept, **attributes}}}
        if not writes:
            return [final]
        return [claim, *(request for change in writes for request in self._write(change)), final]

    def _write(self, change: Record) -> list[dict[str, Any]]:
        path, timestamp = f"{self._collection}/records/{change['id']}", change["last_modified"]
        if not is_tombstone(change):
            return [{"method": "PUT", "path": path, "body": {"data": change}}]
        deletion = {"method": "DELETE", "path": f"{path}?last_modified={timestamp}"}
        if change["id"] != TIMESTAMP_MARKER:
            return [deletion]
        made = {"data": {"id": change["id"], "last_modified": timestamp - 1}}
        return [{"method": "PUT", "path": path, "body": made}, deletion]

    def read_back(self, before: Seen, timestamp: int) -> None:
        """Verify as a reader would that A now holds the state signed at `timestamp`, ETag included."""
        attributes = self._attributes(self._send("GET", self._collection, lacks="read"))
        whole = before.held.fresh or not before.sound
        changes, etag = self.records(0 if whole else before.held.etag)
        difference = Changeset(timestamp, changes, attributes, since=0 if whole else before.state.timestamp)
        check(self.name, merge(before.state, difference), self.trust)
        if etag != timestamp or attributes.get("signed_timestamp") != timestamp:
            raise BadSignatureError(
                f"{self.name}: {self.connection.url} was given the state of {timestamp} and now shows the ETag {etag}: "
                "somebody else writes there. S is as before; asking again is safe."
            )

    # --- refreshing ----------------------------------------------------------------------------------------------------

    def refresh(self, attributes: Mapping[str, Any]) -> None:
        """Replace the signature of a state that A holds already; no record is read or written."""
        self._refuse_server()
        theirs = self._attributes(self._send("GET", self._collection, lacks="read"))
        differing = [name for name in ("signed_timestamp", "hash") if theirs.get(name) != attributes[name]]
        claim, ours = _object(theirs.get(CLAIM)), attributes[CLAIM]
        if claim and any(claim.get(part) != ours[part] for part in ("digest", "timestamp")):
            differing.append(CLAIM)  # a publication was left unfinished there
        if differing:
            raise ConflictError(
                f"{self.name}: {self.connection.url} does not hold what was signed last ({', '.join(differing)} differs); a new "
                "signature would not help. Set the status to `to-sign` to bring it up to date."
            )
        kept = _kept(attributes, theirs)
        self._send("PUT" if kept else "PATCH", self._collection, {"data": {**kept, **attributes}}, lacks="write")
        now = self._attributes(self._send("GET", self._collection, lacks="read"))
        digest = parse_hash(attributes[CLAIM]["digest"]) or b""
        check_signed(self.name, signature.entries(now), digest, self.trust)

    def _attributes(self, answer: Answer) -> Mapping[str, Any]:
        data = answer.body.get("data")
        if not isinstance(data, dict):
            raise BadAnswerError(f"{self.connection.url}: the answer about {self.name} holds no collection.")
        return data

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (200, 201),
        lacks: str = "write",
    ) -> Answer:
        answer = self.connection.request(method, path, body, headers=headers)
        if answer.status in accept:
            return answer
        said = f"{method} {path} answered {answer.status} {str(answer.body.get('message'))[:200]!r}"
        if answer.status in (401, 403):
            raise CredentialsError(
                f"{self.connection.url}: {self._account or 'the account'} lacks the permission {lacks}: {said}. "
                "Nothing was published."
            )
        raise UnreachableError(f"{self.connection.url}: {said}. S is as before; asking again is safe.")


def _kept(attributes: Mapping[str, Any], theirs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The authority's own attributes, if it shows copied ones that the source has no more: only a PUT removes those."""
    if not any(name in theirs and name not in attributes for name in COPIED_ATTRIBUTES):
        return {}
    return {name: value for name, value in theirs.items() if name not in (*COPIED_ATTRIBUTES, "last_modified")}


def _object(value: object) -> dict[str, Any]:
    """`value` if it is a JSON object, else an empty one: what another server says may have any shape."""
    return value if isinstance(value, dict) else {}


def _in_context(error: VerificationError, authority: Authority) -> KintoSignerError:
    """The same kind of error, saying where the state was found and what to do about it."""
    found = VerificationError(
        f"{authority.connection.url} holds a state of {authority.name} that the signer's keys do not verify: {error.message} "
        "S published nothing over it. If another signer publishes there, use another bucket; if an earlier key of this signer "
        "did, name it in kinto.signer.ecdsa.public_key; if it was altered by hand, delete the collection there "
        "(docs/operating.rst says how), then set the status to `to-sign` again."
    )
    found.reason = error.reason
    return found
