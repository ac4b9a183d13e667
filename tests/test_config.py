"""The files in ``config/`` are what a person copies: each has to load as it is, but for addresses and secrets."""

import configparser
import subprocess
import sys

import pytest
import webtest
from pyramid.paster import get_app

from tests.support.servers import ROOT
from tests.support.settings import authority_settings

CONFIG = ROOT / "config"


@pytest.fixture
def environment(monkeypatch, database):
    """What the comments in the files ask for."""
    monkeypatch.setenv("KINTO_USERID_HMAC_SECRET", "only-for-tests")
    for backend in ("STORAGE", "PERMISSION", "CACHE"):
        monkeypatch.setenv(f"KINTO_{backend}_URL", database)
    return monkeypatch


def test_authority_ini_is_a_kinto_that_takes_a_publication(environment):
    app = webtest.TestApp(get_app(str(CONFIG / "authority.ini")))

    root = app.get("/v1/").json

    assert root["settings"]["batch_max_requests"] == 20000
    assert "accounts" in root["capabilities"]


def test_signer_ini_is_a_signer(environment, live_kinto, key_pair):
    authority = live_kinto(authority_settings(), name="authority")
    environment.setenv("KINTO_SIGNER_AUTHORITY_URL", authority.url)
    environment.setenv("KINTO_SIGNER_AUTHORITY_AUTH", "signer:12345")
    environment.setenv("KINTO_SIGNER_ECDSA_PRIVATE_KEY", str(key_pair.private))

    app = webtest.TestApp(get_app(str(CONFIG / "signer.ini")))

    (resource,) = app.get("/v1/").json["capabilities"]["signer"]["resources"]
    assert resource["source"]["bucket"] == "main-workspace"
    assert resource["destination"]["bucket"] == "main"


@pytest.mark.parametrize("name", ["signer.ini", "authority.ini"])
def test_the_server_waits_longer_than_a_publication_may_take(name):
    ini = configparser.ConfigParser()
    ini.read(CONFIG / name)
    timeout_s = ini.get("app:main", "kinto.signer.authority.timeout_seconds", fallback="300", raw=True)

    assert ini.getint("server:main", "channel_timeout") > int(timeout_s)


def test_kinto_signer_is_the_last_plugin():
    ini = configparser.ConfigParser()
    ini.read(CONFIG / "signer.ini")

    assert ini.get("app:main", "kinto.includes", raw=True).split()[-1] == "kinto_signer"


def test_wsgi_py_builds_the_application_of_kinto_ini(environment):
    environment.setenv("KINTO_INI", str(CONFIG / "authority.ini"))
    script = "from wsgi import application; import webtest; print(webtest.TestApp(application).get('/v1/').status)"

    done = subprocess.run([sys.executable, "-c", script], cwd=CONFIG, capture_output=True, text=True, check=True)

    assert done.stdout == "200 OK\n"
