"""S carries the chains of its signers: with each publication and each refresh, here and on A, and readers need nothing else."""

import time

import pytest
import transaction

from tests.support.certificates import DAY, SIGNER, make_pki, write_pki
from tests.support.keys import KeyPair
from tests.support.site import DESTINATION, SOURCE, attributes, everything, set_status, signer_app

NOW = int(time.time())
PKI = make_pki(leaf={"begin": NOW - DAY, "end": NOW + 60 * DAY})
NEXT = make_pki(root_issued=PKI.root, leaf={"begin": NOW - DAY, "end": NOW + 200 * DAY})
OTHER = make_pki(leaf={"begin": NOW - DAY, "end": NOW + 60 * DAY})
PREVIEW = "/buckets/main-preview/collections/regions"
ROOTED = {"kinto__signer__x5u_roots": PKI.root.sha256.hex(":"), "kinto__signer__signer_ids": SIGNER}


def app_of(files, **settings):
    pair = KeyPair(private=files.key, public=files.key)
    return signer_app(pair, kinto__signer__ecdsa__chain=str(files.chain), **settings)


@pytest.fixture
def app(tmp_path):
    return app_of(write_pki(tmp_path, PKI))


def publish(app, **data):
    app.put_json(f"{SOURCE}/records/r{len(data)}", {"data": {"at": str(time.time_ns()), **data}})
    return set_status(app, "to-sign")


def carries(found, pki):
    """The attributes carry this chain and no other, by the one name that all signatures have for it."""
    assert list(found["chains"].values()) == [pki.pem.decode()]
    (x5u,) = found["chains"]
    named = [*found["signatures"], found["signature"], *found["publication"]["signatures"]]
    assert {entry["x5u"] for entry in named} == {x5u}


def test_each_publication_and_each_refresh_has_them(tmp_path, app):
    publish(app)
    carries(attributes(app, DESTINATION), PKI)
    assert "chains" not in attributes(app, SOURCE)
    write_pki(tmp_path, NEXT)
    set_status(app, "to-resign")
    carries(attributes(app, DESTINATION), NEXT)
    write_pki(tmp_path, PKI)
    publish(app, more=1)
    carries(attributes(app, DESTINATION), PKI)


def test_the_preview_too(tmp_path):
    resources = "/buckets/main-workspace -> /buckets/main-preview -> /buckets/main"
    app = app_of(write_pki(tmp_path, PKI), kinto__signer__resources=resources, kinto__signer__to_review_enabled="true")
    app.put_json(f"{SOURCE}/records/r", {"data": {}})
    set_status(app, "to-review")
    carries(attributes(app, PREVIEW), PKI)


def test_a_refresh_takes_a_chain_that_alone_was_replaced(tmp_path, app):
    publish(app)
    before = attributes(app, DESTINATION)
    renewed = make_pki(root_issued=PKI.root, leaf={"key": PKI.leaf.key, "begin": NOW - DAY, "end": NOW + 300 * DAY})
    write_pki(tmp_path, renewed, only="chain")
    set_status(app, "to-resign")
    after = attributes(app, DESTINATION)
    carries(after, renewed)
    assert (after["signed_timestamp"], after["hash"]) == (before["signed_timestamp"], before["hash"])


def test_switched_off_they_disappear(tmp_path, app):
    publish(app)
    app.app.registry.signing._signers._made[0].signer.files.chain = None
    write_pki(tmp_path, PKI)  # read again
    set_status(app, "to-resign")
    assert "chains" not in attributes(app, DESTINATION)
    assert attributes(app, DESTINATION)["signature"]["x5u"] == ""


def test_what_somebody_wrote_into_the_source_is_not_carried(app):
    app.patch_json(SOURCE, {"data": {"chains": {"https://x.example/": "something"}}})
    publish(app)
    carries(attributes(app, DESTINATION), PKI)


def test_nothing_is_published_with_an_ended_certificate(tmp_path, storage_url, monkeypatch):
    app = app_of(write_pki(tmp_path, PKI), database=storage_url)
    publish(app)
    app.put_json(f"{SOURCE}/records/new", {"data": {}})
    before = everything(app)
    monkeypatch.setattr("kinto_signer.signers.certificate.time.time", lambda: NOW + 61 * DAY)
    for status in ("to-sign", "to-resign"):
        answer = set_status(app, status, status=503)
        assert (answer.json["details"]["reason"], answer.headers.get("Retry-After") is not None) == ("expired", True)
        assert everything(app) == before
    assert not app.get("/__heartbeat__", status=503).json["signer"]
    write_pki(tmp_path, NEXT)
    set_status(app, "to-sign")
    carries(attributes(app, DESTINATION), NEXT)


# --- what S recognises after a restart with another key -------------------------------------------------------------------------


def test_by_its_root_it_knows_what_a_former_key_signed(tmp_path, database):
    publish(app_of(write_pki(tmp_path, PKI), database=database))
    files = write_pki(tmp_path, NEXT)
    without = app_of(files, database=database, collection=False)
    assert set_status(without, "to-resign", status=503).json["details"]["reason"] == "unknown-key"
    app = app_of(files, database=database, collection=False, **ROOTED)
    set_status(app, "to-resign")
    carries(attributes(app, DESTINATION), NEXT)
    set_status(without, "to-resign")


def test_what_another_root_signed_is_not_its_own(tmp_path, database):
    publish(app_of(write_pki(tmp_path, OTHER), database=database))
    app = app_of(write_pki(tmp_path, PKI), database=database, collection=False, **ROOTED)
    assert set_status(app, "to-resign", status=503).json["details"]["reason"] == "bad-chain"
    found = attributes(app, DESTINATION)
    app.app.registry.storage.update("collection", "/buckets/main", "regions", {**found, "chains": {}})
    transaction.commit()
    assert set_status(app, "to-resign", status=503).json["details"]["reason"] == "bad-chain"
