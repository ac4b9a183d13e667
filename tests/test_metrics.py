"""What is counted and timed: through Kinto's Prometheus and StatsD plugins, and through a service that keeps what it is told."""

import itertools
import re
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from kinto.core.metrics import IMetricsService
from kinto.plugins import prometheus

from kinto_signer.errors import UnreachableError
from kinto_signer.events import ReviewApproved
from kinto_signer.plugin import metrics
from kinto_signer.plugin.resources import Place, parse_resources
from kinto_signer.server.ages import Ages, ages, look
from tests.support.keys import write_key_pair
from tests.support.workflow import BUCKET, SOURCE, review_site

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Recording:
    """A metrics service that keeps what it is told about the plugin."""

    def __init__(self):
        self.counts, self.times, self.values = [], [], []

    def timer(self, key, value=None, labels=()):
        if key.startswith("plugins.signer"):
            self.times.append((key, value, dict(labels)))

    def observe(self, key, value, labels=()):
        if key.startswith("plugins.signer"):
            self.values.append((key, value))

    def count(self, key, count=1, unique=None):
        if key.startswith("plugins.signer"):
            self.counts.append((key, count, dict(unique or ())))

    def labels(self, key):
        return [labels for name, _, labels in self.times if name == key]


@pytest.fixture(scope="module")
def everybodys_site(tmp_path_factory):
    return review_site(write_key_pair(tmp_path_factory.mktemp("keys")))


@pytest.fixture
def site(everybodys_site):
    everybodys_site.make_ready()
    return everybodys_site


@pytest.fixture
def told(site):
    recording = Recording()
    site.app.app.registry.registerUtility(recording, IMetricsService)
    return recording


def unreachable(event):
    raise UnreachableError("nobody is there")


def test_each_action_is_timed(site, told):
    site.set_status("alice", "to-review")
    site.set_status("carol", "work-in-progress")
    site.set_status("alice", "to-review")
    started = time.monotonic()
    site.set_status("carol", "to-sign")
    site.app.patch_json(SOURCE, {"data": {"status": "to-resign"}})
    site.put("alice", "fr", name="again")
    site.set_status("alice", "to-rollback")
    steps = ("request_review", "decline", "request_review", "publish", "refresh", "rollback")
    assert told.labels("plugins.signer.action.seconds") == [{"action": step} for step in steps]
    assert 0 < told.times[3][1] < time.monotonic() - started
    assert told.labels("plugins.signer.refusal.seconds") == []


def test_changes_are_counted_with_approvals_only(site, told):
    site.put("alice", "de", name="Germany")
    site.set_status("alice", "to-review")
    assert told.counts == []
    site.set_status("carol", "to-sign")
    changes = len({"fr", "de"})
    assert told.counts == [
        ("plugins.signer.changes", changes, {}),
        ("plugins.signer.approved_changes", changes, {"bucket_id": "main", "collection_id": "regions"}),
    ]


def test_refusals_by_reason(site, told):
    site.set_status("carol", "to-review", status=403)
    site.app.put_json(f"{SOURCE}/records/x", {"data": {"n": 1.5}}, status=400)
    site.set_status("alice", "to-review")
    registry = site.app.app.registry
    registry.registerHandler(unreachable, (ReviewApproved,))
    site.set_status("carol", "to-sign", status=503)
    registry.unregisterHandler(unreachable, (ReviewApproved,))
    assert told.labels("plugins.signer.refusal.seconds") == [
        {"reason": reason} for reason in ("refused", "unsignable", "unreachable")
    ]
    assert all(seconds > 0 for _, seconds, _ in told.times)
    assert told.counts == []


def test_a_refused_part_of_a_batch_is_one_refusal_as_long_as_the_batch(site, told, monkeypatch):
    """By a clock that ticks when it is looked at: at the start of the batch and of each of its parts, and at the refusal."""
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    parts = [{"method": "PUT", "path": f"{SOURCE}/records/r{i}", "body": {"data": {}}} for i in range(5)]
    parts += [{"method": "PUT", "path": f"{SOURCE}/records/bad", "body": {"data": {"n": 1.5}}}]
    answers = site.app.post_json("/batch", {"requests": parts}).json["responses"]
    assert [answer["status"] for answer in answers] == [201] * 5 + [400]
    assert told.times == [("plugins.signer.refusal.seconds", 1 + len(parts), {"reason": "unsignable"})]


def test_a_duration_is_never_none_at_all():
    """Kinto's StatsD service starts a timer where it is given 0, and sends nothing."""
    recording = Recording()
    metrics.timed(SimpleNamespace(metrics=recording), metrics.REFUSALS, 0.0, reason="refused")
    assert recording.times[0][1] > 0


@pytest.mark.parametrize("registry", [SimpleNamespace(), SimpleNamespace(metrics=None)])
def test_a_kinto_that_was_told_to_have_no_metrics(registry):
    metrics.timed(registry, metrics.REFUSALS, 1.0, reason="refused")
    metrics.measured(registry, metrics.OLDEST_DRAFT, 1.0)
    metrics.approved(registry, Place("main", "regions"), 1)


def test_collections_that_are_not_signed_have_no_age(site):
    registry = site.app.app.registry
    old = {"id": "elsewhere", "status": "work-in-progress", "last_edit_date": "2001-01-01T00:00:00+00:00"}
    registry.storage.create("collection", BUCKET, old)
    resources = parse_resources(f"{SOURCE} -> /buckets/main/collections/regions")
    narrow = SimpleNamespace(storage=registry.storage, signing=SimpleNamespace(resources=resources))
    assert look(narrow).oldest_draft_s < 3600 < look(registry).oldest_draft_s
    registry.storage.delete("collection", BUCKET, "elsewhere")


def test_ages_are_told_with_actions_and_heartbeats(site, told):
    site.set_status("alice", "to-review")
    names = ["plugins.signer.oldest_draft.age_seconds", "plugins.signer.oldest_signature.age_seconds"]
    assert [key for key, _ in told.values] == names
    for heartbeat in ("signer", "signer.signatures"):
        site.app.app.registry.heartbeats[heartbeat]._known = None
    site.app.get("/__heartbeat__")
    site.app.get("/__heartbeat__")
    # The heartbeats run side by side.
    assert sorted(key for key, _ in told.values) == sorted([*names * 2, "plugins.signer.statement.left_seconds"])
    (left,) = [value for key, value in told.values if key == "plugins.signer.statement.left_seconds"]
    assert 29 * 86400 < left <= 30 * 86400


def test_a_draft_is_waiting_until_it_is_published(site, told):
    storage = site.app.app.registry.storage
    old = {**storage.get("collection", BUCKET, "regions"), "last_edit_date": "2026-01-01T00:00:00+00:00"}
    storage.update("collection", BUCKET, "regions", old)
    site.set_status("alice", "to-review")
    assert told.values[0][1] > 86400
    site.set_status("carol", "to-sign")
    assert told.values[2] == ("plugins.signer.oldest_draft.age_seconds", 0)
    assert told.values[3][1] < 600


def ago(**what):
    return (NOW - timedelta(**what)).isoformat()


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([], Ages(0, 0)),
        ([{"status": "signed", "last_edit_date": ago(days=9), "last_signature_date": ago(hours=1)}], Ages(0, 3600)),
        ([{"status": "work-in-progress", "last_edit_date": ago(minutes=5)}], Ages(300, 0)),
        ([{"status": "to-review", "last_edit_date": ago(minutes=5)}], Ages(300, 0)),
        ([{"status": "to-sign", "last_edit_date": ago(minutes=5)}], Ages(300, 0)),
        ([{"status": "work-in-progress", "last_signature_date": ago(minutes=2)}], Ages(120, 120)),
        (
            [
                {"status": "signed", "last_signature_date": ago(minutes=1)},
                {"status": "signed", "last_signature_date": ago(minutes=3)},
                {"status": "to-review", "last_edit_date": ago(minutes=4), "last_signature_date": ago(minutes=2)},
                {"status": "to-review", "last_edit_date": ago(minutes=1), "last_signature_date": ago(minutes=2)},
            ],
            Ages(240, 180),
        ),
        ([{"status": "to-review", "last_edit_date": "nonsense", "last_signature_date": 5}, {}], Ages(0, 0)),
        ([{"status": "to-review", "last_edit_date": ago(minutes=-5)}], Ages(0, 0)),
    ],
)
def test_ages(sources, expected):
    assert ages(sources, NOW.timestamp()) == expected


def test_prometheus_shows_them(key_pair):
    prometheus.reset_registry()
    try:
        site = review_site(key_pair, kinto__includes="kinto.plugins.prometheus kinto_signer")
        site.make_ready()
        site.set_status("carol", "to-review", status=403)
        site.set_status("alice", "to-review")
        site.set_status("carol", "to-sign")
        site.app.get("/__heartbeat__")
        shown = site.app.get("/__metrics__").text
    finally:
        prometheus.reset_registry()
    for line in (
        'kinto_plugins_signer_action_seconds_count{action="publish"} 1.0',
        'kinto_plugins_signer_action_seconds_count{action="request_review"} 1.0',
        'kinto_plugins_signer_action_seconds_bucket{action="publish",le="+Inf"} 1.0',
        'kinto_plugins_signer_refusal_seconds_count{reason="refused"} 1.0',
        "kinto_plugins_signer_changes_total 1.0",
        'kinto_plugins_signer_approved_changes_total{bucket_id="main",collection_id="regions"} 1.0',
        "kinto_plugins_signer_oldest_draft_age_seconds_count 3.0",
        "kinto_plugins_signer_oldest_signature_age_seconds_count 3.0",
        "kinto_plugins_signer_statement_left_seconds_count 1.0",
    ):
        assert line in shown.splitlines()


def collect(listening, packets):
    """Take what is sent until the last word, as the kernel keeps few packets."""
    while not packets or "the.end" not in packets[-1]:
        packets.append(listening.recv(65536).decode())


def test_statsd_is_sent_them(key_pair):
    packets = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(30)
        taking = threading.Thread(target=collect, args=(listening, packets))
        taking.start()
        url = f"udp://127.0.0.1:{listening.getsockname()[1]}"
        site = review_site(key_pair, kinto__includes="kinto.plugins.statsd kinto_signer", kinto__statsd_url=url)
        site.make_ready()
        site.set_status("carol", "to-review", status=403)
        site.set_status("alice", "to-review")
        site.set_status("carol", "to-sign")
        site.app.app.registry.metrics.count("the.end")
        taking.join()
        site.app.app.registry.metrics._client.close()
    ours = [re.sub(r":[\d.]+\|", ":N|", packet) for packet in packets if "plugins.signer" in packet]
    for packet in (
        "kinto.plugins.signer.action.seconds.action.publish:N|ms",
        "kinto.plugins.signer.refusal.seconds.reason.refused:N|ms",
        "kinto.plugins.signer.changes:N|c",
        "kinto.plugins.signer.oldest_draft.age_seconds:N|g",
        "kinto.plugins.signer.oldest_signature.age_seconds:N|g",
    ):
        assert packet in ours
