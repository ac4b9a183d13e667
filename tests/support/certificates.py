"""Certificates for tests: a root, an intermediate and a signer's, each of which may be made wrong in one thing."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kinto_signer.core.trust import PinnedRoot

SIGNER = "regions.content-signature.example.org"
START = 1_700_000_000
"""When the certificates begin, epoch seconds."""
DAY = 86_400
LEAF_END = START + 90 * DAY
CODE_SIGNING = (ExtendedKeyUsageOID.CODE_SIGNING,)


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: Any

    @property
    def sha256(self) -> bytes:
        return self.certificate.fingerprint(hashes.SHA256())


def name(common: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")]
    return x509.Name(attributes + ([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []))


def key_usage(**on: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    names += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: on.get(name, False) for name in names})


CA_USAGE = key_usage(key_cert_sign=True, crl_sign=True)
LEAF_USAGE = key_usage(digital_signature=True)


def issue(
    subject: str | x509.Name,
    issuer: Issued | None = None,
    *,
    key: Any = None,
    ca: bool | None = True,
    path_length: int | None = None,
    usage: x509.KeyUsage | None = CA_USAGE,
    purposes: Any = CODE_SIGNING,
    names: Any = (),
    permitted: Any = None,
    excluded: Any = None,
    begin: int = START,
    end: int = START + 3650 * DAY,
    more: Any = (),
    algorithm: Any = hashes.SHA384,
    issuer_name: x509.Name | None = None,
    serial: int | None = None,
) -> Issued:
    """A certificate; ca None leaves the basic constraints out. Signed with its own key where there is no issuer."""
    key = key or ec.generate_private_key(ec.SECP384R1())
    subject = name(subject) if isinstance(subject, str) else subject
    own = issuer.certificate.subject if issuer else subject
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer_name or own).public_key(key.public_key())
    builder = builder.serial_number(serial or x509.random_serial_number())
    builder = builder.not_valid_before(moment(begin)).not_valid_after(moment(end))
    extensions = list(more)
    if ca is not None:
        extensions.append((x509.BasicConstraints(ca, path_length if ca else None), True))
    if usage is not None:
        extensions.append((usage, True))
    if purposes is not None:
        extensions.append((x509.ExtendedKeyUsage(purposes), False))
    if names:
        general = [x509.DNSName(text) if isinstance(text, str) else text for text in names]
        extensions.append((x509.SubjectAlternativeName(general), False))
    if permitted or excluded:
        extensions.append((x509.NameConstraints(permitted, excluded), True))
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    signing = issuer.key if issuer else key
    steady = True if isinstance(signing, ec.EllipticCurvePrivateKey) else None  # the same certificate from the same arguments
    return Issued(builder.sign(signing, algorithm(), ecdsa_deterministic=steady), key)


def moment(epoch_s: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(epoch_s, datetime.UTC)


@dataclass(frozen=True)
class Pki:
    """root, intermediate, leaf."""

    root: Issued
    intermediate: Issued
    leaf: Issued

    @property
    def certificates(self) -> list[x509.Certificate]:
        return [self.leaf.certificate, self.intermediate.certificate, self.root.certificate]

    @property
    def pem(self) -> bytes:
        return pem(*self.certificates)

    @property
    def pinned(self) -> PinnedRoot:
        return PinnedRoot(self.root.sha256, SIGNER)


def make_pki(*, root: Any = (), intermediate: Any = (), leaf: Any = (), root_issued: Issued | None = None) -> Pki:
    """A whole chain; each argument overrides what `issue` is told for one certificate."""
    top = root_issued or issue("Example Root", **dict(root))
    below = {"permitted": [x509.DNSName(".content-signature.example.org")], "path_length": 0, "end": START + 3000 * DAY}
    middle = issue("Example Intermediate", top, **{**below, **dict(intermediate)})
    wanted = {"subject": SIGNER, "ca": None, "usage": LEAF_USAGE, "names": [SIGNER], "end": LEAF_END, **dict(leaf)}
    return Pki(top, middle, issue(issuer=middle, **wanted))


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


@dataclass(frozen=True)
class Files:
    """A signer's key and its chain, in files."""

    key: Path
    chain: Path


def write_pki(folder: Path, pki: Pki, *, only: str = "") -> Files:
    """Put them in the place of whatever is there, as `mv` does. only: ``key`` or ``chain``."""
    files = Files(folder / "signer.pem", folder / "signer.chain")
    encoding, none = serialization.Encoding.PEM, serialization.NoEncryption()
    key = pki.leaf.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, none)
    for name, path, body in (("key", files.key, key), ("chain", files.chain, pki.pem)):
        if only in ("", name):
            temporary = path.with_suffix(".new")
            temporary.write_bytes(body)
            temporary.chmod(0o600)
            temporary.replace(path)
    return files
