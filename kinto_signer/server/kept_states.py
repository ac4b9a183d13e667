"""What this process knows of the signed copies that it wrote: their canonical forms, and since when that is so.

It makes a publication cost what its change does, and never decides what is signed. A form is used if, together with what was
written since, it gives the digest that was signed last; what differs is what PostgreSQL says was touched since. A process that
keeps nothing, or has something wrong in its memory, reads everything and signs the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kinto_signer.core import signature
from kinto_signer.core.canonical import Digests, Record, canonical_parsed, parse_hash
from kinto_signer.core.form import Form
from kinto_signer.core.published import CLAIM
from kinto_signer.core.trust import Trust, check_signed
from kinto_signer.errors import TryLaterError, VerificationError
from kinto_signer.plugin import saved_forms
from kinto_signer.plugin.last_kept import LastKept
from kinto_signer.plugin.rows import all_rows, rows
from kinto_signer.plugin.saved_forms import Saved
from kinto_signer.plugin.storage import collection_uri
from kinto_signer.plugin.touched import Moment, Touched, can_tell, touched

logger = logging.getLogger(__name__)

OVERHEAD_BYTES = 200
"""What Python needs around the canonical form of each record."""
CHECKED_EVERY = 100
"""Publications from one to the next that reads everything and compares it with what is kept."""
ALTERED = "%s: what is kept of it in memory is not what was signed. It is dropped, and everything is read again."
MANY = 5000
"""Records from which on PostgreSQL compares everything faster than we look at what was touched."""


@dataclass(frozen=True)
class KeptState:
    """A signed copy as one publication left it.

    source: the place that had the same content then. since: before that was found out. digests: what was signed, with timestamp.
    version: under which the form is in the table of `plugin.saved_forms`, if it is. used: how many publications were made from
    it, and from what it was made of, since everything was read.
    """

    source: str
    form: Form
    timestamp: int
    digests: Digests
    since: Moment
    version: str | None = None
    used: int = 0


class KeptStates:
    """By the name of the signed copy. One object serves all threads; what it hands out never changes.

    saves: whether there was a table, when the server started, in which forms are saved for other processes.
    """

    def __init__(self, max_bytes: int) -> None:
        self.saves = False
        self._kept: LastKept[KeptState] = LastKept(max_bytes)
        self._used: dict[str, int] = {}

    def get(self, name: str) -> KeptState | None:
        return self._kept.get(name)

    def keep(self, name: str, state: KeptState) -> None:
        """Once the publication was committed."""
        self._used[name] = state.used
        self._kept.keep(name, state, state.form.size_bytes + OVERHEAD_BYTES * len(state.form))

    def used(self, name: str) -> int:
        """Of the state that was kept last, even if there was no room for it."""
        return self._used.get(name, 0)

    def saves_in(self, session: Any) -> bool:
        """Whether there is such a table now: it may be dropped at any time."""
        return self.saves and saved_forms.usable(session)

    def forget(self) -> None:
        """Drop everything: the next publication reads it all again."""
        self._kept.forget()


@dataclass(frozen=True)
class TouchedSince:
    """What may differ between a source and its copy, by what was written since: the live records of both, and all ids.

    state: what was kept of the copy. in_source: what was written in the source.
    """

    state: KeptState
    ids: frozenset[str]
    source: list[Record]
    copy: list[Record]
    in_source: Touched


def loaded(
    session: Any, name: str, attributes: Mapping[str, Any], trust: Trust, states: KeptStates, beside: Saved | None = None
) -> KeptState | None:
    """What is known of the signed copy `name`: by this process, unless another one has published since and saved more.

    attributes: of the copy. What they say was signed last is verified with `trust`, and what is loaded has to give that digest.
    Where it does not verify, as after a key was replaced, nothing is loaded. beside: what is saved of another copy.
    """
    uri, known = collection_uri(name), states.get(name)
    saved_version = saved_forms.version(session, uri)
    if saved_version is None or (known is not None and known.version == saved_version):
        return known
    try:
        signed = recorded(name, attributes, trust)
    except (VerificationError, TryLaterError) as error:
        logger.warning("%s: what is kept of it proves nothing, and everything is read: %s", name, error)
        return None
    found = saved_forms.load(session, uri, beside) if signed is not None else None
    if found is None or signed is None or found.timestamp != signed[0]:
        return None if known is None else replace(known, version=None)
    return KeptState(found.source, found.form, found.timestamp, signed[1], found.since, found.version, states.used(name))


def recorded(name: str, attributes: Mapping[str, Any], trust: Trust) -> tuple[int, Digests] | None:
    """Timestamp and digests of the last publication, as the copy's attributes record them; None if they do not, or not all of it.

    Raises a VerificationError where the signature is not one over that digest.
    """
    digest, hash_ = parse_hash((attributes.get(CLAIM) or {}).get("digest")), attributes.get("hash")
    timestamp = attributes.get("signed_timestamp")
    if digest is None or not isinstance(hash_, str) or not isinstance(timestamp, int):
        return None  # signed by a peer, which keeps no digest
    check_signed(name, signature.entries(attributes), digest, trust, metadata=attributes)
    return timestamp, Digests(digest, hash_)


def touched_since(session: Any, kept: KeptState, copy: str, beside: TouchedSince | None = None) -> TouchedSince | None:
    """None where nobody knows what was written since, or where it is much.

    beside: what was just found about another copy; it is not asked again of the same source since the same moment.
    """
    if not can_tell(session, kept.since):
        return None
    if not kept.form.holds_together:
        logger.error(ALTERED, copy)
        return None
    places = collection_uri(kept.source), collection_uri(copy)
    if beside is not None and (beside.state.source, beside.state.since.oldest) == (kept.source, kept.since.oldest):
        in_source = beside.in_source
    else:
        in_source = touched(session, places[0], kept.since)
    in_copy = touched(session, places[1], kept.since, but_own=True)
    ids = in_source.ids | in_copy.ids
    if len(ids) > MANY:
        return None
    found = [list(rows(session, uri, ids)) for uri in places]
    untouched = len(kept.form) - sum(1 for record_id in ids if record_id in kept.form)
    besides = (
        in_source.untouched - _count(found[0], in_copy.ids - in_source.ids),
        in_copy.untouched - _count(found[1], in_source.ids - in_copy.ids),
    )
    if besides != (untouched, untouched):
        return None  # something was removed without a trace
    return TouchedSince(kept, ids, found[0], found[1], in_source)


def _count(records: Iterable[Record], ids: frozenset[str]) -> int:
    return sum(1 for record in records if record["id"] in ids)


def read_form(session: Any, name: str, look: Callable[[Record], None] | None = None) -> Form:
    """The canonical form of the copy as it is stored. Raises UnsignableValue.

    look: is given each record that holds anything to be looked at; what it raises is raised.
    """
    chunks: dict[str, bytes] = {}
    for record, plain in all_rows(session, collection_uri(name), ahead=True):
        chunks[record["id"]] = canonical_parsed(record, plain=plain)
        if look is not None and not plain:
            look(record)
    return Form.of((record_id, chunks[record_id]) for record_id in sorted(chunks))


def stored_chunks(session: Any, name: str, ids: Iterable[str]) -> dict[str, bytes | None]:
    """The canonical forms of these records as they are stored; None for those that are not there."""
    wanted = list(ids)
    found: dict[str, bytes | None] = dict.fromkeys(wanted)
    found.update((record["id"], canonical_parsed(record)) for record in rows(session, collection_uri(name), wanted))
    return found
