"""What ``GET /v1/`` says about the signer: kinto-admin draws its review interface from it."""

from types import SimpleNamespace

import pytest

from kinto_signer import __version__
from kinto_signer.server import starting
from tests.support.servers import webtest_app
from tests.support.site import BUCKET
from tests.support.workflow import WITH_PREVIEW, review_settings

RS_GROUPS = {"editors_group": "{collection_id}-editors", "reviewers_group": "{collection_id}-reviewers"}
WHOLE_BUCKET = {
    "source": {"bucket": "main-workspace", "collection": None},
    "preview": {"bucket": "main-preview", "collection": None},
    "destination": {"bucket": "main", "collection": None},
}


def capability(key_pair, **lines):
    return shown(start(key_pair, **lines))


def shown(app):
    return app.get("/").json["capabilities"]["signer"]


def start(key_pair, **lines):
    return webtest_app(review_settings(key_pair, **{f"kinto__signer__{name}": value for name, value in lines.items()}))


def entry(collection, *, source=(), **rules):
    found = {role: {**place, "collection": collection} for role, place in WHOLE_BUCKET.items()}
    found["source"] |= dict(source)
    return {**found, **dict(source), **rules}


def test_as_kinto_remote_settings_has_it(key_pair):
    found = capability(key_pair)

    assert found.pop("description")
    assert found.pop("url").startswith("https://")
    assert found.pop("instance")
    assert found == {
        "version": __version__,
        "plugin_userid": "plugin:remote-settings",
        "plugin_user_id": "plugin:remote-settings",
        "group_check_enabled": True,
        "to_review_enabled": True,
        "four_eyes": "requester",
        **RS_GROUPS,
        "resources": [WHOLE_BUCKET],
    }


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            {"group_check_enabled": "true"},
            {"editors_group": "editors", "reviewers_group": "reviewers", "group_check_enabled": True},
        ),
        ({"editors_group": "e"}, {"editors_group": "e", "reviewers_group": "reviewers", "group_check_enabled": False}),
        ({"to_review_enabled": "false"}, {"to_review_enabled": False, **RS_GROUPS}),
        ({"four_eyes": "contributors"}, {"four_eyes": "contributors"}),
    ],
)
def test_what_is_set_for_the_whole_server(key_pair, lines, expected):
    found = capability(key_pair, **lines)

    assert {name: found[name] for name in expected} == expected
    assert found["resources"] == [WHOLE_BUCKET]


def test_without_a_preview_it_names_the_destination(key_pair):
    (found,) = capability(key_pair, resources="s/c;d/c")["resources"]

    assert found["preview"] == found["destination"] == {"bucket": "d", "collection": "c"}


def test_what_is_set_for_a_bucket(key_pair):
    lines = {
        "resources": f"{WITH_PREVIEW}\n/buckets/s -> /buckets/d",
        "s__to_review_enabled": "false",
        "s__four_eyes": "contributors",
        "s__group_check_enabled": "true",
        "s__editors_group": "{bucket_id}-{collection_id}-writers",
    }
    usual, other = capability(key_pair, **lines)["resources"]

    assert usual == WHOLE_BUCKET
    assert other["to_review_enabled"] is False
    assert other["four_eyes"] == "contributors"
    assert other["group_check_enabled"] is True
    # kinto-admin replaces {collection_id} only.
    assert other["editors_group"] == "s-{collection_id}-writers"
    assert other["source"] == {"bucket": "s", "collection": None, "editors_group": "s-{collection_id}-writers"}


def test_collections_with_settings_of_their_own_have_an_entry_of_their_own(key_pair):
    lines = {
        "main-workspace__nimbus__to_review_enabled": "false",
        "main-workspace__addons__reviewers_group": "addons-{collection_id}",
        "main-workspace__addons__group_check_enabled": "true",
        "main-workspace_old__to_review_enabled": "false",
        "main-workspace__same__allow_floats": "true",
        "other__c__to_review_enabled": "false",
    }
    found = capability(key_pair, **lines)
    assert (found["editors_group"], found["reviewers_group"]) == ("editors", "reviewers")
    assert found["resources"] == [
        WHOLE_BUCKET,
        entry("nimbus", to_review_enabled=False),
        entry("addons", source={"reviewers_group": "addons-addons"}, group_check_enabled=True),
        entry("old", to_review_enabled=False),
        entry("same"),
    ]


def test_a_line_of_its_own_is_no_second_entry(key_pair):
    resources = f"{WITH_PREVIEW}\n/buckets/main-workspace/collections/c -> /buckets/main/collections/c"
    found = capability(key_pair, resources=resources, **{"main-workspace__c__to_review_enabled": "false"})["resources"]

    assert [one["source"]["collection"] for one in found] == [None, "c"]
    assert found[1]["to_review_enabled"] is False
    assert found[1]["preview"] == found[1]["destination"]


def test_patterns_show_the_collections_that_are_there_when_the_server_starts(key_pair):
    app = start(key_pair, **{r"main-workspace__quicksuggest-(\w+)-(desktop|mobile)__to_review_enabled": "false"})
    assert shown(app)["resources"] == [WHOLE_BUCKET]
    app.put_json(BUCKET, {})
    for collection in ("quicksuggest-fr-desktop", "quicksuggest-fr-desktop-old", "regions"):
        app.put_json(f"{BUCKET}/collections/{collection}", {})

    starting.on_application_created(SimpleNamespace(app=app.app))

    assert shown(app)["resources"] == [WHOLE_BUCKET, entry("quicksuggest-fr-desktop", to_review_enabled=False)]
    # The rule itself holds without a start.
    app.patch_json(
        f"{BUCKET}/collections/quicksuggest-fr-desktop", {"data": {"displayFields": ["a"], "status": "to-sign"}}, status=403
    )
    group = f"{BUCKET}/groups/quicksuggest-fr-desktop-reviewers"
    app.patch_json(group, {"data": {"members": [app.get("/").json["user"]["id"]]}})
    app.patch_json(f"{BUCKET}/collections/quicksuggest-fr-desktop", {"data": {"displayFields": ["a"], "status": "to-sign"}})
