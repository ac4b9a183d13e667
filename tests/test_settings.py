"""Settings: where a value is found, and that every mistake is an error at start-up that quotes the line."""

import logging

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pyramid.exceptions import ConfigurationError as PyramidConfigurationError

from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin.resources import parse_resources
from kinto_signer.plugin.settings import Settings
from kinto_signer.plugin.tables import SIGNER
from tests.support.servers import webtest_app
from tests.support.settings import signer_settings

SECRET = "correct horse battery staple"


def settings(environ=None, **values):
    return Settings({key.replace("__", "."): value for key, value in values.items()}, SIGNER, environ or {})


# --- looking up -----------------------------------------------------------------------------------------------------


def test_the_most_specific_prefix_wins():
    found = Settings(
        {
            "signer.ecdsa.private_key": "all",
            "kinto.signer.b.ecdsa.private_key": "bucket",
            "kinto.signer.b.c.ecdsa.private_key": "collection",
            "signer.b_old.ecdsa.private_key": "old form",
            r"signer.b.quick-(\w+)-(desktop|mobile).ecdsa.private_key": "pattern",
        },
        SIGNER,
        {},
    )
    names = {
        (None, None): "all",
        ("other", "c"): "all",
        ("b", None): "bucket",
        ("b", "x"): "bucket",
        ("b", "c"): "collection",
        ("b", "old"): "old form",
        ("b", "quick-fr-desktop"): "pattern",
        ("b", "quick-fr-tablet"): "bucket",
    }
    assert {place: found.get("ecdsa.private_key", *place) for place in names} == names
    assert found.get("authority.timeout_seconds", "b", "c") == 300
    assert found.warnings == ()


def test_the_environment_wins_and_is_read_as_text():
    environ = {"KINTO_SIGNER_AUTHORITY_AUTH": "signer:12345", "KINTO_SIGNER_MAIN_WORKSPACE_ALLOW_FLOATS": "true"}
    found = Settings({"signer.authority.auth": "a:b", "signer.main-workspace.allow_floats": "false"}, SIGNER, environ)
    assert found.get("authority.auth") == "signer:12345"
    assert found.get("allow_floats", "main-workspace", "c") is True


def test_the_environment_names_buckets_and_collections_that_the_file_does_not():
    environ = {"KINTO_SIGNER_B_ECDSA_PRIVATE_KEY": "bucket", "KINTO_SIGNER_B_QUICK_FR_ECDSA_PRIVATE_KEY": "collection"}
    found = Settings({"signer.ecdsa.private_key": "all"}, SIGNER, environ)
    places = {("other", "c"): "all", ("b", None): "bucket", ("b", "c"): "bucket", ("b", "quick-fr"): "collection"}
    assert {place: found.get("ecdsa.private_key", *place) for place in places} == places
    assert found.given("ecdsa.private_key", "b", "c").line == "kinto.signer.b.ecdsa.private_key = bucket"
    assert {given.value for given in found.every("ecdsa.private_key")} == {"all", "bucket", "collection"}
    assert found.every("ecdsa.public_key") == []
    assert found.warnings == ()


def test_a_bad_value_in_the_environment_is_an_error_that_names_the_variable():
    with pytest.raises(ConfigurationError, match=r"kinto.signer.allow_floats .*KINTO_SIGNER_B_C_ALLOW_FLOATS.* = perhaps"):
        Settings({}, SIGNER, {"KINTO_SIGNER_B_C_ALLOW_FLOATS": "perhaps"})


def test_values_that_kinto_parsed_already_are_text_again():
    found = settings(signer__authority__timeout_seconds=20, signer__allow_floats=True)
    assert found.get("authority.timeout_seconds") == 20
    assert found.get("allow_floats") is True


def test_an_unknown_name_is_a_warning_that_names_the_nearest():
    found = settings(**{"kinto.signer.ressources": "x", "signer.b.c.ecdsa.privat_key": "y", "signer.zzzzzz": 1, "other": 1})
    assert "kinto.signer.ressources" in found.warnings[0]
    assert "did you mean kinto.signer.resources?" in found.warnings[0]
    assert "ecdsa.private_key" in found.warnings[1]
    assert "did you mean" not in found.warnings[2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"signer.allow_floats": "perhaps"}, "kinto.signer.allow_floats = perhaps"),
        ({"signer.b.c.authority.timeout_seconds": "soon"}, "kinto.signer.b.c.authority.timeout_seconds = soon"),
        ({"signer.authority.timeout_seconds": "0"}, "more than 0"),
        ({"signer.authority.url": "a.example.org"}, "kinto.signer.authority.url = a.example.org"),
        ({"signer.authority.url": f"http://user:{SECRET}@a.example.org/v1"}, "= http://(hidden)@a.example.org/v1: not an"),
        ({"signer.authority.url": "http://a.example.org:99999/v1"}, "not a possible port"),
        ({"signer.authority.url": "http://a.example.org/v1?x=1"}, "kinto.signer.authority.url = http://a.example.org/v1?x=1"),
        ({"signer.authority.auth": SECRET}, "user:password"),
        ({"signer.four_eyes": "six"}, "kinto.signer.four_eyes = six: neither requester nor contributors."),
        ({"signer.heartbeat_statement_days_left": "soon"}, "not a whole number of days from 0 to 3650."),
        ({"signer.heartbeat_oldest_signature_days": "3651"}, "not a whole number of days from 0 to 3650."),
        ({"signer.mass_deletion_percent": "101"}, "not a whole number from 0 to 100"),
        ({"signer.editors_group": "{nobody}"}, "not the name of a group"),
        ({"signer.copied_attributes": "sort signature"}, "`signature` is kept by"),
        ({"signer.webhook.url": "http://example.org/hook"}, "not an https address"),
    ],
)
def test_a_bad_value_is_an_error_that_quotes_the_line(line, words):
    with pytest.raises(ConfigurationError) as error:
        Settings(line, SIGNER, {})
    assert words in error.value.message
    assert SECRET not in str(error.value)


def test_settings_that_are_off_are_accepted_and_nothing_shows_a_secret():
    found = settings(signer__to_review_enabled="false", signer__authority__auth=f"u:{SECRET}")
    assert found.get("to_review_enabled") is False
    assert SECRET not in repr(found)


IDLE = {"hard_delete_destination_on_source_deletion": "true"}


@pytest.mark.parametrize("name", IDLE)
def test_a_peers_setting_without_effect_is_a_warning_and_no_error(name):
    (warning,) = settings(**{f"signer.main.{name}": IDLE[name]}).warnings
    assert f"kinto.signer.main.{name} means nothing here." in warning


def test_no_other_setting_is_without_effect_and_one_that_is_off_is_not_mentioned():
    assert {row.name for row in SIGNER.rows if row.idle} == IDLE.keys()
    assert settings(signer__hard_delete_destination_on_source_deletion="false").warnings == ()


def test_every_setting_has_a_default_that_its_own_type_accepts():
    for setting in SIGNER.rows:
        if setting.default is not None:
            setting.parse(setting.default, setting.name)
        assert setting.doc.endswith(".")


def test_an_address_is_completed():
    assert settings(signer__authority__url="https://a.example.org/").get("authority.url") == "https://a.example.org/v1"
    assert settings(signer__authority__url="https://a.example.org/v1/").get("authority.url") == "https://a.example.org/v1"


# --- resources --------------------------------------------------------------------------------------------------------


def test_resources_in_all_spellings():
    found = parse_resources(
        """
        /buckets/main-workspace -> /buckets/main-preview -> /buckets/main
        /buckets/one/collections/a -> /buckets/two/collections/b
        x/a;y/b
        staging;public
        """
    )
    resource = found.of_source("main-workspace", "regions")
    assert [place.name for place in resource.places] == ["main-workspace/regions", "main-preview/regions", "main/regions"]
    assert found.of_source("one", "a").destination.name == "two/b"
    assert found.of_source("one", "other") is None
    assert found.of_source("x", "a").destination.name == "y/b"
    assert found.of_source("staging", "c").destination.name == "public/c"
    assert found.involves("main", "anything")
    assert not found.involves("two", "a")
    assert found.has_source_in("staging")
    assert not found.has_source_in("public")
    for copied, source in ((("main", "c"), "main-workspace/c"), (("main-preview", "c"), "main-workspace/c"), (("y", "b"), "x/a")):
        assert found.of_copy(*copied).source.name == source
    for other in (("main-workspace", "c"), ("y", "a"), ("x", "a"), ("other", "c")):
        assert found.of_copy(*other) is None
    assert all(found.has_place_in(bucket) for bucket in ("main-workspace", "main-preview", "main", "x", "y", "public"))
    assert not found.has_place_in("other")


def test_a_collections_own_line_wins_over_its_buckets():
    found = parse_resources("/buckets/s -> /buckets/d\n/buckets/s/collections/a -> /buckets/e/collections/b")
    assert found.of_source("s", "a").destination.name == "e/b"
    assert found.of_source("s", "c").destination.name == "d/c"


def test_a_collections_own_line_inside_the_buckets_of_another_line():
    """As in the configuration that comes with kinto-remote-settings."""
    found = parse_resources("/buckets/s -> /buckets/p -> /buckets/d\n/buckets/s/collections/a -> /buckets/d/collections/a")
    assert [place.name for place in found.of_source("s", "a").places] == ["s/a", "d/a"]
    assert [place.name for place in found.of_source("s", "b").places] == ["s/b", "p/b", "d/b"]
    assert found.unsigned() == ()


def test_two_sources_never_share_a_place():
    """The line of the bucket gives way, and start-up says what is not signed (`Signing.warnings`)."""
    found = parse_resources(
        """
        /buckets/s -> /buckets/d
        /buckets/s/collections/a -> /buckets/d/collections/b
        t/c;d/c
        t/e;d/preview;x/y
        """
    )
    assert found.of_source("s", "a").destination.name == "d/b"
    assert [found.of_source("s", collection) for collection in ("b", "c", "preview")] == [None, None, None]
    assert found.of_source("s", "f").destination.name == "d/f"
    unsigned = {(wide.source.name, single.source.name) for wide, single in found.unsigned()}
    assert unsigned == {("s/b", "s/a"), ("s/c", "t/c"), ("s/preview", "t/e")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("/buckets/a", "has to be"),
        ("/buckets/a -> /buckets/b -> /buckets/c -> /buckets/d", "has to be"),
        ("/buckets/a -> buckets/b/collections/", "is neither"),
        ("/bucket/a -> /buckets/b", "is neither"),
        ("/buckets/a b -> /buckets/b", "is neither"),
        ("/buckets/a -> /buckets/b/collections/c", "mixes"),
        ("/buckets/a -> /buckets/a", "twice"),
        ("/buckets/a -> /buckets/b\n/buckets/a -> /buckets/c", "stands already"),
        ("/buckets/a -> /buckets/b\n/buckets/c -> /buckets/b", "stands already"),
        ("/buckets/a -> /buckets/b\n/buckets/b -> /buckets/c", "stands already"),
        ("/buckets/a -> /buckets/b\n/buckets/b/collections/x -> /buckets/c/collections/x", "overlaps"),
        ("/buckets/a -> /buckets/b\n/buckets/c/collections/x -> /buckets/a/collections/x", "overlaps"),
    ],
)
def test_a_bad_line_is_quoted(text, words):
    with pytest.raises(ConfigurationError) as error:
        parse_resources(text)
    assert words in error.value.message
    if text:
        assert text.splitlines()[-1] in error.value.message


# --- start-up -----------------------------------------------------------------------------------------------------------


def start(key_pair, **changes):
    options = signer_settings(key_pair.private) | {name.replace("__", "."): value for name, value in changes.items()}
    return webtest_app({name: value for name, value in options.items() if value is not None})


def p256(path):
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem)
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kinto__signer__resources": ""}, "kinto.signer.resources is empty"),
        ({"kinto__signer__main-workspace__quick(__allow_floats": "true"}, "kinto.signer.main-workspace.quick(.allow_floats"),
        ({"kinto__signer__resources": "nonsense"}, "`nonsense`"),
        ({"kinto__signer__ecdsa__private_key": None}, "kinto.signer.ecdsa.private_key is not set"),
        ({"kinto__signer__ecdsa__private_key": "/nowhere/key.pem"}, "= /nowhere/key.pem: cannot be read"),
        (
            {"kinto__signer__main-workspace__ecdsa__private_key": "/nowhere/key.pem"},
            "kinto.signer.main-workspace.ecdsa.private_key = /nowhere/key.pem",
        ),
        (
            {"kinto__signer__main-workspace__c__ecdsa__private_key": "/nowhere/key.pem"},
            "kinto.signer.main-workspace.c.ecdsa.private_key = /nowhere/key.pem",
        ),
        ({"kinto__signer__ecdsa__public_key": "/nowhere/key.pem"}, "kinto.signer.ecdsa.public_key = /nowhere/key.pem"),
        (
            {"kinto__signer__signer_backend": "paper"},
            "kinto.signer.signer_backend = paper: there is no such signer",
        ),
        ({"kinto__signer__allow_floats": "perhaps"}, "kinto.signer.allow_floats = perhaps"),
    ],
)
def test_a_mistake_stops_the_server(key_pair, changes, words):
    with pytest.raises(PyramidConfigurationError) as error:
        start(key_pair, **changes)
    assert words in str(error.value)


def test_a_key_of_the_wrong_kind_stops_the_server(key_pair, tmp_path):
    key_pair.public.chmod(0o600)
    public = str(key_pair.public)
    for path, words in ((p256(tmp_path / "p256.pem"), "P-384"), (public, "not a private key")):
        with pytest.raises(PyramidConfigurationError) as error:
            start(key_pair, kinto__signer__ecdsa__private_key=path)
        assert f"kinto.signer.ecdsa.private_key = {path}" in str(error.value)
        assert words in str(error.value)


def test_a_key_as_openssl_writes_it(key_pair, tmp_path):
    key = serialization.load_pem_private_key(key_pair.private.read_bytes(), None)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path = tmp_path / "openssl.pem"
    path.write_bytes(b"-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n" + pem)
    path.chmod(0o600)
    start(key_pair, kinto__signer__ecdsa__private_key=str(path), kinto__signer__ecdsa__public_key=str(key_pair.public))


def test_warnings_at_start_up(key_pair, tmp_path, caplog):
    path = tmp_path / "open.pem"
    path.write_bytes(key_pair.private.read_bytes())
    path.chmod(0o640)
    with caplog.at_level(logging.WARNING, "kinto_signer"):
        start(
            key_pair,
            kinto__signer__ecdsa__private_key=str(path),
            kinto__signer__ressources="x",
            kinto__includes="kinto_signer kinto.plugins.flush",
        )
    assert "did you mean kinto.signer.resources?" in caplog.text
    assert "list kinto_signer last" in caplog.text
    assert "PRIVATE KEY" not in caplog.text


def test_lines_that_mean_nothing_are_warnings(key_pair, caplog, monkeypatch):
    monkeypatch.setenv("KINTO_SIGNER_RESSOURCES", "x")
    with caplog.at_level(logging.WARNING, "kinto_signer"):
        start(
            key_pair,
            **{"kinto__signer__main-workspac__allow_floats": "true", "kinto__signer__main-workspace__c__allow_floats": "true"},
            kinto__signer__authority__url="http://a.example.org",
            kinto__authority__resources="/buckets/main",
            kinto__signer__resources="main-workspace/a;main/b\n/buckets/main-workspace -> /buckets/main",
        )
        start(key_pair, kinto__signer__authority__bootstrap="true")
    for words in (
        "kinto.signer.main-workspac.allow_floats means nothing",
        "KINTO_SIGNER_RESSOURCES names no setting",
        "has no kinto.signer.authority.auth",
        "kinto.authority.resources means nothing",
        "authority.bootstrap means nothing for main-workspace",
        "main-workspace/b is not signed: /buckets/main/collections/b belongs to the line of /buckets/main-workspace/coll",
    ):
        assert words in caplog.text
    assert "main-workspace.c.allow_floats" not in caplog.text


def test_resources_have_the_default_of_the_peers(key_pair):
    (resource,) = start(key_pair, kinto__signer__resources=None).get("/").json["capabilities"]["signer"]["resources"]
    assert [resource[place]["bucket"] for place in ("source", "preview", "destination")] == [
        "main-workspace",
        "main-preview",
        "main",
    ]


def test_the_capability_and_the_heartbeat(key_pair):
    app = start(key_pair, kinto__signer__resources="/buckets/a -> /buckets/p -> /buckets/b\nc/x;d/x")
    root = app.get("/").json
    capability = root["capabilities"]["signer"]
    assert capability["resources"] == [
        {
            "source": {"bucket": "a", "collection": None},
            "preview": {"bucket": "p", "collection": None},
            "destination": {"bucket": "b", "collection": None},
        },
        {
            "source": {"bucket": "c", "collection": "x"},
            "preview": {"bucket": "d", "collection": "x"},
            "destination": {"bucket": "d", "collection": "x"},
        },
    ]
    assert capability["plugin_user_id"] == capability["plugin_userid"] == "plugin:remote-settings"
    assert str(key_pair.private) not in str(root)
    assert app.get("/__heartbeat__").json["signer"] is True


def test_the_heartbeat_fails_when_signing_does_and_keeps_its_answer_a_minute(key_pair, monkeypatch):
    app = start(key_pair)
    heartbeat = app.app.registry.heartbeats["signer"]
    assert heartbeat(None) is True
    signing = app.app.registry.signing
    (member,) = signing.signer(signing.resources.configured[0]).members
    calls = []

    def fail(self, digest, content=None):
        from kinto_signer.signers import Signature

        calls.append(digest)
        return (Signature("A" * 128),)

    monkeypatch.setattr(type(member.signer), "sign", fail)
    assert heartbeat(None) is True
    assert not calls
    monkeypatch.setattr("kinto_signer.server.heartbeat.KEPT_S", -1)
    assert heartbeat(None) is False
    assert app.get("/__heartbeat__", status=503).json["signer"] is False
