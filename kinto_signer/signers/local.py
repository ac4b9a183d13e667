"""A P-384 key in a PEM file; for development and small sites."""

from __future__ import annotations

import base64
import logging
import re
import threading
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.core import signature
from kinto_signer.core.trust import PublicKey, Trust, load_public_key
from kinto_signer.errors import ConfigurationError
from kinto_signer.signers import Content, Given, Read, Signature, check_digest, distinct, recognising
from kinto_signer.signers.certificate import ChainFile, Ends, OwnChain, Retry, roots_from_settings
from kinto_signer.signers.secret import FILE, read_file, read_guarded, read_secret, stamp

logger = logging.getLogger(__name__)

PRIVATE_KEY = "ecdsa.private_key"
PUBLIC_KEY = "ecdsa.public_key"
PASSPHRASE = "ecdsa.passphrase"  # noqa: S105 - the name of a setting

_EC_PARAMETERS = re.compile(rb"-----BEGIN EC PARAMETERS-----.*?-----END EC PARAMETERS-----\s*", flags=re.DOTALL)


@dataclass(frozen=True)
class Keys:
    """What the files hold, which belongs together. accepted: further keys whose signatures are accepted."""

    private: ec.EllipticCurvePrivateKey = field(repr=False)
    accepted: tuple[PublicKey, ...] = ()
    chain: OwnChain | None = None

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.private.public_key())


class KeyFiles:
    """The files that the settings name."""

    def __init__(self, read: Read) -> None:
        """Raises ConfigurationError where no private key is set, or what is no address or root."""
        private = read(PRIVATE_KEY)
        if not private:
            raise ConfigurationError(
                f"{private.line} is not set: the signer needs a P-384 private key (PEM). "
                "Make one with `kinto-signer keygen PRIVATE PUBLIC`."
            )
        self.private = private
        self.chain = ChainFile.from_settings(read, "ecdsa")
        self.roots = roots_from_settings(read)
        self._read = read

    @property
    def public(self) -> Given:
        return self._read(PUBLIC_KEY)

    @property
    def public_name(self) -> str:
        """The name of the setting that accepts a further key."""
        return self.public.line.partition(" = ")[0]

    def load(self) -> Keys:
        """Raises ConfigurationError that names the setting and the file, never the key or the passphrase."""
        passphrase = read_secret(self._read, PASSPHRASE)
        key = load_private_key(read_guarded(self.private), where=self.private.line, passphrase=passphrase)
        public = self.public
        accepted = (load_public_key(read_file(public), where=public.line),) if public else ()
        chain = self.chain.load(PublicKey(key.public_key())) if self.chain else None
        return Keys(key, accepted, chain)

    def stamp(self) -> tuple[object, ...]:
        """Differs when one of the files was written, replaced or removed; costs four calls of stat and reads nothing."""
        given = (self.private, self.public, self._read(PASSPHRASE + FILE))
        return (*(stamp(each) for each in given), self.chain.stamp() if self.chain else None)


class LocalSigner:
    """Signs with a key held in memory, and takes a new one when its file was replaced; with its chain, where there is one.

    Its repr shows the public key's fingerprint only.
    """

    needs_content = False

    def __init__(self, files: KeyFiles) -> None:
        """Raises what `KeyFiles.load` raises."""
        self.files = files
        self._lock = threading.Lock()
        self._seen = files.stamp()  # before loading, so that what is written meanwhile is seen the next time
        self._keys = files.load()
        self._former: tuple[PublicKey, ...] = ()
        self._retry, self._ends = Retry(), Ends()

    def __repr__(self) -> str:
        return f"<LocalSigner {self._keys.public.fingerprint}>"

    def sign(self, digest: bytes, content: Content | None = None) -> tuple[Signature, ...]:
        check_digest(digest)
        keys = self._current()
        chain = keys.chain
        if chain and self.files.chain:
            self._ends.check(self.files.chain.chain.line, chain.certified, self._retry.problem)
        public = base64.b64encode(keys.public.der).decode("ascii")
        x5u, text = (chain.x5u, chain.text) if chain else ("", "")
        return (Signature(signature.sign(keys.private, digest), public, x5u, chain=text),)

    def public_keys(self) -> tuple[PublicKey, ...]:
        keys = self._current()
        return distinct((keys.public, *keys.accepted, *self._former))

    def trust(self) -> Trust:
        return recognising(self.public_keys(), self.files.roots)

    def _current(self) -> Keys:
        seen = self.files.stamp()
        with self._lock:
            if seen != self._seen or self._retry.due():
                self._seen = seen
                self._reload()
            return self._keys

    def _reload(self) -> None:
        """Take what the files hold now. A broken replacement is logged, once, and the key that works is kept."""
        before, line = self._keys, self.files.private.line
        try:
            self._keys = self.files.load()
        except ConfigurationError as error:
            self._retry.failed(error, f"The key {before.public.fingerprint} is kept until the files are right.")
            return
        self._retry.succeeded()
        if self._keys.chain != before.chain and self._keys.chain:
            logger.info("%s: replaced", self._keys.chain.x5u)
        if self._keys.public == before.public:
            return
        self._former = (before.public, *self._former)
        logger.warning(
            "%s: replaced; the key is now %s. Signatures by %s are accepted until this process ends, and after that if %s "
            "names a file with it.",
            line,
            self._keys.public.fingerprint,
            before.public.fingerprint,
            self.files.public_name,
        )


def from_settings(read: Read) -> LocalSigner:
    """Make the signer from ``ecdsa.private_key`` (and ``ecdsa.public_key``, whose signatures are accepted too).

    Raises ConfigurationError that names the setting and the file, never the key.
    """
    return LocalSigner(KeyFiles(read))


def load_private_key(pem: bytes, *, where: str, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """Parse a PEM private key, PKCS#8 or SEC 1, open or encrypted. Raises ConfigurationError for anything but a P-384 key."""
    encrypted, name = b"ENCRYPTED" in pem, where.partition(" = ")[0].removesuffix("private_key") + "passphrase"
    if encrypted and passphrase is None:
        raise ConfigurationError(
            f"{where}: the private key is encrypted; set {name}_file, or the environment variable of {name}."
        )
    try:
        key = serialization.load_pem_private_key(_EC_PARAMETERS.sub(b"", pem), password=passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        what = "cannot be decrypted with the given passphrase" if encrypted else "not a private key in PEM form"
        raise ConfigurationError(f"{where}: {what}.") from None
    if passphrase is not None and not encrypted:
        raise ConfigurationError(f"{where}: the private key is not encrypted; remove {name}.")
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ConfigurationError(f"{where}: not a key on the curve P-384.")
    return key


def generate_key_pair() -> tuple[bytes, PublicKey]:
    """A new P-384 key: the private key as unencrypted PKCS#8 PEM, and the public key."""
    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, PublicKey(key.public_key())
