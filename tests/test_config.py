"""The files in ``config/`` are what a person copies: each has to load as it is, but for addresses and secrets."""

import configparser
import shlex
import subprocess
import sys

import pytest
import webtest
from pyramid.exceptions import ConfigurationError
from pyramid.paster import get_app

from kinto_signer.cli import signer
from kinto_signer.core.spans import DAY_MS
from kinto_signer.plugin.tables import AUTHORITY
from tests.support.servers import ROOT
from tests.support.settings import guarded_settings, shipped_settings
from tests.test_updater_settings import unit

CONFIG = ROOT / "config"


@pytest.fixture
def environment(monkeypatch, database):
    """What the comments in the files ask for."""
    monkeypatch.setenv("KINTO_USERID_HMAC_SECRET", "only-for-tests")
    for backend in ("STORAGE", "PERMISSION", "CACHE"):
        monkeypatch.setenv(f"KINTO_{backend}_URL", database)
    return monkeypatch


@pytest.fixture
def authority_environment(environment, key_pair):
    environment.setenv("KINTO_AUTHORITY_PUBLIC_KEYS", str(key_pair.public))
    return environment


def test_authority_ini_guards_what_the_signer_publishes(authority_environment):
    app = webtest.TestApp(get_app(str(CONFIG / "authority.ini")))

    capabilities = app.get("/v1/").json["capabilities"]

    assert "accounts" in capabilities
    assert capabilities["changes"]["collections"] == ["/buckets/main"]
    (resource,) = capabilities["authority"]["resources"]
    assert (resource["bucket"], resource["collection"], len(resource["public_keys"])) == ("main", None, 1)


def test_authority_ini_looks_for_the_key_beside_it(environment):
    with pytest.raises(ConfigurationError, match=r"kinto.authority.public_keys = .*config/signer-public.pem: .* cannot be read"):
        get_app(str(CONFIG / "authority.ini"))


def test_the_limits_that_the_comments_name_are_those_of_the_settings():
    text = (CONFIG / "authority.ini").read_text()
    (limit,) = [row.default for row in AUTHORITY.rows if row.name == "max_changeset_bytes"]

    assert f"kinto.authority.max_changeset_bytes = {limit}" in text
    assert f"client_max_body_size {int(limit) // 2**20}m" in text


@pytest.fixture
def signer_capabilities(environment, live_kinto, key_pair):
    """What S offers, configured by ``signer.ini`` alone."""
    authority = live_kinto(guarded_settings(key_pair.public), name="authority")
    environment.setenv("KINTO_SIGNER_AUTHORITY_URL", authority.url)
    environment.setenv("KINTO_SIGNER_AUTHORITY_AUTH", "signer:12345")
    environment.setenv("KINTO_SIGNER_ECDSA_PRIVATE_KEY", str(key_pair.private))
    return webtest.TestApp(get_app(str(CONFIG / "signer.ini"))).get("/v1/").json["capabilities"]


def test_signer_ini_is_a_signer_that_asks_for_reviews(signer_capabilities):
    signer = signer_capabilities["signer"]

    (resource,) = signer["resources"]
    buckets = {place: resource[place]["bucket"] for place in ("source", "preview", "destination")}
    assert buckets == {"source": "main-workspace", "preview": "main-preview", "destination": "main"}
    assert (signer["to_review_enabled"], signer["four_eyes"], signer["group_check_enabled"]) == (True, "contributors", True)
    assert {"accounts", "admin", "history", "permissions_endpoint"} <= signer_capabilities.keys()


def test_signer_ini_lets_half_of_the_records_go_at_most():
    assert shipped_settings("signer.ini")["kinto.signer.mass_deletion_percent"] == "50"


@pytest.mark.parametrize("name", ["signer.ini", "authority.ini"])
def test_the_server_waits_longer_than_a_publication_may_take(name):
    ini = configparser.ConfigParser()
    ini.read(CONFIG / name)
    timeout_s = ini.get("app:main", "kinto.signer.authority.timeout_seconds", fallback="300", raw=True)

    assert ini.getint("server:main", "channel_timeout") > int(timeout_s)


@pytest.mark.parametrize(("name", "plugin"), [("signer.ini", "kinto_signer"), ("authority.ini", "kinto_signer.authority")])
def test_ours_is_the_last_plugin(name, plugin):
    ini = configparser.ConfigParser()
    ini.read(CONFIG / name)

    assert ini.get("app:main", "kinto.includes", raw=True).split()[-1] == plugin


def test_wsgi_py_builds_the_application_of_kinto_ini(authority_environment):
    authority_environment.setenv("KINTO_INI", str(CONFIG / "authority.ini"))
    script = "from wsgi import application; import webtest; print(webtest.TestApp(application).get('/v1/').status)"

    done = subprocess.run([sys.executable, "-c", script], cwd=CONFIG, capture_output=True, text=True, check=True)

    assert done.stdout == "200 OK\n"


def test_the_refresh_units():
    """The timer starts a command that there is, with options that it has, well within the statements' time."""
    service, timer = unit("kinto-signer-refresh.service"), unit("kinto-signer-refresh.timer")
    program, command, *flags = shlex.split(service["Service"]["ExecStart"])
    assert program.endswith("/kinto-signer")
    flags[flags.index("--auth-file") + 1] = str(CONFIG / "signer.ini")
    options = signer.cli.commands[command].make_context(command, flags, resilient_parsing=False).params
    shipped = shipped_settings("signer.ini")
    lifetime, least = (
        int(shipped[f"kinto.signer.{name}"]) * DAY_MS for name in ("statement_lifetime_days", "heartbeat_statement_days_left")
    )
    assert least < options["before_expiry"] < lifetime
    assert options["older_than"] < lifetime - least
    assert f"{command} {' '.join(flags[:4])} " in (ROOT / "docs" / "operating.rst").read_text()
    assert (service["Service"]["Type"], service["Service"]["LimitCORE"]) == ("oneshot", "0")
    assert service["Service"]["LoadCredential"].startswith("auth:")
    assert (timer["Install"]["WantedBy"], timer["Timer"]["Persistent"]) == ("timers.target", "yes")
    assert "account:refresh" in shipped["kinto.signer.status_principals"].split()
