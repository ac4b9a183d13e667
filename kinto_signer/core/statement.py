"""The publication statement: what the classic signature does not say.

Content-Signature covers the records and their timestamp. Which collection they belong to, how its attributes read, whether this
is still the newest state and until when it may be used is said by this small document, which stands in the collection's
attribute ``publication`` as a DSSE envelope and is signed by the same keys.

Times and serials are integer milliseconds since 1970, digests ``sha384-`` and base64, as in ``hash``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinto_signer.core import envelope
from kinto_signer.core.canonical import canonical_json, format_hash, parse_hash, plain_json
from kinto_signer.core.changeset import State
from kinto_signer.core.problems import MAX_SAFE_INTEGER
from kinto_signer.core.published import PUBLICATION
from kinto_signer.core.strict_json import parse_json
from kinto_signer.core.trust import Chains, PublicKey, Trust, check, check_signed
from kinto_signer.errors import BadAnswerError, HashMismatchError, OtherCollectionError, VerificationError

PAYLOAD_TYPE = "application/vnd.kinto-signer.publication+json"

MAX_NAMES = 200


@dataclass(frozen=True)
class Statement:
    """What a signer says of one publication.

    audience: whom it is meant for; None for everybody. timestamp, hash, records: of the data; records is their number.
    names: of the attributes it covers, those that are not there included. attributes: their digest, see `attributes_digest`.
    serial: greater with each statement; see docs/adr/0026. previous: digest of the statement before it, None for the first.
    """

    bucket: str
    collection: str
    timestamp: int
    hash: str
    records: int
    names: tuple[str, ...]
    attributes: str
    serial: int
    signed_at: int
    expires: int
    audience: str | None = None
    previous: str | None = None

    @property
    def name(self) -> str:
        return f"{self.bucket}/{self.collection}"

    def payload(self) -> bytes:
        """The bytes that are signed: canonical JSON."""
        said: dict[str, Any] = {
            "bucket": self.bucket,
            "collection": self.collection,
            "timestamp": self.timestamp,
            "hash": self.hash,
            "records": self.records,
            "attributes": {"names": list(self.names), "digest": self.attributes},
            "serial": self.serial,
            "signed_at": self.signed_at,
            "expires": self.expires,
            "previous": self.previous,
        }
        return canonical_json(said | ({} if self.audience is None else {"audience": self.audience})).encode("ascii")


@dataclass(frozen=True)
class Signed:
    """A statement whose signature was verified, and the digest of its payload: what the next one calls ``previous``."""

    statement: Statement
    digest: str


def attributes_digest(attributes: Mapping[str, Any], names: Iterable[str]) -> str:
    """SHA-384 of the JSON (sorted keys, compact, ASCII) of those of the attributes `names` that are there.

    Raises BadAnswerError for what is no JSON.
    """
    covered = {name: attributes[name] for name in names if name in attributes}
    try:
        return format_hash(hashlib.sha384(plain_json(covered)).digest())
    except (ValueError, TypeError, RecursionError) as error:
        raise BadAnswerError(f"the attributes {', '.join(sorted(covered))} have no proper JSON: {error}") from error


# --- making ------------------------------------------------------------------------------------------------------------------


Sign = Callable[[bytes], Sequence[Mapping[str, Any]]]
"""Signs 48 bytes; gives the objects that stand in a collection's ``signatures``."""


def seal(statement: Statement, sign: Sign, trust: Trust, chains: Chains | None = None) -> dict[str, Any]:
    """The signed envelope, as it is published. Every signature is verified. Raises what `sign` and `check_signed` raise.

    chains: by which the signatures that are being made may be verified too.
    """
    payload = statement.payload()
    digest = envelope.digest(PAYLOAD_TYPE, payload)
    entries = sign(digest)
    keys = [check_signed(_about(statement.name), [entry], digest, trust, chains=chains) for entry in entries]
    return envelope.seal(PAYLOAD_TYPE, payload, ((key_id(key), entry) for key, entry in zip(keys, entries, strict=True)))


def key_id(key: PublicKey) -> str:
    """SHA-256 of the key's DER form, in hexadecimal. It helps to find a key and proves nothing."""
    return hashlib.sha256(key.der).hexdigest()


# --- reading -----------------------------------------------------------------------------------------------------------------


def open_statement(name: str, attributes: Mapping[str, Any], trust: Trust) -> Signed | None:
    """The statement among a collection's attributes, if a trusted key signed it for the collection `name`; None if there is none.

    What it says of the content is not compared. Raises a VerificationError, bad-answer for what is no statement.
    """
    if PUBLICATION not in attributes:
        return None
    about = _about(name)
    found = envelope.unseal(about, attributes[PUBLICATION], PAYLOAD_TYPE)
    check_signed(about, found.signatures, found.digest, trust, metadata=attributes)
    statement = parse(about, found.payload)
    bucket, _, collection = name.partition("/")
    if (bucket and statement.bucket != bucket) or (collection and statement.collection != collection):
        raise OtherCollectionError(
            f"{about} is about another collection, {statement.name[:160]!r}. Nothing was accepted: one collection's "
            "state is shown as another's."
        )
    return Signed(statement, _digest(found.payload))


def check_statement(
    name: str, attributes: Mapping[str, Any], trust: Trust, *, timestamp: int, content_hash: str, records: int | None
) -> Signed | None:
    """The same, if it is also about this very state. records: their number; None if nobody counted them.

    Raises HashMismatchError where it is about another one.
    """
    found = open_statement(name, attributes, trust)
    if found is None:
        return None
    said, about = found.statement, _about(name)
    for what, stated, there in (
        ("timestamp", said.timestamp, timestamp),
        ("timestamp", said.timestamp, attributes.get("signed_timestamp", timestamp)),
        ("hash", said.hash, content_hash),
        ("number of records", said.records, said.records if records is None else records),
        (f"attributes {', '.join(said.names)}", said.attributes, attributes_digest(attributes, said.names)),
    ):
        if stated != there:
            raise HashMismatchError(
                f"{about} was made for another state: it says {stated} for the {what}, and there is {there}. Nothing was "
                "accepted; something was altered or mixed up on the way."
            )
    return found


def check_published(name: str, state: State, trust: Trust) -> tuple[PublicKey, Signed | None]:
    """Verify the complete `state` by its signature and, where there is one, by its statement; whatever the time.

    Returns the key that signed the state, and the statement. Raises what `trust.check` and `check_statement` raise.
    """
    key = check(name, state, trust)
    if PUBLICATION not in state.metadata:
        return key, None
    # `check` has compared the attribute `hash` with the content, where it is there.
    content_hash = state.metadata.get("hash") or state.digests().hash
    return key, check_statement(
        name, state.metadata, trust, timestamp=state.timestamp, content_hash=content_hash, records=state.count
    )


def peek(attributes: Mapping[str, Any]) -> Signed | None:
    """The statement among attributes that were verified when they were stored; None where there is none, or no proper one."""
    if PUBLICATION not in attributes:
        return None
    try:
        found = envelope.unseal("", attributes[PUBLICATION], PAYLOAD_TYPE)
        return Signed(parse("", found.payload), _digest(found.payload))
    except VerificationError:
        return None


def parse(where: str, payload: bytes) -> Statement:
    """A statement from its payload. Fields that are not known are left out: who may sign may say more.

    Raises BadAnswerError that names the field.
    """
    said = parse_json(payload, where=where)
    if not isinstance(said, dict):
        raise BadAnswerError(f"{where} is no JSON object. Nothing was accepted.")
    fields = _Fields(where, said)
    covered = _Fields(where, fields.object("attributes"))
    found = Statement(
        bucket=fields.text("bucket"),
        collection=fields.text("collection"),
        timestamp=fields.number("timestamp"),
        hash=fields.digest("hash"),
        records=fields.number("records"),
        names=covered.texts("names"),
        attributes=covered.digest("digest"),
        serial=fields.number("serial"),
        signed_at=fields.number("signed_at"),
        expires=fields.number("expires"),
        audience=fields.text("audience") if "audience" in said else None,
        previous=None if "previous" in said and said["previous"] is None else fields.digest("previous"),
    )
    if not found.serial or found.expires <= found.signed_at:
        raise fields.wrong("serial" if not found.serial else "expires")
    return found


@dataclass(frozen=True)
class _Fields:
    """The fields of an object, each of its one proper type."""

    where: str
    said: Mapping[str, Any]

    def wrong(self, field: str) -> BadAnswerError:
        value = str(self.said.get(field))[:80]
        return BadAnswerError(f"{self.where} says {value!r} for `{field}`, which is nothing proper. Nothing was accepted.")

    def text(self, field: str) -> str:
        value = self.said.get(field)
        if not isinstance(value, str) or not value:
            raise self.wrong(field)
        return value

    def number(self, field: str) -> int:
        value = self.said.get(field)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SAFE_INTEGER:
            raise self.wrong(field)
        return value

    def digest(self, field: str) -> str:
        value = self.said.get(field)
        found = parse_hash(value)
        if found is None or format_hash(found) != value:
            raise self.wrong(field)
        return str(value)

    def object(self, field: str) -> Mapping[str, Any]:
        value = self.said.get(field)
        if not isinstance(value, dict):
            raise self.wrong(field)
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        value = self.said.get(field)
        proper = isinstance(value, list) and len(value) <= MAX_NAMES and all(isinstance(item, str) and item for item in value)
        if not proper or len(set(value or ())) != len(value or ()):
            raise self.wrong(field)
        return tuple(value or ())


def _digest(payload: bytes) -> str:
    return format_hash(hashlib.sha384(payload).digest())


def _about(name: str) -> str:
    return f"{name}: its publication statement"
