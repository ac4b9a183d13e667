"""Publication statements on A: what is refused, what is remembered, and that a refresh may renew one and nothing else."""

import dataclasses

import pytest
import transaction

from kinto_signer.core.freshness import DAY_MS
from kinto_signer.core.statement import peek
from tests.support.publications import URI, body_of, post, refreshed, successive_states
from tests.support.servers import webtest_app
from tests.support.settings import guarded_settings
from tests.support.statements import stated, unstated
from tests.support.states import now_ms

NOW = now_ms()


class Published:
    """A on memory that holds a publication, and the key that may publish the next one."""

    def __init__(self, key_pair, **settings):
        self.key = key_pair.key()
        first, self.second = successive_states(self.key, 2, displayFields=["text"])
        self.held = stated(self.key, first, now=NOW - 60_000)
        self.app = webtest_app(guarded_settings(key_pair.public) | {f"kinto.authority.{k}": v for k, v in settings.items()})

    def refused(self, state, base):
        answer = post(self.app, body_of(state, base), status=403)
        assert "Nothing was stored" in answer.json["message"]
        return answer.json["details"]["reason"]

    def attributes(self):
        return self.app.get(URI).json["data"]


@pytest.fixture
def there(key_pair):
    published = Published(key_pair)
    post(published.app, body_of(published.held))
    return published


def changed(state, **attributes):
    return dataclasses.replace(state, metadata={**state.metadata, **attributes})


ATTACKS = {
    "the next one without": ("no-statement", lambda t: t.second),
    "taken away": ("no-statement", lambda t: unstated(t.held)),
    "an older one": ("rollback", lambda t: stated(t.key, t.held, now=NOW - 60_001)),
    "the next one with an older one": ("rollback", lambda t: stated(t.key, t.second, now=NOW - 60_001)),
    "another with the same serial": ("same-timestamp", lambda t: stated(t.key, t.held, now=NOW - 60_000, expires=NOW + DAY_MS)),
    "the one that is held": ("hash-mismatch", lambda t: changed(t.second, publication=t.held.metadata["publication"])),
    "another collection's": ("other-collection", lambda t: stated(t.key, t.second, collection="other")),
    "an expired one": ("expired", lambda t: stated(t.key, t.second, now=NOW - 50_000, expires=NOW - 1)),
    "a serial out of reach": ("not-yet-valid", lambda t: stated(t.key, t.second, serial=2**53 - 1)),
    "an altered attribute": ("hash-mismatch", lambda t: changed(stated(t.key, t.second), displayFields=["id"])),
    "null": ("bad-answer", lambda t: changed(t.second, publication=None)),
    "no signature of a trusted key": (
        "bad-signature",
        lambda t: changed(
            s := stated(t.key, t.second),
            publication={
                **s.metadata["publication"],
                "signatures": [{"keyid": "", "sig": "AAAA"}],
            },
        ),
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks(there, attack):
    reason, forge = ATTACKS[attack]
    before = there.attributes()
    assert there.refused(forge(there), there.held.timestamp) == reason
    assert there.attributes() == before
    post(there.app, body_of(stated(there.key, there.second), there.held.timestamp), status=200)


@pytest.mark.parametrize("attack", ATTACKS)
def test_without_the_checks_each_of_them_gets_in(there, attack, monkeypatch):
    """The control: what the classic signature alone does not stop."""
    monkeypatch.setattr("kinto_signer.authority.publication.check_statement", lambda *args, **options: None)
    monkeypatch.setattr("kinto_signer.authority.publication.refuse_older", lambda *args: None)
    post(there.app, body_of(ATTACKS[attack][1](there), there.held.timestamp), status=200)


def test_a_refresh_may_renew_the_statement_and_nothing_else(there):
    fresh = stated(there.key, refreshed(there.key, unstated(there.held)), now=NOW)
    for name, value in {"displayFields": ["id"], "new": 1}.items():
        forged = changed(fresh, **{name: value})
        forged = stated(there.key, unstated(forged), now=NOW)
        assert there.refused(forged, there.held.timestamp) == "refused"
    post(there.app, body_of(fresh, there.held.timestamp), status=200)
    found = there.attributes()
    assert found["publication"] == fresh.metadata["publication"]
    assert (found["signed_timestamp"], found["displayFields"]) == (there.held.timestamp, ["text"])
    assert there.refused(there.held, there.held.timestamp) == "rollback"


def test_it_is_remembered_longer_than_the_collection(there):
    storage = there.app.app.registry.storage
    with there.app.app.registry.guard.watch.off():
        storage.delete_all("record", URI)
        storage.delete("collection", "/buckets/main", "regions")
        transaction.commit()
    assert there.refused(unstated(there.held), 0) == "no-statement"
    assert there.refused(stated(there.key, unstated(there.held), now=NOW - 60_001), 0) == "rollback"
    post(there.app, body_of(there.held), status=201)


def test_one_that_has_expired_since_is_no_damage(there, monkeypatch):
    monkeypatch.setattr("kinto_signer.authority.guard.now_ms", lambda: NOW + 90 * DAY_MS)
    guard = there.app.app.registry.guard
    assert guard.check_stored("main/regions").serial == peek(there.held.metadata).statement.serial


@pytest.mark.parametrize(
    ("altered", "reason"),
    [({"publication": None}, "bad-answer"), ({"displayFields": ["id"]}, "refused"), ("taken away", "no-statement")],
)
def test_a_statement_that_was_altered_behind_its_back_is_damage(there, altered, reason):
    held = there.attributes()
    attributes = {**held, **altered} if isinstance(altered, dict) else {k: v for k, v in held.items() if k != "publication"}
    guard = there.app.app.registry.guard
    with guard.watch.off():
        there.app.app.registry.storage.update("collection", "/buckets/main", "regions", attributes)
        transaction.commit()
    assert guard.check_stored("main/regions").reason == reason


@pytest.mark.parametrize("required", ["true", "false"])
def test_required(key_pair, required):
    there = Published(key_pair, require_statement=required)
    if required == "true":
        assert there.refused(unstated(there.held), 0) == "no-statement"
    else:
        post(there.app, body_of(unstated(there.held)), status=201)
        assert there.app.app.registry.guard.check_stored("main/regions").serial == 0
    base = 0 if required == "true" else there.held.timestamp
    post(there.app, body_of(stated(there.key, there.second), base))


def test_required_of_one_collection(key_pair):
    there = Published(key_pair, **{"main.regions.require_statement": "true"})
    assert there.refused(unstated(there.held), 0) == "no-statement"


def test_the_audience(key_pair):
    there = Published(key_pair, audience="production")
    assert there.refused(there.held, 0) == "other-collection"
    assert there.refused(stated(there.key, there.held, audience="staging"), 0) == "other-collection"
    post(there.app, body_of(stated(there.key, there.held, audience="production")), status=201)
