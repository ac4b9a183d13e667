"""Autograph's protocol: one authenticated request, and an answer that says exactly what was asked, or a SigningError."""

from __future__ import annotations

import base64
import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import requests

from kinto_signer.core import signature
from kinto_signer.core.strict_json import parse_json
from kinto_signer.errors import BadSignatureError, KintoSignerError, SigningError, UnreachableError, VerificationError
from kinto_signer.signers.hawk import Credentials, Target, authorization, fresh_nonce
from kinto_signer.transport.bounded import Limits, bounded_session
from kinto_signer.transport.deadline import Deadline

logger = logging.getLogger(__name__)

HASH, DATA = "/sign/hash", "/sign/data"
CONTENT_TYPE = "application/json"
CREATED = 201
MAX_ANSWER_BYTES = 2**20
REPLAYED = "request nonce is being replayed"
FINE = "Nothing was published."

_REQUEST_ID = re.compile(r"request-id: ([0-9A-Za-z-]{1,64})")


@dataclass(frozen=True)
class Entry:
    """What Autograph says of one signature. public_key: base64 of the DER form, or empty. x5u: empty where there is none."""

    signature: str
    signer_id: str
    type: str
    public_key: str
    x5u: str
    ref: str


class _Again(SigningError):
    """What a request with a fresh header may mend."""


@dataclass(frozen=True)
class Api:
    """Where to ask, and as whom. endpoint: `HASH` or `DATA`."""

    server_url: str
    credentials: Credentials
    endpoint: str = HASH

    @property
    def url(self) -> str:
        return self.server_url.rstrip("/") + self.endpoint

    def sign(self, payload: bytes, key_ids: Sequence[str], deadline: Deadline) -> list[Entry]:
        """The signatures of all the keys over one payload, in their order; all of them or none.

        A request that was refused as a replay, or that broke off, is sent once more with a fresh header. Raises SigningError.
        """
        asked = [{"input": base64.b64encode(payload).decode("ascii"), "keyid": key_id} for key_id in key_ids]
        body = json.dumps(asked).encode("ascii")
        try:
            answer = self._post(body, deadline)
        except _Again as error:
            logger.warning("%s Asked again.", error.message)
            answer = self._post(body, deadline)
        return self._entries(answer, key_ids)

    def _post(self, body: bytes, deadline: Deadline) -> requests.Response:
        target = Target.of(self.url)
        header = authorization(
            self.credentials, target, body, CONTENT_TYPE, method="POST", timestamp=int(time.time()), nonce=fresh_nonce()
        )
        headers = {"Host": target.host_header, "Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE}
        limits = Limits(max_size_bytes=MAX_ANSWER_BYTES, max_redirects=0, idle_s=2 * deadline.seconds)
        try:
            with bounded_session(self.url, deadline, limits, authorization=header) as session:
                answer = session.post(self.url, data=body, headers=headers, allow_redirects=False)
        except UnreachableError as error:
            raise _Again(f"Autograph: {error.message} {FINE}") from error
        except KintoSignerError as error:
            raise SigningError(f"Autograph at {self.url}: {error.message} {FINE}") from error
        if answer.status_code != CREATED:
            raise self._refusal(answer)
        return answer

    def _refusal(self, answer: requests.Response) -> SigningError:
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        text = answer.content[:2000].decode("utf-8", "replace") if kind == "text/plain" else ""
        found = _REQUEST_ID.search(text)
        said = "".join(character if character.isprintable() else " " for character in _REQUEST_ID.sub("", text)[:300]).strip()
        message = f"Autograph at {self.url} answered {answer.status_code}"
        message += f" ({said})" if said else f" with {kind[:40] or 'nothing'}"
        message += f", request-id {found[1]}" if found else ""
        error = _Again if answer.status_code == 401 and REPLAYED in text else SigningError
        return error(f"{message}. {FINE}{_advice(answer.status_code)}", request_id=found[1] if found else "")

    def _entries(self, answer: requests.Response, key_ids: Sequence[str]) -> list[Entry]:
        try:
            found = parse_json(answer.content)
        except VerificationError as error:
            raise self._unusable("no JSON") from error
        if not isinstance(found, list) or len(found) != len(key_ids):
            raise self._unusable(f"no list of {len(key_ids)}")
        return [self._entry(each, key_id) for each, key_id in zip(found, key_ids, strict=True)]

    def _entry(self, found: Any, key_id: str) -> Entry:
        if not isinstance(found, dict):
            raise self._unusable("no object for a signature")
        text = {name: found.get(name, "") for name in ("signature", "signer_id", "type", "public_key", "x5u", "ref", "mode")}
        if not all(isinstance(value, str) for value in text.values()):
            raise self._unusable("something else than texts")
        if text["signer_id"] != key_id:
            raise self._unusable(f"the signature of {text['signer_id'][:80]!r} where {key_id!r} was asked for")
        if not text["signature"]:
            raise self._unusable(f"no signature of {key_id!r}")
        if text.pop("mode") != signature.MODE:
            raise self._unusable(f"a signature of {key_id!r} that is not {signature.MODE}: another kind of key")
        try:
            signature.decode(text["signature"])
        except BadSignatureError as error:
            raise self._unusable(f"something malformed of {key_id!r}: {error.message}") from error
        return Entry(**text)

    def _unusable(self, what: str) -> SigningError:
        return SigningError(f"Autograph at {self.url} answered {CREATED}, but sent {what}. {FINE}")


def _advice(status: int) -> str:
    if status == 401:
        return " Look at autograph.hawk_id, its secret, autograph.key_ids, and this machine's clock."
    if status in (301, 302, 307, 308, 404, 405):
        return " Look at autograph.server_url: redirects are not followed."
    return ""
