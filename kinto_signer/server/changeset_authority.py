"""S's side of an A that takes whole changesets: one request that it applies at once or not at all, after verification.

Such an A is guarded: what it holds was signed. So the signed timestamp and the hash say everything about it, and where both are
those of S's own signed copy no record is read. The records' ETag there is the signed timestamp.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kinto_signer.core import signature
from kinto_signer.core.ahead import Signed, describe
from kinto_signer.core.canonical import Record, parse_hash
from kinto_signer.core.changeset import TIMESTAMP_MARKER, Changeset, by_record_id, diff, is_tombstone, merge, validate
from kinto_signer.core.plan import Held, is_exactly
from kinto_signer.core.trust import Trust, check, check_signed
from kinto_signer.errors import BadAnswerError, ConflictError, TooLargeError, VerificationError
from kinto_signer.plugin.storage import collection_uri
from kinto_signer.server.connection import Answer, Connection, as_object
from kinto_signer.server.own import CLAIM, NOTHING_SEEN, SIGNED_ATTRIBUTES, Own, Seen
from kinto_signer.server.root import Root, Sender, in_context

PUSH = "`kinto-signer push` replaces it by what was signed last"


class ChangesetAuthority:
    """One authority during one publication of one collection; `connection` carries the deadline."""

    def __init__(self, connection: Connection, name: str, trust: Trust, root: Root) -> None:
        self.connection = connection
        self.name = name
        self.trust = trust
        self.root = root
        self._send = Sender(connection, root.account).send
        self._attributes = Sender(connection).attributes
        self._collection = collection_uri(name)
        self._own: Own | None = None
        self._base = 0
        self._alive: frozenset[str] = frozenset()
        self._answer: Mapping[str, Any] = {}

    # --- looking -----------------------------------------------------------------------------------------------------

    def look(self, own: Own, *, whole: bool = False) -> Seen:
        """What A holds; its records are read only where it is not what S signed last, or where `whole` asks for it.

        Raises a VerificationError if A holds what S's keys do not verify.
        """
        answer = self._send("GET", self._collection, accept=(200, 401, 403, 404))
        if answer.status != 200:
            return NOTHING_SEEN
        attributes = self._attributes(self.name, answer)
        theirs = Signed(_timestamp(attributes.get("signed_timestamp")), str(attributes.get("hash")))
        if theirs == own.signed and own.timestamp and not whole:
            self._own = own
            return Seen(own.near, Changeset(own.timestamp, own.near.changes, attributes), sound=True)
        state = self._state()
        if not state.changes and not signature.entries(state.metadata):
            return NOTHING_SEEN
        try:
            check(self.name, state, self.trust)
        except VerificationError as error:
            raise in_context(error, self.connection.url, self.name, differs=self._differs(state, own), mend=PUSH) from error
        return Seen(Held(state.timestamp, state.changes), state, sound=True)

    def claimed(self) -> int:
        """The timestamp that A's state shows, verified or not; 0 if there is none."""
        answer = self._send("GET", self._collection, accept=(200, 401, 403, 404))
        return _timestamp(as_object(answer.body.get("data")).get("signed_timestamp"))

    def _differs(self, state: Changeset, own: Own) -> str:
        records = own.held.records if own.timestamp else ()
        found = describe(diff(state.records, records))
        return (
            f"It is of {state.timestamp} ({state.metadata.get('hash')}); the last one from here is of {own.timestamp} "
            f"({own.signed.hash if own.timestamp else 'nothing'}); between them: {found}. "
        )

    def _state(self, query: str = "_expected=0") -> Changeset:
        answer = self._send("GET", f"{self._collection}/changeset?{query}", lacks="read")
        metadata, changes = answer.body.get("metadata"), answer.body.get("changes")
        if not isinstance(metadata, dict) or not isinstance(changes, list):
            raise BadAnswerError(f"{self.connection.url}: the changeset of {self.name} has no `metadata` or no `changes`.")
        return Changeset(_timestamp(answer.body.get("timestamp")), validate(self.name, changes), metadata)

    # --- pushing -----------------------------------------------------------------------------------------------------

    def refuse_too_many(self, writes: Sequence[Record]) -> None:
        """Raises TooLargeError if the changeset is larger than A takes: it is never cut in pieces."""
        limit = self.root.max_changeset_bytes
        size = sum(len(json.dumps(change)) for change in writes) if limit else 0
        if limit and size > limit:
            raise TooLargeError(
                f"Publishing {self.name} takes {size} bytes in one changeset, and {self.connection.url} allows {limit}. "
                "Raise `kinto.authority.max_changeset_bytes` there. Nothing was published."
            )

    def push(
        self, writes: Sequence[Record], attributes: Mapping[str, Any], before: Seen, attempts: Sequence[Signed] = ()
    ) -> None:
        """Post one changeset. attempts: earlier ones that S did not commit, which A may have taken since it was looked at.

        Raises what A refuses, with its reason, and ConflictError where A holds something else than it did.
        """
        base = 0 if before.held.fresh else before.state.timestamp
        self._alive = frozenset(record["id"] for record in before.state.records)
        answer = self._post(base, writes, attributes, accept=(200, 201, 412))
        if answer.status == 412:
            state = self._state()
            if _is(state, attributes):
                self._base, self._answer = base, {**as_object(answer.body.get("details")), "metadata": state.metadata}
                return
            before = before.whole(self._own) if self._own else before
            target = merge(
                before.state, Changeset(attributes["signed_timestamp"], writes, attributes, since=before.state.timestamp)
            )
            self._refuse_other(state, target, writes, attempts)
            self._alive = frozenset(record["id"] for record in state.records)
            answer = self._post(state.timestamp, writes, attributes)

    def complete(self, base: int, changes: Sequence[Record], attributes: Mapping[str, Any]) -> None:
        """Replace whatever A holds by the whole signed state: records and tombstones. base: the timestamp that A shows."""
        self._post(base, changes, attributes, complete=True)

    def _post(
        self,
        base: int,
        changes: Sequence[Record],
        attributes: Mapping[str, Any],
        *,
        complete: bool = False,
        accept: tuple[int, ...] = (200, 201),
    ) -> Answer:
        timestamp = attributes["signed_timestamp"]
        body = {"base": base, "timestamp": timestamp, "changes": list(changes), "metadata": attributes}
        body |= {"complete": True} if complete else {}
        answer = self._send("POST", f"{self._collection}/changeset", body, accept=accept, compress=True)
        if answer.status != 412:
            data = as_object(answer.body.get("data"))
            if (data.get("timestamp"), data.get("hash")) != (timestamp, attributes["hash"]):
                raise BadAnswerError(
                    f"{self.connection.url} was given the state of {timestamp} ({attributes['hash']}) of {self.name} and "
                    f"answers that it holds {data.get('timestamp')} ({data.get('hash')}). S is as before; asking again is safe."
                )
            self._base, self._answer = (0 if complete else base), answer.body
        return answer

    def _refuse_other(self, state: Changeset, target: Changeset, writes: Sequence[Record], attempts: Sequence[Signed]) -> None:
        """Raise ConflictError unless `state` is an earlier attempt of ours on which the same writes give the same result."""
        try:
            check(self.name, state, self.trust)
        except VerificationError as error:
            raise in_context(error, self.connection.url, self.name, mend=PUSH) from error
        theirs = Signed(state.timestamp, str(state.metadata.get("hash")))
        result = merge(state, Changeset(target.timestamp, writes, target.metadata, since=state.timestamp or 1))
        newer = all(change["last_modified"] > state.timestamp for change in writes)
        if theirs in attempts and newer and _same_records(result.records, target.records):
            return
        raise ConflictError(
            f"{self.name}: {self.connection.url} took another publication meanwhile, that of {theirs.timestamp} ({theirs.hash}); "
            f"against {target.timestamp} from here: {describe(diff(state.records, target.records))}. S is as before; "
            + (
                "it is an earlier one of this signer: ask again."
                if theirs in attempts
                else "two signers publish to this collection."
            )
        )

    def read_back(self, writes: Sequence[Record], attributes: Mapping[str, Any], before: Seen) -> None:
        """Compare A's answer, and what a reader gets who was up to date before, with what was sent.

        Raises BadAnswerError. The cost follows the change.
        """
        timestamp = attributes["signed_timestamp"]
        since = f'_since="{self._base}"&' if self._base else ""
        state = self._state(f"{since}_expected={timestamp}")
        for shown in (as_object(self._answer.get("metadata")), state.metadata):
            names = [name for name in SIGNED_ATTRIBUTES if shown.get(name) != attributes.get(name)]
            if names:
                raise self._other_than_sent(f"{', '.join(names)} differs")
        if state.timestamp != timestamp:
            raise self._other_than_sent(f"its timestamp is {state.timestamp}")
        newer = [change for change in state.changes if change["last_modified"] > self._base]
        wrong = _wrong_changes(writes, newer, self._alive if self._base else frozenset())
        if wrong:
            raise self._other_than_sent(f"{len(wrong)} records differ ({', '.join(sorted(wrong)[:5])})")

    def _other_than_sent(self, why: str) -> BadAnswerError:
        return BadAnswerError(
            f"{self.name}: what {self.connection.url} shows is not what was sent to it: {why}. S is as before; "
            "asking again is safe."
        )

    # --- refreshing --------------------------------------------------------------------------------------------------

    def refresh(self, attributes: Mapping[str, Any]) -> None:
        """Replace the signature of a state that A holds already; no record is read or written."""
        theirs = self._attributes(self.name, self._send("GET", self._collection, lacks="read"))
        differing = [name for name in ("signed_timestamp", "hash") if theirs.get(name) != attributes[name]]
        if not differing:
            answer = self._post(attributes["signed_timestamp"], [], attributes, accept=(200, 201, 412))
            differing = ["signed_timestamp"] if answer.status == 412 else []
        if differing:
            raise ConflictError(
                f"{self.name}: {self.connection.url} does not hold what was signed last ({', '.join(differing)} differs); a new "
                "signature would not help. Set the status to `to-sign` to bring it up to date."
            )
        digest = parse_hash(attributes[CLAIM]["digest"]) or b""
        shown = as_object(self._answer.get("metadata"))
        check_signed(self.name, signature.entries(shown), digest, self.trust, metadata=shown)


def _timestamp(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _is(state: Changeset, attributes: Mapping[str, Any]) -> bool:
    return (state.timestamp, state.metadata.get("hash")) == (attributes["signed_timestamp"], attributes["hash"])


def _same_records(one: Sequence[Record], other: Sequence[Record]) -> bool:
    there = by_record_id(other)
    return len(one) == len(there) and all(is_exactly(there.get(record["id"]), record) for record in one)


def _wrong_changes(sent: Sequence[Record], shown: Sequence[Record], buried: Collection[str]) -> set[str]:
    """Ids of changes that are not shown as they were sent. buried: the ids whose tombstones have to be shown."""
    ours, theirs = by_record_id(sent), by_record_id(shown)
    wrong = {record_id for record_id in theirs.keys() - ours.keys() if record_id != TIMESTAMP_MARKER}
    for record_id, change in ours.items():
        there = theirs.get(record_id)
        if is_tombstone(change):
            if (there is None and record_id in buried) or (there is not None and there != change):
                wrong.add(record_id)
        elif not is_exactly(there, change):
            wrong.add(record_id)
    return wrong
