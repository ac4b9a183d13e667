"""Publications with several signers, and with Autograph: all of them sign, or nothing changes."""

import logging
from importlib.metadata import EntryPoint

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pyramid.exceptions import ConfigurationError as PyramidConfigurationError

from kinto_signer.core.canonical import digests
from kinto_signer.core.trust import PublicKey, Trust, check_signed
from kinto_signer.errors import ConfigurationError, SigningError, VerificationError
from kinto_signer.plugin.settings import Settings
from kinto_signer.plugin.tables import SIGNER
from kinto_signer.server.signer_settings import Signers
from kinto_signer.server.signing import Signing
from kinto_signer.signers import Signature
from kinto_signer.signers.local import from_settings
from kinto_signer.signers.several import Named, SignerSet
from tests.support.autograph.standin import StandIn
from tests.support.keys import write_key_pair
from tests.support.signers import digest_of, random_content, read_from
from tests.support.site import DESTINATION, SOURCE, attributes, everything, set_status, signer_app


@pytest.fixture
def standin():
    with StandIn() as found:
        yield found


@pytest.fixture
def other(tmp_path):
    return write_key_pair(tmp_path, "other")


def autograph_settings(standin, start="", **changes):
    settings = {"server_url": standin.url, "hawk_id": "alice", "hawk_secret": standin.hawk_ids["alice"]} | changes
    return {f"kinto.signer.{start}autograph.{name}": value for name, value in settings.items()}


def settings_of(key_pair, other):
    """S with the signers `old` and `new`."""
    return {
        "kinto.signer.signer_backend": "",
        "kinto.signer.signers": "old new",
        "kinto.signer.signer.old.backend": "local",
        "kinto.signer.signer.old.ecdsa.private_key": str(key_pair.private),
        "kinto.signer.signer.new.ecdsa.private_key": str(other.private),
    }


def app_with(key_pair, settings):
    return signer_app(key_pair, **{name.replace(".", "__"): value for name, value in settings.items()})


def put(app, record_id, **data):
    app.put_json(f"{SOURCE}/records/{record_id}", {"data": data})


def signed_with(app, *keys):
    """The collection carries one signature by each of these keys, in this order; returns its attributes."""
    found = attributes(app, DESTINATION)
    signing = app.app.registry.signing
    digest = _digest(app)
    assert found["signature"] == found["signatures"][0]
    assert len(found["signatures"]) == len(keys)
    for key, entry in zip(keys, found["signatures"], strict=True):
        assert check_signed("main/regions", [entry], digest, Trust((key,))) == key
    assert {key.der for key in keys} <= {key.der for key in signing.trust(signing.resources.configured[0]).keys}
    return found


def _digest(app):
    found = attributes(app, DESTINATION)
    records = app.get(f"{DESTINATION}/records").json["data"]
    return digests(records, found["signed_timestamp"]).signed


def public(pair):
    return PublicKey(pair.key().public_key())


# --- two signers --------------------------------------------------------------------------------------------------------------


def test_all_of_them_sign_and_the_first_is_the_signature(key_pair, other):
    app = app_with(key_pair, settings_of(key_pair, other))
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    before = signed_with(app, public(key_pair), public(other))
    set_status(app, "to-resign")
    after = signed_with(app, public(key_pair), public(other))
    assert before["signatures"] != after["signatures"]
    assert before["signed_timestamp"] == after["signed_timestamp"]


def test_one_that_fails_fails_the_publication(key_pair, other, monkeypatch):
    app = app_with(key_pair, settings_of(key_pair, other))
    put(app, "r1", n=1)
    before = everything(app)
    signing = app.app.registry.signing
    first, second = signing.signer(signing.resources.configured[0]).members

    def fails(digest, content=None):
        raise SigningError("The new one is out of paper.")

    for answer in (fails, lambda digest, content=None: (), lambda digest, content=None: first.signer.sign(digest)):
        monkeypatch.setattr(second.signer, "sign", answer)
        refused = set_status(app, "to-sign", status=503).json
        assert refused["details"]["reason"] in ("signer", "bad-signature", "unknown-key")
        assert everything(app) == before
    monkeypatch.undo()
    set_status(app, "to-sign")
    signed_with(app, public(key_pair), public(other))


def test_a_key_is_replaced_by_way_of_both(key_pair, other):
    """What the old one signed is still recognised while there are both, and after that where the old key is named."""
    app = app_with(key_pair, settings_of(key_pair, other))
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    signing = app.app.registry.signing
    alone = Signing.from_settings({"signer.ecdsa.private_key": str(key_pair.private)})
    digest, found = _digest(app), attributes(app, DESTINATION)
    for trust in (signing.trust(signing.resources.configured[0]), alone.trust(alone.resources.configured[0])):
        check_signed("main/regions", found["signatures"][:1], digest, trust)
    with pytest.raises(VerificationError):
        check_signed("main/regions", found["signatures"][1:], digest, alone.trust(alone.resources.configured[0]))


def test_the_heartbeat_asks_every_signer_once_a_minute(key_pair, standin, caplog):
    settings = settings_of(key_pair, key_pair) | {"kinto.signer.signer.new.backend": "autograph"}
    settings |= autograph_settings(standin, "signer.new.", key_ids="appkey1")
    settings["kinto.signer.resources"] = "/buckets/a -> /buckets/b\n/buckets/c -> /buckets/d"
    app = app_with(key_pair, settings)
    standin.requests.clear()
    for _ in range(3):
        assert app.get("/__heartbeat__").json["signer"] is True
    assert len(standin.requests) == 1
    heartbeat = app.app.registry.heartbeats["signer"]
    heartbeat._known = None
    standin.faults = ["503"]
    assert app.get("/__heartbeat__", status=503).json["signer"] is False
    assert "the signer new failed: Autograph at " in caplog.text


# --- Autograph ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["kinto_signer.signer.autograph", "kinto_remote_settings.signer.backends.autograph"])
@pytest.mark.parametrize("endpoint", ["/sign/hash", "/sign/data"])
def test_a_publication(key_pair, standin, caplog, backend, endpoint):
    settings = {"kinto.signer.signer_backend": backend, "kinto.signer.statement": str(endpoint == "/sign/hash").lower()}
    settings |= autograph_settings(standin, key_ids="remote-settings appkey1", endpoint=endpoint)
    app = app_with(key_pair, settings)
    put(app, "r1", n=1)
    with caplog.at_level(logging.DEBUG):
        set_status(app, "to-sign")
    keys = [PublicKey(standin.keys[name].key.public_key()) for name in ("remote-settings", "appkey1")]
    found = signed_with(app, *keys)
    assert [entry["signer_id"] for entry in found["signatures"]] == ["remote-settings", "appkey1"]
    assert found["signature"]["x5u"] == standin.keys["remote-settings"].x5u
    refs = ",".join(f"{entry['signer_id']}:{entry['ref']}" for entry in found["signatures"])
    assert f" refs={refs} " in caplog.text
    assert standin.hawk_ids["alice"] not in caplog.text
    assert {path for path, _, _ in standin.requests} == {endpoint}
    set_status(app, "to-resign")
    signed_with(app, *keys)


def test_what_autograph_refuses_leaves_everything_as_it_was(key_pair, standin, caplog):
    app = app_with(key_pair, {"kinto.signer.signer_backend": "autograph"} | autograph_settings(standin, key_ids="appkey1"))
    put(app, "r1", n=1)
    before = everything(app)
    for fault in ("503", "wrong signature", "skew"):
        standin.faults = [""] * (len(standin.requests) == 0) + [fault]
        answer = set_status(app, "to-sign", status=503)
        assert everything(app) == before
        assert standin.hawk_ids["alice"] not in answer.text + caplog.text
    assert "request-id" in answer.json["message"]
    set_status(app, "to-sign")
    signed_with(app, PublicKey(standin.keys["appkey1"].key.public_key()))


def test_with_sign_data_a_refresh_sends_nothing_that_was_altered(key_pair, standin):
    """It has to send the content; what is not what was signed before is not sent."""
    settings = {"kinto.signer.signer_backend": "autograph", "kinto.signer.statement": "false"}
    settings |= autograph_settings(standin, key_ids="appkey1", endpoint="/sign/data")
    app = app_with(key_pair, settings)
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    app.app.registry.storage.update(
        parent_id=DESTINATION, resource_name="record", object_id="r1", obj={"id": "r1", "n": 2, "last_modified": 5}
    )
    standin.requests.clear()
    answer = set_status(app, "to-resign", status=503)
    assert "altered meanwhile" in answer.json["message"]
    assert not standin.requests


# --- settings -----------------------------------------------------------------------------------------------------------------


def signers(**values):
    return Signers(Settings({key.replace("__", "."): str(value) for key, value in values.items()}, SIGNER, {}))


def test_the_same_lines_make_the_same_signer(key_pair, other):
    found = signers(
        signer__ecdsa__private_key=key_pair.private,
        signer__b__ecdsa__private_key=other.private,
        signer__c__ecdsa__private_key=key_pair.private,
    )
    ((one,), (two,), (three,), (four,)) = (
        found.of(bucket, collection).members for bucket, collection in (("a", "x"), ("a", "y"), ("b", "x"), ("b", None))
    )
    assert one.signer is two.signer
    assert three.signer is four.signer
    assert one.signer is not three.signer


def test_labels_for_one_bucket_only(key_pair, other):
    found = signers(
        signer__ecdsa__private_key=key_pair.private,
        signer__signer_backend="local",
        signer__b__signers="old new",
        signer__signer__old__ecdsa__private_key=key_pair.private,
        signer__b__signer__new__ecdsa__private_key=other.private,
    )
    assert [member.label for member in found.of("a", "x").members] == ["signer"]
    assert [member.label for member in found.of("b", "x").members] == ["old", "new"]
    assert found.of("b", "x").public_keys() == (public(key_pair), public(other))
    assert found._settings.warnings == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signers": "old old"}, "`old` stands there twice"),
        ({"signers": "Old"}, "`Old` is no label"),
        ({"signers": "old newer"}, "kinto.signer.signer.newer.ecdsa.private_key is not set"),
        ({"signer_backend": "local"}, "exclude each other"),
        ({"signer.new.backend": "paper"}, "kinto.signer.signer.new.backend = paper: there is no such signer"),
        ({"signer.new.ecdsa.private_key": "/nowhere"}, "kinto.signer.signer.new.ecdsa.private_key = /nowhere: cannot be read"),
        ({"signer.new.backend": "autograph"}, "kinto.signer.signer.new.autograph.server_url is not set"),
    ],
)
def test_mistakes_stop_the_server(key_pair, other, changes, words):
    settings = settings_of(key_pair, other) | {f"kinto.signer.{name}": value for name, value in changes.items()}
    with pytest.raises(PyramidConfigurationError) as error:
        app_with(key_pair, settings)
    assert words in str(error.value)


def test_lines_of_a_label_that_is_not_listed_are_a_warning(key_pair, other):
    settings = settings_of(key_pair, other) | {"kinto.signer.signer.newer.ecdsa.private_key": str(other.private)}
    del settings["kinto.signer.signer_backend"]
    warnings = Signing.from_settings(settings | {"includes": "kinto_signer"}).warnings
    assert [line for line in warnings if "newer" in line] == [
        "kinto.signer.signer.newer.ecdsa.private_key means nothing: kinto.signer.signers does not name newer."
    ]


def test_secrets_are_hidden_in_lines_and_representations(standin):
    found = Settings(
        {f"signer.{name}": value for name, value in {"autograph.hawk_secret": "hunter2", "ecdsa.passphrase": "hunter2"}.items()},
        SIGNER,
        {},
    )
    for name in ("autograph.hawk_secret", "ecdsa.passphrase"):
        given = found.given(name)
        assert (given.value, given.line) == ("hunter2", f"kinto.signer.{name} = (hidden)")
        assert "hunter2" not in repr(given)


# --- other packages -----------------------------------------------------------------------------------------------------------


class Paper:
    """A signer of another package."""

    needs_content = False

    def sign(self, digest, content=None):
        return (Signature("A" * 128),)

    def public_keys(self):
        return (PublicKey(ec.generate_private_key(ec.SECP384R1()).public_key()),)


def make_paper(read):
    size = read("paper.size")
    assert (size.value, size.line) == ("A4", "kinto.signer.paper.size = (hidden)")
    return Paper()


@pytest.fixture
def entry_points(monkeypatch):
    """`entry_points(name, value)` pretends that a package which is installed has such an entry point."""
    found = []
    monkeypatch.setattr("kinto_signer.signers.backends._others", lambda: tuple(found))
    return lambda name, value: found.append(EntryPoint(name, value, "kinto_signer.signers"))


def test_a_signer_of_another_package(entry_points):
    entry_points("paper", f"{__name__}:make_paper")
    found = signers(signer__signer_backend="paper", signer__paper__size="A4", signer__paper__colour="white")
    (member,) = found.of("a", "x").members
    assert isinstance(member.signer, Paper)
    assert [line.split()[0] for line in found._settings.warnings] == ["kinto.signer.paper.colour"]
    with pytest.raises(SigningError, match="does not verify"):
        SignerSet([member]).sign(digest_of(random_content()))


def test_entry_points_that_cannot_be_used(entry_points, key_pair):
    entry_points("local", f"{__name__}:make_paper")  # a name that is taken stays ours
    assert signers(signer__ecdsa__private_key=key_pair.private).of("a", "x").public_keys() == (public(key_pair),)
    for value, words in ((f"{__name__}:nothing", "cannot be loaded"), (f"{__name__}:SOURCE", "nothing that makes a signer")):
        entry_points(value[-7:], value)
        with pytest.raises(ConfigurationError, match=words):
            signers(signer__signer_backend=value[-7:]).of("a", "x")


def test_nothing_signs_with_no_signer():
    with pytest.raises(ValueError, match="without a signer"):
        SignerSet([])


def test_what_a_set_makes_is_verified_signature_by_signature(key_pair, other):
    one, two = (from_settings(read_from({"ecdsa.private_key": pair.private})) for pair in (key_pair, other))

    class Mixed:
        needs_content = False
        sign = staticmethod(two.sign)
        public_keys = staticmethod(one.public_keys)

    digest = digest_of(random_content())
    assert len(SignerSet([Named("one", one), Named("two", two)]).sign(digest)) == 2
    with pytest.raises(SigningError, match="What the signer mixed made does not verify under its key") as error:
        SignerSet([Named("one", one), Named("mixed", Mixed())]).sign(digest)
    assert error.value.reason == "unknown-key"
