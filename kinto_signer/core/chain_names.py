"""Name constraints: for which names an authority may issue certificates (RFC 5280, 4.2.1.10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

Name = tuple[type[x509.GeneralName], Any]
"""The kind of a name and its value; not the object, which some texts cannot be made into."""

UNDERSTOOD = (x509.DNSName, x509.DirectoryName)


def name_fault(issuer: x509.Certificate, below: x509.Certificate, *, is_signer: bool) -> str:
    """Why the constraints of `issuer` forbid the certificate `below`; empty if they do not.

    Each of its names has to be within a permitted subtree of its kind, if there is one, and within no excluded one. A signer's
    common name counts as the name of a host, since that is where signer ids stand. A kind of name that is limited, that `below`
    has, and that is not understood here, forbids it.
    """
    return next(filter(None, (_fault_of(issuer, kind, name) for kind, name in _names_of(below, is_signer))), "")


def permits(issuer: x509.Certificate, kind: type[x509.GeneralName], name: object) -> bool:
    """Whether the constraints of `issuer` allow this one name of this kind."""
    return not _fault_of(issuer, kind, name)


def _fault_of(issuer: x509.Certificate, kind: type[x509.GeneralName], name: object) -> str:
    constraints = next((e.value for e in issuer.extensions if isinstance(e.value, x509.NameConstraints)), None)
    if constraints is None:
        return ""
    permitted = _of_kind(kind, constraints.permitted_subtrees)
    excluded = _of_kind(kind, constraints.excluded_subtrees)
    if (permitted or excluded) and kind not in UNDERSTOOD:
        return f"names of the kind {kind.__name__} are limited, which cannot be judged here"
    if permitted and not any(_within(kind, name, subtree) for subtree in permitted):
        return f"{_text(name)} is in none of the permitted subtrees"
    if any(_within(kind, name, subtree) for subtree in excluded):
        return f"{_text(name)} is in an excluded subtree"
    return ""


def _names_of(certificate: x509.Certificate, is_signer: bool) -> Iterator[Name]:
    subject = certificate.subject
    yield x509.DirectoryName, subject
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            yield from ((type(name), name.value) for name in extension.value)
    for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME) if is_signer else ():
        yield x509.DNSName, str(attribute.value)
    for attribute in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        yield x509.RFC822Name, str(attribute.value)


def _of_kind(kind: type[x509.GeneralName], subtrees: Iterable[x509.GeneralName] | None) -> list[Any]:
    return [subtree.value for subtree in subtrees or () if type(subtree) is kind]


def _within(kind: type[x509.GeneralName], name: Any, subtree: Any) -> bool:
    if kind is x509.DirectoryName:
        beginning = _comparable(subtree)
        return _comparable(name)[: len(beginning)] == beginning
    host, domain = str(name).lower(), str(subtree).lower()
    if domain.startswith("."):  # not in the RFC, and in Mozilla's certificates: what is below, and not the domain itself
        return host.endswith(domain)
    return not domain or host == domain or host.endswith(f".{domain}")


def _comparable(name: x509.Name) -> list[list[tuple[str, str]]]:
    """The parts of a distinguished name, without what RFC 5280 (7.1) says does not distinguish."""
    return [
        sorted((attribute.oid.dotted_string, " ".join(str(attribute.value).casefold().split())) for attribute in part)
        for part in name.rdns
    ]


def _text(name: Any) -> str:
    text = name.rfc4514_string() if isinstance(name, x509.Name) else str(name)
    return "".join(character if character.isprintable() else " " for character in text[:200])
