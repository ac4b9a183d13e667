"""The capability ``signer`` in ``GET /v1/``, which kinto-admin and the peers' clients read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kinto_signer.plugin.resources import Place, Resource
from kinto_signer.server.groups import groups_of
from kinto_signer.server.signing import Signing, WorkflowSettings

PLUGIN_USER = "plugin:remote-settings"
"""The user id that the peers use, so that histories filter the same."""
_ANYWHERE = Resource(Place(""), Place(""))


def capability(signing: Signing, version: str, own: Iterable[Resource] | None = None) -> dict[str, Any]:
    """The fields of the capability. own: the collections that get an entry beside that of their bucket.

    Default: those with settings that name them. ``preview`` is always there: kinto-admin breaks without one.
    """
    settings = signing.settings
    groups = groups_of(settings, _ANYWHERE)
    own = signing.with_own_settings() if own is None else own
    return {
        "version": version,
        "plugin_userid": PLUGIN_USER,
        "plugin_user_id": PLUGIN_USER,
        "group_check_enabled": groups.checked,
        "to_review_enabled": settings.get("to_review_enabled"),
        "four_eyes": settings.get("four_eyes").value,
        "editors_group": groups.editors,
        "reviewers_group": groups.reviewers,
        "resources": [_resource(signing, resource) for resource in (*signing.resources.configured, *own)],
        "instance": signing.instance,
    }


def _resource(signing: Signing, resource: Resource) -> dict[str, Any]:
    """Where the resource goes, and what is set otherwise than for the server as a whole."""
    here, everywhere = signing.workflow(resource), signing.workflow(_ANYWHERE)
    rules, usual, groups = _rules(here), _rules(everywhere), _other_groups(signing, resource, here)
    return {
        # kinto-admin looks for the groups inside of `source`; kinto-signer 8 had them beside it.
        "source": {**_place(resource.source), **groups},
        "preview": _place(resource.preview or resource.destination),
        "destination": _place(resource.destination),
        **groups,
        **{name: value for name, value in rules.items() if value != usual[name]},
    }


def _rules(settings: WorkflowSettings) -> dict[str, Any]:
    return {
        "to_review_enabled": settings.reviews,
        "group_check_enabled": settings.groups.checked,
        "four_eyes": settings.four_eyes.value,
    }


def _other_groups(signing: Signing, resource: Resource, here: WorkflowSettings) -> dict[str, str]:
    """The groups that are not those which the server's templates give."""
    bucket, collection = resource.source.bucket, resource.source.collection
    usual = groups_of(signing.settings, _ANYWHERE).names
    found = {}
    for role, name in here.groups.names.items():
        template = usual[role].replace("{collection_id}", collection) if collection else usual[role]
        # kinto-admin fills in the collection alone.
        if name.replace("{bucket_id}", bucket) != template:
            found[f"{role}_group"] = name.replace("{bucket_id}", bucket)
    return found


def _place(place: Place) -> dict[str, str | None]:
    return {"bucket": place.bucket, "collection": place.collection}
