"""Publication statements as `kinto-updater show` prints them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kinto_signer.cli import output
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.freshness import follows
from kinto_signer.core.statement import peek

_FOLLOWS = {
    True: "follows the one before",
    None: "others may lie between it and the one before",
    False: "DOES NOT FOLLOW what was seen here before: two histories were signed",
}


def lines(state: Changeset, log: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line about the statement of `state`, if there is one, and one about each in `log`, oldest first."""
    if found := peek(state.metadata):
        said = found.statement
        whom = f", for {said.audience}" if said.audience else ""
        yield f"  statement {said.serial}{whom}: signed {output.iso_ms(said.signed_at)}, expires {output.iso_ms(said.expires)}"
    for number, entry in enumerate(log):
        how = f", {_FOLLOWS[follows(log, number)]}" if number else ""
        yield f"  {entry['serial']} {output.iso_ms(entry['signed_at'])} of {entry['timestamp']} {entry['digest']}{how}"


def as_object(state: Changeset) -> dict[str, Any]:
    """The statement of `state` as JSON; nothing where there is none."""
    found = peek(state.metadata)
    if found is None:
        return {}
    said = found.statement
    times = {"signed_at": output.iso_ms(said.signed_at), "expires": output.iso_ms(said.expires)}
    return {"statement": {"serial": said.serial, "digest": found.digest, "audience": said.audience, **times}}


def log_object(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The log as JSON. follows: whether an entry names the one before it; null if others may lie between them."""
    return [
        {
            **entry,
            "signed_at": output.iso_ms(entry["signed_at"]),
            "expires": output.iso_ms(entry["expires"]),
            "follows": follows(log, number),
        }
        for number, entry in enumerate(log)
    ]
