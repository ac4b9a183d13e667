"""Which signers there are: a table, open to other packages.

A package adds one with an entry point in the group ``kinto_signer.signers``: its name is what ``signer_backend`` says, its
object a callable that takes `Read` and returns a `Signer`. It reads settings of its own by any name; messages never show their
values. The names in this table cannot be taken over.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from kinto_signer.errors import ConfigurationError
from kinto_signer.signers import Make, Read, Signer

GROUP = "kinto_signer.signers"


def _local(read: Read) -> Signer:
    from kinto_signer.signers.local import from_settings

    return from_settings(read)


def _autograph(read: Read) -> Signer:
    from kinto_signer.signers.autograph import from_settings

    return from_settings(read)


def _pkcs11(read: Read) -> Signer:
    from kinto_signer.signers.pkcs11 import from_settings

    return from_settings(read)


BACKENDS: dict[str, Make] = {
    "local": _local,
    "kinto_signer.signer.local_ecdsa": _local,
    "kinto_signer.signers.local": _local,
    "kinto_remote_settings.signer.backends.local_ecdsa": _local,
    "autograph": _autograph,
    "kinto_signer.signer.autograph": _autograph,
    "kinto_signer.signers.autograph": _autograph,
    "kinto_remote_settings.signer.backends.autograph": _autograph,
    "pkcs11": _pkcs11,
    "kinto_signer.signers.pkcs11": _pkcs11,
}
"""``signer_backend`` -> what makes the signer; the dotted names are those of kinto-signer and kinto-remote-settings."""


def find(name: str, *, line: str) -> Make:
    """What makes the signer that the setting `line` names. Raises ConfigurationError."""
    if name in BACKENDS:
        return BACKENDS[name]
    offered = {entry.name: entry for entry in _others()}
    if name not in offered:
        known = ", ".join(sorted({*BACKENDS, *offered}))
        raise ConfigurationError(f"{line}: there is no such signer. Known: {known}.")
    try:
        make = offered[name].load()
    except Exception as error:  # whatever another package does when it is imported
        raise ConfigurationError(f"{line}: {offered[name].value} cannot be loaded ({error}).") from error
    if not callable(make):
        raise ConfigurationError(f"{line}: {offered[name].value} is nothing that makes a signer.")
    return make  # type: ignore[no-any-return]


def _others() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))
