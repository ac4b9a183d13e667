"""kinto-signer for editors, reviewers and cron: the workflow from the command line, against a live signer with reviews."""

import itertools
import json
from dataclasses import dataclass

import pytest

from kinto_signer.cli import output, review, signer_api
from kinto_signer.cli.signer import cli
from tests.support.keys import write_key_pair
from tests.support.servers import LiveKinto
from tests.support.settings import PASSWORD
from tests.support.terminal import Terminal
from tests.support.workflow import review_settings

BUCKET = "main-workspace"
NUMBERS = itertools.count(1)
PEOPLE = ("admin", "alice", "bob", "carol", "dave")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """S with reviews, for all tests of this module; each has a collection of its own."""
    settings = review_settings(write_key_pair(tmp_path_factory.mktemp("keys")))
    settings |= {
        r"kinto.signer.main-workspace.strict-\d+.four_eyes": "contributors",
        r"kinto.signer.main-workspace.bot-\d+.self_approval_principals": "system.Authenticated",
        r"kinto.signer.main-workspace.many-\d+.mass_deletion_percent": "50",
        r"kinto.signer.main-workspace.hidden-\d+.mass_deletion_percent": "50",
        r"kinto.signer.main-workspace.hidden-\d+.destination_readers": "system.Nobody",
        r"kinto.signer.main-workspace.free-\d+.to_review_enabled": "false",
    }
    with LiveKinto(settings, name="signer") as server:
        server.principals = {user: server.userid(user) for user in PEOPLE}
        server.client("admin").create_bucket(id=BUCKET)
        yield server


@dataclass
class Site:
    """One source, of which alice is an editor, bob editor and reviewer, carol reviewer; dave reads it."""

    server: LiveKinto
    collection: str
    capsys: pytest.CaptureFixture
    monkeypatch: pytest.MonkeyPatch
    bucket: str = BUCKET

    @property
    def name(self):
        return f"{self.bucket}/{self.collection}"

    def run(self, user, command, *arguments):
        """``kinto-signer COMMAND BUCKET/COLLECTION …`` -> exit code, stdout, stderr, in this process."""
        self.monkeypatch.setenv("KINTO_SERVER", self.server.url)
        self.monkeypatch.setenv("KINTO_AUTH", f"{user}:{PASSWORD}")
        self.capsys.readouterr()
        code = output.run(cli, [command, self.name, *map(str, arguments)])
        captured = self.capsys.readouterr()
        assert PASSWORD not in captured.out + captured.err
        return code, captured.out, captured.err

    def json(self, user, command, *arguments):
        """The same with ``--format json``: exit code and object."""
        code, out, _ = self.run(user, command, *arguments, "--format", "json")
        found = json.loads(out)
        assert found["exit_code"] == code
        return code, found

    def put(self, record_id, user="alice", **data):
        self.server.client(user).update_record(bucket=BUCKET, collection=self.collection, id=record_id, data=data)

    def delete(self, record_id, user="alice"):
        self.server.client(user).delete_record(bucket=BUCKET, collection=self.collection, id=record_id)

    def everything(self):
        """What S holds of the source and its copies."""
        admin = self.server.client("admin")
        found = {}
        for bucket in (BUCKET, "main-preview", "main"):
            found[bucket] = admin.get_collection(bucket=bucket, id=self.collection)["data"]
            found[bucket, "records"] = admin.get_records(bucket=bucket, collection=self.collection)
        return found

    @property
    def status(self):
        return self.everything()[BUCKET]["status"]

    def published(self):
        return {record["id"]: record.get("n") for record in self.everything()["main", "records"]}

    def source(self):
        return {record["id"]: record.get("n") for record in self.everything()[BUCKET, "records"]}


@pytest.fixture
def make(server, capsys, monkeypatch):
    """``make("strict")`` is a Site whose collection is called ``strict-`` and a number; published are a, b and c."""

    def make(kind="regions"):
        site = Site(server, f"{kind}-{next(NUMBERS)}", capsys, monkeypatch)
        admin, who = server.client("admin"), server.principals
        reading = {"read": [who["dave"]], "write": [who["alice"], who["bob"], who["carol"]]}
        admin.create_collection(bucket=BUCKET, id=site.collection, permissions=reading)
        for group, members in (("editors", ("alice", "bob", "admin")), ("reviewers", ("bob", "carol"))):
            data = {"members": [who[user] for user in members]}
            admin.update_group(bucket=BUCKET, id=f"{site.collection}-{group}", data=data)
        for record_id in "abc":
            site.put(record_id, "admin", n=1)
        if kind != "free":
            admin.patch_collection(bucket=BUCKET, id=site.collection, data={"status": "to-review"})
        server.client("carol").patch_collection(bucket=BUCKET, id=site.collection, data={"status": "to-sign"})
        return site

    return make


@pytest.fixture
def site(make):
    return make()


def edit(site):
    """One created, one updated, one deleted."""
    site.put("d", n=4)
    site.put("a", n=2)
    site.delete("b")


# --- the flow -------------------------------------------------------------------------------------------------------------


def test_request_decline_request_approve(site):
    code, out, _ = site.run("alice", "diff")
    assert (code, out) == (0, f"{site.name}: no changes (against main/{site.collection})\n")
    edit(site)
    code, out, _ = site.run("alice", "diff")
    assert code == 10
    assert "1 created, 1 updated, 1 deleted" in out
    assert out.splitlines()[1:] == ["+ d", "    n: 4", "~ a", "    $.n: 1 -> 2", "- b", "    n: 1"]
    code, out, _ = site.run("alice", "request-review", "-m", "two new stops")
    assert (code, "review requested" in out, "editor's comment: two new stops" in out) == (0, True, True)
    assert site.status == "to-review"
    code, out, _ = site.run("carol", "decline", "-m", "one too many")
    assert (code, "review declined" in out, "reviewer's comment: one too many" in out) == (0, True, True)
    assert (site.status, site.published()) == ("work-in-progress", {"a": 1, "b": 1, "c": 1})
    assert site.json("alice", "request-review")[1]["collection"]["status"] == "to-review"
    assert (
        "last_editor_comment" not in site.json("alice", "status")[1]["collections"][0]
        or not site.everything()[BUCKET]["last_editor_comment"]
    )
    code, out, _ = site.run("carol", "approve", "-m", "fine")
    assert (code, "1 created, 1 updated, 1 deleted" in out, f"{site.name}: signed and published." in out) == (0, True, True)
    assert (site.status, site.published()) == ("signed", {"a": 2, "c": 1, "d": 4})
    code, found = site.json("dave", "log")
    assert [entry["action"] for entry in found["log"]][:4] == ["publish", "request review", "decline", "request review"]
    assert (found["log"][0]["comment"], found["log"][0]["by"]) == ("fine", site.server.principals["carol"])


def test_the_log_for_people(site, monkeypatch):
    edit(site)
    site.run("alice", "request-review", "-m", "please\x1b[2J")
    site.run("carol", "decline")
    code, out, _ = site.run("dave", "log")
    declined, requested, *earlier = out.splitlines()
    alice, carol = site.server.principals["alice"], site.server.principals["carol"]
    assert declined.endswith(f"decline by {carol}: 1 created, 1 updated, 1 deleted; requested by {alice}")
    assert requested.endswith(f'request review by {alice}: 1 created, 1 updated, 1 deleted; "please\\u001b[2J"')
    assert (code, len(earlier)) == (0, 2)
    assert site.run("dave", "log", "-n", "3")[1].splitlines() == out.splitlines()[:3]
    monkeypatch.setattr(signer_api, "LOG_PAGE", 1)
    assert site.run("dave", "log")[1] == out
    assert site.run("dave", "log", "-n", "0")[0] == 2


def test_a_difference_in_pages_is_shown_as_a_whole(site, monkeypatch):
    edit(site)
    whole = site.run("alice", "diff")
    monkeypatch.setattr(signer_api, "PAGE", 1)
    assert site.run("alice", "diff") == whole
    _, found = site.json("alice", "diff")
    assert [[record["id"] for record in found[kind]] for kind in ("created", "deleted")] == [["d"], ["b"]]
    assert [(pair["before"]["n"], pair["after"]["n"]) for pair in found["updated"]] == [(1, 2)]
    assert found["digest"].startswith("sha384-")


def test_against_the_preview(site):
    edit(site)
    assert site.json("alice", "diff", "--against", "preview")[0] == 10
    site.run("alice", "request-review")
    assert site.json("alice", "diff", "--against", "preview")[0] == 0
    assert site.json("alice", "diff")[0] == 10


def test_what_a_terminal_would_not_show_as_it_is_written_is_escaped(site):
    site.put("d", **{"name": "\x1b[8mhidden", "\u202eeman": ["\u2066x\n", {"deep": True}]})
    site.put("a", **{"n": "\x9b2J", "\u202ename": 1})
    out = site.run("alice", "diff")[1]
    assert all(character.isprintable() or character == "\n" for character in out)
    assert '    name: "\\u001b[8mhidden"' in out
    assert '    \\u202eeman: ["\\u2066x\\n", {"deep": true}]' in out
    assert '    $.n: 1 -> "\\u009b2J"' in out
    assert "\\u202ename" in out


def test_attributes_are_shown(site):
    client = site.server.client("alice")
    client.patch_collection(bucket=BUCKET, id=site.collection, data={"displayFields": ["n"], "sort": "n"})
    code, out, _ = site.run("alice", "diff")
    assert (code, "2 attributes" in out) == (10, True)
    assert out.splitlines()[1:] == [
        "* attribute sort",
        '    $.sort: (nothing) -> "n"',
        "* attribute displayFields",
        '    $.displayFields: (nothing) -> ["n"]',
    ]


# --- what was seen is what is approved ------------------------------------------------------------------------------------


def test_only_what_was_reviewed_is_approved(site):
    edit(site)
    site.run("alice", "request-review")
    digest = site.json("carol", "diff")[1]["digest"]
    assert f"kinto-signer approve {site.name} --reviewed-digest {digest}" in site.run("carol", "diff")[1]
    site.put("a", n=666)
    site.run("alice", "request-review")
    before = site.everything()
    code, found = site.json("carol", "approve", "--reviewed-digest", digest)
    assert (code, found["error"]["reason"], site.everything()) == (6, "changed", before)
    assert digest in found["error"]["message"]
    digest = site.json("carol", "diff")[1]["digest"]
    code, found = site.json("carol", "approve", "--reviewed-digest", digest)
    assert (code, found["reviewed_digest"], site.published()["a"]) == (0, digest, 666)


@pytest.mark.parametrize("command", ["approve", "rollback"])
def test_an_edit_between_the_look_and_the_answer(site, monkeypatch, command):
    edit(site)
    site.run("alice", "request-review")
    pending = signer_api.Signer.pending

    def edited_meanwhile(*arguments, **options):
        found = pending(*arguments, **options)
        site.put("a", n=666)
        site.server.client("alice").patch_collection(bucket=BUCKET, id=site.collection, data={"status": "to-review"})
        return found

    monkeypatch.setattr(signer_api.Signer, "pending", edited_meanwhile)
    code, _, err = site.run("carol", command)
    assert (code, " answered 412: " in err) == (6, True)
    assert (site.status, site.source()["a"], site.published()["a"]) == ("to-review", 666, 1)


def test_an_edit_before_a_decline_is_not_declined(site, monkeypatch):
    edit(site)
    site.run("alice", "request-review")
    collection = signer_api.Signer.collection

    def edited_meanwhile(*arguments):
        found = collection(*arguments)
        site.put("a", n=3)
        return found

    monkeypatch.setattr(signer_api.Signer, "collection", edited_meanwhile)
    assert site.run("carol", "decline", "-m", "no")[0] == 6
    monkeypatch.undo()
    assert not site.everything()[BUCKET]["last_reviewer_comment"]


# --- refusals -------------------------------------------------------------------------------------------------------------


def test_refusals_say_why(site):
    edit(site)
    name = site.collection
    for user, command, said in (
        ("carol", "request-review", f"Not in {name}-editors group"),
        ("carol", "approve", "Collection not under review"),
        ("carol", "decline", "'work-in-progress', not under review: there is nothing to decline"),
    ):
        code, _, err = site.run(user, command)
        assert (code, said in err, "[refused]" in err) == (6, True, True), err
    assert site.run("bob", "request-review")[0] == 0
    for user, said in (("alice", f"Not in {name}-reviewers group"), ("bob", "Last editor cannot review")):
        code, _, err = site.run(user, "approve")
        assert (code, said in err) == (6, True), err
    assert site.run("dave", "approve")[0] == 4
    assert site.status == "to-review"
    site.run("carol", "approve")
    for command, said in (("request-review", "Collection already signed"), ("rollback", "Collection has no work-in-progress")):
        code, _, err = site.run("alice", command)
        assert (code, said in err) == (6, True), err


def test_refusals_name_the_record(site):
    code, _, err = site.run("alice", "discard", "a", "nothing")
    assert (code, "'a', 'nothing'" in err) == (6, True)
    code, _, err = site.run("alice", "discard", "a", "nothing", "--dry-run")
    assert (code, "'a', 'nothing'" in err) == (6, True)


def test_names_that_are_none(site):
    for collection in ("", "b/c", "b?x=y", "../x", "b%2Fc"):
        site.collection = collection
        code, _, err = site.run("alice", "diff")
        assert (code, "is not the name of a collection" in err) == (2, True)


def test_a_collection_that_is_no_source(site):
    site.server.client("admin").create_bucket(id="other", if_not_exists=True, permissions={"read": ["system.Everyone"]})
    site.server.client("admin").create_collection(bucket="other", id=site.collection)
    site.bucket = "other"
    code, found = site.json("alice", "diff")
    assert (code, found["error"]["reason"]) == (1, "not-found")
    assert site.json("alice", "status")[1]["collections"][0]["pending"] is None


# --- mass deletion --------------------------------------------------------------------------------------------------------


def test_a_mass_deletion_has_to_be_allowed(make):
    site = make("many")
    for number in range(12):
        site.put(f"r{number}", n=number)
    site.run("alice", "request-review")
    assert site.run("carol", "approve")[0] == 0
    for number in range(11):
        site.delete(f"r{number}")
    site.run("alice", "request-review")
    code, found = site.json("carol", "approve", "--dry-run")
    assert (code, found["refusal"]["reason"]) == (6, "mass-deletion")
    code, _, err = site.run("carol", "approve")
    assert (code, "[mass-deletion]" in err, "--allow-mass-deletion" in err) == (6, True, True)
    assert site.json("carol", "approve", "--dry-run", "--allow-mass-deletion")[0] == 0
    assert (site.run("carol", "approve", "--allow-mass-deletion")[0], len(site.published())) == (0, 4)
    assert "allow_mass_deletion" not in site.everything()[BUCKET]


def test_where_the_destination_is_not_for_us(make):
    site = make("hidden")
    site.delete("a")
    site.run("alice", "request-review")
    code, out, _ = site.run("carol", "status")
    assert (code, "pending: 0 created, 0 updated, 1 deleted" in out, "which you may not read" in out) == (0, True, True)
    code, found = site.json("carol", "approve", "--dry-run")
    assert (code, found["would"]) == (0, "publish")  # whether it is a mass deletion, only the signer can tell
    code, found = site.json("carol", "approve")
    assert (code, found["collection"]["status"]) == (0, "signed")


# --- dry runs -------------------------------------------------------------------------------------------------------------


def test_dry_runs_change_nothing_and_say_what_would_happen(site):
    edit(site)
    who = site.server.principals
    editors, reviewers = (f"/buckets/{BUCKET}/groups/{site.collection}-{group}" for group in ("editors", "reviewers"))

    def rehearsed(user, *arguments):
        before = site.everything()
        code, found = site.json(user, *arguments, "--dry-run")
        text = site.run(user, *arguments, "--dry-run")
        assert site.everything() == before
        assert (text[0], "Nothing was changed." in text[1] or code != 0) == (code, True)
        return code, found

    code, found = rehearsed("alice", "request-review")
    assert (code, found["would"], found["becomes"], found["who"]["group"]) == (0, "request review", "to-review", editors)
    assert [record["id"] for record in found["created"]] == ["d"]
    code, found = rehearsed("carol", "approve")
    assert (code, found["would"], "not under review" in found["refusal"]["message"]) == (6, None, True)
    code, found = rehearsed("alice", "rollback")
    assert (code, found["would"], found["becomes"], found["who"]["group"]) == (0, "rollback", "signed", None)
    code, found = rehearsed("alice", "discard", "b")
    assert (code, found["would"], found["becomes"]) == (0, "discard", "work-in-progress")
    assert ([record["id"] for record in found["deleted"]], found["created"]) == (["b"], [])
    assert rehearsed("alice", "discard", "a", "b", "d")[1]["becomes"] == "signed"
    assert rehearsed("dave", "discard", "b")[0] == 6
    assert rehearsed("carol", "decline")[0] == 6
    site.run("alice", "request-review")
    code, found = rehearsed("carol", "decline")
    assert (code, found["would"], found["becomes"]) == (0, "decline", "work-in-progress")
    code, found = rehearsed("carol", "approve")
    assert (code, found["would"], found["becomes"]) == (0, "publish", "signed")
    assert found["who"] == {"group": reviewers, "members": None, "excluded": [who["alice"]], "alone": [], "you": who["carol"]}
    assert sorted(rehearsed("admin", "approve")[1]["who"]["members"]) == sorted([who["bob"], who["carol"]])
    assert rehearsed("alice", "approve")[0] == 6
    code, found = rehearsed("dave", "approve")
    assert (code, "may not write" in found["refusal"]["message"]) == (6, True)
    code, found = rehearsed("carol", "refresh")
    assert (code, found["dry_run"], "would sign again" in found["refreshed"][0]["what"]) == (0, True, True)


@pytest.mark.parametrize(
    ("kind", "requester", "approver", "code"),
    [
        ("regions", "alice", "bob", 0),
        ("regions", "bob", "bob", 6),
        ("strict", "alice", "bob", 6),
        ("bot", "bob", "bob", 0),
        ("strict", "alice", "carol", 0),
    ],
)
def test_a_dry_run_ends_as_the_approval_does(make, kind, requester, approver, code):
    site = make(kind)
    site.put("a", "bob", n=2)
    site.run(requester, "request-review")
    assert site.json(approver, "approve", "--dry-run")[0] == code
    assert site.run(approver, "approve")[0] == code
    if kind == "bot":
        assert "alone, as self_approval_principals allows" in site.run("dave", "log")[1].splitlines()[0]


@pytest.mark.parametrize(("user", "code"), [("carol", 0), ("alice", 6)])
def test_a_dry_run_without_reviews(make, user, code):
    site = make("free")
    site.put("a", n=2)
    assert site.json(user, "approve", "--dry-run")[0] == code
    assert site.run(user, "approve")[0] == code


# --- taking back ----------------------------------------------------------------------------------------------------------


def test_rollback(site):
    edit(site)
    code, out, _ = site.run("alice", "rollback")
    assert (code, "1 created, 1 updated, 1 deleted" in out, "rolled back" in out) == (0, True, True)
    assert (site.status, site.source()) == ("signed", {"a": 1, "b": 1, "c": 1})


def test_discard(site):
    edit(site)
    code, out, _ = site.run("alice", "discard", "a", "b", "a")
    assert (code, "2 changes taken back" in out) == (0, True)
    assert (site.status, site.source()) == ("work-in-progress", {"a": 1, "b": 1, "c": 1, "d": 4})
    code, found = site.json("alice", "discard", "d")
    assert (code, found["collection"]["status"], site.source()) == (0, "signed", {"a": 1, "b": 1, "c": 1})
    assert site.run("alice", "discard")[0] == 2


# --- status and refresh ---------------------------------------------------------------------------------------------------


def test_status_says_what_is_pending_and_which_rules_hold(make):
    site = make("strict")
    edit(site)
    groups = f"/buckets/{BUCKET}/groups/{site.collection}"
    code, out, _ = site.run("dave", "status")
    assert code == 0
    for line in (
        "pending: 1 created, 1 updated, 1 deleted",
        "reviews: on",
        f"groups: {groups}-editors request, {groups}-reviewers approve",
        "four eyes: contributors, nobody who edited or asked for the review can approve",
    ):
        assert f"\n  {line}" in out
    (state,) = site.json("dave", "status")[1]["collections"]
    assert state["pending"]["counts"] == {"created": 1, "updated": 1, "deleted": 1, "attributes": 0}
    assert (state["rules"]["reviews"], state["rules"]["four_eyes"]) == (True, "contributors")


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("regions", "four eyes: requester, who asked for the review cannot approve"),
        ("free", "reviews: off, nothing has to be reviewed"),
        ("bot", "may approve alone: system.Authenticated"),
        ("many", "mass deletion: to remove more than 50 % of the records has to be allowed"),
    ],
)
def test_other_rules_in_force(make, kind, line):
    assert f"\n  {line}\n" in make(kind).run("dave", "status")[1]


def test_status_where_the_records_are_not_for_us(site):
    admin = site.server.client("admin")
    admin.update_bucket(id=BUCKET, permissions={"read": []}, safe=False)
    permissions = {"record:create": [site.server.principals["dave"]], "read": []}
    admin.patch_collection(bucket=BUCKET, id=site.collection, data={}, permissions=permissions)
    code, found = site.json("dave", "status")
    assert (code, found["collections"][0]["status"], found["collections"][0]["pending"]) == (0, "signed", None)


def test_refresh(make):
    sites = [make(), make(), make()]
    site = sites[1]
    before = [one.everything() for one in sites]
    site.put("a", n=2)
    site.run("alice", "request-review")
    code, found = site.json("carol", "refresh")
    assert (code, [one["name"] for one in found["refreshed"]]) == (0, [site.name])
    assert (site.status, site.published()) == ("to-review", {"a": 1, "b": 1, "c": 1})
    assert site.everything()["main"]["signature"] != before[1]["main"]["signature"]
    assert [one.everything() for one in (sites[0], sites[2])] == [before[0], before[2]]


def test_one_that_cannot_be_refreshed_does_not_stop_the_others(make, monkeypatch, capsys):
    sites = [make(), make(), make()]
    refused = sites[1]
    admin, dave = refused.server.client("admin"), refused.server.principals["dave"]
    for one in (sites[0], sites[2]):
        admin.patch_collection(bucket=BUCKET, id=one.collection, data={}, permissions={"write": [dave]})
    names = [one.name for one in sites]
    monkeypatch.setattr(signer_api.Signer, "names", lambda signer: names)
    monkeypatch.setenv("KINTO_SERVER", refused.server.url)
    monkeypatch.setenv("KINTO_AUTH", f"dave:{PASSWORD}")
    before = [one.everything() for one in sites]
    capsys.readouterr()
    code = output.run(cli, ["refresh"])
    captured = capsys.readouterr()
    assert (code, captured.out) == (1, f"{names[0]}: signed again\n{names[2]}: signed again\n")
    assert f"1 of 3 not renewed: {names[1]}" in captured.err
    now = [one.everything() for one in sites]
    assert now[1] == before[1]
    assert all(now[one]["main"]["signature"] != before[one]["main"]["signature"] for one in (0, 2))
    code, found = refused.json("dave", "refresh")
    assert (code, found["refreshed"][0]["error"]["exit_code"]) == (4, 4)


# --- at a terminal --------------------------------------------------------------------------------------------------------


def at_terminal(site, command, *arguments, user=None):
    environment = {"KINTO_SERVER": site.server.url} | ({"KINTO_AUTH": f"{user}:{PASSWORD}"} if user else {})
    return Terminal([command, site.name, *arguments], environment)


def test_at_a_terminal_it_asks_for_credentials_and_before_it_signs(site):
    edit(site)
    site.run("alice", "request-review")
    with at_terminal(site, "approve", "--format", "json") as terminal:
        terminal.wait_for(f"User on {site.server.url}: ")
        terminal.type("carol")
        terminal.wait_for("Password: ")
        terminal.type(PASSWORD)
        terminal.wait_for("Sign and publish this? [y/N] ")
        assert site.status == "to-review"
        terminal.type("y")
        code, out = terminal.end()
    assert (code, site.status, json.loads(out)["exit_code"]) == (0, "signed", 0)
    assert PASSWORD not in terminal.seen
    assert "$.n: 1 -> 2" in terminal.seen


@pytest.mark.parametrize("user", ["", "carol:x"])
def test_at_a_terminal_a_name_is_needed(site, user):
    with at_terminal(site, "status") as terminal:
        terminal.wait_for("User on ")
        terminal.type(user)
        code, _ = terminal.end()
    assert (code, "A user name is needed" in terminal.seen, "Password" in terminal.seen) == (2, True, False)


@pytest.mark.parametrize("answer", ["", "yes please"])
def test_anything_but_yes_changes_nothing(site, answer):
    edit(site)
    before = site.everything()
    with at_terminal(site, "rollback", user="alice") as terminal:
        terminal.wait_for("Take all of this back? [y/N] ")
        terminal.type(answer)
        code, _ = terminal.end()
    assert (code, "[not-confirmed]" in terminal.seen, site.everything()) == (1, True, before)


def test_what_would_be_refused_is_not_asked(site):
    edit(site)
    with at_terminal(site, "approve", user="carol") as terminal:
        code, _ = terminal.end()
    assert (code, "[y/N]" in terminal.seen, "Collection not under review" in terminal.seen) == (6, False, True)


def test_yes_asks_nothing(site, monkeypatch):
    edit(site)
    site.run("alice", "request-review")
    monkeypatch.setattr(review, "SHOWN", 1)
    with at_terminal(site, "approve", "--yes", user="carol") as terminal:
        code, out = terminal.end()
    assert (code, "[y/N]" in terminal.seen, "signed and published" in out) == (0, False, True)
