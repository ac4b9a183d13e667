"""The updater's configuration: the file, the flags, the credentials, what config/ holds."""

import configparser
import shlex
from pathlib import Path

import pytest

from kinto_signer.cli import updater
from kinto_signer.core.freshness import DAY_MS, Rules
from kinto_signer.core.trust import PublicKey
from kinto_signer.errors import ConfigurationError
from kinto_signer.trusting import GivenRules, Pins
from kinto_signer.updater.policies import TrustTable
from kinto_signer.updater.settings import Options, default_cache, default_config, gather_settings, read_options
from tests.support import servers
from tests.support.certificates import SIGNER, make_pki
from tests.support.keys import write_key_pair

CONFIG = servers.ROOT / "config"
PKI = make_pki()


def write(tmp_path, text, name="config.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_a_whole_file(tmp_path):
    pair = write_key_pair(tmp_path)
    auth = write(tmp_path, "alice:secret\n", "auth")
    auth.chmod(0o600)
    path = write(
        tmp_path,
        f"""
        server = "https://kinto.example/v1/"
        collections = ["main/regions", "main/languages", "main/regions"]
        public_keys = ["{pair.public.name}"]
        cache = "cache"
        json = "/json"
        auth_file = "auth"
        deadline_seconds = 12.5
        max_size_mib = 1
        format = "json"
        """,
    )
    options = read_options(path)
    settings = gather_settings(options)

    assert settings.server == "https://kinto.example/v1"
    assert settings.collections == ("main/regions", "main/languages")
    assert [key.pem for key in settings.trust.keys] == [pair.public.read_bytes()]
    assert (settings.cache, str(settings.json)) == (tmp_path / "cache", "/json")
    assert (settings.deadline_s, settings.max_size_bytes, options.format) == (12.5, 2**20, "json")
    assert settings.credentials == "alice:secret"
    assert "secret" not in repr(settings) + repr(options)


def test_the_default_file_is_found(home):
    assert read_options(None) == Options()
    assert default_config() == home / "config" / "kinto-updater" / "config.toml"
    default_config().parent.mkdir(parents=True)
    default_config().write_text('server = "https://kinto.example/v1"')

    options = read_options(None)
    assert options.server == "https://kinto.example/v1"
    assert options.cache_directory == default_cache() == home / "state" / "kinto-updater"


def test_flags_override_the_file(tmp_path):
    options = read_options(write(tmp_path, 'server = "https://one/v1"\nformat = "json"\ndeadline_seconds = 5'))
    merged = options.overridden_by(Options(server="https://two/v1", deadline_seconds=7))
    assert (merged.server, merged.format, merged.deadline_seconds) == ("https://two/v1", "json", 7)


MISTAKES = {
    'sever = "x"': r"line 1 \(sever = \"x\"\): `sever` is unknown; the nearest known key is `server`",
    "# a comment\ncolections = []": r"line 2 .*nearest known key is `collections`",
    "[server]\nurl = 1": r"line 1 \(\[server\]\): `server = .*a text is needed",
    'server = ""': "a text is needed",
    "server = 5": "`server = 5` cannot be used: a text is needed",
    'collections = "main/a"': "a list of texts is needed",
    "collections = [1]": "a list of texts is needed",
    "public_keys = [[]]": "a list of texts is needed",
    'deadline_seconds = "5"': "a positive number is needed",
    "deadline_seconds = 0": "a positive number is needed",
    "deadline_seconds = true": "a positive number is needed",
    "deadline_seconds = inf": "a positive number is needed",
    "max_size_mib = -1": "a positive number is needed",
    "max_size_mib = nan": "a positive number is needed",
    'format = "yaml"': "text or json is needed",
    "x5u_roots = 'A'": "a list of texts is needed",
    "signer_ids = [1]": "a list of texts is needed",
    "tolerance_seconds = -1": "a number from 0 on is needed",
    "[trust]\nmain = 1": "a table named by a bucket",
    "trust = 5": "a table named by a bucket",
    "[trust.'main/../x']\npublic_keys = ['a']": "a table named by a bucket",
    "[trust.'a/b/c']\npublic_keys = ['a']": "a table named by a bucket",
    "[trust.main]\nserver = 'a'": "chains, require_statement, audience, max_age is needed",
    "[trust.main]\npublic_keys = 'a'": "a list of texts is needed",
    "[trust.main]\nmax_age = '7'": r"line 2 \(max_age = '7'\): .*7d, 36h",
    "[trust.main]\nrequire_statement = 1": "true or false is needed",
    "[trust.main]\naudience = ''": "a text is needed",
    "at = 5": "`at` is unknown",
    "server = \nformat = 1": "not proper TOML: .*line 1",
    "a = 1\na = 2\nb = 3": "not proper TOML: .*line 2",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_in_the_file(tmp_path, text):
    with pytest.raises(ConfigurationError, match=MISTAKES[text]) as caught:
        read_options(write(tmp_path, text))
    assert "config.toml" in caught.value.message
    assert (caught.value.exit_code, caught.value.reason) == (2, "configuration")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match="No such file"):
        read_options(tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b'server = "\xff"')
    with pytest.raises(ConfigurationError, match="not proper TOML"):
        read_options(tmp_path / "latin.toml")


def complete(tmp_path, **changed):
    pair = write_key_pair(tmp_path)
    options = {"server": "https://x/v1", "collections": ("main/a",), "public_keys": (pair.public,), "cache": tmp_path}
    return Options(**(options | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"server": None}, "No server was given"),
        ({"server": "kinto.example"}, "'kinto.example' is not the address"),
        ({"server": "https://a:b@x/v1"}, "holds credentials"),
        ({"collections": None}, "No collection was given"),
        ({"collections": ()}, "No collection was given"),
        ({"collections": ("main",)}, "'main' is not the name"),
        ({"collections": ("main/../x",)}, "is not the name"),
        ({"collections": ("main/a/b",)}, "is not the name"),
        ({"public_keys": None}, "No trusted key was given"),
        ({"public_keys": ()}, "No trusted key was given"),
    ],
)
def test_what_is_missing_or_wrong(tmp_path, changed, message):
    assert gather_settings(complete(tmp_path)).deadline_s == 300
    with pytest.raises(ConfigurationError, match=message):
        gather_settings(complete(tmp_path, **changed))


# --- whom to trust ---------------------------------------------------------------------------------------------------

ROOT = PKI.root.sha256.hex(":").upper()
CHAINED = {"public_keys": None, "x5u_roots": (ROOT,), "signer_ids": (SIGNER,)}


def test_keys_by_digest_and_roots(tmp_path):
    digest = PublicKey(PKI.leaf.key.public_key()).sha256
    for text in (digest.hex(), digest.hex().upper(), digest.hex(":"), digest.hex(":").upper()):
        trust = gather_settings(complete(tmp_path, public_keys=(Path(text),))).trust
        assert (trust.keys, trust.key_digests, trust.roots) == ((), (digest,), ())
    trust = gather_settings(complete(tmp_path, **CHAINED, tolerance_seconds=60)).trust
    assert (trust.keys, trust.roots, trust.tolerance_s) == ((), (PKI.pinned,), 60)
    both = gather_settings(complete(tmp_path, x5u_roots=("00" * 32, ROOT), signer_ids=("a", "b"))).trust
    assert (len(both.keys), len(both.roots)) == (1, 4)
    path = write(tmp_path, f'public_keys = ["{digest.hex()}", "signer-public.pem"]\n')
    assert read_options(path).public_keys == (Path(digest.hex()), tmp_path / "signer-public.pem")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"public_keys": None, "x5u_roots": (ROOT,)}, "without the signer that is expected"),
        ({"signer_ids": (SIGNER,)}, "without a root"),
        ({"public_keys": None, "signer_ids": (SIGNER,)}, "without a root"),
        ({"chains": (Path("a.chain"),)}, "without a root"),
        (CHAINED | {"x5u_roots": ("",)}, "'' is not the SHA-256 of a root"),
        (CHAINED | {"x5u_roots": (ROOT[:-3],)}, "is not the SHA-256 of a root"),
        (CHAINED | {"x5u_roots": (ROOT + "\n",)}, "is not the SHA-256 of a root"),
        (CHAINED | {"chains": (Path("nowhere.chain"),)}, "nowhere.chain cannot be read"),
        (CHAINED | {"chains": (Path(__file__),)}, "test_updater_settings.py: the certificate chain cannot be used"),
        (CHAINED | {"tolerance_seconds": 10**9}, "would end the end of certificates"),
        (CHAINED | {"tolerance_seconds": -1.0}, "A tolerance of -1 seconds"),
        (CHAINED | {"x5u_hosts": ("https://x/",)}, "'https://x/' is not a host"),
        (
            {"public_keys": None, "trust": {"other": TrustTable(Pins(x5u_roots=(ROOT,), signer_ids=(SIGNER,)))}},
            "^main/a: no trusted key",
        ),
        ({"trust": {"main": TrustTable()}}, r'\[trust."main"\] names no key and no root'),
        ({"trust": {"main": TrustTable(Pins(signer_ids=(SIGNER,)))}}, "names no key and no root"),
        ({"trust": {"main": TrustTable(Pins(()), GivenRules(True))}}, "names no key and no root"),
    ],
)
def test_policies_that_are_none(tmp_path, changed, message):
    with pytest.raises(ConfigurationError, match=message):
        gather_settings(complete(tmp_path, **changed))


def test_the_most_specific_policy_counts_as_a_whole(tmp_path):
    pair = write_key_pair(tmp_path, "other")
    path = write(
        tmp_path,
        f"""
        public_keys = ["signer-public.pem"]
        [trust.main]
        x5u_roots = ["{ROOT}"]
        signer_ids = ["{SIGNER}"]
        [trust."main/b"]
        public_keys = ["other-public.pem"]
        """,
    )
    write_key_pair(tmp_path)
    policies = read_options(path).policies()
    assert policies("main/a").roots
    assert not policies("main/a").keys
    assert [key.pem for key in policies("main/b").keys] == [pair.public.read_bytes()]
    assert not policies("main/b").roots
    assert policies("else/b").keys
    assert not policies("else/b").roots


def test_flags_replace_the_policies_of_the_file(tmp_path):
    """Whoever names a key on the command line trusts that one, and nothing that a file adds to it."""
    key, root = Path("a.pem"), ("r",)
    written = Options(
        public_keys=(key,), x5u_roots=root, signer_ids=("s",), trust={"main": TrustTable(Pins((key,)))}, chains=(key,)
    )
    merged = written.overridden_by(Options(x5u_roots=("q",), signer_ids=("t",)))
    assert (merged.public_keys, merged.x5u_roots, merged.signer_ids, merged.trust) == (None, ("q",), ("t",), None)
    merged = written.overridden_by(Options(public_keys=(Path("b.pem"),)))
    assert (merged.public_keys, merged.x5u_roots, merged.signer_ids, merged.trust) == ((Path("b.pem"),), None, None, None)
    assert written.overridden_by(Options(format="json")) == Options(**{**vars(written), "format": "json"})
    merged = written.overridden_by(Options(chains=(Path("c"),)))  # trusted for nothing
    assert (merged.x5u_roots, merged.chains) == (root, (Path("c"),))


RULED = """
public_keys = ["signer-public.pem"]
require_statement = true
audience = "production"
max_age = "7d"
[trust.main]
max_age = "1d"
[trust."main/b"]
require_statement = false
public_keys = ["other-public.pem"]
"""


def test_each_rule_counts_from_the_most_specific_place_that_has_it(tmp_path):
    write_key_pair(tmp_path)
    other = write_key_pair(tmp_path, "other")
    options = read_options(write(tmp_path, RULED))
    rules, policies = options.rules(), options.policies()
    assert rules("else/a") == Rules(True, "production", 7 * DAY_MS)
    assert rules("main/a") == Rules(True, "production", DAY_MS)
    assert rules("main/b") == Rules(False, "production", DAY_MS), "another key takes no rule away"
    assert policies("main/a") == policies("else/a"), "and rules alone take no key away"
    assert policies("main/b").keys[0].pem == other.public.read_bytes()
    assert Options().rules()("main/a") == Rules()


def test_flags_overrule_a_rule_everywhere_and_keys_overrule_no_rule(tmp_path):
    written = read_options(write(tmp_path, RULED))
    rules = written.overridden_by(Options(require_statement=True, max_age="2d")).rules()
    assert {rules(name) for name in ("else/a", "main/a", "main/b")} == {Rules(True, "production", 2 * DAY_MS)}
    merged = written.overridden_by(Options(public_keys=(Path("new.pem"),)))
    assert merged.rules() == written.rules()
    assert all(table.pins == Pins() for table in merged.trust.values())
    assert written.overridden_by(Options(format="json")).trust == written.trust


def test_a_private_key_is_no_public_key(tmp_path):
    pair = write_key_pair(tmp_path)
    with pytest.raises(ConfigurationError, match=r"signer-private\.pem: not a public key") as caught:
        gather_settings(complete(tmp_path, public_keys=(pair.private,)))
    assert "PRIVATE" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604])
def test_credentials_that_others_can_read_are_refused(tmp_path, mode, monkeypatch):
    auth = write(tmp_path, "alice:secret", "auth")
    auth.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"mode {mode:04o}.*chmod 600"):
        gather_settings(complete(tmp_path, auth_file=auth))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigurationError):
        gather_settings(complete(tmp_path, auth_file=auth))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert gather_settings(complete(tmp_path, auth_file=auth)).credentials == "alice:secret"


@pytest.mark.parametrize("content", [b"", b"secret", b"Digest secret", b"alice:secret\nbob:secret", b"alice:secret\xff"])
def test_credentials_that_are_none_are_not_quoted(tmp_path, content):
    auth = tmp_path / "auth"
    auth.write_bytes(content)
    auth.chmod(0o600)
    with pytest.raises(ConfigurationError, match="one line") as caught:
        gather_settings(complete(tmp_path, auth_file=auth))
    assert "secret" not in str(caught.value)


# --- what config/ holds ---------------------------------------------------------------------------------------------


def unit(name):
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str
    parser.read(CONFIG / name)
    return parser


def test_config_updater_toml(tmp_path):
    """As it is shipped, and with every line that is commented out switched on."""
    text = (CONFIG / "updater.toml").read_text(encoding="utf-8")
    assert read_options(write(tmp_path, text)).server == "https://kinto.example.com/v1"

    keys = vars(Options())
    switched_on = "\n".join(
        line[2:] if line.startswith("# ") and line[2:].partition(" = ")[0] in keys else line for line in text.splitlines()
    )
    options = vars(read_options(write(tmp_path, switched_on)))
    assert [name for name, value in options.items() if value is None] == []
    pair = write_key_pair(tmp_path)
    write_key_pair(tmp_path, "languages")
    (tmp_path / "regions.chain").write_bytes(PKI.pem)
    assert pair.public.exists()
    settings = gather_settings(Options(**{**options, "auth_file": None}))
    assert settings.deadline_s == 300
    assert settings.trust_for("main/languages").roots == ()
    assert settings.trust_for("main/regions").tolerance_s == 300


def test_config_systemd_units():
    service, timer = unit("kinto-updater.service"), unit("kinto-updater.timer")
    program, *arguments = shlex.split(service["Service"]["ExecStart"])
    command, *flags = arguments
    assert program.endswith("/kinto-updater")
    context = updater.cli.commands[command].make_context(command, flags)
    assert str(context.params["config"]) == "/etc/kinto-updater/config.toml"

    options = read_options(CONFIG / "updater.toml")
    assert float(service["Service"]["TimeoutStartSec"]) > options.deadline_seconds
    assert str(options.cache) == f"/var/lib/{service['Service']['StateDirectory']}"
    assert service["Service"]["Type"] == "oneshot"
    assert service["Service"]["ProtectSystem"] == "strict"
    assert timer["Timer"]["OnCalendar"]
    assert timer["Install"]["WantedBy"] == "timers.target"
