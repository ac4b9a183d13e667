"""The statements that S makes: with each publication and each refresh, and what it refuses to state."""

import pytest
import transaction
from pyramid.exceptions import ConfigurationError

from kinto_signer.core.changeset import Changeset
from kinto_signer.core.freshness import DAY_MS, FUTURE_TOLERANCE_MS
from kinto_signer.core.statement import check_published, peek
from kinto_signer.server import publisher, signed_attributes
from tests.support.settings import authority_settings, guarded_settings
from tests.support.site import DESTINATION, SOURCE, attributes, set_status, signer_app, store
from tests.support.states import NAME, now_ms, trust_in


@pytest.fixture
def app(key_pair):
    return published(key_pair)


def published(key_pair, **settings):
    app = signer_app(key_pair, **settings)
    app.patch_json(SOURCE, {"data": {"displayFields": ["name"]}})
    for number in range(3):
        app.put_json(f"{SOURCE}/records/r{number}", {"data": {"n": number}})
    set_status(app, "to-sign")
    return app


def state_of(app, uri=DESTINATION):
    found = attributes(app, uri)
    bucket = uri.split("/")[2]
    return Changeset(found["signed_timestamp"], app.get(f"{uri}/records").json["data"], {**found, "bucket": bucket})


def statement_of(app, key_pair):
    _, found = check_published(NAME, state_of(app), trust_in(key_pair.key()))
    return found


def test_each_publication_has_one_that_names_the_one_before(app, key_pair):
    first = statement_of(app, key_pair)
    assert (first.statement.records, first.statement.audience) == (3, None)
    assert first.statement.expires - first.statement.signed_at == 30 * DAY_MS
    assert abs(first.statement.signed_at - now_ms()) < 60_000

    app.delete(f"{SOURCE}/records/r0")
    set_status(app, "to-sign")
    second = statement_of(app, key_pair)
    assert (second.statement.records, second.statement.previous) == (2, first.digest)
    assert second.statement.serial > first.statement.serial


def test_a_refresh_renews_it_and_touches_nothing_else(app, key_pair, monkeypatch):
    first, before = statement_of(app, key_pair), state_of(app)
    app.put_json(f"{SOURCE}/records/pending", {"data": {}})
    monkeypatch.setattr(publisher.StorageRepository, "records", None)  # no record is read
    set_status(app, "to-resign")
    monkeypatch.undo()
    second, after = statement_of(app, key_pair), state_of(app)
    assert second.statement.serial > first.statement.serial
    assert second.statement.previous == first.digest
    assert (after.timestamp, after.changes) == (before.timestamp, before.changes)


def test_the_settings(key_pair):
    app = published(key_pair, kinto__signer__statement_lifetime_days="2", kinto__signer__audience="production")
    said = statement_of(app, key_pair).statement
    assert (said.expires - said.signed_at, said.audience) == (2 * DAY_MS, "production")


def test_switched_off(key_pair):
    app = published(key_pair, kinto__signer__statement="false")
    assert "publication" not in attributes(app, DESTINATION)
    set_status(app, "to-resign")
    assert "publication" not in attributes(app, DESTINATION)


def test_the_first_refresh_of_what_has_none_reads_the_records(key_pair):
    app = published(key_pair, kinto__signer__statement="false")
    app.app.registry.signing.settings._values["signer.statement"] = "true"
    set_status(app, "to-resign")
    assert statement_of(app, key_pair).statement.records == 3


def test_nothing_is_stated_of_records_that_were_altered(key_pair):
    app = published(key_pair, kinto__signer__statement="false")
    store(app, DESTINATION, "r0", n=99)
    app.app.registry.signing.settings._values["signer.statement"] = "true"
    answer = set_status(app, "to-resign", status=503)
    assert answer.json["details"]["reason"] == "hash-mismatch"
    assert "publication" not in attributes(app, DESTINATION)


@pytest.mark.parametrize("what", ["attributes", "statement"])
def test_a_refresh_blesses_no_attribute_that_was_altered(app, what):
    """The classic signature covers none of them: what counts is the statement that is there."""

    before = attributes(app, DESTINATION)
    altered = {"displayFields": ["n"]} if what == "attributes" else {"publication": {**before["publication"], "payload": "e30="}}
    app.app.registry.storage.update("collection", "/buckets/main", "regions", {**before, **altered})
    transaction.commit()
    answer = set_status(app, "to-resign", status=503)
    assert answer.json["details"]["reason"] == ("hash-mismatch" if what == "attributes" else "bad-signature")


def test_a_clock_that_goes_back_does_not_lower_the_serial(app, key_pair, monkeypatch):
    first = statement_of(app, key_pair).statement
    monkeypatch.setattr(signed_attributes, "now_ms", lambda: first.signed_at - 5000)
    set_status(app, "to-resign")
    second = statement_of(app, key_pair).statement
    assert (second.serial, second.signed_at) == (first.serial + 1, first.signed_at - 5000)


def test_a_clock_that_was_far_ahead_is_noticed(app, key_pair, monkeypatch):
    first = statement_of(app, key_pair).statement
    monkeypatch.setattr(signed_attributes, "now_ms", lambda: first.serial - FUTURE_TOLERANCE_MS - 5000)
    answer = set_status(app, "to-resign", status=503)
    assert answer.json["details"]["reason"] == "not-yet-valid"


def test_what_signs_no_digests_is_refused_at_start_up(key_pair, monkeypatch):
    monkeypatch.setattr("kinto_signer.signers.local.LocalSigner.needs_content", True, raising=False)
    with pytest.raises(ConfigurationError, match=r"kinto.signer.statement = true \(by default\).*sign/hash"):
        signer_app(key_pair)
    signer_app(key_pair, kinto__signer__statement="false")


@pytest.mark.parametrize("guarded", [True, False])
def test_the_authority_gets_it_and_its_refreshes(live_kinto, key_pair, guarded):
    authority = live_kinto(guarded_settings(key_pair.public) if guarded else authority_settings(), name="authority")
    app = published(key_pair, authority=authority.url)
    client = authority.client("reader")

    def there():
        return client.get_collection(bucket="main", id="regions")["data"]

    first = there()
    assert first["publication"] == attributes(app, DESTINATION)["publication"]
    set_status(app, "to-resign")
    second = there()
    assert second["publication"] == attributes(app, DESTINATION)["publication"]
    assert peek(second).statement.previous == peek(first).digest
    assert second["signed_timestamp"] == first["signed_timestamp"]
    if not guarded:  # switched off: what is there would be about another state
        app.app.registry.signing.settings._values["signer.statement"] = "false"
        app.delete(f"{SOURCE}/records/r0")
        set_status(app, "to-sign")
        assert "publication" not in there()


def test_it_follows_the_one_that_an_authority_has_and_this_signer_has_lost(live_kinto, key_pair):
    """As where A took a publication and S could not commit: readers may have seen it."""
    authority = live_kinto(guarded_settings(key_pair.public), name="authority")
    app = published(key_pair, authority=authority.url)

    mine = attributes(app, DESTINATION)
    set_status(app, "to-resign")
    theirs = peek(attributes(app, DESTINATION))
    app.app.registry.storage.update("collection", "/buckets/main", "regions", mine)
    transaction.commit()
    app.put_json(f"{SOURCE}/records/new", {"data": {}})
    set_status(app, "to-sign")
    assert peek(attributes(app, DESTINATION)).statement.previous == theirs.digest
