"""Who may do what in the workflow of a source, for those who read it: the command line and reviewers' tools."""

from __future__ import annotations

from typing import Any

from kinto.authorization import _inherited_permissions as inherited_permissions

from kinto_signer.plugin.resources import Resource
from kinto_signer.server.groups import memberships
from kinto_signer.server.signing import WorkflowSettings


def others_and_you(request: Any, resource: Resource, rules: WorkflowSettings) -> dict[str, Any]:
    """``groups``: the URIs of ``editors`` and ``reviewers``; null where they are not checked. ``you``: the person who asks,
    ``you.groups`` those of the two that they are in, also null where none are checked.
    """
    principals = request.prefixed_principals
    found = memberships(request, rules.groups)
    writing = inherited_permissions(resource.source.uri, "write")
    return {
        "groups": rules.groups.uris if rules.groups.checked else None,
        "self_approval_principals": sorted(rules.self_approval_principals),
        "mass_deletion_percent": rules.mass_deletion_percent,
        "you": {
            "id": request.prefixed_userid,
            "groups": None if found is None else sorted(found),
            "may_write": bool(request.registry.permission.check_permission(principals, writing)),
            "may_approve_alone": bool(rules.self_approval_principals.intersection(principals)),
        },
    }
