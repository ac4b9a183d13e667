"""Keys on hardware tokens, through PKCS#11."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kinto_signer.core.trust import PinnedRoot, PublicKey, Trust, load_public_key
from kinto_signer.errors import ConfigurationError, SigningError
from kinto_signer.signers import Content, Read, Signature, check_digest, recognising
from kinto_signer.signers.certificate import ChainFile, Ends, FollowedChain, roots_from_settings
from kinto_signer.signers.secret import read_file, read_secret, secret_line

if TYPE_CHECKING:
    from kinto_signer.signers.pkcs11_token import TokenKey

MODULE = "pkcs11.module"
TOKEN = "pkcs11.token"  # noqa: S105 - the name of a setting
KEY_LABEL = "pkcs11.key_label"
KEY_ID = "pkcs11.key_id"
PIN = "pkcs11.pin"
PUBLIC_KEY = "pkcs11.public_key"


class Pkcs11Signer:
    """Signs with a key that never leaves its token. Its repr names the key, and no PIN."""

    needs_content = False

    def __init__(self, key: TokenKey, chain: FollowedChain | None = None, roots: Sequence[PinnedRoot] = ()) -> None:
        self._key = key
        self._chain = chain
        self._roots = tuple(roots)
        self._ends = Ends()

    def __repr__(self) -> str:
        return f"<Pkcs11Signer {self._key.where}>"

    def sign(self, digest: bytes, content: Content | None = None) -> tuple[Signature, ...]:
        check_digest(digest)
        x5u = text = ""
        if self._chain:
            chain = self._chain.current(self._key.open())
            self._ends.check(self._chain.file.chain.line, chain.certified)
            x5u, text = chain.x5u, chain.text
        made = self._key.sign(digest)
        return (Signature(made, base64.b64encode(self._key.open().der).decode("ascii"), x5u, chain=text),)

    def public_keys(self) -> tuple[PublicKey, ...]:
        return (self._key.open(),)

    def trust(self) -> Trust:
        return recognising(self.public_keys(), self._roots)


def from_settings(read: Read) -> Pkcs11Signer:
    """Make the signer from ``pkcs11.*``: log in, find the key, try it.

    Raises ConfigurationError, which names the setting and never shows the PIN.
    """
    for name in (MODULE, TOKEN):
        if not read(name):
            raise ConfigurationError(f"{read(name).line} is not set: a PKCS#11 signer needs a module, a token and a key.")
    if not read(KEY_LABEL) and not read(KEY_ID):
        raise ConfigurationError(f"Neither {read(KEY_LABEL).line} nor {read(KEY_ID).line} is set: which key is it?")
    module = read(MODULE)
    if not Path(module.value).is_file():
        raise ConfigurationError(f"{module.line}: there is no such file.")
    try:
        from kinto_signer.signers.pkcs11_token import TokenKey, Where
    except ImportError as error:
        raise ConfigurationError("The PKCS#11 signer needs python-pkcs11: pip install 'kinto-signer[pkcs11]'.") from error
    file, roots = ChainFile.from_settings(read, "pkcs11"), roots_from_settings(read)
    key = TokenKey(
        Where(module.value, read(TOKEN).value, read(KEY_LABEL).value, _key_id(read)), _pin_reader(read), _public_key(read)
    )
    try:
        public = key.open()
    except SigningError as error:
        raise ConfigurationError(f"{error.message} Look at {read(TOKEN).line} and at {secret_line(read, PIN)}.") from error
    return Pkcs11Signer(key, FollowedChain(file, public) if file else None, roots)


def _key_id(read: Read) -> bytes:
    given = read(KEY_ID)
    try:
        return bytes.fromhex(given.value)
    except ValueError:
        raise ConfigurationError(f"{given.line}: not the hexadecimal id of a key.") from None


def _pin_reader(read: Read) -> Callable[[], str]:
    """Reads the PIN again each time, so that one which was changed in its file is used."""

    def pin() -> str:
        found = read_secret(read, PIN)
        if not found:
            raise ConfigurationError(f"{read(PIN).line.partition(' = ')[0]} (or {read(PIN + '_file').line}) is not set.")
        try:
            return found.decode("utf-8")
        except UnicodeDecodeError:
            raise ConfigurationError(f"{secret_line(read, PIN)}: the PIN is not text in UTF-8.") from None

    def pin_for_signing() -> str:
        try:
            return pin()
        except ConfigurationError as error:
            raise SigningError(f"{error.message} Nothing was signed.") from error

    pin()  # a mistake is one at start-up
    return pin_for_signing


def _public_key(read: Read) -> PublicKey | None:
    given = read(PUBLIC_KEY)
    return load_public_key(read_file(given), where=given.line) if given else None
