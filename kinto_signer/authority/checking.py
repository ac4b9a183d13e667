"""``kinto-signer check --ini FILE`` for A: its settings, who may write, and whether what is stored is what was accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kinto_signer.authority.guard import REFUSED, Guard
from kinto_signer.authority.heartbeat import other_writers
from kinto_signer.authority.settings import Guarding
from kinto_signer.authority.stored import StoredStates
from kinto_signer.core.findings import Finding, fine, misconfigured, warned
from kinto_signer.core.trust import Trust
from kinto_signer.errors import ConfigurationError, StoredStateError
from kinto_signer.examining import Looked, Subject
from kinto_signer.plugin.kept import KeptForms
from kinto_signer.plugin.looking import STORAGE, looking, usable
from kinto_signer.plugin.storage import StorageRepository

WHERE = "settings"
GRANTING = ("bucket_write", "collection_create", "collection_write", "record_create", "record_write")
"""Kinto's own settings ``…_principals`` that let somebody write past the permissions of a collection."""


@dataclass(frozen=True)
class GuardedStorage:
    """A's guarded collections, read from its storage directly and compared with what was accepted last."""

    storage: Any
    where: str = STORAGE

    def look(self, name: str, trust: Trust) -> Looked:
        with looking(self.storage) as seen:
            states, repository = StoredStates(seen, KeptForms()), StorageRepository(seen)
            try:
                states.verify(name, states.held(name), trust)
            except REFUSED as error:
                said = (
                    f"{error.message.removeprefix(f'{name}: ')} What is stored is not what was accepted: it was altered behind "
                    "this server's back. `kinto-signer push` on the signer publishes the signed state again."
                )
                return Looked(repository.changeset(name), StoredStateError(said, reason=error.reason))
            return Looked(repository.changeset(name))


def problems(raw: Mapping[str, Any]) -> list[Finding]:
    """What keeps A from starting. raw: with or without ``kinto.``."""
    try:
        Guarding.from_settings(raw)
    except ConfigurationError as error:
        return [misconfigured(WHERE, error.reason, error.message)]
    return []


def check_authority(registry: Any, ini: str) -> tuple[list[Finding], list[Subject]]:
    """What is to be said about the configuration, and what is then to be examined."""
    guard: Guard = registry.guard
    found = list(_settings(guard.guarding, registry.settings))
    storage, readable = usable(registry.storage, ini)
    found.append(storage)
    if not readable:
        return found, []
    with looking(registry.storage) as seen:
        names = StoredStates(seen, KeptForms()).names(guard.guarding.places)
    found += _writers(guard, names)
    if not names:
        found.append(fine(STORAGE, "nothing was published here yet"))
    place = GuardedStorage(registry.storage)
    return found, [Subject(name, guard.trust(name), (place,)) for name in sorted(names)]


def _settings(guarding: Guarding, settings: Mapping[str, Any]) -> Iterator[Finding]:
    for place in guarding.places:
        shown = guarding.trust(place.bucket, place.collection).as_json()
        whom = [f"kinto.authority.public_keys: {', '.join(shown['public_keys'])}"] if shown["public_keys"] else []
        whom += [f"kinto.authority.x5u_roots: {root['sha256']} for {root['signer_id']}" for root in shown.get("x5u_roots", ())]
        yield fine(WHERE, f"kinto.authority.resources: {place.uri} is guarded; {'; '.join(whom)}")
    for line in guarding.warnings:
        yield warned(WHERE, "settings", line)
    if not guarding.signers:
        yield warned(WHERE, "settings", "kinto.authority.signer_principals is not set: name the signer's account there.")
    for name in GRANTING:
        given = settings.get(f"{name}_principals") or ()
        others = set(given.split() if isinstance(given, str) else given) - guarding.signers
        if others:
            said = f"kinto.{name}_principals lets {' '.join(sorted(others))} write in every bucket: only the signer ought to."
            yield warned(WHERE, "writers", said)


def _writers(guard: Guard, names: Iterable[str]) -> Iterator[Finding]:
    for name, principals in sorted(other_writers(guard, names).items()):
        said = (
            f"may be written by {' '.join(sorted(principals))} besides kinto.authority.signer_principals: what they write is "
            "refused unless it is signed; take the permission away."
        )
        yield warned(STORAGE, "writers", said, name)
