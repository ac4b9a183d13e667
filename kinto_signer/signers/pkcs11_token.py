"""A key on a PKCS#11 token: finding it, signing with it, and opening the session again when it was lost.

A library of PKCS#11 is one thing for the whole process: it is initialised once, not used by two threads at a time (python-pkcs11
asks for no locking), and not usable in a process that was forked later, until it is initialised there again. A login is of the
process too, not of a session: whoever comes second finds the user logged in.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11 import Attribute, Mechanism, ObjectClass

from kinto_signer.core import signature
from kinto_signer.core.trust import PublicKey
from kinto_signer.errors import BadSignatureError, SigningError

logger = logging.getLogger(__name__)

P384 = bytes.fromhex("06052b81040022")
"""The curve's object identifier, as CKA_EC_PARAMS holds it."""
POINT_BYTES = 97
OCTET_STRING = bytes((0x04, POINT_BYTES))
WRONG_PIN = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked, pkcs11.PinExpired)

PAUSES_S = (0.02, 0.1)

_PROCESS = threading.RLock()
"""Held while the library is in use."""


@dataclass(frozen=True)
class Where:
    """module: the library's file. token: its label. key_label, key_id: at least one of them; with both, both have to fit."""

    module: str
    token: str
    key_label: str = ""
    key_id: bytes = b""

    def __str__(self) -> str:
        parts = [f"label {self.key_label!r}"] if self.key_label else []
        parts += [f"id {self.key_id.hex()}"] if self.key_id else []
        return f"{' and '.join(parts)} on the token {self.token!r}"

    @property
    def attributes(self) -> dict[Attribute, Any]:
        found: dict[Attribute, Any] = {Attribute.LABEL: self.key_label} if self.key_label else {}
        return found | ({Attribute.ID: self.key_id} if self.key_id else {})


@dataclass(frozen=True)
class _Open:
    """An open session, the key in it, and the process that it belongs to."""

    session: Any
    key: Any
    public: PublicKey
    process: int


class TokenKey:
    """One key pair on a token.

    read_pin: gives the PIN, whenever one is needed. configured: the public key, for a token that does not hold it.
    """

    def __init__(self, where: Where, read_pin: Callable[[], str], configured: PublicKey | None = None) -> None:
        self.where = where
        self._read_pin = read_pin
        self._configured = configured
        self._open: _Open | None = None
        self._refused: bytes | None = None

    def open(self) -> PublicKey:
        """Log in, find the key and try it; nothing where that was done. Raises SigningError."""
        with _PROCESS:
            if self._open is None or self._open.process != os.getpid():
                self._open = self._find(anew=self._open is not None)
            return self._open.public

    def sign(self, digest: bytes) -> str:
        """The signature in the wire format. A session that was lost is opened again, once. Raises SigningError."""
        with _PROCESS:
            self.open()
            try:
                return self._sign(digest)
            except (pkcs11.PKCS11Error, BadSignatureError) as error:
                logger.warning("The session with %s was lost (%s) and is opened again.", self.where, type(error).__name__)
            if self._open is not None:
                _close(self._open.session)
            self._open = self._find(anew=False)
            try:
                return self._sign(digest)
            except (pkcs11.PKCS11Error, BadSignatureError) as error:
                raise self._failed("cannot sign", error) from error

    def _sign(self, digest: bytes) -> str:
        """After the library was initialised for somebody else, handles of ours may mean a session and a key of his."""
        if self._open is None:
            raise pkcs11.SessionClosed
        made = _signed(self._open.key, digest)
        if not signature.verifies(self._open.public.key, digest, made):
            raise pkcs11.KeyHandleInvalid
        return made

    def _find(self, *, anew: bool) -> _Open:
        """A session with the key. anew: initialise the library again first, which ends the sessions of others here too.

        A library that cannot give one is initialised again: it does not see a token that came back otherwise, and SoftHSM2
        fails now and then when several processes begin at once.
        """
        for pause_s in PAUSES_S:
            try:
                return self._found(anew=anew)
            except _UnavailableError:
                time.sleep(pause_s + os.getpid() % 8 * 0.01)  # so that processes do not meet again
                anew = True
        return self._found(anew=True)

    def _found(self, *, anew: bool) -> _Open:
        session = None
        try:
            session = self._session(_library(self.where.module, anew=anew))
            return self._look(session)
        except pkcs11.PKCS11Error as error:
            _close(session)
            raise self._failed("cannot be used", error) from error
        except (_Unsuitable, BadSignatureError) as error:
            _close(session)
            raise SigningError(f"The key with {self.where}: {error.args[0]}. Nothing was signed.") from error

    def _look(self, session: Any) -> _Open:
        """The key, once it has shown that it belongs to its public key."""
        key = _only(session, ObjectClass.PRIVATE_KEY, self.where.attributes)
        public = self._configured or _public_key(session, key)
        digest = hashlib.sha384(os.urandom(32)).digest()
        if not signature.verifies(public.key, digest, _signed(key, digest)):
            raise _Unsuitable("its signatures do not verify under the public key")
        return _Open(session, key, public, os.getpid())

    def _session(self, library: Any) -> Any:
        token = library.get_token(token_label=self.where.token)
        pin = self._read_pin()
        tried = hashlib.sha256(pin.encode("utf-8")).digest()
        if tried == self._refused:
            # Every attempt counts, and after a few of them the token locks itself.
            raise SigningError(
                f"The token {self.where.token!r} refused this PIN before. It is not tried again until it is another."
            )
        try:
            session = token.open(user_pin=pin)
        except pkcs11.UserAlreadyLoggedIn:
            return token.open()
        except WRONG_PIN:
            self._refused = tried
            raise
        self._refused = None
        return session

    def _failed(self, what: str, error: Exception) -> SigningError:
        why = _REASONS.get(type(error), type(error).__name__)
        kind = SigningError if isinstance(error, WRONG_PIN) else _UnavailableError
        return kind(f"The key with {self.where} {what}: {why}. Nothing was signed.")


class _UnavailableError(SigningError):
    """What trying again may mend."""


class _Unsuitable(Exception):
    """A key that is not the one that is needed."""


def _close(session: Any) -> None:
    if session is not None:
        with contextlib.suppress(pkcs11.PKCS11Error):  # it is lost anyway
            session.close()


def _library(module: str, *, anew: bool) -> Any:
    library = pkcs11.lib(module)
    if anew:
        with contextlib.suppress(pkcs11.PKCS11Error):  # in a forked process it was never initialised
            library.finalize()
        library = pkcs11.lib(module)
    return library


def _only(session: Any, kind: ObjectClass, attributes: dict[Attribute, Any]) -> Any:
    found = list(session.get_objects({Attribute.CLASS: kind} | attributes))
    name = "private" if kind is ObjectClass.PRIVATE_KEY else "public"
    if not found:
        raise _Unsuitable(f"there is no such {name} key")
    if len(found) > 1:
        raise _Unsuitable(f"{len(found)} {name} keys have it; name both pkcs11.key_label and pkcs11.key_id")
    return found[0]


def _public_key(session: Any, private: Any) -> PublicKey:
    own = _attribute(private, Attribute.ID)
    attributes = {Attribute.ID: own} if own else {Attribute.LABEL: _attribute(private, Attribute.LABEL)}
    try:
        public = _only(session, ObjectClass.PUBLIC_KEY, attributes)
    except _Unsuitable as error:
        raise _Unsuitable(f"{error}; name a file with the public key in pkcs11.public_key") from error
    if _attribute(public, Attribute.EC_PARAMS) != P384:
        raise _Unsuitable("it is not on the curve P-384")
    point = _attribute(public, Attribute.EC_POINT) or b""
    point = point[len(OCTET_STRING) :] if len(point) > POINT_BYTES and point.startswith(OCTET_STRING) else point
    try:
        return PublicKey(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), point))
    except ValueError as error:
        raise _Unsuitable("the token's public key is malformed") from error


def _attribute(key: Any, name: Attribute) -> Any:
    try:
        return key[name]
    except pkcs11.PKCS11Error:
        return None


def _signed(key: Any, digest: bytes) -> str:
    return signature.encode_raw(key.sign(digest, mechanism=Mechanism.ECDSA))


_REASONS: dict[type[Exception], str] = {
    pkcs11.NoSuchToken: "there is no such token",
    pkcs11.MultipleTokensReturned: "several tokens have this label; give them different ones",
    pkcs11.PinIncorrect: "the token refuses the PIN",
    pkcs11.PinInvalid: "the token refuses the PIN",
    pkcs11.PinLenRange: "the token refuses the PIN",
    pkcs11.PinLocked: "the token is locked, after too many wrong PINs",
    pkcs11.PinExpired: "the PIN has expired",
    pkcs11.MechanismInvalid: "the token does not make ECDSA signatures",
    pkcs11.KeyTypeInconsistent: "it is not an elliptic curve key",
}
