"""What stands in the certificates of an organisation's own authorities and signers: rules and drafts, no keys and no clock.

Three kinds stand below each other: a root, an intermediate authority that may issue for one domain, and a signer's. `chain`
judges them, the same way for who issues and who reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kinto_signer.core.chain_names import permits
from kinto_signer.errors import ConfigurationError, ConflictError

DAY_S = 86_400
BACKDATED_S = DAY_S
"""How long before its making a certificate begins, for readers whose clock is slow."""
MAX_COMMON_NAME = 64
"""Characters of a common name (X.520), and so of a signer id."""

_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Kind:
    """What all certificates of one kind have. path_length: how many authorities may stand below; None for a signer's."""

    path_length: int | None
    usages: frozenset[str]
    signs_code: bool

    @property
    def is_authority(self) -> bool:
        return self.path_length is not None


_ISSUES = frozenset({"key_cert_sign", "crl_sign"})
ROOT = Kind(path_length=1, usages=_ISSUES, signs_code=False)
INTERMEDIATE = Kind(path_length=0, usages=_ISSUES, signs_code=True)
SIGNER = Kind(path_length=None, usages=frozenset({"digital_signature"}), signs_code=True)


@dataclass(frozen=True)
class Period:
    """From when to when something is valid, epoch seconds, both included."""

    begin: int
    end: int

    @classmethod
    def from_now(cls, now: int, days: int) -> Period:
        """A period that ends `days` from now, and began a day ago."""
        return cls(now - BACKDATED_S, now + days * DAY_S)


@dataclass(frozen=True)
class Draft:
    """A certificate that lacks its dates, which `cryptography` takes in a form of their own, and its issuer's signature."""

    builder: x509.CertificateBuilder
    period: Period


def draft_root(key: ec.EllipticCurvePublicKey, subject: x509.Name, period: Period) -> Draft:
    """A root, to be signed with its own key."""
    return _draft(ROOT, key, subject, subject, key, period)


def draft_intermediate(
    key: ec.EllipticCurvePublicKey, subject: x509.Name, period: Period, root: x509.Certificate, domain: str
) -> Draft:
    """An authority below `root` for signer ids that are `domain` or end with it. Raises ConfigurationError for no domain."""
    if not _HOST.fullmatch(domain):
        raise ConfigurationError(
            f"{domain!r} is no domain: letters a to z, digits, hyphens and dots, as content-signature.example.org."
        )
    _refuse_what_outlives(root, period)
    found = _draft(INTERMEDIATE, key, subject, root.subject, _key_of(root), period)
    constraints = x509.NameConstraints(permitted_subtrees=[x509.DNSName(domain)], excluded_subtrees=None)
    return Draft(found.builder.add_extension(constraints, critical=True), period)


def draft_signer(key: ec.EllipticCurvePublicKey, signer_id: str, period: Period, issuer: x509.Certificate) -> Draft:
    """A signer's certificate. Raises ConfigurationError where `issuer` may not issue for that id, or not for that long."""
    refuse_signer_id(signer_id, issuer)
    _refuse_what_outlives(issuer, period)
    found = _draft(SIGNER, key, name(signer_id), issuer.subject, _key_of(issuer), period)
    return Draft(found.builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(signer_id)]), critical=False), period)


def name(common: str, organization: str | None = None) -> x509.Name:
    """A distinguished name. Raises ConfigurationError for one that certificates cannot hold."""
    try:
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
        return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common)])
    except ValueError as error:
        said = f"{organization!r}, {common!r}" if organization else repr(common)
        raise ConfigurationError(f"{said} is no name for a certificate: {error}.") from error


def refuse_signer_id(signer_id: str, issuer: x509.Certificate) -> None:
    """Raises ConfigurationError for an id that is no name of a host, or that `issuer` may not issue for."""
    if len(signer_id) > MAX_COMMON_NAME or not _HOST.fullmatch(signer_id):
        raise ConfigurationError(
            f"{signer_id!r} is no signer id: at most {MAX_COMMON_NAME} characters, letters a to z, digits, hyphens and dots, "
            "as regions.content-signature.example.org. Nothing was made."
        )
    if not permits(issuer, x509.DNSName, signer_id):
        allowed = " or ".join(repr(domain) for domain in domains_of(issuer))
        raise ConfigurationError(
            f"{signer_id!r} is outside of what this intermediate authority may issue for: ids that are, or end with, {allowed} "
            "(its name constraints). Readers would refuse the certificate. Nothing was made; choose such an id, or make another "
            "intermediate authority with `kinto-signer pki init --domain`."
        )


def domains_of(issuer: x509.Certificate) -> list[str]:
    """The domains that an authority may issue for; none if it has no name constraints."""
    found = next((e.value for e in issuer.extensions if isinstance(e.value, x509.NameConstraints)), None)
    return [str(one.value) for one in (found.permitted_subtrees or [] if found else []) if isinstance(one, x509.DNSName)]


def refuse_overlap(signer_id: str, ends: Sequence[int], *, now: int, overlap_days: int | None) -> None:
    """Whether another certificate may be issued beside those that end at `ends` (epoch seconds).

    overlap_days: how long old and new shall at least be valid both; None if nothing is renewed. Raises ConflictError for a second
    one that is not called a renewal, and for a renewal of what has ended, or ends before that.
    """
    left_s = max(ends, default=0) - now
    if overlap_days is None:
        if left_s >= 0 and ends:
            raise ConflictError(
                f"{signer_id}: its certificate is good for another {left_s // DAY_S} days. Nothing was made; "
                "to renew it while it is, add --overlap."
            )
        return
    if not ends:
        raise ConflictError(
            f"{signer_id}: no certificate of it is here that could be renewed. Nothing was made; leave --overlap out."
        )
    if left_s < 0:
        raise ConflictError(
            f"{signer_id}: its certificate ended {-left_s // DAY_S} days ago, and readers refuse what it signed: "
            "there is nothing to overlap with. Nothing was made; leave --overlap out, and have everything signed again at once."
        )
    if left_s < overlap_days * DAY_S:
        left = left_s // DAY_S
        raise ConflictError(
            f"{signer_id}: its certificate is good for another {left} days, and {overlap_days} days of overlap were asked for. "
            f"Nothing was made; if that is time enough to bring the new key to the signer, say --overlap-days {left}."
        )


def _draft(
    kind: Kind,
    key: ec.EllipticCurvePublicKey,
    subject: x509.Name,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePublicKey,
    period: Period,
) -> Draft:
    builder = x509.CertificateBuilder(
        issuer_name=issuer, subject_name=subject, public_key=key, serial_number=x509.random_serial_number()
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=kind.is_authority, path_length=kind.path_length), True),
        (_key_usage(kind.usages), True),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), False),
    ]
    if kind.signs_code:
        extensions.append((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False))
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return Draft(builder, period)


def _key_usage(on: frozenset[str]) -> x509.KeyUsage:
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
    names += ["key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{name: name in on for name in names})


def _key_of(issuer: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ConfigurationError("The issuer's key is not on the curve P-384. Nothing was made.")
    return key


def _refuse_what_outlives(issuer: x509.Certificate, period: Period) -> None:
    """What ends after its issuer would be good for nothing from then on."""
    end = issuer.not_valid_after_utc
    if period.end > end.timestamp():
        left = int(end.timestamp() - period.begin - BACKDATED_S) // DAY_S
        advice = f"ask for at most {left} days, or renew the issuer" if left > 0 else "make another one first"
        raise ConfigurationError(
            f"The certificate would outlive its issuer, which ends at {end.isoformat()}. Nothing was made; {advice}."
        )
