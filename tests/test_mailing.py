"""kinto-emailer itself, with hooks as they are stored in collections: one mail for each hook that names an event of ours."""

import logging
import sys

import pytest
import transaction
from kinto_emailer import qualname
from pyramid_mailer.interfaces import IMailer
from pyramid_mailer.mailer import DummyMailer

from kinto_signer.errors import GuardRefusedError
from kinto_signer.events import ReviewRequested
from kinto_signer.server import mailing
from tests.support.keys import write_key_pair
from tests.support.workflow import BUCKET, SOURCE, Unwilling, review_site

OURS, PEER = "kinto_signer.events", "kinto_remote_settings.signer.events"


def hook(event=None, subject="subject", template="{user_id} {uri}", recipients=("reviewers@example.org",), **more):
    named = {} if event is None else {"event": event}
    return {**named, "subject": subject, "template": template, "recipients": list(recipients), **more}


def mailing_site(key_pair, **extra):
    """S with kinto-emailer, and a mailer that keeps what it sends."""
    extra = {"kinto__includes": "kinto_emailer kinto_signer", "mail__default_sender": "kinto@example.org", **extra}
    return review_site(key_pair, **extra)


def prepare(site, hooks, *, place=BUCKET):
    """Store the hooks, with an edit pending and nothing sent."""
    site.app.app.registry.registerUtility(DummyMailer(), IMailer)
    site.app.patch_json(place, {"data": {"kinto-emailer": {"hooks": hooks}}})
    site.make_ready()
    outbox(site).clear()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Of everybody; its collection has no hooks of its own."""
    return mailing_site(write_key_pair(tmp_path_factory.mktemp("keys")))


@pytest.fixture(scope="module", params=["memory", "postgresql"])
def stored_site(request, tmp_path_factory, postgres):
    database = postgres.create_database() if request.param == "postgresql" else None
    return mailing_site(write_key_pair(tmp_path_factory.mktemp("keys")), database=database)


def outbox(site):
    return site.app.app.registry.getUtility(IMailer).outbox


def subjects(site):
    return [mail.subject for mail in outbox(site)]


def test_the_path_of_our_classes_is_the_public_one():
    assert qualname(object.__new__(ReviewRequested)) == f"{OURS}.ReviewRequested"


@pytest.mark.parametrize(
    "event",
    [
        f"{OURS}.ReviewRequested",
        f"{PEER}.ReviewRequested",
        r"^kinto_remote_settings\.signer\.events\.Review(Requested|Approved)$",
    ],
)
def test_one_mail_whichever_path_a_hook_names(site, event):
    prepare(site, [hook(event)])
    site.set_status("alice", "to-review", last_editor_comment="look")
    (mail,) = outbox(site)
    assert mail.recipients == ["reviewers@example.org"]
    assert mail.body == f"{site.principals['alice']} {SOURCE}"


def test_two_hooks_are_two_mails_in_one_request(site):
    hooks = [hook(f"{OURS}.ReviewRequested", "old"), hook(f"{PEER}.ReviewRequested", "new")]
    prepare(site, hooks)
    site.set_status("alice", "to-review")
    assert sorted(subjects(site)) == ["new", "old"]


@pytest.mark.parametrize("package", [OURS, PEER])
def test_each_step_has_its_own_mail(site, package):
    names = ("ReviewRequested", "ReviewRejected", "ReviewApproved", "ReviewCanceled")
    prepare(site, [hook(f"{package}.{name}", name) for name in names])
    for user, status in (
        ("alice", "to-review"),
        ("carol", "work-in-progress"),
        ("alice", "to-review"),
        ("carol", "to-sign"),
    ):
        site.set_status(user, status)
    site.put("alice", "fr", name="other")
    site.set_status("alice", "to-rollback")
    site.set_status("alice", "to-resign")
    assert subjects(site) == [names[0], names[1], names[0], names[2], names[3]]


def test_templates_see_comment_and_counts(site):
    template = "{comment}|{changes_count}|{changes_size_bytes}|{collection_id}|{event}|{root_url}"
    prepare(site, [hook(f"{PEER}.ReviewRequested", template=template)])
    site.set_status("alice", "to-review", last_editor_comment="look")
    (mail,) = outbox(site)
    comment, count, size, collection, event, root = mail.body.split("|")
    assert (comment, count, collection, event) == ("look", "1", "regions", f"{OURS}.ReviewRequested")
    assert int(size) > 10
    assert root.startswith("http")


def test_groups_and_conditions_are_kinto_emailers(site):
    group = "/buckets/main-workspace/groups/{collection_id}-reviewers"
    event = f"{PEER}.ReviewRequested"
    hooks = [
        hook(event, "to the group", recipients=[group]),
        hook(event, "other", collection_id="other"),
        hook(event, "regions", collection_id="^reg"),
    ]
    prepare(site, hooks)
    site.app.patch_json(f"{BUCKET}/groups/regions-reviewers", {"data": {"members": ["ldap:eve@example.org"]}})
    site.set_status("alice", "to-review")
    assert {mail.subject: mail.recipients for mail in outbox(site)} == {
        "to the group": ["eve@example.org"],
        "regions": ["reviewers@example.org"],
    }


def test_mails_about_every_change_go_on_as_before(site, caplog):
    """kinto-emailer sends those itself; they are neither lost nor doubled where a hook of ours has mails as well."""
    hooks = [hook(None, "any"), hook("kinto.core.events.ResourceChanged", "kinto"), hook(f"{PEER}.ReviewRequested", "review")]
    prepare(site, hooks)
    site.set_status("alice", "to-review")
    assert sorted(subjects(site)) == ["any", "kinto", "review"]
    assert "cannot be used" not in caplog.text


def test_each_collection_of_a_batch_has_its_mail(site):
    prepare(site, [hook(f"{PEER}.ReviewCanceled", "{collection_id}")])
    other = f"{BUCKET}/collections/other"
    site.app.put_json(other, {})
    site.app.put_json(f"{other}/records/r", {"data": {}})
    parts = [{"path": uri, "body": {"data": {"status": "to-rollback"}}} for uri in (SOURCE, other)]
    site.app.post_json("/batch", {"defaults": {"method": "PATCH"}, "requests": parts})
    assert subjects(site) == ["regions", "other"]


def refuse(event):
    raise GuardRefusedError("no")


def fail_to_commit(event):
    transaction.get().join(Unwilling(GuardRefusedError("no")))


@pytest.mark.parametrize("refusal", [refuse, fail_to_commit])
def test_no_mail_of_a_request_that_was_refused(stored_site, refusal):
    site = stored_site
    prepare(site, [hook(f"{PEER}.Review{step}", step) for step in ("Requested", "Approved")])
    site.set_status("carol", "to-review", status=403)
    site.set_status("alice", "to-sign", status=403)
    site.app.app.registry.registerHandler(refusal, (ReviewRequested,))
    site.set_status("alice", "to-review", status=403)
    assert subjects(site) == []
    site.app.app.registry.unregisterHandler(refusal, (ReviewRequested,))
    site.set_status("alice", "to-review", status=200)
    assert subjects(site) == ["Requested"]


@pytest.mark.parametrize("broken", [{"template": "{nobody}"}, {"event": "^(ReviewRequested"}])
def test_a_broken_hook_costs_its_own_mail_only(site, caplog, broken):
    """Kinto-emailer's own listener fails on a broken pattern: it is put there past it."""
    event = f"{PEER}.ReviewRequested"
    prepare(site, [hook(event, "whole")])
    hooks = [{**hook(event, "broken"), **broken}, hook(event, "whole")]
    told = review_of(site, hooks)
    mails = [mail.subject for one in hooks for mail in mailing._mails(told, one)]
    assert mails == ["whole"]
    assert "'broken' cannot be used" in caplog.text


def review_of(site, hooks):
    """The event of a request for review, caught while it is told, of a collection with these hooks."""
    caught = []
    site.app.app.registry.registerHandler(caught.append, (ReviewRequested,))
    site.set_status("alice", "to-review")
    site.app.app.registry.unregisterHandler(caught.append, (ReviewRequested,))
    (event,) = caught
    event.impacted_objects[0]["new"]["kinto-emailer"] = {"hooks": hooks}
    return event


def test_a_mail_server_that_is_down_costs_the_mail(site, caplog):
    prepare(site, [hook(f"{PEER}.ReviewRequested")])

    class Down(DummyMailer):
        def send_immediately(self, message, fail_silently=False):
            raise ConnectionRefusedError

    site.app.app.registry.registerUtility(Down(), IMailer)
    site.set_status("alice", "to-review", status=200)
    assert site.attributes()["status"] == "to-review"
    assert "no mail to ['reviewers@example.org']" in caplog.text


def test_a_queue_of_mails_is_used_where_one_is_set(key_pair, tmp_path):
    site = mailing_site(key_pair, mail__queue_path=str(tmp_path / "queue"))
    prepare(site, [hook(f"{PEER}.ReviewRequested", "queued")], place=SOURCE)
    site.set_status("alice", "to-review")
    assert [mail.subject for mail in site.app.app.registry.getUtility(IMailer).queue] == ["queued"]
    assert outbox(site) == []


def test_installed_and_not_included_it_does_nothing(key_pair, caplog):
    site = review_site(key_pair)
    site.app.patch_json(BUCKET, {"data": {"kinto-emailer": {"hooks": [hook(f"{PEER}.ReviewRequested")]}}})
    site.put("alice", "fr", name="France")
    site.set_status("alice", "to-review", status=200)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR and record.name != "kinto.config"] == []


def test_a_release_that_listens_itself_is_left_alone(key_pair, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, "kinto_signer")
    monkeypatch.delattr("kinto_emailer.build_notification")
    review_site(key_pair)
    assert "older than 3.0.4" in caplog.text


def test_without_kinto_emailer_there_are_no_mails(key_pair, monkeypatch):
    monkeypatch.setitem(sys.modules, "kinto_emailer", None)
    site = review_site(key_pair)
    site.make_ready()
    site.set_status("alice", "to-review", status=200)
