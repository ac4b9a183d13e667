"""The capability ``signer`` in ``GET /v1/``, which kinto-admin and the peers' clients read."""

from __future__ import annotations

from typing import Any

from kinto_signer.plugin.resources import Place, Resource
from kinto_signer.server.groups import groups_of
from kinto_signer.server.signing import Signing

PLUGIN_USER = "plugin:remote-settings"
"""The user id that the peers use, so that histories filter the same."""


def capability(signing: Signing, version: str) -> dict[str, Any]:
    """The fields of the capability. ``preview`` is always there: kinto-admin breaks without one."""
    settings, anywhere = signing.settings, Place("")
    groups = groups_of(settings, Resource(anywhere, anywhere))
    return {
        "version": version,
        "plugin_userid": PLUGIN_USER,
        "plugin_user_id": PLUGIN_USER,
        "group_check_enabled": groups.checked,
        "to_review_enabled": settings.get("to_review_enabled"),
        "four_eyes": settings.get("four_eyes").value,
        "editors_group": groups.editors,
        "reviewers_group": groups.reviewers,
        "resources": [_resource(resource) for resource in signing.resources.configured],
        "instance": signing.instance,
    }


def _resource(resource: Resource) -> dict[str, Any]:
    return {
        "source": _place(resource.source),
        "preview": _place(resource.preview or resource.destination),
        "destination": _place(resource.destination),
    }


def _place(place: Place) -> dict[str, str | None]:
    return {"bucket": place.bucket, "collection": place.collection}
