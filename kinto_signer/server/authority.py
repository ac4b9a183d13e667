"""S's side of A: look at what it holds, push one publication in one request, read it back as a reader would.

Nothing here decides what is published (`core.plan`) or is part of S's transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from kinto_signer.core import signature
from kinto_signer.core.ahead import Signed
from kinto_signer.core.canonical import Record, parse_hash
from kinto_signer.core.changeset import TIMESTAMP_MARKER, Changeset, is_tombstone, merge
from kinto_signer.core.plan import Held
from kinto_signer.core.published import CARRIED, PUBLICATION
from kinto_signer.core.trust import Trust, check, check_signed
from kinto_signer.errors import BadSignatureError, ConfigurationError, ConflictError, UnreachableError, VerificationError
from kinto_signer.plugin.resources import EVERYONE
from kinto_signer.plugin.storage import collection_uri
from kinto_signer.server.connection import Connection, as_object
from kinto_signer.server.own import CLAIM, COPIED_ATTRIBUTES, Own, Seen
from kinto_signer.server.root import Root, Sender, in_context

logger = logging.getLogger(__name__)


class Authority:
    """One authority during one publication of one collection; `connection` carries the deadline."""

    def __init__(
        self, connection: Connection, name: str, trust: Trust, root: Root, copied: Sequence[str] = COPIED_ATTRIBUTES
    ) -> None:
        self.connection = connection
        self.name = name
        self.trust = trust
        self.root = root
        self._copied = copied
        self._sender = Sender(connection, root.account)
        self._send = self._sender.send
        self._bucket = f"/buckets/{name.partition('/')[0]}"
        self._collection = collection_uri(name)

    # --- looking -----------------------------------------------------------------------------------------------------

    def look(self, own: Own, *, whole: bool = False) -> Seen:
        """Read everything that A holds, after making sure that the collection is there.

        whole: means nothing here. Raises a VerificationError if A holds what S's keys do not verify.
        """
        held, state = self._read()
        return Seen(held, state, held.fresh or self._is_sound(state, own.timestamp))

    def look_at_anything(self, own: Own) -> Seen:
        """The same for what is to be replaced: what was altered is not sound. Raises if another key signed it."""
        held, state = self._read()
        try:
            check(self.name, state, self.trust)
        except VerificationError as error:
            if not held.fresh and error.reason not in ("hash-mismatch", "bad-signature"):
                raise in_context(error, self.connection.url, self.name) from error
            return Seen(held, state, sound=held.fresh)
        return Seen(held, state, sound=True)

    def _read(self) -> tuple[Held, Changeset]:
        attributes = self._ensure_collection()
        changes, etag = self.records()
        timestamp = attributes.get("signed_timestamp")
        state = Changeset(timestamp if isinstance(timestamp, int) else etag, changes, attributes)
        fresh = not changes and not signature.entries(attributes)
        return Held(etag, changes, fresh), state

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
        readers = as_object(answer.body.get("permissions")).get("read") or []
        if EVERYONE not in readers:
            body = {"permissions": {"read": [*readers, EVERYONE]}}
            answer = self._send("PATCH", self._collection, body, lacks="write")
        writers = as_object(answer.body.get("permissions")).get("write") or []
        others = [writer for writer in writers if writer != self.root.account]
        if others:
            logger.warning("%s on %s can be written by others than the signer: %s", self.name, self.connection.url, others)
        return self._sender.attributes(self.name, answer)

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
            raise in_context(error, self.connection.url, self.name) from error
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
            said = {name: claim.get(name) for name in ("signature", "x5u")}
            check_signed(self.name, [said], digest, self.trust, metadata=attributes)
        except VerificationError:
            return False
        return True

    # --- pushing -----------------------------------------------------------------------------------------------------

    def refuse_too_many(self, writes: Sequence[Record]) -> None:
        """Raises ConfigurationError if the publication does not fit one request: it is never cut in pieces."""
        needed, max_requests = len(self._batch(writes, {}, {}, {})), self.root.max_requests
        if max_requests and needed > max_requests:
            raise ConfigurationError(
                f"Publishing {self.name} takes {needed} requests in one batch, and {self.connection.url} allows {max_requests}. "
                f"Raise `kinto.batch_max_requests` there, or add the plugin kinto_signer.authority. Nothing was published."
            )

    def push(
        self, writes: Sequence[Record], attributes: Mapping[str, Any], before: Seen, attempts: Sequence[Signed] = ()
    ) -> None:
        """Write records, tombstones and attributes in one batch. Raises if any part of it was refused.

        attempts: mean nothing here.
        """
        theirs = before.state.metadata
        requests = self._batch(writes, attributes, _kept(attributes, theirs, self._copied), as_object(theirs.get(CARRIED)))
        answer = self._send("POST", "/batch", {"requests": requests})
        responses = answer.body.get("responses")
        responses = responses if isinstance(responses, list) else []
        for request, response in zip(requests, responses, strict=False):
            response = as_object(response)
            if response.get("status") not in (200, 201):
                body = as_object(response.get("body"))
                raise UnreachableError(
                    f"{self.connection.url} refused a part of the publication of {self.name}: {request['method']} "
                    f"{request['path']} answered {response.get('status')} {str(body.get('message'))[:200]!r}. "
                    "S is as before; asking again is safe and repairs what was left there."
                )
        if len(responses) != len(requests):
            raise UnreachableError(f"{self.connection.url} answered {len(responses)} of {len(requests)} parts of {self.name}.")

    def _batch(
        self, writes: Sequence[Record], attributes: Mapping[str, Any], kept: Mapping[str, Any], carried: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """kept: what a PUT of the collection has to repeat; empty for a PATCH. carried: the chains that are there.

        The claim brings the chain by which it is recognised, should the publication be left unfinished.
        """
        chains = {CARRIED: {**carried, **attributes[CARRIED]}} if attributes.get(CARRIED) else {}
        claimed = {CLAIM: attributes.get(CLAIM), **chains}
        claim = {"method": "PATCH", "path": self._collection, "body": {"data": claimed}}
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

    def read_back(self, writes: Sequence[Record], attributes: Mapping[str, Any], before: Seen) -> None:
        """Verify as a reader would that A now holds the state that `attributes` sign, ETag included."""
        timestamp = attributes["signed_timestamp"]
        etag = self.verify_back(timestamp, before, attributes)
        if etag != timestamp:
            raise BadSignatureError(
                f"{self.name}: {self.connection.url} was given the state of {timestamp} and now shows the ETag {etag}: "
                "somebody else writes there. S is as before; asking again is safe."
            )

    def verify_back(self, timestamp: int, before: Seen, sent: Mapping[str, Any]) -> int:
        """Verify what A now holds, whatever its ETag, which is returned. sent: the attributes."""
        attributes = self._sender.attributes(self.name, self._send("GET", self._collection, lacks="read"))
        whole = before.held.fresh or not before.sound
        changes, etag = self.records(0 if whole else before.held.etag)
        difference = Changeset(timestamp, changes, attributes, since=0 if whole else before.state.timestamp)
        check(self.name, merge(before.state, difference), self.trust)
        differs = any(attributes.get(name) != sent.get(name) for name in (PUBLICATION, CARRIED))
        if differs or attributes.get("signed_timestamp") != timestamp:
            raise BadSignatureError(
                f"{self.name}: {self.connection.url} was given the state of {timestamp} and now shows another: "
                "somebody else writes there. S is as before; asking again is safe."
            )
        return etag

    # --- refreshing ----------------------------------------------------------------------------------------------------

    def refresh(self, attributes: Mapping[str, Any]) -> None:
        """Replace the signature of a state that A holds already; no record is read or written."""
        theirs = self._sender.attributes(self.name, self._send("GET", self._collection, lacks="read"))
        differing = [name for name in ("signed_timestamp", "hash") if theirs.get(name) != attributes[name]]
        claim, ours = as_object(theirs.get(CLAIM)), attributes[CLAIM]
        if claim and any(claim.get(part) != ours[part] for part in ("digest", "timestamp")):
            differing.append(CLAIM)  # a publication was left unfinished there
        if differing:
            raise ConflictError(
                f"{self.name}: {self.connection.url} does not hold what was signed last ({', '.join(differing)} differs); a new "
                "signature would not help. Set the status to `to-sign` to bring it up to date."
            )
        kept = _kept(attributes, theirs, self._copied)
        self._send("PUT" if kept else "PATCH", self._collection, {"data": {**kept, **attributes}}, lacks="write")
        now = self._sender.attributes(self.name, self._send("GET", self._collection, lacks="read"))
        digest = parse_hash(attributes[CLAIM]["digest"]) or b""
        check_signed(self.name, signature.entries(now), digest, self.trust, metadata=now)


def _kept(attributes: Mapping[str, Any], theirs: Mapping[str, Any], copied: Sequence[str]) -> Mapping[str, Any]:
    """The authority's own attributes, if it shows some that are published no more: only a PUT removes those."""
    copied = (*copied, PUBLICATION, CARRIED)
    if not any(name in theirs and name not in attributes for name in copied):
        return {}
    return {name: value for name, value in theirs.items() if name not in (*copied, "last_modified")}
