"""``kinto-signer check --ini FILE`` for S: its settings, its authorities, and what it holds against what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from kinto_signer.core.changeset import EMPTY, Changeset
from kinto_signer.core.comparison import content_differs, named
from kinto_signer.core.findings import Finding, differs, failed, fine, misconfigured, warned
from kinto_signer.core.statement import check_published
from kinto_signer.core.trust import Trust, check
from kinto_signer.core.workflow import Status
from kinto_signer.errors import CredentialsError, KintoSignerError, SigningError, VerificationError
from kinto_signer.examining import Looked, Server, Subject
from kinto_signer.plugin.looking import STORAGE, looking, usable
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server.checking_authority import Destination, check_authority
from kinto_signer.server.checking_settings import WHERE, check_settings
from kinto_signer.server.signing import AuthoritySettings, Signing
from kinto_signer.server.starting import missing_groups, unclear_groups
from kinto_signer.server.taking_over import remote
from kinto_signer.signers.certificate import described, ends_soon
from kinto_signer.signers.several import Verified


@dataclass(frozen=True)
class SignedCopy:
    """S's own signed copies, read from its storage directly."""

    storage: Any
    where: str = STORAGE

    def look(self, name: str, trust: Trust) -> Looked:
        with looking(self.storage) as seen:
            state = StorageRepository(seen).changeset(name)
        if state == EMPTY or not (state.timestamp or state.records):
            return Looked(EMPTY)
        try:
            check_published(name, state, trust)
        except VerificationError as error:
            found = VerificationError(
                f"{error.message.removeprefix(f'{name}: ')} S's database was altered past Kinto. Look at the source collection "
                "too, then approve it again: that writes and signs its content."
            )
            found.reason = error.reason
            return Looked(state, found)
        return Looked(state)


def check_signer(registry: Any, ini: str) -> tuple[list[Finding], list[Subject]]:
    """What is to be said about settings and authorities, and what is then to be examined."""
    found = _SignerCheck(registry, ini)
    subjects = found.run()
    return found.findings, subjects


class _SignerCheck:
    """One check of one signer."""

    def __init__(self, registry: Any, ini: str) -> None:
        self.signing: Signing = registry.signing
        self.storage = registry.storage
        self.findings: list[Finding] = check_settings(self.signing, registry.settings.get("includes"))
        self._trials: dict[Resource, tuple[Verified, ...]] = {}
        self.resources = [resource for resource in self.signing.resources.configured if self._answers(resource)]
        storage, self.readable = usable(registry.storage, ini)
        self.findings.append(storage)
        self._check_groups()

    def run(self) -> list[Subject]:
        """Ask every authority about itself; returns what is then to be examined."""
        asked = {settings: self._ask(settings, resources) for settings, resources in self._authorities().items()}
        found: dict[str, Subject] = {}
        for resource in self.resources:
            servers = {settings: asked[settings] for settings in self.signing.authorities(resource) if asked[settings]}
            own = (SignedCopy(self.storage),) if self.readable else ()
            names = set(self._names(resource))
            for settings in servers:
                names |= set(self._listed(resource, settings))
            for name in sorted(names):
                places = (*own, *filter(None, servers.values()))
                found[name] = Subject(name, self.signing.trust(resource), places, self.signing.thresholds(resource))
        self.findings += self._sources()
        return [subject for subject in found.values() if subject.places]

    def _check_groups(self) -> None:
        if not self.readable:
            return
        with looking(self.storage) as seen:
            problem, missing = unclear_groups(self.signing, seen), missing_groups(self.signing, seen)
        if problem:
            self.findings.append(misconfigured(WHERE, "groups", problem))
        elif missing:
            self.findings.append(warned(WHERE, "groups", missing))

    def _answers(self, resource: Resource) -> bool:
        """Whether the signers of a resource sign: some have to be asked."""
        try:
            self._trials[resource] = self.signing.signer(resource).trial()
        except SigningError as error:
            self.findings.append(failed(resource.source.uri, error))
            return False
        for made in self._trials[resource]:
            if made.certified:
                tell = partial(warned, WHERE, "certificate") if ends_soon(made.certified) else partial(fine, WHERE)
                self.findings.append(tell(f"{resource.source.uri}: the certificate of {described(made.certified)}"))
        return True

    def _authorities(self) -> dict[AuthoritySettings, list[Resource]]:
        found: dict[AuthoritySettings, list[Resource]] = {}
        for resource in self.resources:
            for settings in self.signing.authorities(resource):
                found.setdefault(settings, []).append(resource)
        return found

    def _ask(self, settings: AuthoritySettings, resources: Iterable[Resource]) -> Server | None:
        destinations = [
            Destination(
                resource.destination,
                tuple(made.key.fingerprint for made in self._trials[resource]),
                tuple(self._names(resource)),
                tuple(resource.destination.within(name.partition("/")[2]).name for name in self._with_schema(resource)),
                tuple(made.certified.pinned for made in self._trials[resource] if made.certified),
            )
            for resource in resources
        ]
        asked = check_authority(settings, self.signing.instance, destinations)
        self.findings += asked.findings
        return Server(settings.url, settings.timeout_s, auth=settings.auth) if asked.readable else None

    def _listed(self, resource: Resource, settings: AuthoritySettings) -> list[str]:
        """The destination collections that an authority has, as S's account sees them."""
        bucket = resource.destination.bucket
        if resource.destination.collection:
            return [resource.destination.name]
        try:
            listed = remote(settings).collections(bucket)
            return [f"{bucket}/{collection}" for collection in listed if self._follows(resource, collection)]
        except CredentialsError:  # said already, or no such bucket, for which Kinto answers the same
            return []
        except KintoSignerError as error:
            self.findings.append(failed(settings.url, error))
            return []

    # --- what S itself has -------------------------------------------------------------------------------------------

    @cached_property
    def _own(self) -> dict[Resource, tuple[list[str], list[str]]]:
        """Of each configured resource, its source and its destination collections that are there."""
        found: dict[Resource, tuple[list[str], list[str]]] = {}
        if not self.readable:
            return found
        with looking(self.storage) as seen:
            repository = StorageRepository(seen)
            for resource in self.signing.resources.configured:
                sides = []
                for place in (resource.source, resource.destination):
                    there = [place.collection] if place.collection else repository.collections(place.bucket)
                    names = [place.within(collection).name for collection in there if self._follows(resource, collection)]
                    sides.append([name for name in names if repository.attributes(name) is not None])
                found[resource] = (sides[0], sides[1])
        return found

    def _follows(self, resource: Resource, collection: str) -> bool:
        """Whether this line is the one for `collection`; one for a single collection wins over that of its bucket."""
        source = resource.source.within(collection)
        return self.signing.resources.of_source(source.bucket, str(source.collection)) == resource.concrete(collection)

    def _names(self, resource: Resource) -> list[str]:
        """The destinations that S has, or will have."""
        sources, destinations = self._own.get(resource, ([], []))
        coming = [resource.destination.within(name.partition("/")[2]).name for name in sources]
        return list(dict.fromkeys([*destinations, *coming]))

    def _with_schema(self, resource: Resource) -> list[str]:
        if not self.readable:
            return []
        with looking(self.storage) as seen:
            repository = StorageRepository(seen)
            return [name for name in self._own.get(resource, ([], []))[0] if (repository.attributes(name) or {}).get("schema")]

    def _sources(self) -> list[Finding]:
        """Sources that say `signed` and are not what was signed: only somebody who went past Kinto can do that."""
        found = []
        for resource, (sources, _) in self._own.items():
            for name in sources:
                with looking(self.storage) as seen:
                    repository = StorageRepository(seen)
                    destination = resource.destination.within(name.partition("/")[2]).name
                    if (repository.attributes(name) or {}).get("status") != Status.SIGNED.value:
                        continue
                    signed = repository.changeset(destination)
                    ids = content_differs(repository.records(name), signed.records)
                    if ids and not _verifies(destination, signed, self.signing.trust(resource)):
                        continue  # then that is what was altered
                if ids:
                    said = (
                        f"its status is `signed`, and {len(ids)} records are not those of {destination} ({named(ids)}): "
                        "S's database was altered past Kinto. The next approval publishes the source: correct it first."
                    )
                    found.append(differs(STORAGE, said, name))
        return found


def _verifies(name: str, state: Changeset, trust: Trust) -> bool:
    try:
        check(name, state, trust)
    except VerificationError:
        return False
    return True
