"""The review in kinto-admin, as people do it in a browser, on servers that are configured as ``config/`` says."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import requests

from demo.servers import SCRIPTS
from demo.stage import COLLECTION, RECORDS
from kinto_signer.updater import open_cache
from tests.support.chromium import chromium
from tests.support.kinto_admin import BUILD, KintoAdmin
from tests.support.servers import ROOT
from tests.support.settings import PASSWORD, guarded_settings, kinto_settings, shipped_settings
from tests.support.unmeasured import unmeasured  # noqa: F401

pytestmark = pytest.mark.usefixtures("unmeasured")

SOURCE = "/buckets/main-workspace/collections/stops"
DESTINATION = "/buckets/main/collections/stops"
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS") or ROOT / "build" / "screenshots")
# Stops with names that are easily told apart, in a font that every machine has.
STOPS = ("ch-zrh-02", "ch-zrh-08", "cz-prg-03", "cz-prg-06", "cz-prg-09")


@pytest.fixture(autouse=True)
def build():
    assert BUILD.is_dir(), "kinto-admin is missing: run `make admin`."


@pytest.fixture
def authority(live_kinto, create_database, key_pair):
    return live_kinto(guarded_settings(key_pair.public, create_database()), name="authority")


@pytest.fixture
def signer(live_kinto, database, key_pair, authority):
    settings = shipped_settings("signer.ini") | {
        "kinto.userid_hmac_secret": "only-for-tests",
        "kinto.account_create_principals": "system.Everyone",
        "kinto.admin_assets_path": str(BUILD),
        "kinto.signer.ecdsa.private_key": str(key_pair.private),
        "kinto.signer.authority.url": authority.url,
        "kinto.signer.authority.auth": f"signer:{PASSWORD}",
    }
    return live_kinto(
        settings | {f"kinto.{backend}_url": database for backend in ("storage", "permission", "cache")}, name="signer"
    )


class People:
    """What `admin`, alice (an editor) and bob (a reviewer) do without a browser."""

    def __init__(self, signer):
        self.signer = signer
        for user in ("admin", "alice", "bob"):
            self.ask("PUT", f"/accounts/{user}", {"password": PASSWORD}, user=None)

    def ask(self, method, uri, data=None, *, user):
        auth = (user, PASSWORD) if user else None
        answer = requests.request(method, self.signer.url + uri, json={"data": data} if data else None, auth=auth, timeout=60)
        assert answer.ok, answer.text
        return answer.json()["data"]

    def attributes(self, uri=SOURCE):
        return self.ask("GET", uri, user="alice")

    def names(self, uri):
        return {record["name"] for record in self.ask("GET", f"{uri}/records", user="alice")}


@pytest.fixture
def people(signer):
    """Five stops have been published; alice is in the editors' group, bob in the reviewers', and nobody has other permissions."""
    people = People(signer)
    attributes = json.loads(COLLECTION.read_text())
    attributes["schema"]["properties"]["fare"] = {"type": "number", "title": "Fare"}
    people.ask("PUT", SOURCE, attributes, user="admin")
    for group, user in (("stops-editors", "alice"), ("stops-reviewers", "bob")):
        people.ask("PATCH", f"/buckets/main-workspace/groups/{group}", {"members": [f"account:{user}"]}, user="admin")
    stops = {record["id"]: record for record in json.loads(RECORDS.read_text())}
    for name in STOPS:
        label = stops[name]["label"].partition(" ")[2]  # without the emoji, which few fonts have
        people.ask("PUT", f"{SOURCE}/records/{name}", {**stops[name], "label": label}, user="alice")
    people.ask("PATCH", SOURCE, {"status": "to-review"}, user="alice")
    people.ask("PATCH", SOURCE, {"status": "to-sign"}, user="bob")
    return people


@pytest.fixture
def gathered(authority, key_pair, tmp_path):
    """``gathered()``: the names that a reader holds, who just pulled from A and verified."""

    def gather():
        command = [SCRIPTS / "kinto-updater", "gather-changes", authority.url, "--collection", "main/stops"]
        command += ["--public-key", key_pair.public, "--cache", tmp_path / "cache"]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with open_cache(tmp_path / "cache") as cache:
            return {record["name"] for record in cache.records("main/stops")}

    return gather


@pytest.mark.postgres
def test_edit_request_decline_request_approve_and_roll_back(signer, people, gathered):
    published = people.names(DESTINATION)
    with (
        chromium() as browser,
        KintoAdmin(browser, signer.url, "alice", PASSWORD) as alice,
        KintoAdmin(browser, signer.url, "bob", PASSWORD) as bob,
    ):
        wanted = edit_and_request(alice, people, published)
        assert gathered() == published
        decline(bob, alice, people)
        approve(bob, alice, people)
        assert people.names(DESTINATION) == gathered() == wanted
        refused_for_a_value(alice, people)
        refused_for_what_was_not_seen(bob, alice, people)
        refused_for_the_person(bob, alice, people)
        roll_back(alice, people, wanted)
        done = [entry.split()[-4:] for entry in alice.history(SOURCE)]
        assert done[0] == ["rollback", "collection", "stops", "account:alice"]
        assert done.count(["approve", "collection", "stops", "account:bob"]) == 2
        assert alice.unexpected() == bob.unexpected() == []


# Its source, and whether reviews are on there.
VARIANTS = {
    "without a preview": ("/buckets/plain-workspace/collections/stops", True),
    "one collection": ("/buckets/one-workspace/collections/stops", True),
    "without reviews": ("/buckets/quick-workspace/collections/stops", False),
}
RESOURCES = """
/buckets/plain-workspace -> /buckets/plain
/buckets/one-workspace/collections/stops -> /buckets/one-preview/collections/stops -> /buckets/one/collections/stops
/buckets/quick-workspace -> /buckets/quick-preview -> /buckets/quick
"""


@pytest.fixture
def variants(live_kinto, key_pair):
    """S on memory, without an A. In each source alice is an editor, bob a reviewer, and alice has just entered a stop."""
    memory = kinto_settings() | {"multiauth.policies": "account"}
    settings = shipped_settings("signer.ini") | memory | {
        "kinto.account_create_principals": "system.Everyone",
        "kinto.admin_assets_path": str(BUILD),
        "kinto.signer.ecdsa.private_key": str(key_pair.private),
        "kinto.signer.resources": RESOURCES,
        "kinto.signer.quick-workspace.stops.to_review_enabled": "false",
    }  # fmt: skip
    del settings["kinto.signer.authority.url"]
    people = People(live_kinto(settings, name="signer"))
    for source, reviewed in VARIANTS.values():
        groups = {"editors": ["account:alice"], "reviewers": ["account:bob"] if reviewed else ["account:alice"]}
        people.ask("PUT", source, {"displayFields": ["name"]}, user="admin")
        for name, members in groups.items():
            people.ask("PATCH", f"{source.partition('/collections/')[0]}/groups/stops-{name}", {"members": members}, user="admin")
        people.ask("PUT", f"{source}/records/one", {"name": "Paradeplatz"}, user="alice")
    return people


def test_without_a_preview_without_reviews_and_for_one_collection(variants):
    with (
        chromium() as browser,
        KintoAdmin(browser, variants.signer.url, "alice", PASSWORD) as alice,
        KintoAdmin(browser, variants.signer.url, "bob", PASSWORD) as bob,
    ):
        for source, reviewed in VARIANTS.values():
            alice.records(source)
            assert alice.step() == "Work in progress"
            alice.request_review("a new stop")
            alice.told("Review requested")
            alice.review(source)
            assert alice.may_approve() != reviewed  # without reviews, a reviewer publishes what he or she submitted
            reviewer = bob if reviewed else alice
            reviewer.review(source)
            assert len(reviewer.differences()) == 1
            reviewer.approve()
            reviewer.page.get_by_role("heading", name="Records of").wait_for()
            reviewer.records(source)
            assert reviewer.step() == "Approved"
            destination = source.replace("-workspace", "")
            assert variants.names(destination) == {"Paradeplatz"}
        assert alice.unexpected() == bob.unexpected() == []


def edit_and_request(alice, people, published):
    """Alice changes, creates and deletes a stop, and asks for a review; returns the names that there are now."""
    alice.records(SOURCE)
    assert alice.step() == "Approved"
    alice.change("Paradeplatz", name="Paradeplatz Nord", label="Paradeplatz Nord")
    alice.told("Record updated")
    alice.delete("Čechův most")
    alice.told("Record deleted")
    alice.create(name="Nové náměstí", label="Nové náměstí", zone="2")
    alice.told("Record created")
    alice.records(SOURCE)
    assert alice.step() == "Work in progress"
    alice.request_review("Nové náměstí opens on Monday")
    alice.told("Review requested")
    assert people.attributes()["status"] == "to-review"
    assert people.names(DESTINATION) == published
    return published - {"Paradeplatz", "Čechův most"} | {"Paradeplatz Nord", "Nové náměstí"}


def decline(bob, alice, people):
    """Bob is led to the review from the records, sees what differs and why it was done, and gives it back with a comment."""
    bob.records(SOURCE)
    assert bob.step() == "Waiting review"
    bob.page.get_by_role("link", name="Review Changes").click()
    shown = [difference.inner_text() for difference in bob.differences()]
    assert len(shown) == 3
    assert all(any(name in text for text in shown) for name in ("Paradeplatz Nord", "Čechův most", "Nové náměstí"))
    bob.page.get_by_text("Nové náměstí opens on Monday").first.wait_for()
    bob.screenshot(SCREENSHOTS / "review.png")
    bob.decline("The sign says Paradeplatz, without Nord?")
    bob.page.get_by_role("heading", name="Records of").wait_for()
    assert people.attributes()["status"] == "work-in-progress"
    alice.records(SOURCE)
    alice.page.get_by_text("The sign says Paradeplatz, without Nord?").first.wait_for()


def approve(bob, alice, people):
    """Asked again, Bob approves."""
    alice.request_review("It does since Friday")
    alice.told("Review requested")
    bob.review(SOURCE)
    assert len(bob.differences()) == 3
    bob.approve()
    bob.page.get_by_role("heading", name="Records of").wait_for()
    assert bob.step() == "Approved"
    bob.screenshot(SCREENSHOTS / "approved.png")
    assert people.attributes()["status"] == "signed"


def refused_for_a_value(alice, people):
    """What cannot be signed is refused when it is entered: kinto-admin shows which record and why."""
    alice.records(SOURCE)
    alice.change("Žižkov", fare="1.5")
    said = alice.told("Couldn't update record", SCREENSHOTS / "refused-value.png")
    assert "cz-prg-03" in said
    assert "$.fare: field contains float value" in said
    assert people.attributes()["status"] == "signed"


def refused_for_what_was_not_seen(bob, alice, people):
    """Alice goes on editing while Bob looks at the review: his approval is of what he saw, and nothing else."""
    published = people.attributes(DESTINATION)
    alice.records(SOURCE)
    alice.change("Žižkov", label="Žižkov (Mitte)")
    alice.told("Record updated")
    alice.records(SOURCE)
    alice.request_review("A longer label")
    alice.told("Review requested")
    bob.review(SOURCE)
    assert len(bob.differences()) == 1
    people.ask("PATCH", f"{SOURCE}/records/cz-prg-03", {"label": "Free tickets"}, user="alice")
    people.ask("PATCH", SOURCE, {"status": "to-review"}, user="alice")

    code, message = bob.approve_in_vain()

    assert code == requests.codes.precondition_failed, message
    assert people.attributes()["status"] == "to-review"
    assert people.attributes(DESTINATION) == published


def refused_for_the_person(bob, alice, people):
    """Whoever asked is offered no approval, and Bob, who has edited too, is refused his."""
    published = people.attributes(DESTINATION)
    people.ask("PATCH", f"{SOURCE}/records/cz-prg-03", {"label": "Žižkov"}, user="bob")
    alice.records(SOURCE)
    alice.request_review("Bob shortened it")
    alice.told("Review requested")
    alice.review(SOURCE)
    assert not alice.may_approve()
    bob.review(SOURCE)
    assert bob.may_approve()

    code, message = bob.approve_in_vain()

    assert (code, "Last editor cannot review" in message) == (requests.codes.forbidden, True), message
    assert people.attributes()["status"] == "to-review"
    assert people.attributes(DESTINATION) == published


def roll_back(alice, people, published):
    """Everything that was edited since the publication is taken back."""
    people.ask("PATCH", f"{SOURCE}/records/cz-prg-03", {"name": "Žižkov-Mitte"}, user="alice")
    assert people.names(SOURCE) != published
    alice.review(SOURCE)
    alice.roll_back("It keeps its name")
    alice.page.get_by_role("heading", name="Records of").wait_for()
    alice.records(SOURCE)
    assert alice.step() == "Approved"
    assert people.names(SOURCE) == people.names(DESTINATION) == published
    assert people.attributes()["status"] == "signed"
