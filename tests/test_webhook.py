"""The webhook: what it is told, of which requests, and that no receiver, however bad, is felt by a request."""

import hashlib
import hmac
import logging
import threading
import time

import pytest
import requests
import transaction

from kinto_signer.errors import ConfigurationError, GuardRefusedError
from kinto_signer.events import ReviewRequested
from kinto_signer.plugin.resources import Place, Resource
from kinto_signer.plugin.settings import Settings
from kinto_signer.plugin.tables import SIGNER
from kinto_signer.server import webhook
from kinto_signer.server.webhook import Message, Webhook, WebhookSettings, deliver
from tests.support.keys import write_key_pair
from tests.support.receiver import Receiver
from tests.support.workflow import BUCKET, SOURCE, Unwilling, review_site

SECRET = "correct-horse-battery-staple"
TOKEN = "T0KEN-in-the-path"


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module", params=["memory", "postgresql"])
def everybodys(request, tmp_path_factory, postgres):
    """S and the receiver of its webhook."""
    database = postgres.create_database() if request.param == "postgresql" else None
    with Receiver() as receiver:
        settings = {"kinto__signer__webhook__url": f"{receiver.url}/{TOKEN}?a=b", "kinto__signer__webhook__secret": SECRET}
        key_pair = write_key_pair(tmp_path_factory.mktemp("keys"))
        yield review_site(key_pair, database=database, **settings), receiver


@pytest.fixture
def site(everybodys):
    site, receiver = everybodys
    site.make_ready()
    told(everybodys)
    receiver.received.clear()
    return site


def told(everybodys):
    """What was received, when nothing waits any more."""
    site, receiver = everybodys
    site.app.app.registry.signer_webhook.join()
    return receiver.received


def message(url, content="publish", *, secret=None, timeout_s=5.0):
    return Message.of(WebhookSettings(url, secret, timeout_s), {"bucket": "b", "collection": "c", "action": content})


# --- what is told ---------------------------------------------------------------------------------------------------


def test_each_step_is_told_once(everybodys, site):
    site.set_status("alice", "to-review", last_editor_comment="look, éditeur")
    site.set_status("carol", "work-in-progress", last_reviewer_comment="no")
    site.set_status("alice", "to-rollback")
    site.set_status("alice", "to-resign")
    site.put("alice", "at", name="Austria")
    site.app.post_json(f"{SOURCE}/discard", {"ids": ["at"]})
    received = [post.json for post in told(everybodys)]
    assert [post["action"] for post in received] == ["request review", "decline", "rollback", "discard"]
    assert [post["comment"] for post in received[:2]] == ["look, éditeur", "no"]
    assert len({post["id"] for post in received}) == 4


def test_the_body_has_the_summary_of_the_difference(everybodys, site):
    site.set_status("alice", "to-review")
    site.set_status("carol", "to-sign", last_reviewer_comment="fine")
    log = site.app.get(f"{SOURCE}/log").json["data"][0]
    body = told(everybodys)[-1].json
    assert body.pop("diff") == f"http://localhost/v1{SOURCE}/diff"
    assert body.pop("id")
    assert (body.pop("bucket"), body.pop("collection")) == ("main-workspace", "regions")
    assert body == {key: value for key, value in log.items() if key not in ("id", "last_modified")}
    assert (body["action"], body["by"], body["comment"]) == ("publish", site.principals["carol"], "fine")
    assert body["created"] + body["updated"] == 1
    assert body["digest"].startswith("sha384-")
    assert body["size_bytes"] > 0


def test_the_body_is_signed(everybodys, site):
    site.set_status("alice", "to-review")
    (post,) = told(everybodys)
    assert post.path == f"/{TOKEN}?a=b"
    assert post.headers["Content-Type"] == "application/json"
    expected = hmac.new(SECRET.encode(), post.body, hashlib.sha256).hexdigest()
    assert post.headers["X-Hub-Signature-256"] == f"sha256={expected}"
    assert "Authorization" not in post.headers
    assert SECRET not in str(post.headers)
    assert SECRET.encode() not in post.body


def test_without_a_secret_there_is_no_signature(receiver):
    deliver(message(receiver.url))
    assert "X-Hub-Signature-256" not in receiver.received[0].headers


def refuse(event):
    raise GuardRefusedError("no")


def fail_to_commit(event):
    transaction.get().join(Unwilling(GuardRefusedError("no")))


@pytest.mark.parametrize("refusal", [refuse, fail_to_commit])
def test_nothing_of_a_request_that_was_refused(everybodys, site, refusal):
    registry = site.app.app.registry
    site.set_status("carol", "to-review", status=403)
    site.set_status("alice", "to-sign", status=403)
    registry.registerHandler(refusal, (ReviewRequested,))
    site.set_status("alice", "to-review", status=403)
    registry.unregisterHandler(refusal, (ReviewRequested,))
    assert told(everybodys) == []
    site.set_status("alice", "to-review", status=200)
    assert len(told(everybodys)) == 1


def test_a_batch_tells_of_each_collection(everybodys, site):
    other = f"{BUCKET}/collections/other"
    site.app.put_json(other, {})
    site.app.put_json(f"{other}/records/r", {"data": {}})
    parts = [{"path": uri, "body": {"data": {"status": "to-rollback"}}} for uri in (SOURCE, other)]
    site.app.post_json("/batch", {"defaults": {"method": "PATCH"}, "requests": parts})
    assert [post.json["collection"] for post in told(everybodys)] == ["regions", "other"]


def test_a_deletion_is_told(everybodys, site):
    uri = f"{BUCKET}/collections/short-lived"
    site.app.put_json(uri, {})
    site.app.delete(uri)
    (post,) = told(everybodys)
    assert (post.json["action"], post.json["collection"], post.json["deleted"]) == ("delete", "short-lived", 0)


# --- receivers that are bad -------------------------------------------------------------------------------------------


def test_a_receiver_that_hangs_keeps_nobody_waiting(everybodys, site):
    _, receiver = everybodys
    receiver.gate.clear()
    site.set_status("alice", "to-review", status=200)
    site.set_status("alice", "to-rollback", status=200)
    assert site.attributes()["status"] == "signed"
    receiver.gate.set()
    assert len(told(everybodys)) == 2


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == webhook.logger.name]


@pytest.mark.parametrize("status", [302, 307, 400, 500])
def test_an_answer_that_is_no_success_is_one_line(receiver, caplog, status):
    with Receiver() as elsewhere:
        receiver.status, receiver.location = status, f"{elsewhere.url}/stolen"
        deliver(message(f"{receiver.url}/{TOKEN}", secret=SECRET))
        assert elsewhere.received == []
    assert lines(caplog) == [f"webhook failed: publish b/c to {receiver.url}: answered {status}"]
    assert len(receiver.received) == 1


def test_a_receiver_that_is_down_is_one_line(receiver, caplog):
    receiver.__exit__()
    deliver(message(f"{receiver.url}/{TOKEN}"))
    (line,) = lines(caplog)
    assert line.startswith(f"webhook failed: publish b/c to {receiver.url}: ")
    assert TOKEN not in caplog.text


def test_at_debug_level_the_address_is_not_logged_and_others_are(receiver, caplog):
    """urllib3 logs the path of each request; those of other threads stay in the log."""
    seen = []
    with caplog.at_level(logging.DEBUG):
        for work in (lambda: deliver(message(f"{receiver.url}/{TOKEN}")), lambda: requests.post(receiver.url, b"x", timeout=9)):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join(30)
            seen.append([record.name for record in caplog.records if record.name.startswith("urllib3")])
    assert len(receiver.received) == 2
    assert TOKEN not in caplog.text
    assert not seen[0]
    assert "urllib3.connectionpool" in seen[1]


def test_a_receiver_that_takes_too_long_is_given_up(receiver, caplog):
    receiver.gate.clear()
    started = time.monotonic()
    deliver(message(receiver.url, timeout_s=0.2))
    assert time.monotonic() - started < 5
    assert "no answer within 0.2 s" in lines(caplog)[0]


def test_the_thread_outlives_what_nobody_foresaw(receiver, caplog, monkeypatch):
    sending = Webhook()
    with monkeypatch.context() as patched:
        patched.setattr(webhook, "bounded_session", lambda *arguments: 1 / 0)
        sending.send(message(receiver.url))
        sending.join()
    assert lines(caplog) == [f"webhook failed: publish b/c to {receiver.url}: ZeroDivisionError"]
    sending.send(message(receiver.url))
    sending.join()
    assert len(receiver.received) == 1


def test_what_does_not_fit_into_the_queue_is_dropped_with_one_line(receiver, caplog):
    sending = Webhook(waiting=2)
    receiver.gate.clear()
    sending.send(message(receiver.url, "first"))
    while not receiver.received:  # taken from the queue, and held by the receiver
        time.sleep(0.001)
    for content in ("second", "third", "fourth"):
        sending.send(message(receiver.url, content))
    assert lines(caplog) == [f"webhook dropped: fourth b/c to {receiver.url}: 2 messages wait already"]
    receiver.gate.set()
    sending.join()
    assert [post.json["action"] for post in receiver.received] == ["first", "second", "third"]


def test_a_process_without_the_thread_starts_one(receiver):
    """As a worker that was forked after the first message."""
    sending = Webhook()
    sending._thread = threading.Thread()
    sending.send(message(receiver.url))
    assert sending._thread.is_alive()
    sending.join()
    assert len(receiver.received) == 1


# --- settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["https://hooks.example.org/a/b?c=d", "http://127.0.0.1:8080", "http://localhost/x", "http://[::1]:1/"]
)
def test_addresses(url):
    assert Settings({"signer.webhook.url": url}, SIGNER, {}).get("webhook.url") == url


@pytest.mark.parametrize(
    "url", ["http://example.org", "http://localhost.example.org", "ftp://a", "https://u:p@a.org", "a.org", "https://"]
)
def test_no_addresses(url):
    with pytest.raises(ConfigurationError, match=r"webhook\.url = \(hidden\)") as caught:
        Settings({"signer.webhook.url": url}, SIGNER, {})
    assert "example.org" not in str(caught.value)


def test_a_collection_may_have_its_own():
    lines = {
        "signer.webhook.url": "https://a.org",
        "signer.b.c.webhook.url": "https://c.org",
        "signer.b.webhook.timeout_seconds": "1",
    }
    settings = Settings({**lines, "signer.webhook.secret": SECRET}, SIGNER, {})

    def of(collection):
        return WebhookSettings.of(settings, Resource(Place("b", collection), Place("d", collection)))

    assert of("c") == WebhookSettings("https://c.org", SECRET, 1.0)
    assert of("x") == WebhookSettings("https://a.org", SECRET, 1.0)
    assert WebhookSettings.of(Settings({}, SIGNER, {}), Resource(Place("b", "c"), Place("d", "c"))) is None


def test_the_secret_is_shown_nowhere(everybodys, site, caplog):
    caplog.set_level(logging.DEBUG)
    site.set_status("alice", "to-review")
    told(everybodys)
    settings = WebhookSettings("https://a.org/" + TOKEN, SECRET, 5.0)
    shown = [site.app.get("/").text, site.app.get(SOURCE).text, site.app.get(f"{SOURCE}/log").text]
    shown += [repr(settings), repr(Message.of(settings, {"bucket": "b", "collection": "c", "action": "publish"}))]
    shown += [repr(site.app.app.registry.signing.settings)]
    shown += [record.getMessage() for record in caplog.records if record.name.startswith("kinto_signer")]
    assert not [text for text in shown if SECRET in text or TOKEN in text]
    assert SECRET not in caplog.text
