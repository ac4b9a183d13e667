"""What the operator reads: one line for each publication, one for each refusal (decision 10), and no secret in any."""

import logging
import re

import pytest

from kinto_signer.server.signing import AuthoritySettings
from tests.support.settings import PASSWORD, authority_settings
from tests.support.site import DESTINATION, SOURCE, attributes, set_status, signer_app


@pytest.fixture
def app(key_pair, live_kinto, database, caplog):
    caplog.set_level(logging.INFO, "kinto_signer")
    app = signer_app(key_pair, database=database, authority=live_kinto(authority_settings(), name="authority").url)
    caplog.clear()
    return app


@pytest.fixture
def database(create_database):
    return create_database()


def lines(caplog, word):
    found = [record.getMessage() for record in caplog.records if record.name.startswith("kinto_signer")]
    return [line for line in found if line.startswith(word)]


def test_one_line_for_each_publication(app, caplog):
    user = attributes(app)["last_signature_by"]
    for i in range(3):
        app.put_json(f"{SOURCE}/records/r{i}", {"data": {"n": i}})
    set_status(app, "to-sign")
    app.delete(f"{SOURCE}/records/r0")
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 10}})
    set_status(app, "to-sign")
    first, second = lines(caplog, "published")
    assert "main/regions" in first
    assert "created=3 updated=0 deleted=0 sent=3 to=http://127.0.0.1:" in first
    assert "created=0 updated=1 deleted=1 sent=2" in second
    found = attributes(app, DESTINATION)
    assert f"signed_timestamp={found['signed_timestamp']} hash={found['hash']}" in second
    assert f"by={user}" in second
    assert re.search(r"seconds=look:[\d.]+,write:[\d.]+,sign:[\d.]+,other_plugins:[\d.]+,push:[\d.]+,read_back:[\d.]+$", second)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda app: app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1.5}}, status=400), "unsignable"),
        (lambda app: set_status(app, "nope", status=400), "refused"),
    ],
)
def test_one_line_for_each_refusal(app, caplog, act, reason):
    user = attributes(app)["last_signature_by"]
    act(app)
    (line,) = lines(caplog, "refused")
    assert f"reason={reason} status=400 request=P" in line
    assert SOURCE in line
    assert f"by={user}" in line
    assert not lines(caplog, "published")


def test_an_authority_that_is_ahead_is_a_warning(app, caplog, key_pair, create_database):
    """S was restored from a back-up, or did not finish a publication."""
    app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1}})
    set_status(app, "to-sign")
    storage = app.app.registry.storage
    older = {**attributes(app, DESTINATION), "signed_timestamp": 1}
    storage.update("collection", "/buckets/main", "regions", older)
    import transaction

    transaction.commit()
    caplog.clear()
    set_status(app, "to-sign")
    assert any("restored from a back-up" in record.getMessage() for record in caplog.records)


def test_what_is_hidden_shows_nowhere(app, caplog, key_pair):
    (settings,) = app.app.registry.signing.authorities(app.app.registry.signing.resources.configured[0])
    assert isinstance(settings, AuthoritySettings)
    assert PASSWORD in settings.auth
    assert PASSWORD not in repr(settings)
    set_status(app, "to-sign")
    shown = caplog.text + app.get("/").text + repr(app.app.registry.signing.settings) + repr(app.app.registry.signing.__dict__)
    assert PASSWORD not in shown
    assert key_pair.private.read_text().splitlines()[1] not in shown
