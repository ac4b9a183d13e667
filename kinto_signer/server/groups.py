"""The groups of editors and reviewers of a source: their names, who is in them, and making them with the collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import transaction
from kinto.authorization import _inherited_permissions as inherited_permissions
from kinto.core.storage.exceptions import ObjectNotFoundError
from pyramid.settings import aslist

from kinto_signer.core.workflow import EDITORS, REVIEWERS
from kinto_signer.errors import WorkflowError
from kinto_signer.plugin.resources import EVERYONE, Place, Resource
from kinto_signer.plugin.settings import Settings

SETTINGS = ("group_check_enabled", "editors_group", "reviewers_group")
"""Settings of kinto-signer up to 8 that kinto-remote-settings has not: where one is set, all three default as they did there."""

_DEFAULTS = {True: {EDITORS: "editors", REVIEWERS: "reviewers"}}
_DEFAULTS[False] = {EDITORS: "{collection_id}-editors", REVIEWERS: "{collection_id}-reviewers"}
_ALLOWING = ("group_create_principals", "group_write_principals", "bucket_write_principals")
"""Kinto's settings whose principals may make groups in any bucket."""
_MADE = "kinto_signer.server.groups.made"


@dataclass(frozen=True)
class Groups:
    """The groups of one source, or, where its collection is not known, the templates of their names."""

    bucket: str
    editors: str
    reviewers: str
    checked: bool

    @property
    def names(self) -> dict[str, str]:
        return {EDITORS: self.editors, REVIEWERS: self.reviewers}

    @property
    def uris(self) -> dict[str, str]:
        return {role: f"/buckets/{self.bucket}/groups/{name}" for role, name in self.names.items()}


def as_kinto_signer_8(settings: Settings) -> bool:
    """Whether the lines of kinto-signer 8 decide about groups, rather than the rule of kinto-remote-settings."""
    return any(settings.every(name) for name in SETTINGS)


def groups_of(settings: Settings, resource: Resource) -> Groups:
    """The groups of `resource`; templates for a whole bucket."""
    bucket, collection = resource.source.bucket, resource.source.collection
    older = as_kinto_signer_8(settings)

    def name(role: str) -> str:
        template = str(settings.get(f"{role}_group", bucket, collection) or _DEFAULTS[older][role])
        if collection is None:
            return template
        return template.replace("{bucket_id}", bucket).replace("{collection_id}", collection)

    checked = settings.get("group_check_enabled", bucket, collection)
    return Groups(bucket, name(EDITORS), name(REVIEWERS), not older if checked is None else bool(checked))


def memberships(request: Any, groups: Groups) -> frozenset[str] | None:
    """Of EDITORS and REVIEWERS, those that the person who asks is in; None where no groups are checked."""
    if not groups.checked:
        return None
    principals = {*request.prefixed_principals, *_made_in_this_transaction()}
    return frozenset(role for role, uri in groups.uris.items() if uri in principals)


def is_member(request: Any, resource: Resource, role: str) -> bool:
    """Whether the person who asks is in the group; anybody is where no groups are checked."""
    found = memberships(request, groups_of(request.registry.signing.settings, resource))
    return found is None or role in found


def make_groups(request: Any, resource: Resource, user: str) -> None:
    """Make the groups that are missing, with `user` as an editor, and let both write the source.

    Groups that are there keep their members. Raises WorkflowError if the person who asks could not make a missing one.
    """
    registry = request.registry
    groups = groups_of(registry.signing.settings, resource)
    if not groups.checked:
        return
    missing = [role for role in groups.uris if not _exists(registry, groups, role)]
    if missing and not _may_make_groups(request, groups.bucket):
        wanted = " and ".join(groups.names[role] for role in missing)
        raise WorkflowError(
            f"The groups {wanted} belong to the collection {resource.source.name}, and you may not make them: you lack the "
            f"permission group:create on /buckets/{groups.bucket}. Nothing was made.",
            forbidden=True,
        )
    make_missing_groups(registry, resource, "" if user == EVERYONE else user)
    if EDITORS in missing and user != EVERYONE:
        _made_in_this_transaction().add(groups.uris[EDITORS])


def make_missing_groups(registry: Any, resource: Resource, user: str = "") -> None:
    """The same for the plugin itself. user: the first editor, who also manages both groups; nobody if empty."""
    groups = groups_of(registry.signing.settings, resource)
    if not groups.checked:
        return
    for role, uri in groups.uris.items():
        if not _exists(registry, groups, role):
            members = [user] if user and role == EDITORS else []
            registry.storage.create("group", f"/buckets/{groups.bucket}", {"id": groups.names[role], "members": members})
            for member in members:
                registry.permission.add_user_principal(member, uri)
            if user:
                registry.permission.add_principal_to_ace(uri, "write", user)
        registry.permission.add_principal_to_ace(resource.source.uri, "write", uri)


def remove_groups(registry: Any, resource: Resource) -> None:
    """Remove the groups that are named after the collection; others may belong to several."""
    settings = registry.signing.settings
    groups = groups_of(settings, resource)
    bucket = Place(groups.bucket)
    templates = groups_of(settings, Resource(bucket, bucket))
    for role, uri in groups.uris.items():
        shared = groups.names[role] == templates.names[role].replace("{bucket_id}", groups.bucket)
        if groups.checked and not shared and _exists(registry, groups, role):
            registry.storage.delete("group", f"/buckets/{groups.bucket}", groups.names[role])
            registry.permission.remove_principal(uri)
            registry.permission.delete_object_permissions(uri)


def _exists(registry: Any, groups: Groups, role: str) -> bool:
    try:
        registry.storage.get("group", f"/buckets/{groups.bucket}", groups.names[role])
    except ObjectNotFoundError:
        return False
    return True


def _may_make_groups(request: Any, bucket: str) -> bool:
    principals = request.prefixed_principals
    settings = request.registry.settings
    by_settings = {who for name in _ALLOWING for who in aslist(settings.get(name, ""))}
    if by_settings.intersection(principals):
        return True
    granting = inherited_permissions(f"/buckets/{bucket}", "group:create")
    return bool(request.registry.permission.check_permission(principals, granting))


def _made_in_this_transaction() -> set[str]:
    """URIs of groups into which this very request put the person who asks; their principals were read before."""
    current = transaction.get()
    try:
        found: set[str] = current.data(_MADE)
    except KeyError:
        found = set()
        current.set_data(_MADE, found)
    return found
