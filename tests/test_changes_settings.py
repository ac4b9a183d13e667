"""The reading side's settings, and who includes it."""

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from kinto_signer import changes
from kinto_signer.plugin.resources import Place
from tests.support.changes import MONITOR, reading_app
from tests.support.servers import webtest_app
from tests.support.settings import kinto_settings, signer_settings
from tests.support.site import signer_app


def capabilities(app):
    return app.get("/").json["capabilities"]


def test_the_capability():
    shown = capabilities(reading_app(changes__resources="/buckets/main/\n  blocked/addons"))["changes"]
    assert set(shown) == {"version", "collections", "description", "url"}
    assert shown["collections"] == ["/buckets/main", "/buckets/blocked/collections/addons"]


@pytest.mark.parametrize(
    "setting",
    [
        {"changes__resources": "/buckets/main /bucket/x"},
        {"changes__excluded_collections": "a/b/c"},
        {"changes__since_max_age_days": "soon"},
        {"changes__since_max_age_redirect_ttl_seconds": "1.5"},
        {"record_cache_expires_seconds": "a"},
        {"main__record_cache_expires_seconds": "-1"},
        {"main__regions__record_cache_maximum_expires_seconds": "1h"},
        {"main__regions__record_cache_minimum_expires_seconds": ""},
    ],
)
def test_a_bad_value_is_quoted_at_start_up(setting):
    ((key, value),) = setting.items()
    with pytest.raises(ConfigurationError) as caught:
        reading_app(**setting)
    assert f"kinto.{key.replace('__', '.')} = {value.split(' ')[-1]}" in str(caught.value)


def test_an_unknown_name_is_a_warning(caplog):
    reading_app(changes__resource="/buckets/main")
    assert "did you mean kinto.changes.resources?" in caplog.text


def test_from_the_environment(monkeypatch, key_pair):
    monkeypatch.setenv("KINTO_CHANGES_RESOURCES", "/buckets/here")
    app = signer_app(key_pair, authority="http://127.0.0.1:9/v1", collection=False)
    assert capabilities(app)["changes"]["collections"] == ["/buckets/here"]


def test_a_signer_with_an_authority_leaves_it_to_the_authority(key_pair):
    app = signer_app(key_pair, authority="http://127.0.0.1:9/v1", collection=False)
    assert "changes" not in capabilities(app)
    app.get(f"{MONITOR}/records", status=403)


def test_a_signer_with_an_authority_that_is_asked_to(key_pair):
    app = signer_app(key_pair, authority="http://127.0.0.1:9/v1", collection=False, changes__resources="/buckets/main")
    assert capabilities(app)["changes"]["collections"] == ["/buckets/main"]


def test_a_signer_lists_what_is_published_nowhere_else(key_pair):
    settings = signer_settings(key_pair.private, resources="/buckets/a -> /buckets/b -> /buckets/c\n/buckets/d -> /buckets/e")
    settings["kinto.signer.d.authority.url"] = "http://127.0.0.1:9/v1"
    assert capabilities(webtest_app(settings))["changes"]["collections"] == ["/buckets/b", "/buckets/c"]


def test_including_it_twice(key_pair):
    settings = signer_settings(key_pair.private) | {"kinto.includes": "kinto_signer.changes kinto_signer"}
    assert capabilities(webtest_app(settings))["changes"]["collections"] == ["/buckets/main"]


def includeme(config: Configurator) -> None:
    """This module as a plugin that includes the reading side for two places."""
    changes.include_for(config, [Place("a")])
    changes.include_for(config, [Place("b", "c"), Place("a")])


def test_each_plugin_that_includes_it_adds_what_it_is_about():
    app = webtest_app(kinto_settings() | {"kinto.includes": __name__})
    assert capabilities(app)["changes"]["collections"] == ["/buckets/a", "/buckets/b/collections/c"]
