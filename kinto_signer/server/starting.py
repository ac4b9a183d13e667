"""What is looked up in the storage when a server starts: groups of another naming, and collections that settings are about."""

from __future__ import annotations

import logging
from typing import Any

import transaction
from kinto.core.storage.exceptions import BackendError, ObjectNotFoundError
from pyramid.events import ApplicationCreated
from pyramid.exceptions import ConfigurationError as PyramidConfigurationError

from kinto_signer import __version__
from kinto_signer.core.workflow import EDITORS, REVIEWERS
from kinto_signer.plugin import saved_forms
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server import capability
from kinto_signer.server.groups import as_kinto_signer_8, groups_of
from kinto_signer.server.signing import Signing
from kinto_signer.server.status import sources_in

logger = logging.getLogger(__name__)


def includeme(config: Any) -> None:
    config.add_subscriber(on_application_created, ApplicationCreated)


def on_application_created(event: Any) -> None:
    """Stop the server where nobody can tell which groups are meant, unless a command loads the application.

    Raises pyramid's ConfigurationError. A database that does not answer yet is no reason to stop: the stricter rule is in force.
    """
    registry = event.app.registry
    if getattr(registry, "command", None):
        return
    try:
        with transaction.manager:
            problem = unclear_groups(registry.signing, registry.storage)
            own = registry.signing.with_own_settings(StorageRepository(registry.storage).collections)
            warning = missing_groups(registry.signing, registry.storage)
    except BackendError as error:
        logger.warning("The database does not answer, so that the names of groups were not looked at: %s", error)
        return
    if problem:
        raise PyramidConfigurationError(problem)
    registry.signer_kept_states.saves = _can_save(registry)
    if warning:
        logger.warning("%s", warning)
    shown = registry.api_capabilities["signer"]
    shown["resources"] = capability.capability(registry.signing, __version__, own)["resources"]


def _can_save(registry: Any) -> bool:
    """Make the table in which forms are saved for processes that keep nothing yet; without it each reads everything once."""
    storage = registry.storage
    repository = StorageRepository(storage)
    if not repository.atomic or not registry.signing.kept_forms_bytes:
        return False
    try:
        with transaction.manager:
            repository.lock_everything()
            saved_forms.create(storage)
    except BackendError as error:
        logger.warning("Canonical forms are not saved, since their table could not be made: %s", error)
        return False
    return True


def unclear_groups(signing: Signing, storage: Any) -> str | None:
    """What is wrong if a source bucket has the groups of kinto-signer up to 8, and no line says that they are meant."""
    if as_kinto_signer_8(signing.settings):
        return None
    for bucket in dict.fromkeys(resource.source.bucket for resource in signing.resources.configured):
        found = [name for name in (EDITORS, REVIEWERS) if _has_group(storage, bucket, name)]
        if found:
            return _message(bucket, found)
    return None


def missing_groups(signing: Signing, storage: Any) -> str | None:
    """A warning about sources that nobody can publish, since there is no group of reviewers, as of a peer without groups."""
    found = []
    for resource in sources_in(signing, storage):
        groups = groups_of(signing.settings, resource)
        if groups.checked and not _has_group(storage, groups.bucket, groups.reviewers):
            found.append((resource.source.name, groups.reviewers))
    if not found:
        return None
    source, group = found[0]
    others = f" and {len(found) - 1} more" if found[1:] else ""
    return (
        f"Nobody can approve {source}{others}: there is no group {group} in the bucket. Make it, or set "
        "kinto.signer.group_check_enabled = false, by which whoever may write a collection may approve it."
    )


def _has_group(storage: Any, bucket: str, name: str) -> bool:
    try:
        storage.get("group", f"/buckets/{bucket}", name)
    except ObjectNotFoundError:
        return False
    return True


def _message(bucket: str, found: list[str]) -> str:
    groups = " and ".join(f"/buckets/{bucket}/groups/{name}" for name in found)
    return (
        f"There is {groups}: kinto-signer up to 8 gave its groups this name, and no line says which groups count here. Add these "
        "lines, as kinto-signer 8 had them: kinto.signer.editors_group = editors; kinto.signer.reviewers_group = reviewers; "
        "kinto.signer.group_check_enabled = true (false, its default, lets whoever may write approve). Or these, if nothing "
        "depends on those groups: kinto.signer.editors_group = {collection_id}-editors; "
        "kinto.signer.reviewers_group = {collection_id}-reviewers; kinto.signer.group_check_enabled = true."
    )
