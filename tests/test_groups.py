"""The groups of a source: which there are, who makes them, and whom they let in."""

import pytest

from kinto_signer.core.workflow import EDITORS, REVIEWERS
from kinto_signer.plugin.resources import Place, Resource
from kinto_signer.plugin.settings import Settings
from kinto_signer.plugin.tables import SIGNER
from kinto_signer.server.groups import groups_of
from tests.support.servers import authorization, webtest_app
from tests.support.workflow import BUCKET, review_settings, review_site

SOURCE = Resource(Place("main-workspace", "regions"), Place("main", "regions"))
OTHER = f"{BUCKET}/collections/other"


def groups(**lines):
    found = groups_of(Settings({f"signer.{name}": value for name, value in lines.items()}, SIGNER, {}), SOURCE)
    return found.names[EDITORS], found.names[REVIEWERS], found.checked


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ({}, ("regions-editors", "regions-reviewers", True)),
        ({"group_check_enabled": "true"}, ("editors", "reviewers", True)),
        ({"group_check_enabled": "false"}, ("editors", "reviewers", False)),
        ({"editors_group": "writers"}, ("writers", "reviewers", False)),
        ({"reviewers_group": "{bucket_id}-{collection_id}"}, ("editors", "main-workspace-regions", False)),
        ({"elsewhere.c.editors_group": "x"}, ("editors", "reviewers", False)),
        ({"main-workspace.regions.group_check_enabled": "true"}, ("editors", "reviewers", True)),
    ],
)
def test_one_line_of_kinto_signer_8_makes_all_three_default_as_there(lines, expected):
    assert groups(**lines) == expected


def let_make_collections(site, **more):
    permissions = site.app.get(BUCKET).json["permissions"] | {"collection:create": ["system.Everyone"], **more}
    site.app.patch_json(BUCKET, {"permissions": permissions})


def members(site, group):
    return site.app.get(f"{BUCKET}/groups/{group}").json["data"]["members"]


@pytest.mark.parametrize("setting", ["group_create_principals", "group_write_principals", "bucket_write_principals"])
def test_kintos_settings_let_make_groups_too(key_pair, setting):
    site = review_site(key_pair)
    let_make_collections(site)
    site.app.put_json(OTHER, {}, headers=authorization("dave"), status=403)
    site = review_site(key_pair, **{f"kinto__{setting}": f"nobody {site.principals['dave']}"})
    let_make_collections(site)
    site.app.put_json(OTHER, {}, headers=authorization("dave"))
    assert members(site, "other-editors") == [site.principals["dave"]]


def test_groups_that_are_there_ask_for_no_permission_and_keep_their_members(key_pair):
    site = review_site(key_pair)
    let_make_collections(site)
    for group in ("editors", "reviewers"):
        site.app.put_json(f"{BUCKET}/groups/other-{group}", {"data": {"members": [site.principals["bob"]]}})
    site.app.put_json(OTHER, {}, headers=authorization("dave"))
    assert members(site, "other-editors") == members(site, "other-reviewers") == [site.principals["bob"]]
    assert f"{BUCKET}/groups/other-editors" in site.app.get(OTHER, headers=authorization("dave")).json["permissions"]["write"]


def test_whoever_makes_a_collection_whose_editors_are_there_is_none_of_them(key_pair):
    """Not even for the request that makes it."""
    site = review_site(key_pair)
    site.app.put_json(f"{BUCKET}/groups/other-editors", {"data": {"members": []}})
    site.app.put_json(OTHER, {"data": {"status": "to-review"}}, status=403)
    site.app.put_json(OTHER, {})


def test_whoever_does_not_log_in_is_a_member_of_nothing(key_pair):
    site = review_site(key_pair)
    let_make_collections(site, **{"group:create": ["system.Everyone"]})
    site.app.authorization = None
    site.app.put_json(OTHER, {"data": {"status": "to-review"}}, status=403)
    site.app.put_json(OTHER, {})
    site.app.authorization = ("Basic", ("admin", "secret"))
    for group in ("other-editors", "other-reviewers"):
        found = site.app.get(f"{BUCKET}/groups/{group}").json
        assert found["data"]["members"] == []
        assert "system.Everyone" not in found["permissions"].get("write", [])


def test_no_groups_are_made_where_none_are_checked(key_pair):
    site = review_site(key_pair, kinto__signer__group_check_enabled="false")
    let_make_collections(site)
    site.app.put_json(OTHER, {}, headers=authorization("dave"))
    assert not [group["id"] for group in site.app.get(f"{BUCKET}/groups").json["data"] if "regions" not in group["id"]]
    assert not [
        who for who in site.app.get(OTHER, headers=authorization("dave")).json["permissions"]["write"] if "/groups/" in who
    ]


def permissions(site, group):
    return site.app.app.registry.permission.get_object_permissions(f"{BUCKET}/groups/{group}")


def test_whoever_makes_the_groups_manages_them(key_pair):
    site = review_site(key_pair)
    let_make_collections(site, **{"group:create": [site.principals["dave"]]})
    site.app.put_json(OTHER, {}, headers=authorization("dave"))
    for group in ("other-editors", "other-reviewers"):
        assert permissions(site, group) == {"write": {site.principals["dave"]}}
        body = {"data": {"members": [site.principals["bob"]]}}
        site.app.put_json(f"{BUCKET}/groups/{group}", body, headers=authorization("dave"))


@pytest.mark.parametrize("checked", [True, False])
def test_collections_that_are_made_at_start_up_have_groups_of_nobody_where_they_are_checked(key_pair, checked):
    settings = {
        "kinto__signer__resources": "main-workspace/other -> main/other",
        "kinto__signer__auto_create_resources": "true",
        "kinto__signer__editors_group": "{collection_id}-editors",
        "kinto__signer__reviewers_group": "{collection_id}-reviewers",
        "kinto__signer__group_check_enabled": str(checked).lower(),
    }
    app = webtest_app(review_settings(key_pair, **settings))
    stored = app.app.registry.storage.list_all("group", BUCKET)
    assert {group["id"]: group["members"] for group in stored} == (
        {"other-editors": [], "other-reviewers": []} if checked else {}
    )
    for group in stored:
        assert app.app.registry.permission.get_object_permissions(f"{BUCKET}/groups/{group['id']}") == {}


def delete(site):
    site.app.delete(f"{BUCKET}/collections/regions?confirm=regions", headers=authorization("admin"))
    return {group["id"] for group in site.app.app.registry.storage.list_all("group", BUCKET)}


def test_groups_go_with_their_collection_also_where_one_is_gone_already(key_pair):
    site = review_site(key_pair)
    assert permissions(site, "regions-reviewers")
    site.app.delete(f"{BUCKET}/groups/regions-editors")
    assert delete(site) == set()
    assert permissions(site, "regions-reviewers") == {}


def test_groups_of_a_whole_bucket_stay_when_a_collection_goes(key_pair):
    site = review_site(key_pair, kinto__signer__group_check_enabled="true")
    assert delete(site) == {"editors", "reviewers", "regions-editors", "regions-reviewers"}


def test_groups_that_nobody_checks_stay_when_a_collection_goes(key_pair):
    lines = {f"kinto__signer__{role}_group": f"{{collection_id}}-{role}" for role in ("editors", "reviewers")}
    site = review_site(key_pair, kinto__signer__group_check_enabled="false", **lines)
    assert delete(site) == {"regions-editors", "regions-reviewers"}
