"""The statement that goes with a publication: which one came before, and what is said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinto_signer.core.freshness import FUTURE_TOLERANCE_MS
from kinto_signer.core.statement import Signed, Statement, attributes_digest, open_statement, seal
from kinto_signer.core.trust import Trust
from kinto_signer.errors import NotYetValidError, VerificationError
from kinto_signer.signers import Signature, Signer


@dataclass(frozen=True)
class StatementSettings:
    """What is set about the statements of one source. audience: None for everybody."""

    lifetime_ms: int
    audience: str | None = None


@dataclass(frozen=True)
class Stating:
    """Makes the statements of one collection, named ``bucket/collection`` as its readers name it.

    names: of the attributes that are covered. signer: all that sign the collection.
    """

    name: str
    settings: StatementSettings
    names: Sequence[str]
    trust: Trust
    signer: Signer

    def make(
        self, attributes: Mapping[str, Any], records: int, copies: Iterable[Mapping[str, Any]], now_ms: int
    ) -> tuple[dict[str, Any], Sequence[Signature]]:
        """The envelope for what is published now, and the signatures on it.

        attributes: those that readers get, with ``signed_timestamp`` and ``hash``. records: their number.

        copies: the attributes of whatever holds an earlier publication: S, which may have been restored from a back-up, and its
        authorities. Raises NotYetValidError if an earlier serial is so far ahead that readers would refuse a greater one.
        """
        bucket, _, collection = self.name.partition("/")
        before = latest(self.name, self.trust, copies)
        serial = now_ms if before is None else max(now_ms, before.statement.serial + 1)
        if serial > now_ms + FUTURE_TOLERANCE_MS:
            raise NotYetValidError(
                f"{self.name}: the last publication statement has the serial {serial - 1}, so far ahead of this machine's clock "
                f"that readers would refuse the next one ({FUTURE_TOLERANCE_MS // 3_600_000} hours ahead at most). Nothing was "
                "signed. Look at this machine's clock; if it was ahead for a while: docs/operating.rst, *Clocks*."
            )
        statement = Statement(
            bucket=bucket,
            collection=collection,
            timestamp=attributes["signed_timestamp"],
            hash=attributes["hash"],
            records=records,
            names=tuple(self.names),
            attributes=attributes_digest(attributes, self.names),
            serial=serial,
            signed_at=now_ms,
            expires=now_ms + self.settings.lifetime_ms,
            audience=self.settings.audience,
            previous=None if before is None else before.digest,
        )
        made: list[Signature] = []

        def sign(digest: bytes) -> list[dict[str, Any]]:
            made.extend(self.signer.sign(digest))
            return [one.as_json() for one in made]

        def chains(x5u: str) -> Iterator[bytes]:
            yield from (one.chain.encode("utf-8") for one in made if one.chain and one.x5u == x5u)

        return seal(statement, sign, self.trust, chains), made


def latest(name: str, trust: Trust, copies: Iterable[Mapping[str, Any]]) -> Signed | None:
    """The statement with the greatest serial among several copies' attributes. What no trusted key signed does not count."""
    found: Signed | None = None
    for attributes in copies:
        try:
            other = open_statement(name, attributes, trust)
        except VerificationError:
            continue
        if other is not None and (found is None or other.statement.serial > found.statement.serial):
            found = other
    return found
