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
    seen = set()
    for resource in signing.resources.configured:
        bucket, collection = resource.source.bucket, resource.source.collection
        private = signing.settings.given("ecdsa.private_key", bucket, collection)
        public = signing.settings.given("ecdsa.public_key", bucket, collection)
        if private is None or (private.line, public and public.line) in seen:
            continue
        seen.add((private.line, public and public.line))
        own, *accepted = signing.signer(resource).public_keys()
        yield fine(WHERE, f"{private.line}: a P-384 key, fingerprint {own.fingerprint}")
        if mode := stat.S_IMODE(Path(private.value).stat().st_mode) & OTHERS:
            said = f"{private.line}: others than its owner may {'change' if mode & 0o22 else 'read'} it; `chmod 600` it."
            yield warned(WHERE, "file-mode", said)
        for key in accepted:
            same = ": the same key, so that the line means nothing" if key == own else ""
            line = public.line if public else ""
            yield fine(WHERE, f"{line}: earlier signatures by {key.fingerprint} are accepted{same}")


def _wrong(error: ConfigurationError) -> Finding:
    return misconfigured(WHERE, error.reason, error.message)
