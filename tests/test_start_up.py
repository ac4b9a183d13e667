"""What is looked up in the storage at start-up: groups of which nobody can say whether they are meant; and what is logged."""

import logging

import pytest
from pyramid.exceptions import ConfigurationError
from pyramid.paster import bootstrap

from tests.support.checking import Command
from tests.support.servers import webtest_app, write_ini
from tests.support.workflow import BUCKET, review_settings, review_site

LINES = {
    "kinto.signer.editors_group": "editors",
    "kinto.signer.reviewers_group": "reviewers",
    "kinto.signer.group_check_enabled": "true",
}


@pytest.fixture
def settings(key_pair, database):
    """Of a server whose source bucket has a group `reviewers`, made when lines of kinto-signer 8 were in force."""
    found = review_settings(key_pair, database=database)
    app = webtest_app(found | LINES)
    app.put_json(BUCKET, {})
    app.put_json(f"{BUCKET}/groups/reviewers", {"data": {"members": []}})
    return found


def test_groups_of_kinto_signer_8_stop_a_server_that_was_not_told_which_groups_count(settings, tmp_path, capsys, monkeypatch):
    with pytest.raises(ConfigurationError) as error:
        webtest_app(settings)
    message = str(error.value)
    assert "There is /buckets/main-workspace/groups/reviewers:" in message
    for line, value in LINES.items():
        assert f"{line} = {value}" in message

    # Whatever the lines say, they say it.
    for line in LINES.items():
        webtest_app(settings | dict([line]))
    webtest_app(settings | {"kinto.signer.main-workspace.c.editors_group": "editors"})

    # `kinto migrate` and the like have to work all the same; `check` says what a start would say.
    write_ini(tmp_path / "signer.ini", settings)
    bootstrap(str(tmp_path / "signer.ini"), options={"command": "migrate"})["closer"]()
    found = Command(capsys, monkeypatch, tmp_path)(settings)
    assert found.code == 2
    assert message in found.one("groups").get("message")
    assert Command(capsys, monkeypatch, tmp_path)(settings | LINES).code == 0


def test_sources_that_nobody_can_approve_are_a_warning(settings, caplog, tmp_path, capsys, monkeypatch):
    unchecked = settings | {"kinto.signer.group_check_enabled": "false"}
    app = webtest_app(unchecked)
    for collection in ("a", "b"):
        app.put_json(f"{BUCKET}/collections/{collection}", {})
    webtest_app(unchecked)
    assert "Nobody can approve" not in caplog.text

    checked = settings | LINES | {"kinto.signer.reviewers_group": "{collection_id}-reviewers"}
    webtest_app(checked)
    said = "Nobody can approve main-workspace/a and 1 more: there is no group a-reviewers in the bucket."
    assert said in caplog.text
    found = Command(capsys, monkeypatch, tmp_path)(checked)
    assert found.one("groups", said, level="warning")
    caplog.clear()
    for collection in ("a", "b"):
        app.put_json(f"{BUCKET}/groups/{collection}-reviewers", {"data": {"members": []}})
    webtest_app(checked)
    assert "Nobody can approve" not in caplog.text


def test_a_group_of_another_name_or_in_another_bucket_stops_nothing(settings):
    webtest_app(settings | {"kinto.signer.resources": "/buckets/other -> /buckets/main"})


def test_a_database_that_does_not_answer_stops_nothing(key_pair, caplog):
    nowhere = "postgresql://postgres:@/none?host=/nowhere"
    webtest_app(review_settings(key_pair, database=nowhere))
    assert "the names of groups were not looked at" in caplog.text


RULES = {
    "requester": (
        {},
        "the group {collection_id}-reviewers may approve, but not who asked for the review last (four_eyes = requester).",
    ),
    "contributors": ({"four_eyes": "contributors"}, "but not who edited or submitted something since the last publication"),
    "nobody": ({"group_check_enabled": "false"}, "whoever may write it may request and approve (no groups are checked), but not"),
    "no review": ({"to_review_enabled": "false"}, "published without a review (to_review_enabled = false); the group"),
}


@pytest.mark.parametrize("name", RULES)
def test_start_up_says_which_rule_is_in_force(key_pair, caplog, name):
    lines, expected = RULES[name]
    with caplog.at_level(logging.INFO, "kinto_signer"):
        webtest_app(review_settings(key_pair, **{f"kinto__signer__{line}": value for line, value in lines.items()}))
    (logged,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("/buckets/main-workspace: ")]
    assert expected in logged


def test_and_of_collections_with_settings_of_their_own(key_pair, caplog):
    with caplog.at_level(logging.INFO, "kinto_signer"):
        review_site(key_pair, **{"kinto__signer__main-workspace__regions__to_review_enabled": "false"})
    assert "/buckets/main-workspace/collections/regions: published without a review (to_review_enabled = false)" in caplog.text


def test_check_says_it_too(key_pair, database, tmp_path, capsys, monkeypatch):
    found = Command(capsys, monkeypatch, tmp_path)(review_settings(key_pair, database=database))
    assert any("(four_eyes = requester)" in finding["message"] for finding in found.of("ok"))
