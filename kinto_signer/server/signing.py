"""What a server signs, with which keys, and where it publishes to: the settings as objects, made once at start-up."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kinto_signer.core.freshness import DAY_MS
from kinto_signer.core.renewal import Thresholds
from kinto_signer.core.trust import Trust
from kinto_signer.core.workflow import FourEyes
from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin.resources import ID, Place, Resource, Resources, parse_resources
from kinto_signer.plugin.settings import Settings, matches
from kinto_signer.plugin.tables import SIGNER, lines_without_plugin
from kinto_signer.server import other_plugins
from kinto_signer.server.groups import Groups, groups_of
from kinto_signer.server.signer_settings import Signers
from kinto_signer.server.stating import StatementSettings, Stating
from kinto_signer.signers.several import SignerSet

SINGLE = "authority"
"""The label of the authority that ``kinto.signer.authority.url`` names."""


@dataclass(frozen=True)
class AuthoritySettings:
    """Where a collection is published to. timeout_s: for a whole publication. required: whether it fails where this does."""

    url: str
    auth: str | None = field(repr=False)
    timeout_s: float
    label: str = SINGLE
    required: bool = True

    def line(self, name: str) -> str:
        """The name of the setting that gave `name`, for messages."""
        return f"kinto.signer.{_prefix(self.label)}.{name}"


def _prefix(label: str) -> str:
    return SINGLE if label == SINGLE else f"authority.{label}"


@dataclass(frozen=True)
class WorkflowSettings:
    """What is set about the sign-off of one source.

    reviews: nothing is published without one. copied: attributes that are published. mass_deletion_percent: 0 for no limit.
    """

    reviews: bool
    four_eyes: FourEyes
    groups: Groups
    self_approval_principals: frozenset[str]
    mass_deletion_percent: int
    copied: tuple[str, ...]


class Signing:
    """The plugin's configuration of one server."""

    def __init__(self, settings: Settings, resources: Resources, storage_url: str = "") -> None:
        self.settings = settings
        self.resources = resources
        self._signers = Signers(settings)
        self.instance = _instance(resources, storage_url)
        self.elsewhere: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, raw: Mapping[str, Any]) -> Signing:
        """Parse everything and load every key once. Raises ConfigurationError."""
        settings = Settings(raw, SIGNER)
        signing = cls(settings, parse_resources(settings.get("resources")), str(raw.get("storage_url", "")))
        signing.elsewhere = (*lines_without_plugin(raw), *other_plugins.warnings(raw, signing.resources))
        for resource in (*signing.resources.configured, *signing.with_own_settings()):
            signing.signer(resource)
            signing.authorities(resource)
            signing.refuse_statements_without_digests(resource)
        signing._signers.load_every()
        return signing

    def with_own_settings(self, existing: Callable[[str], Iterable[str]] = lambda bucket: ()) -> tuple[Resource, ...]:
        """Collections with settings of their own that are signed by the line of their bucket.

        existing: gives the collections of a bucket, for settings whose collection is a regular expression.
        """
        found: list[Resource | None] = []
        for bucket in [resource.source.bucket for resource in self.resources.configured if not resource.source.collection]:
            written = self.settings.collections(bucket)
            matching = [one for one in existing(bucket) if any(matches(pattern, one) for pattern in written)]
            named = [one for one in written if re.fullmatch(ID, one)]
            found += [self.resources.of_source(bucket, one) for one in (*named, *matching)]
        return tuple(dict.fromkeys(one for one in found if one is not None and one not in self.resources.configured))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the settings say that means nothing, or means less than it seems."""
        found = [
            *self.settings.warnings,
            *self.elsewhere,
            *self.settings.misplaced({r.source.bucket for r in self.resources.configured}),
        ]
        found += [
            f"{wide.source.name} is not signed: {wide.destination.uri} belongs to the line of {single.source.uri}."
            for wide, single in self.resources.unsigned()
        ]
        for resource in self.resources.configured:
            authorities = self.authorities(resource)
            found += [
                f"{authority.line('url')} = {authority.url} has no {authority.line('auth')}: S writes as nobody."
                for authority in authorities
                if authority.auth is None
            ]
            if not authorities and self.settings.get("authority.bootstrap"):
                found.append(
                    f"kinto.signer.authority.bootstrap means nothing for {resource.source.bucket} without authority.url."
                )
        return tuple(dict.fromkeys(found))

    def signer(self, resource: Resource) -> SignerSet:
        """The signers of a resource, kept for the settings that made them."""
        return self._signers.of(resource.source.bucket, resource.source.collection)

    def trust(self, resource: Resource) -> Trust:
        """By what this server recognises its own publications: the keys of all its signers, and their certificates.

        Raises SigningError where keys have to be asked for and nobody answers.
        """
        return self.signer(resource).trust()

    def stating(self, resource: Resource) -> Stating | None:
        """What makes the statements of a resource; None if there are to be none. Raises SigningError, as `trust` does."""
        settings = self.statement(resource)
        if settings is None:
            return None
        names, trust = self.copied_attributes(resource), self.trust(resource)
        return Stating(resource.destination.name, settings, names, trust, self.signer(resource))

    def statement(self, resource: Resource) -> StatementSettings | None:
        """How long the resource's statements last and whom they are for; None if there are to be none."""

        def get(name: str) -> Any:
            return self.settings.get(name, resource.source.bucket, resource.source.collection)

        return StatementSettings(get("statement_lifetime_days") * DAY_MS, get("audience") or None) if get("statement") else None

    def thresholds(self, resource: Resource) -> Thresholds:
        """Below what the heartbeat fails."""

        def get(name: str) -> int:
            found: int = self.settings.get(f"heartbeat_{name}", resource.source.bucket, resource.source.collection)
            return found

        return Thresholds(
            get("oldest_signature_days"),
            get("statement_days_left"),
            get("certificate_percentage_remaining_validity"),
            get("certificate_min_remaining_days"),
            get("certificate_max_remaining_days"),
        )

    def refuse_statements_without_digests(self, resource: Resource) -> None:
        """Raises ConfigurationError where statements are to be signed by what signs nothing but collections."""
        if self.statement(resource) and getattr(self.signer(resource), "needs_content", False):
            given = self.settings.given("statement", resource.source.bucket, resource.source.collection)
            raise ConfigurationError(
                f"{given.line if given else 'kinto.signer.statement = true (by default)'}: a statement is signed as a digest, "
                f"and a signer of {resource.source.uri} wants the content (Autograph's /sign/data). Let it sign digests "
                "(/sign/hash), or set kinto.signer.statement = false."
            )

    def authorities(self, resource: Resource) -> tuple[AuthoritySettings, ...]:
        """Where the resource is published to; nothing if readers come to this server.

        Raises ConfigurationError for both forms at once, a label without an address, and an address that stands there twice.
        """
        if resource.local:
            return ()
        bucket, collection = resource.source.bucket, resource.source.collection
        labels = self.settings.get("authorities", bucket, collection)
        single = self.settings.given("authority.url", bucket, collection)
        if labels and single:
            several = self.settings.given("authorities", bucket, collection)
            raise ConfigurationError(
                f"`{several.line if several else ''}` and `{single.line}` exclude each other: keep one of them."
            )
        found = tuple(self._authority(label, bucket, collection) for label in labels or ([SINGLE] if single else []))
        by_url: dict[str, str] = {}
        for authority in found:
            other = by_url.setdefault(authority.url, authority.line("url"))
            if other != authority.line("url"):
                raise ConfigurationError(
                    f"{authority.line('url')} = {authority.url}: {other} is the same server. Remove one of them."
                )
        return found

    def _authority(self, label: str, bucket: str, collection: str | None) -> AuthoritySettings:
        def get(name: str) -> Any:
            return self.settings.get(f"{_prefix(label)}.{name}", bucket, collection)

        if get("url") is None:
            raise ConfigurationError(
                f"kinto.signer.authorities names {label}, and kinto.signer.authority.{label}.url is not set."
            )
        return AuthoritySettings(get("url"), get("auth"), get("timeout_seconds"), label, get("required"))

    @property
    def served(self) -> tuple[Place, ...]:
        """Where readers find what was signed and is published on no other server; previews are always here."""
        found = [resource.preview for resource in self.resources.configured if resource.preview]
        found += [resource.destination for resource in self.resources.configured if not self.authorities(resource)]
        return tuple(found)

    def workflow(self, resource: Resource) -> WorkflowSettings:
        """The rules for one source; of a whole bucket, those for collections without lines of their own."""

        def get(name: str) -> Any:
            return self.settings.get(name, resource.source.bucket, resource.source.collection)

        return WorkflowSettings(
            get("to_review_enabled"),
            get("four_eyes"),
            groups_of(self.settings, resource),
            frozenset(get("self_approval_principals")),
            get("mass_deletion_percent"),
            self.copied_attributes(resource),
        )

    @property
    def rules(self) -> tuple[str, ...]:
        """A line about each configured resource, and each collection with settings of its own: who may publish."""
        return tuple(f"{one.source.uri}: {self._rule(one)}" for one in (*self.resources.configured, *self.with_own_settings()))

    def _rule(self, resource: Resource) -> str:
        rules = self.workflow(resource)
        groups = rules.groups
        who = "whoever may write it may request and approve (no groups are checked)"
        if groups.checked:
            who = f"the group {groups.editors} may request, the group {groups.reviewers} may approve"
        if not rules.reviews:
            return f"published without a review (to_review_enabled = false); {who}."
        excluded = {
            FourEyes.REQUESTER: "who asked for the review last",
            FourEyes.CONTRIBUTORS: "who edited or submitted something since the last publication",
        }
        return f"reviews are on; {who}, but not {excluded[rules.four_eyes]} (four_eyes = {rules.four_eyes.value})."

    def copied_attributes(self, resource: Resource) -> tuple[str, ...]:
        """Which attributes of the source are published beside its records."""
        found: tuple[str, ...] = self.settings.get("copied_attributes", resource.source.bucket, resource.source.collection)
        return found

    def allow_floats(self, resource: Resource) -> bool:
        return bool(self.settings.get("allow_floats", resource.source.bucket, resource.source.collection))

    @property
    def status_principals(self) -> frozenset[str]:
        """Who may see the status of the authorities and bring them up to date."""
        return frozenset(self.settings.get("status_principals"))

    @property
    def kept_forms_bytes(self) -> int:
        """How much is kept in memory of what was published; 0 for nothing, also in the table of saved forms."""
        return int(self.settings.get("kept_forms_mib")) * 2**20

    @property
    def lock_timeout_s(self) -> float:
        return float(self.settings.get("lock_timeout_seconds"))


def order_warnings(includes: object) -> list[str]:
    """What is wrong with the order of ``kinto.includes``, as text or as a list."""
    listed = includes.split() if isinstance(includes, str) else list(includes or ())  # type: ignore[call-overload]
    if "kinto_signer" not in listed or listed[-1] == "kinto_signer":
        return []
    return [f"kinto.includes = {' '.join(listed)}: list kinto_signer last, so that it signs what the other plugins left."]


def _instance(resources: Resources, storage_url: str) -> str:
    """The same for all workers of one server, shown in the capability: an authority that shows it is this server itself.

    Made without the database's password.
    """
    place = re.sub(r"//[^@/]*@", "//", storage_url)
    return hashlib.sha256(f"{place} {resources.configured!r}".encode()).hexdigest()[:32]
