"""What can be said about S's settings without asking anybody: each thing by the name of its setting."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kinto_signer.core.findings import Finding, fine, misconfigured, warned
from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin.resources import parse_resources
from kinto_signer.plugin.settings import Settings
from kinto_signer.plugin.tables import SIGNER
from kinto_signer.server.signing import Signing, order_warnings
from kinto_signer.signers.local import LocalSigner

WHERE = "settings"
OTHERS = stat.S_IRWXO | stat.S_IWGRP


def problems(raw: Mapping[str, Any]) -> list[Finding]:
    """Everything that keeps S from starting, as far as it can be told at once. raw: with or without ``kinto.``."""
    try:
        settings = Settings(raw, SIGNER)
        signing = Signing(settings, parse_resources(settings.get("resources")))
    except ConfigurationError as error:
        return [_wrong(error)]
    found = []
    for resource in signing.resources.configured:
        for read in (signing.signer, signing.authorities):
            try:
                read(resource)
            except ConfigurationError as error:
                found.append(_wrong(error))
    return list(dict.fromkeys(found))


def check_settings(signing: Signing, includes: object) -> list[Finding]:
    """Of settings with which S starts: keys, files, order, and what means nothing."""
    found = list(_keys(signing))
    order = order_warnings(includes)
    found += [warned(WHERE, "order", line) for line in order]
    found += [warned(WHERE, "settings", line) for line in signing.warnings]
    if not order:
        found.append(fine(WHERE, "kinto.includes: kinto_signer is last"))
    found += [fine(WHERE, rule) for rule in signing.rules]
    return found


def _keys(signing: Signing) -> Iterator[Finding]:
    sets = [signing.signer(resource) for resource in signing.resources.configured]
    for member in {id(member.signer): member for found in sets for member in found.members}.values():
        if isinstance(member.signer, LocalSigner):
            yield from _files(member.signer)
        else:
            yield fine(WHERE, f"signer {member.label}: {member.signer!r}")


def _files(signer: LocalSigner) -> Iterator[Finding]:
    own, *accepted = signer.public_keys()
    line = signer.files.private.line
    yield fine(WHERE, f"{line}: a P-384 key, fingerprint {own.fingerprint}")
    if mode := stat.S_IMODE(Path(signer.files.private.value).stat().st_mode) & OTHERS:
        yield warned(WHERE, "file-mode", f"{line}: others may {'change' if mode & 0o22 else 'read'} it; `chmod 600` it.")
    if signer.files.public and not accepted:
        yield fine(WHERE, f"{signer.files.public.line}: the same key, so that the line means nothing")
    for key in accepted:
        yield fine(WHERE, f"{signer.files.public.line}: earlier signatures by {key.fingerprint} are accepted")


def _wrong(error: ConfigurationError) -> Finding:
    return misconfigured(WHERE, error.reason, error.message)
