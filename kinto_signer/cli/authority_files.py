"""The files of a root and of an intermediate authority, and what is signed with their keys."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kinto_signer.cli.new_files import PUBLIC, SECRET, NewFile, make_folder
from kinto_signer.cli.passphrases import Passphrase
from kinto_signer.cli.signer_files import NewSigner, as_pem
from kinto_signer.core.chain import check_chain, load_chain
from kinto_signer.core.issuing import Draft, Period, draft_intermediate, draft_root, draft_signer, name
from kinto_signer.core.public_key import PublicKey, fingerprint
from kinto_signer.errors import BadChainError, ConfigurationError, VerificationError
from kinto_signer.signers import Given
from kinto_signer.signers.local import generate_key_pair, load_private_key
from kinto_signer.signers.secret import read_guarded

ROOT = "root.pem"
ROOT_KEY = "root-key.pem"
INTERMEDIATE = "intermediate.pem"
INTERMEDIATE_KEY = "intermediate-key.pem"

PrivateKey = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Authority:
    """An authority that can issue: its certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)


@dataclass(frozen=True)
class Authorities:
    """The certificates of a root and of an intermediate below it."""

    root: x509.Certificate
    intermediate: x509.Certificate

    @classmethod
    def load(cls, folder: Path) -> Authorities:
        """What `write_authorities` wrote. Raises ConfigurationError."""
        return cls(load_certificate(folder / ROOT), load_certificate(folder / INTERMEDIATE))

    @property
    def root_sha256(self) -> bytes:
        return self.root.fingerprint(hashes.SHA256())

    @property
    def root_fingerprint(self) -> str:
        """As readers pin it."""
        return fingerprint(self.root_sha256)


def make_root(owner: str, period: Period) -> Authority:
    """A new root with a key of its own. owner: whose it is, for people."""
    key = ec.generate_private_key(ec.SECP384R1())
    return Authority(_sign(draft_root(key.public_key(), name(f"{owner} root", owner), period), key), key)


def load_root(certificate: Path, key: Path, passphrase: bytes) -> Authority:
    """A root that is there. Raises ConfigurationError for files that are none, or do not belong together."""
    return _authority(load_certificate(certificate), key, passphrase, flag="--root-key")


def make_intermediate(owner: str, period: Period, root: Authority, domain: str, now: int) -> Authority:
    """A new authority below `root`, for `domain`. Raises ConfigurationError where readers would refuse what it issues."""
    key = ec.generate_private_key(ec.SECP384R1())
    subject = name(f"{owner} intermediate", owner)
    made = Authority(_sign(draft_intermediate(key.public_key(), subject, period, root.certificate, domain), root.key), key)
    leaf = _sign(draft_signer(key.public_key(), domain, period, made.certificate), key)  # for a trial
    _refuse_what_readers_refuse((leaf, made.certificate, root.certificate), domain, now)
    return made


def issue_signer(
    authorities: Authorities,
    key: Path,
    passphrase: Passphrase,
    signer_id: str,
    *,
    period: Period,
    now: int,
    given: PublicKey | None,
) -> NewSigner:
    """A certificate for the signer `signer_id`, and a new key unless one is `given`.

    key: the file with the intermediate's key, whose passphrase is asked for once everything else is right. Raises
    ConfigurationError, also where readers would refuse the chain.
    """
    private, public = (None, given) if given else generate_key_pair()
    draft = draft_signer(public.key, signer_id, period, authorities.intermediate)
    issuer = _authority(authorities.intermediate, key, passphrase.existing(), flag="The intermediate's key")
    chain = (_sign(draft, issuer.key), authorities.intermediate, authorities.root)
    _refuse_what_readers_refuse(chain, signer_id, now)
    return NewSigner(private, public, chain)


def write_authorities(
    folder: Path, root: Authority, intermediate: Authority, *, root_passphrase: bytes | None, passphrase: bytes
) -> None:
    """Write the certificates and the encrypted keys into a new `folder`. root_passphrase: None leaves the root's key out."""
    files = {
        ROOT: NewFile(as_pem(root.certificate), PUBLIC),
        INTERMEDIATE: NewFile(as_pem(intermediate.certificate), PUBLIC),
        INTERMEDIATE_KEY: NewFile(_encrypted(intermediate.key, passphrase), SECRET),
    }
    if root_passphrase is not None:
        files[ROOT_KEY] = NewFile(_encrypted(root.key, root_passphrase), SECRET)
    make_folder(folder, files)


def load_certificate(path: Path) -> x509.Certificate:
    """The one certificate in a PEM file. Raises ConfigurationError."""
    try:
        found = load_chain(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}). Nothing was made. `kinto-signer pki init` makes it; "
            "--folder says where it is."
        ) from error
    except BadChainError as error:
        raise ConfigurationError(f"{path} is no certificate in PEM form. Nothing was made.") from error
    if len(found) != 1:
        raise ConfigurationError(f"{path} holds {len(found)} certificates, and one was expected. Nothing was made.")
    return found[0]


def _authority(certificate: x509.Certificate, path: Path, passphrase: bytes, *, flag: str) -> Authority:
    where = f"{flag} {path}"
    pem = read_guarded(Given(str(path), where))
    if b"ENCRYPTED" not in pem:
        raise ConfigurationError(
            f"{where}: it is no encrypted private key. Nothing was made; for one that is open: `openssl pkcs8 -topk8 -v2 aes256`."
        )
    key = load_private_key(pem, where=where, passphrase=passphrase)
    if key.public_key() != certificate.public_key():
        raise ConfigurationError(f"{where}: it is not the key of the certificate beside it. Nothing was made.")
    return Authority(certificate, key)


def _sign(draft: Draft, key: PrivateKey) -> x509.Certificate:
    builder = draft.builder.not_valid_before(_moment(draft.period.begin)).not_valid_after(_moment(draft.period.end))
    return builder.sign(key, hashes.SHA384())


def _moment(epoch_s: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(epoch_s, datetime.UTC)


def _refuse_what_readers_refuse(chain: tuple[x509.Certificate, ...], signer_id: str, now: int) -> None:
    """Judge a chain by the readers' own rules before it is given to anybody."""
    pinned = frozenset({chain[-1].fingerprint(hashes.SHA256())})
    try:
        check_chain(load_chain(as_pem(*chain)), root_sha256=pinned, signer_id=signer_id, at=now, tolerance_s=0)
    except VerificationError as error:
        raise ConfigurationError(
            f"Readers would refuse what these authorities issue: {error.message}. Nothing was made."
        ) from error


def _encrypted(key: PrivateKey, passphrase: bytes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(passphrase)
    )
