"""S carries the chains of its signers: with each publication and each refresh, here and on A, and readers need nothing else."""

import json
import time

import pytest
import transaction

from kinto_signer.cli import output, updater
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.statement import check_published
from kinto_signer.core.trust import Trust
from kinto_signer.signers.local import LocalSigner
from tests.support.autograph.keys import DOMAIN
from tests.support.autograph.standin import StandIn
from tests.support.certificates import DAY, SIGNER, make_pki, write_pki
from tests.support.keys import KeyPair
from tests.support.servers import ROOT
from tests.support.settings import PASSWORD, authority_settings, guarded_settings, signer_settings
from tests.support.site import DESTINATION, SOURCE, attributes, everything, set_status, signer_app
from tests.support.states import NAME

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


def test_a_key_that_is_replaced_in_the_middle_of_a_publication(tmp_path, app, monkeypatch):
    """The data are signed by the former key, the statement by the next one: readers need both chains."""
    sign, made = LocalSigner.sign, []

    def signing(self, digest, content=None):
        made.append(sign(self, digest, content))
        write_pki(tmp_path, NEXT)
        return made[-1]

    app.put_json(f"{SOURCE}/records/one", {"data": {}})
    monkeypatch.setattr(LocalSigner, "sign", signing)
    set_status(app, "to-sign")
    found = attributes(app, DESTINATION)
    assert sorted(found["chains"].values()) == sorted(pki.pem.decode() for pki in (PKI, NEXT))
    state = Changeset(found["signed_timestamp"], app.get(f"{DESTINATION}/records").json["data"], {**found, "bucket": "main"})
    check_published(NAME, state, Trust(roots=(PKI.pinned,), now=time.time))


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


# --- through A to readers ------------------------------------------------------------------------------------------------------


ACCOUNT = ("signer", PASSWORD)
REMOTE = {"bucket": "main", "id": "regions"}


@pytest.fixture
def standin():
    with StandIn() as found:
        yield found


def guarded_by(root, signer_id):
    settings = guarded_settings("") | {"kinto.authority.x5u_roots": root, "kinto.authority.signer_ids": signer_id}
    return {name: value for name, value in settings.items() if name != "kinto.authority.public_keys"}


@pytest.fixture
def gather(tmp_path, capsys, monkeypatch):
    """``gather(server, root, signer_id, name)``: one run of a reader who pins the root, with the cache `name`."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))

    def gather(server, root, signer_id, name="cache"):
        trusted = ("--x5u-root", root, "--signer-id", signer_id, "--require-statement")
        cache = ("--cache", str(tmp_path / f"{server.name}-{name}"), "--format", "json")
        code = output.run(updater.cli, ["gather-changes", server.url, "-c", NAME, *trusted, *cache])
        found = json.loads(capsys.readouterr().out)["collections"][0]
        return code, found["error"]["reason"] if "error" in found else found["status"]

    return gather


def test_an_autograph_whose_keys_change_by_themselves(live_kinto, create_database, standin, gather):
    """Live S, guarded and plain A, readers who know a root. After each restart of Autograph and S nobody knows the former key."""
    root, signer_id = standin.pki.root_sha256, f"remote-settings.{DOMAIN}"
    guarded = live_kinto(guarded_by(root, signer_id), name="guarded")
    plain = live_kinto(authority_settings(), name="plain")
    settings = signer_settings("", database=create_database()) | {
        "kinto.signer.signer_backend": "autograph",
        "kinto.signer.autograph.server_url": standin.url,
        "kinto.signer.autograph.hawk_id": "alice",
        "kinto.signer.autograph.hawk_secret": standin.hawk_ids["alice"],
        "kinto.signer.x5u_roots": root,
        "kinto.signer.signer_ids": signer_id,
        "kinto.signer.authorities": "guarded plain",
        "kinto.signer.authority.guarded.url": guarded.url,
        "kinto.signer.authority.guarded.auth": ":".join(ACCOUNT),
        "kinto.signer.authority.plain.url": plain.url,
        "kinto.signer.authority.plain.auth": ":".join(ACCOUNT),
    }
    del settings["kinto.signer.ecdsa.private_key"]
    signer = live_kinto(settings, name="signer")
    client = signer.client("alice")
    client.create_bucket(id="main-workspace")
    client.create_collection(bucket="main-workspace", id="regions")

    def ask(status):
        client.patch_collection(bucket="main-workspace", id="regions", data={"status": status})

    def restart():
        standin.rotate()
        signer.stop()
        signer.start()

    def carried():
        """What both authorities carry is the present chain, under its own name."""
        shown = [server.client("reader").get_collection(**REMOTE)["data"] for server in (guarded, plain)]
        key = standin.keys["remote-settings"]
        assert all(found["chains"] == {key.x5u: key.chain.decode()} for found in shown)
        return shown[0]["signed_timestamp"]

    client.create_record(bucket="main-workspace", collection="regions", id="one", data={})
    ask("to-sign")
    first = carried()
    assert [gather(server, root, signer_id) for server in (guarded, plain)] == [(0, "updated")] * 2
    restart()
    ask("to-resign")
    assert carried() == first
    restart()
    client.create_record(bucket="main-workspace", collection="regions", id="two", data={})
    ask("to-sign")
    assert carried() > first
    standin.server.shutdown()  # readers ask nobody else
    assert [gather(server, root, signer_id) for server in (guarded, plain)] == [(0, "updated")] * 2
    assert [gather(server, root, signer_id, "new") for server in (guarded, plain)] == [(0, "updated")] * 2
    assert gather(plain, PKI.root.sha256.hex(), signer_id, "other") == (3, "bad-chain")
    assert gather(plain, root, "somebody.else", "other") == (3, "bad-chain")


def test_an_authority_that_bends_the_chain(live_kinto, tmp_path, database, gather):
    authority = live_kinto(authority_settings(), name="authority")
    app = app_of(write_pki(tmp_path, PKI), database=database, authority=authority.url)
    publish(app)
    owner = authority.client(ACCOUNT[0])
    right = owner.get_collection(**REMOTE)["data"]["chains"]
    (x5u,) = right
    root = PKI.root.sha256.hex()
    for bent, reason in (
        ({x5u: OTHER.pem.decode()}, "bad-chain"),
        ({x5u: NEXT.pem.decode()}, "unknown-key"),  # a good one, of another key
        ({x5u: right[x5u] + "x"}, "bad-chain"),
        ({x5u: None}, "bad-chain"),
        ({"another": right[x5u]}, "bad-chain"),
        ([], "bad-chain"),
    ):
        owner.patch_collection(**REMOTE, data={"chains": bent})
        assert gather(authority, root, SIGNER) == (3, reason)
    owner.patch_collection(**REMOTE, data={"chains": right})
    assert gather(authority, root, SIGNER) == (0, "updated")
    owner.patch_collection(**REMOTE, data={"chains": {x5u: OTHER.pem.decode()}})
    assert gather(authority, root, SIGNER) == (3, "bad-chain")
    set_status(app, "to-resign")
    assert owner.get_collection(**REMOTE)["data"]["chains"] == right
    assert gather(authority, root, SIGNER)[0] == 0


def test_a_guarded_authority_takes_a_refresh_under_the_next_certificate(live_kinto, tmp_path, gather):
    root = PKI.root.sha256.hex()
    authority = live_kinto(guarded_by(root, SIGNER), name="authority")
    app = app_of(write_pki(tmp_path, PKI), authority=authority.url)
    publish(app)
    assert gather(authority, root, SIGNER) == (0, "updated")
    write_pki(tmp_path, NEXT)
    set_status(app, "to-resign")
    carries(authority.client("reader").get_collection(**REMOTE)["data"], NEXT)
    assert gather(authority, root, SIGNER)[0] == 0
    write_pki(tmp_path, OTHER)  # below a root that nobody knows
    assert set_status(app, "to-resign", status=503).json["details"]["reason"] == "bad-chain"
    carries(authority.client("reader").get_collection(**REMOTE)["data"], NEXT)


def test_a_publication_that_was_left_unfinished_is_known_by_its_chain(live_kinto, tmp_path, database):
    """S has another key by now, and A holds the claim of the former one, and half of its publication."""
    fault = tmp_path / "fault.json"
    settings = authority_settings() | {"kinto.faults.file": str(fault)}
    path = {"PYTHONPATH": str(ROOT)}
    authority = live_kinto(settings, includes="tests.support.faults", name="authority", environment=path)
    app = app_of(write_pki(tmp_path, OTHER), database=database, authority=authority.url)
    publish(app)
    roots = f"{OTHER.root.sha256.hex()} {ROOTED['kinto__signer__x5u_roots']}"
    rooted = {**ROOTED, "kinto__signer__x5u_roots": roots, "database": database, "authority": authority.url, "collection": False}
    for pki in (PKI, NEXT):  # of two keys, of which the second is unknown where the first left something
        app = app_of(write_pki(tmp_path, pki), **rooted)
        app.put_json(f"{SOURCE}/records/more", {"data": {"by": str(pki.leaf.certificate.serial_number)}})
        fault.write_text(json.dumps({"do": "412", "at": 3}))
        set_status(app, "to-sign", status=503)
    app = app_of(write_pki(tmp_path, NEXT), **rooted)
    set_status(app, "to-sign")
    carries(authority.client("reader").get_collection(**REMOTE)["data"], NEXT)


def test_a_new_signer_takes_over_what_it_cannot_have_signed_but_by_its_root(live_kinto, tmp_path, database):
    authority = live_kinto(authority_settings(), name="authority")
    publish(app_of(write_pki(tmp_path, PKI), database=database, authority=authority.url))
    files = write_pki(tmp_path, NEXT)
    options = {"authority": authority.url, "collection": False, "kinto__signer__authority__bootstrap": "true"}
    app_of(files, **options).get(SOURCE, status=404)  # control: nothing was taken over
    app = app_of(files, **options, **ROOTED)
    carries(attributes(app, DESTINATION), PKI)
    set_status(app, "to-resign")
    carries(authority.client("reader").get_collection(**REMOTE)["data"], NEXT)


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
