"""``signer.signatures`` and ``authority.signatures`` in the heartbeat, and what `status` and `check` say about the same ends."""

import json
import math
import re

import pytest
import transaction

from kinto_signer.core.renewal import Kind
from kinto_signer.core.spans import DAY_MS
from kinto_signer.examining import Looked, Subject, examine
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server import lasting, status, watching
from tests.support.aging import aged
from tests.support.certificates import DAY, make_pki
from tests.support.publications import body_of, post, successive_states
from tests.support.servers import webtest_app
from tests.support.settings import guarded_settings
from tests.support.site import attributes, set_status, signer_app
from tests.support.statements import stated
from tests.support.states import NAME, trust_in

DESTINATION = "main/regions"
WORKSPACE = "/buckets/main-workspace/collections"


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch):
    monkeypatch.setattr(watching, "KEPT_S", 0)
    monkeypatch.setattr(watching, "KEPT_FAILING_S", 0)


@pytest.fixture
def app(key_pair):
    return signer_app(key_pair)


def store_attributes(app, name, **changed):
    """Past Kinto; None removes one."""
    repository = StorageRepository(app.app.registry.storage)
    found = {**repository.attributes(name), **changed}
    repository.set_attributes(name, {key: value for key, value in found.items() if value is not None})
    transaction.commit()


def age(app, key_pair, days, name=DESTINATION):
    bucket, _, collection = name.partition("/")
    shown = attributes(app, f"/buckets/{bucket}/collections/{collection}")
    store_attributes(app, name, publication=aged(key_pair.key(), shown, days))


def beat(app, status=200):
    return app.get("/__heartbeat__", status=status).json["signer.signatures"]


def complaints(caplog):
    return [record.getMessage() for record in caplog.records if record.name == watching.__name__]


# --- S --------------------------------------------------------------------------------------------------------------------


def test_it_tells_ages_and_ends(app, key_pair, caplog):
    assert beat(app) == {
        "oldest_signature_days": 0.0,
        "statement_days_left": 30.0,
        "certificate_days_left": None,
        "failing": 0,
    }
    age(app, key_pair, 26.5)
    shown = beat(app)
    assert (shown["oldest_signature_days"], shown["statement_days_left"]) == (26.5, 3.5)
    assert complaints(caplog) == []


def test_where_nothing_is_signed_there_is_nothing_to_say(key_pair):
    app = signer_app(key_pair, collection=False)
    assert set(beat(app).values()) == {None, 0}
    assert app.get("/__heartbeat__").json["signer"] is True


def test_it_fails_below_the_threshold_and_one_line_says_what_mends_it(app, key_pair, caplog):
    age(app, key_pair, 27.5)
    assert beat(app, 503)["failing"] == 1
    beat(app, 503)
    (line,) = complaints(caplog)
    assert re.fullmatch(
        r"heartbeat: main/regions reason=ends-soon until=20\d\d-\d\d-\d\dT\S+: its statement ends in 2 d 11 h; readers then "
        r"refuse it \[expired\]\. `kinto-signer refresh main-workspace/regions` renews it\.",
        line,
    )
    set_status(app, "to-resign")  # what the line says
    assert beat(app)["failing"] == 0
    age(app, key_pair, 27.5)
    beat(app, 503)
    assert len(complaints(caplog)) == 2


def test_other_collections_are_named_too_and_a_new_one_is_a_new_line(app, key_pair, caplog):
    app.put_json(f"{WORKSPACE}/more", {})
    age(app, key_pair, 28)
    beat(app, 503)
    age(app, key_pair, 31, "main/more")
    assert beat(app, 503)["failing"] == 2
    first, second = complaints(caplog)
    assert "main/more" not in first
    assert second.startswith("heartbeat: main/more reason=ends-soon")
    assert "its statement ended 1 d 0 h ago; readers refuse it [expired]" in second
    assert "Too old or ending soon, too: main-workspace/regions; `kinto-signer refresh` renews all." in second


def test_age_has_no_limit_unless_one_is_set(key_pair, caplog):
    limited = signer_app(key_pair, kinto__signer__heartbeat_oldest_signature_days="9")
    age(limited, key_pair, 8.9)
    assert beat(limited)["failing"] == 0
    age(limited, key_pair, 0.2)
    assert beat(limited, 503)["oldest_signature_days"] == 9.1
    (line,) = complaints(caplog)
    assert "reason=too-old" in line
    assert "it was signed 9 d 2 h ago, longer than 9 d 0 h: nobody renews it" in line


def test_without_a_statement_only_the_age_is_known(key_pair):
    app = signer_app(key_pair, kinto__signer__statement="false", kinto__signer__heartbeat_oldest_signature_days="9")
    assert beat(app) == {
        "oldest_signature_days": 0.0,
        "statement_days_left": None,
        "certificate_days_left": None,
        "failing": 0,
    }
    store_attributes(app, "main-workspace/regions", last_signature_date="2026-01-01T00:00:00+00:00")
    assert beat(app, 503)["failing"] == 1


def test_thresholds_of_one_collection(key_pair):
    app = signer_app(key_pair, **{"kinto__signer__main-workspace.regions.heartbeat_statement_days_left": "0"})
    app.put_json(f"{WORKSPACE}/more", {})
    age(app, key_pair, 29)
    assert beat(app)["failing"] == 0
    age(app, key_pair, 29, "main/more")
    assert beat(app, 503)["failing"] == 1


@pytest.mark.parametrize(("left", "failing"), [(9.9, 1), (10.1, 0), (-1, 1)])
def test_certificates(app, caplog, left, failing):
    now = now_ms() // 1000
    pki = make_pki(leaf={"begin": now - 40 * DAY, "end": now + round(left * DAY)})
    store_attributes(app, DESTINATION, chains={"": pki.pem.decode()})
    shown = beat(app, 503 if failing else 200)
    assert (shown["certificate_days_left"], shown["failing"]) == (pytest.approx(left, abs=0.05), failing)
    if failing:
        (line,) = complaints(caplog)
        assert "the certificate of 'regions.content-signature.example.org' end" in line
        assert "give it a new one (docs/trust.rst); then `kinto-signer refresh main-workspace/regions`" in line


def test_a_source_that_was_deleted_is_looked_at_as_long_as_readers_have_it(key_pair, caplog):
    app = signer_app(key_pair, kinto__signer__status_principals="system.Authenticated")
    age(app, key_pair, 28)
    app.delete(f"{WORKSPACE}/regions")
    assert beat(app)["failing"] == 0
    age(app, key_pair, 28)
    assert beat(app, 503)["failing"] == 1
    assert "`kinto-signer refresh main-workspace/regions` renews it." in complaints(caplog)[0]
    (shown,) = app.get("/signer/status").json["data"]
    assert (shown["source"], shown["deleted"], shown["status"]) == ("main-workspace/regions", True, None)
    app.post_json("/signer/refresh", {"collection": "main-workspace/regions"})
    assert beat(app)["failing"] == 0


def test_looked_at_once_a_minute(app, key_pair, monkeypatch):
    monkeypatch.setattr(watching, "KEPT_S", math.inf)
    assert beat(app)["failing"] == 0
    age(app, key_pair, 40)
    assert beat(app)["failing"] == 0


def test_collections_that_are_not_signed_are_not_looked_at(key_pair):
    app = signer_app(key_pair, kinto__signer__resources="main-workspace/regions;main/regions")
    app.put_json(f"{WORKSPACE}/unsigned", {})
    assert [resource.source.name for resource, _ in lasting.look(app.app.registry)] == ["main-workspace/regions"]


# --- what S tells ---------------------------------------------------------------------------------------------------------


def test_an_authority_that_does_not_answer_is_asked_once(key_pair, monkeypatch):
    app = signer_app(key_pair, kinto__signer__status_principals="system.Authenticated")
    app.put_json(f"{WORKSPACE}/more", {})
    asked = []

    def unreachable(*arguments, **options):
        asked.append(arguments)
        raise status.TryLaterError("nobody is there")

    monkeypatch.setattr(status.Sender, "send", unreachable)
    monkeypatch.setattr(
        type(app.app.registry.signing),
        "authorities",
        lambda self, resource: (status.AuthoritySettings("http://127.0.0.1:9/v1", None, 1.0),),
    )
    shown = app.get("/signer/status").json
    assert [one["authorities"][0]["why"] for one in shown["data"]] == [
        "it does not say what it has: nobody is there [unreachable]"
    ] * 2
    assert len(asked) == 1
    assert abs(lasting.milliseconds(shown["now"]) - now_ms()) < 60_000


# --- A --------------------------------------------------------------------------------------------------------------------


def test_the_authority_says_what_ends_first(key_pair, storage_url):
    app = webtest_app(guarded_settings(key_pair.public, storage_url))
    assert app.get("/__heartbeat__").json["authority.signatures"] is True
    (state,) = successive_states(key_pair.key(), 1)
    now = now_ms()
    post(app, body_of(stated(key_pair.key(), state, now=now - 10 * DAY_MS)), status=201)
    shown = app.get("/__heartbeat__").json["authority.signatures"]
    assert shown.keys() == {"statement"}
    assert (shown["statement"]["collection"], shown["statement"]["days_left"]) == (NAME, 20.0)
    assert lasting.milliseconds(shown["statement"]["ends"]) == now + 20 * DAY_MS


# --- check ----------------------------------------------------------------------------------------------------------------


class Place:
    """Something that holds one state."""

    where = "here"

    def __init__(self, state):
        self.state = state

    def look(self, name, trust):
        return Looked(self.state)


@pytest.mark.parametrize(("days", "warnings"), [(26.9, []), (27.1, ["ends-soon"])])
def test_check_says_until_when_and_warns_when_that_is_soon(key_pair, days, warnings):
    (state,) = successive_states(key_pair.key(), 1)
    state = stated(key_pair.key(), state, now=now_ms() - round(days * DAY_MS))
    fine, *found = examine([Subject(NAME, trust_in(key_pair.key()), (Place(state),))])
    assert re.search(r"; its statement ends 20\d\d-", fine.message)
    assert [(one.level, one.reason) for one in found] == [("warning", reason) for reason in warnings]
    if found:
        assert "readers then refuse it [expired]. On the signer `kinto-signer refresh` renews it." in found[0].message


def test_the_kinds_are_stable_words():
    assert json.dumps(list(Kind)) == '["signature", "statement", "certificate"]'
