"""Signed states with a publication statement."""

import dataclasses
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core import signature
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.freshness import DAY_MS
from kinto_signer.core.published import COPIED_ATTRIBUTES
from kinto_signer.core.statement import Statement, attributes_digest, seal
from tests.support.states import NAME, now_ms, trust_in


def statement_for(state: Changeset, **said: Any) -> Statement:
    """What an honest signer says of a state now, but for `said`."""
    bucket, _, collection = NAME.partition("/")
    now = said.pop("now", None) or now_ms()
    honest = {
        "bucket": bucket,
        "collection": collection,
        "timestamp": state.timestamp,
        "hash": state.digests().hash,
        "records": len(state.records),
        "names": COPIED_ATTRIBUTES,
        "attributes": attributes_digest(state.metadata, said.get("names", COPIED_ATTRIBUTES)),
        "serial": now,
        "signed_at": now,
        "expires": now + 30 * DAY_MS,
    }
    return Statement(**{**honest, **said})


def sealed(key: ec.EllipticCurvePrivateKey, statement: Statement) -> dict[str, Any]:
    def sign(digest: bytes) -> list[dict[str, Any]]:
        return [{"mode": signature.MODE, "signature": signature.sign(key, digest)}]

    return seal(statement, sign, trust_in(key))


def stated(key: ec.EllipticCurvePrivateKey, state: Changeset, **said: Any) -> Changeset:
    """The state with a statement among its attributes, and with its hash."""
    attributes = {**state.metadata, "hash": state.digests().hash}
    attributes["publication"] = sealed(key, statement_for(state, **said))
    return dataclasses.replace(state, metadata=attributes)


def unstated(state: Changeset) -> Changeset:
    """The state without its statement, which the classic signature does not miss."""
    kept = {name: value for name, value in state.metadata.items() if name != "publication"}
    return dataclasses.replace(state, metadata=kept)


def take_the_checks_away(monkeypatch: Any) -> None:
    """The reader that a test's control needs: it looks at no signature of a content or a statement, nor at a statement's age."""
    for place in ("core.repository", "updater.gather", "updater.reading"):
        monkeypatch.setattr(f"kinto_signer.{place}.check_published", lambda name, state, trust: (trust.keys[0], None))
    monkeypatch.setattr("kinto_signer.core.repository.refuse_older", lambda *args: None)
