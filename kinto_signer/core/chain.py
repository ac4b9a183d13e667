"""Certificate chains: from the expected signer's certificate, over its issuers, to a root that was pinned beforehand.

The rules are our own, on certificates that `cryptography` parses. Its `x509.verification` judges certificates of web servers:
it wants the usage serverAuth or clientAuth, has one error for every fault, no tolerance, and refuses the chains that Mozilla
publishes (the intermediate's end in 2101 makes it want another encoding of its beginning).

A key is used for checking a signature only after the certificate that holds it was found to lead to the pinned root.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kinto_signer.core.chain_names import name_fault
from kinto_signer.core.public_key import PublicKey, fingerprint
from kinto_signer.errors import BadChainError, ExpiredError, NotYetValidError

MAX_CHAIN_BYTES = 65_536
MAX_CERTIFICATES = 8
MAX_RSA_BITS = 8_192

Chain = tuple[x509.Certificate, ...]

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class Fault(StrEnum):
    """What is wrong with a chain: `BadChainError.fault`."""

    MALFORMED = "malformed"
    MISSING = "missing-certificate"
    EXTRA = "extra-certificate"
    ORDER = "wrong-order"
    OTHER_ROOT = "other-root"
    BROKEN_LINK = "broken-link"
    CA_FLAG = "ca-flag"
    PATH_LENGTH = "path-length"
    KEY_USAGE = "key-usage"
    EXTENDED_KEY_USAGE = "extended-key-usage"
    CRITICAL_EXTENSION = "critical-extension"
    NAME_CONSTRAINT = "name-constraint"
    OTHER_SIGNER = "other-signer"
    KEY_TYPE = "key-type"
    ALGORITHM = "weak-algorithm"


_PEM = re.compile(rb"(?:\s*+-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]++-----END CERTIFICATE-----)++\s*+")
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,  # where warnings are errors
)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_PROCESSED = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.NameConstraints,
    x509.SubjectAlternativeName,
    x509.AuthorityKeyIdentifier,
    x509.SubjectKeyIdentifier,
)


def load_chain(pem: bytes) -> Chain:
    """The certificates of a chain file, in its order: PEM, the signer's certificate first, and nothing else in it.

    Raises BadChainError for what is no such file, or larger than MAX_CHAIN_BYTES.
    """
    if len(pem) > MAX_CHAIN_BYTES:
        raise _fault(Fault.MALFORMED, f"it has more than {MAX_CHAIN_BYTES} bytes")
    if not _PEM.fullmatch(pem):
        raise _fault(Fault.MALFORMED, "it is not a file of certificates in PEM form and nothing else")
    try:
        chain = tuple(x509.load_pem_x509_certificates(pem))
    except _UNREADABLE as error:
        raise _fault(Fault.MALFORMED, "a certificate in it cannot be parsed") from error
    if len(chain) > MAX_CERTIFICATES:
        raise _fault(Fault.EXTRA, f"it has more than {MAX_CERTIFICATES} certificates")
    _refuse_unreadable(chain)
    return chain


def check_chain(
    chain: Sequence[x509.Certificate], *, root_sha256: frozenset[bytes], signer_id: str, at: int, tolerance_s: int
) -> PublicKey:
    """The key of the signer `signer_id`, if the chain leads from its certificate (the first one) to a pinned root (the last).

    root_sha256: SHA-256 of the DER form of each root that is accepted. at: the time to judge by, epoch seconds; a certificate is
    valid from its notBefore to its notAfter, both included. tolerance_s: how many seconds `at` may miss that by, on either side.
    Raises BadChainError, whose `fault` says what is wrong; if nothing is, ExpiredError or NotYetValidError.
    """
    chain = tuple(chain)
    _refuse_unreadable(chain)
    _check_structure(chain)
    found = chain[-1].fingerprint(hashes.SHA256())
    if found not in root_sha256:
        raise _fault(Fault.OTHER_ROOT, f"it leads to the root {_who(chain[-1])} ({fingerprint(found)}), which is not pinned")
    for position in range(len(chain) - 1, 0, -1):
        _check_issuer(chain, position)
        _check_link(chain[position], chain[position - 1])
    _check_extensions(chain[0])
    key = _check_signer(chain[0], signer_id)
    for position, issuer in enumerate(chain):
        for below in chain[:position]:
            if why := name_fault(issuer, below, is_signer=below is chain[0]):
                raise _fault(Fault.NAME_CONSTRAINT, f"{_who(issuer)} may not issue for {_who(below)}: {why}")
    for certificate in reversed(chain):
        _check_time(certificate, at, tolerance_s)
    return key


@dataclass(frozen=True)
class Period:
    """When a certificate is valid: from `begins` to `ends`, epoch seconds. who: its owner, for messages."""

    who: str
    begins: int
    ends: int


def periods(chain: Sequence[x509.Certificate]) -> tuple[Period, ...]:
    """The period of each certificate of a chain that `load_chain` read, in its order."""
    return tuple(
        Period(_who(one), int(one.not_valid_before_utc.timestamp()), int(one.not_valid_after_utc.timestamp())) for one in chain
    )


# --- which certificates, and in which order --------------------------------------------------------------------------------


def _check_structure(chain: Chain) -> None:
    if not chain:
        raise _fault(Fault.MISSING, "there is no certificate in it")
    if len(set(chain)) < len(chain):
        raise _fault(Fault.EXTRA, "a certificate is in it twice")
    path = _path(chain, chain[0])
    if path != chain:
        start = next((certificate for certificate in chain if not _is_ca(certificate)), chain[0])
        path = _path(chain, start)
    top = path[-1]
    if top.issuer != top.subject:
        raise _fault(Fault.MISSING, f"the certificate of {_shown(top.issuer)}, who issued {_who(top)}, is missing")
    if len(path) < len(chain):
        extra = next(certificate for certificate in chain if certificate not in path)
        raise _fault(Fault.EXTRA, f"the certificate of {_who(extra)} does not belong to it")
    if path != chain:
        raise _fault(Fault.ORDER, "its certificates are in another order than from the signer's to the root")
    if len(chain) == 1:
        raise _fault(Fault.MISSING, "it is a single certificate, with nobody's above it")


def _path(chain: Chain, start: x509.Certificate) -> Chain:
    """The certificates from `start` upwards, as the names of their issuers say."""
    path = [start]
    while path[-1].issuer != path[-1].subject:
        above = next((one for one in chain if one.subject == path[-1].issuer and one not in path), None)
        if above is None:
            break
        path.append(above)
    return tuple(path)


# --- each certificate above the signer's -----------------------------------------------------------------------------------


def _check_issuer(chain: Chain, position: int) -> None:
    """Whether chain[position] may issue what stands below it."""
    issuer = chain[position]
    _check_extensions(issuer)
    constraints = _extension(issuer, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise _fault(Fault.CA_FLAG, f"{_who(issuer)} is no certificate authority and issued a certificate")
    usage = _extension(issuer, x509.KeyUsage)
    if usage is None or not usage.key_cert_sign:
        raise _fault(Fault.KEY_USAGE, f"the key of {_who(issuer)} is not for signing certificates")
    purposes = _extension(issuer, x509.ExtendedKeyUsage)
    if purposes is not None and ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise _fault(Fault.EXTENDED_KEY_USAGE, f"what {_who(issuer)} issues is not for signing code")
    between = position - 1
    if constraints.path_length is not None and between > constraints.path_length:
        raise _fault(
            Fault.PATH_LENGTH, f"{between} authorities stand below {_who(issuer)}, which allows {constraints.path_length}"
        )
    _check_key_of_issuer(issuer)


def _check_key_of_issuer(issuer: x509.Certificate) -> None:
    key = issuer.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if not 2048 <= key.key_size <= MAX_RSA_BITS:
            raise _fault(Fault.ALGORITHM, f"the RSA key of {_who(issuer)} has {key.key_size} bits")
    elif not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise _fault(Fault.ALGORITHM, f"the key of {_who(issuer)} is neither RSA nor on the curves P-256, P-384 or P-521")


def _check_link(issuer: x509.Certificate, issued: x509.Certificate) -> None:
    if not isinstance(issued.signature_hash_algorithm, _HASHES):
        raise _fault(Fault.ALGORITHM, f"the certificate of {_who(issued)} is not signed with SHA-256, SHA-384 or SHA-512")
    try:
        issued.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_UNREADABLE) as error:
        raise _fault(Fault.BROKEN_LINK, f"{_who(issuer)} did not sign the certificate of {_who(issued)}") from error


def _check_extensions(certificate: x509.Certificate) -> None:
    for extension in certificate.extensions:
        if extension.critical and not isinstance(extension.value, _PROCESSED):
            oid = extension.oid.dotted_string
            raise _fault(Fault.CRITICAL_EXTENSION, f"{_who(certificate)} has a critical extension ({oid}) that is unknown here")


# --- the signer's certificate ----------------------------------------------------------------------------------------------


def _check_signer(leaf: x509.Certificate, signer_id: str) -> PublicKey:
    """The certificate's key, if it is for this signer and for signing content. Both kinds of name have to say so."""
    common, alternative = _names(leaf)
    named = bool(common or alternative) and common in ([], [signer_id]) and (not alternative or signer_id in alternative)
    if _is_ca(leaf):
        if not named:
            raise _fault(Fault.MISSING, f"it begins with the authority {_who(leaf)}: the signer's own certificate is missing")
        raise _fault(Fault.CA_FLAG, f"{_who(leaf)} is a certificate authority, which no signer is")
    if not named:
        shown = ", ".join(dict.fromkeys([*common, *alternative])) or "nobody"
        raise _fault(Fault.OTHER_SIGNER, f"it is of the signer {_printable(shown)}, and {_printable(signer_id)} was expected")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.digital_signature or usage.key_cert_sign:
        raise _fault(Fault.KEY_USAGE, f"the key of {_who(leaf)} is not for digital signatures alone")
    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    if purposes is None or list(purposes) != [ExtendedKeyUsageOID.CODE_SIGNING]:
        raise _fault(Fault.EXTENDED_KEY_USAGE, f"the certificate of {_who(leaf)} is not for signing code, or not for it alone")
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise _fault(Fault.KEY_TYPE, f"the key of {_who(leaf)} is not on the curve P-384")
    return PublicKey(key)


def _names(leaf: x509.Certificate) -> tuple[list[str], list[str]]:
    """The common names, and the alternative names of hosts."""
    common = [str(attribute.value) for attribute in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    alternative = _extension(leaf, x509.SubjectAlternativeName)
    return common, alternative.get_values_for_type(x509.DNSName) if alternative else []


def _check_time(certificate: x509.Certificate, at: int, tolerance_s: int) -> None:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    early, late = first.timestamp() - at, at - last.timestamp()
    tolerated = f"a tolerance of {tolerance_s} s" if tolerance_s else "no tolerance"
    if early > tolerance_s:
        raise NotYetValidError(
            f"the certificate of {_who(certificate)} begins at {first.isoformat()}, in {early:.0f} s, with {tolerated}"
        )
    if late > tolerance_s:
        raise ExpiredError(
            f"the certificate of {_who(certificate)} ended at {last.isoformat()}, {late:.0f} s ago, with {tolerated}"
        )


# --- reading certificates --------------------------------------------------------------------------------------------------


def _refuse_unreadable(chain: Chain) -> None:
    """Certificates are parsed piece by piece, when a piece is asked for: ask for all that is used, in one place."""
    pieces: tuple[Callable[[x509.Certificate], object], ...] = (
        lambda one: one.extensions,
        lambda one: one.public_key(),
        lambda one: (one.subject.rfc4514_string(), one.issuer.rfc4514_string()),
        lambda one: (one.not_valid_before_utc.timestamp(), one.not_valid_after_utc.timestamp()),
        lambda one: one.signature_hash_algorithm,
        lambda one: one.serial_number,
    )
    for number, certificate in enumerate(chain, 1):
        try:
            for piece in pieces:
                piece(certificate)
        except _UNREADABLE as error:
            raise _fault(Fault.MALFORMED, f"its certificate number {number} cannot be understood") from error
        if certificate.serial_number <= 0:
            raise _fault(Fault.MALFORMED, f"its certificate number {number} has no proper serial number")


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    return next((extension.value for extension in certificate.extensions if isinstance(extension.value, kind)), None)


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _who(certificate: x509.Certificate) -> str:
    return _shown(certificate.subject)


def _shown(name: x509.Name) -> str:
    """A name for messages: the common name where there is one."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return _printable(str(common[0].value) if common else name.rfc4514_string())


def _printable(text: str) -> str:
    return repr("".join(character if character.isprintable() else " " for character in text[:100]))


def _fault(fault: Fault, why: str) -> BadChainError:
    return BadChainError(f"the certificate chain cannot be used: {why}", fault=fault)
