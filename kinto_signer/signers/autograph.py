"""Keys that an Autograph server keeps. What it says is checked here; whom it is believed is in `announced`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from kinto_signer.core.canonical import SIGNATURE_PREFIX
from kinto_signer.core.trust import PinnedRoot, PublicKey, Trust, load_public_key
from kinto_signer.errors import ConfigurationError, SigningError
from kinto_signer.signers import Content, Given, Read, Signature, check_digest, recognising
from kinto_signer.signers.announced import AnnouncedKeys, is_loopback
from kinto_signer.signers.autograph_api import DATA, FINE, HASH, Api
from kinto_signer.signers.certificate import roots_from_settings
from kinto_signer.signers.hawk import Credentials
from kinto_signer.signers.secret import read_file, read_secret
from kinto_signer.transport.chains import AllowedHost, ChainFetcher
from kinto_signer.transport.deadline import Deadline
from kinto_signer.trusting import several

SERVER_URL = "autograph.server_url"
HAWK_ID = "autograph.hawk_id"
HAWK_SECRET = "autograph.hawk_secret"  # noqa: S105 - the name of a setting
KEY_IDS = "autograph.key_ids"
ENDPOINT = "autograph.endpoint"
TIMEOUT = "autograph.timeout_seconds"
PUBLIC_KEYS = "autograph.public_key"
HOSTS = "autograph.x5u_hosts"

DEFAULT_KEY_IDS = "remote-settings"
DEFAULT_TIMEOUT_S = 30.0
MIN_CONTENT_BYTES = 10
"""Autograph refuses to sign less."""


@dataclass(frozen=True)
class AutographSettings:
    """timeout_s: for one call as a whole, a second attempt and the fetching of a chain included.

    roots: what the chains of its keys have to lead to. hosts: where chains may be fetched from.
    """

    api: Api
    key_ids: tuple[str, ...]
    timeout_s: float = DEFAULT_TIMEOUT_S
    pinned: tuple[PublicKey, ...] = ()
    roots: tuple[PinnedRoot, ...] = ()
    hosts: tuple[AllowedHost, ...] = ()


class AutographSigner:
    """Signs with all of its keys in one call."""

    def __init__(self, settings: AutographSettings) -> None:
        self.settings = settings
        self._keys = AnnouncedKeys(settings.pinned, settings.roots, settings.hosts)
        self._fetcher = ChainFetcher(settings.hosts, lambda: Deadline(settings.timeout_s))

    def __repr__(self) -> str:
        return f"<AutographSigner {self.settings.api.url} {' '.join(self.settings.key_ids)}>"

    @property
    def needs_content(self) -> bool:
        return self.settings.api.endpoint == DATA

    def sign(self, digest: bytes, content: Content | None = None) -> tuple[Signature, ...]:
        check_digest(digest)
        payload = _content(digest, content) if self.needs_content else digest
        deadline = Deadline(self.settings.timeout_s)
        entries = self.settings.api.sign(payload, self.settings.key_ids, deadline)
        chains = [self._keys.verify(entry, digest, deadline) for entry in entries]
        return tuple(
            Signature(
                entry.signature,
                public_key=entry.public_key,
                x5u=entry.x5u,
                type=entry.type,
                signer_id=entry.signer_id,
                ref=entry.ref,
                chain=chain,
            )
            for entry, chain in zip(entries, chains, strict=True)
        )

    def public_keys(self) -> tuple[PublicKey, ...]:
        """Known from the first signature on; where there was none yet, something random is signed."""
        known = self._keys.known(self.settings.key_ids)
        if not known:
            content = os.urandom(32)
            self.sign(_digest(content), lambda: content)
            known = self._keys.known(self.settings.key_ids)
        return known

    def trust(self) -> Trust:
        """Where roots are set nobody is asked: a key that is not known here is recognised by its chain."""
        roots = self.settings.roots
        if not roots:
            return recognising(self.public_keys())
        return recognising(self._keys.known(self.settings.key_ids), roots, several(self._keys.chains, self._fetcher))


def _content(digest: bytes, content: Content | None) -> bytes:
    """What `DATA` is sent. Raises SigningError where the digest was made of something else."""
    if content is None:
        raise SigningError(f"With autograph.endpoint = {DATA} only whole content can be signed, and no digest alone. {FINE}")
    found = content()
    if _digest(found) != digest:
        raise SigningError(f"The content is not the one whose digest was to be signed: it was altered meanwhile. {FINE}")
    if len(found) < MIN_CONTENT_BYTES:
        raise SigningError(f"Autograph signs nothing shorter than {MIN_CONTENT_BYTES} bytes. {FINE}")
    return found


def _digest(content: bytes) -> bytes:
    return hashlib.sha384(SIGNATURE_PREFIX + content).digest()


def from_settings(read: Read) -> AutographSigner:
    """Make the signer from ``autograph.*``; nobody is asked yet. Raises ConfigurationError, which never shows the secret."""
    url, user, secret = read(SERVER_URL), read(HAWK_ID), read_secret(read, HAWK_SECRET)
    for given in (url, user):
        if not given:
            raise ConfigurationError(f"{given.line} is not set: Autograph needs an address, a Hawk user and its secret.")
    if not secret:
        raise ConfigurationError(f"{_name(read(HAWK_SECRET))} (or {_name(read(HAWK_SECRET))}_file) is not set.")
    pinned = tuple(_load(path, read(PUBLIC_KEYS)) for path in read(PUBLIC_KEYS).value.split())
    roots = roots_from_settings(read)
    _check_url(url, pinned or roots)
    api = Api(url.value, Credentials(user.value, secret), _endpoint(read(ENDPOINT)))
    return AutographSigner(
        AutographSettings(api, _key_ids(read(KEY_IDS)), _timeout(read(TIMEOUT)), pinned, roots, _hosts(url, read(HOSTS)))
    )


def _check_url(given: Given, pinned: Sequence[object]) -> None:
    try:
        parts = urlsplit(given.value)
        possible = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        possible = False
    if not possible or "@" in parts.netloc or parts.query or parts.fragment or re.search(r"\s", given.value):
        name = _name(given)
        raise ConfigurationError(f"{name} is no http(s) address of a server; no credentials, query or fragment belong to it.")
    if parts.scheme == "http" and not is_loopback(given.value) and not pinned:
        raise ConfigurationError(
            f"{given.line}: over http anybody on the way can answer, with a key of his own. Use https, or name the files of the "
            f"keys that may sign in {_name(given).removesuffix(SERVER_URL)}{PUBLIC_KEYS}."
        )


def _hosts(url: Given, given: Given) -> tuple[AllowedHost, ...]:
    own = AllowedHost.of_server(url.value)
    try:
        return (*([own] if own else []), *map(AllowedHost.parse, given.value.split()))
    except ConfigurationError as error:
        raise ConfigurationError(f"{given.line}: {error.message}") from error


def _endpoint(given: Given) -> str:
    if given and given.value not in (HASH, DATA):
        raise ConfigurationError(f"{given.line}: neither {HASH} nor {DATA}.")
    return given.value or HASH


def _key_ids(given: Given) -> tuple[str, ...]:
    key_ids = tuple((given.value or DEFAULT_KEY_IDS).split())
    if len(set(key_ids)) != len(key_ids):
        raise ConfigurationError(f"{given.line}: a key stands there twice.")
    return key_ids


def _timeout(given: Given) -> float:
    try:
        seconds = float(given.value or DEFAULT_TIMEOUT_S)
    except ValueError:
        raise ConfigurationError(f"{given.line}: not a number of seconds.") from None
    if not 0 < seconds <= 86400:
        raise ConfigurationError(f"{given.line}: has to be more than 0 and at most 86400 seconds.")
    return seconds


def _load(path: str, given: Given) -> PublicKey:
    return load_public_key(read_file(Given(path, given.line)), where=given.line)


def _name(given: Given) -> str:
    return given.line.partition(" = ")[0]
