"""What kinto-updater is told: a TOML file, and flags that override it, parsed once."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs

from kinto_signer.core import spans
from kinto_signer.core.public_key import parse_fingerprint
from kinto_signer.core.trust import Trust
from kinto_signer.errors import ConfigurationError
from kinto_signer.remote import check_name
from kinto_signer.transport.chains import AllowedHost
from kinto_signer.transport.credentials import read_credentials, read_file
from kinto_signer.transport.session import check_server_url
from kinto_signer.trusting import PIN_NAMES, RULE_NAMES, TRUSTED, GivenRules, Pins
from kinto_signer.updater.policies import PlacedRules, Policies, TrustTable

APPLICATION = "kinto-updater"
DEFAULT_DEADLINE_S = 300.0
DEFAULT_MAX_SIZE_MIB = 64.0
FORMATS = ("text", "json")


@dataclass(frozen=True)
class Options:
    """What a configuration file or the flags say; None where they say nothing. The names are the file's keys."""

    server: str | None = None
    collections: tuple[str, ...] | None = None
    public_keys: tuple[Path, ...] | None = None
    x5u_roots: tuple[str, ...] | None = None
    signer_ids: tuple[str, ...] | None = None
    chains: tuple[Path, ...] | None = None
    x5u_hosts: tuple[str, ...] | None = None
    tolerance_seconds: float | None = None
    trust: Mapping[str, TrustTable] | None = None
    cache: Path | None = None
    json: Path | None = None
    auth_file: Path | None = None
    require_statement: bool | None = None
    audience: str | None = None
    max_age: str | None = None
    deadline_seconds: float | None = None
    max_size_mib: float | None = None
    format: str | None = None

    def overridden_by(self, flags: Options) -> Options:
        """These options, with what `flags` say instead where they say something."""
        ours, theirs = dict(vars(self)), vars(flags)
        trusting = any(theirs[name] is not None for name in TRUSTED)
        if trusting:  # a policy is replaced as a whole, or more would be trusted
            ours |= dict.fromkeys(PIN_NAMES)
        ruled = [name for name in RULE_NAMES if theirs[name] is not None]
        if self.trust and (trusting or ruled):  # a flag is meant for every collection
            tables = {place: table.without(pins=trusting, rules=ruled) for place, table in self.trust.items()}
            ours["trust"] = {place: table for place, table in tables.items() if table} or None
        return Options(**{name: ours[name] if theirs[name] is None else theirs[name] for name in ours})

    @property
    def cache_directory(self) -> Path:
        return self.cache or default_cache()

    @property
    def max_size_bytes(self) -> int:
        """Of one answer of a server, or of one file."""
        return int((DEFAULT_MAX_SIZE_MIB if self.max_size_mib is None else self.max_size_mib) * 2**20)

    def allowed_hosts(self) -> tuple[AllowedHost, ...]:
        """Where certificate chains may be fetched from. Raises ConfigurationError."""
        return tuple(AllowedHost.parse(text) for text in self.x5u_hosts or ())

    def rules(self) -> PlacedRules:
        """What is asked of publication statements, and of the age of what is offered. Raises ConfigurationError."""
        own = GivenRules(**{name: getattr(self, name) for name in RULE_NAMES})
        placed = {place: table.rules for place, table in (self.trust or {}).items()}
        return PlacedRules({place: given.parsed() for place, given in {"": own, **placed}.items()})

    def policies(self) -> Policies | None:
        """What is trusted for each collection, every file loaded; None where nothing was said. Raises ConfigurationError."""
        found = {}
        own = Pins(**{name: getattr(self, name) for name in PIN_NAMES})
        if any(vars(own).values()):
            found[""] = own.trust(self.tolerance_seconds or 0)
        for place, table in (self.trust or {}).items():
            if table.pins == Pins() and table:  # rules alone change no policy
                continue
            if not (table.pins.public_keys or table.pins.x5u_roots):
                raise ConfigurationError(f'[trust."{place}"] names no key and no root: nothing could be verified with it.')
            found[place] = table.pins.trust(self.tolerance_seconds or 0)
        return Policies(found) if found else None


@dataclass(frozen=True)
class Settings:
    """What a run of gather-changes needs, complete and checked.

    server: empty where it reads files. collections: those to fetch; of files those that may be taken, any if there is none.
    """

    server: str
    collections: tuple[str, ...]
    trust: Trust | None
    cache: Path
    json: Path | None = None
    credentials: str | None = field(default=None, repr=False)
    deadline_s: float = DEFAULT_DEADLINE_S
    max_size_bytes: int = int(DEFAULT_MAX_SIZE_MIB * 2**20)
    places: Mapping[str, Trust] = field(default_factory=dict)
    x5u_hosts: tuple[AllowedHost, ...] = ()
    rules: PlacedRules = field(default_factory=PlacedRules)

    def trust_for(self, name: str) -> Trust:
        """The policy for a collection: `places`, by bucket or bucket/collection, before `trust`. Raises ConfigurationError."""
        everywhere = {} if self.trust is None else {"": self.trust}
        return Policies({**everywhere, **self.places})(name)


def default_config() -> Path:
    """``$XDG_CONFIG_HOME/kinto-updater/config.toml``, and its like elsewhere."""
    return platformdirs.user_config_path(APPLICATION) / "config.toml"


def default_cache() -> Path:
    """``$XDG_STATE_HOME/kinto-updater``: not the user's cache folder, which may be emptied, and with it the memory of the
    highest verified timestamps."""
    return platformdirs.user_state_path(APPLICATION)


def gather_settings(options: Options) -> Settings:
    """Settings for gather-changes. Raises ConfigurationError that names what is missing or wrong."""
    if not options.server:
        raise ConfigurationError("No server was given: name it as the first argument, or as `server` in the configuration.")
    if not options.collections:
        raise ConfigurationError("No collection was given: use `-c BUCKET/COLLECTION`, or `collections` in the configuration.")
    server = check_server_url(options.server)
    own = AllowedHost.of_server(server)
    credentials = read_credentials(options.auth_file) if options.auth_file else None
    return _settings(options, server, credentials, [own] if own else [])


def file_settings(options: Options) -> Settings:
    """The same for files: no server is needed, and one that is configured is not asked. Raises ConfigurationError."""
    return _settings(options, server="", credentials=None, own_hosts=[])


def _settings(options: Options, server: str, credentials: str | None, own_hosts: Sequence[AllowedHost]) -> Settings:
    policies = options.policies()
    if policies is None:
        raise ConfigurationError(
            "No trusted key was given, and no root: use `--public-key FILE` or `--x5u-root SHA256 --signer-id NAME`, or "
            "`public_keys` in the configuration. Ask the publisher for it by another way than the server."
        )
    collections = tuple(dict.fromkeys(check_name(name) for name in options.collections or ()))
    for name in collections:
        policies(name)
    return Settings(
        server=server,
        collections=collections,
        trust=policies.by_place.get(""),
        cache=options.cache_directory,
        json=options.json,
        credentials=credentials,
        deadline_s=DEFAULT_DEADLINE_S if options.deadline_seconds is None else options.deadline_seconds,
        max_size_bytes=options.max_size_bytes,
        places={place: trust for place, trust in policies.by_place.items() if place},
        rules=options.rules(),
        x5u_hosts=(*options.allowed_hosts(), *own_hosts),
    )


def read_options(path: Path | None) -> Options:
    """The options in the TOML file `path`, or in the default one if it exists. Raises ConfigurationError."""
    if path is None:
        path = default_config()
        if not path.is_file():
            return Options()
    body = read_file(path)
    try:
        text = body.decode("utf-8")
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not proper TOML: {error}.") from error
    known = {option.name for option in fields(Options)}
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise ConfigurationError(f"{path}{_line_of(text, key)}: `{key}` is unknown; the nearest known key is `{near}`.")
    try:
        return parse_options(content, base=path.parent)
    except _BadValue as error:
        raise ConfigurationError(f"{path}{_line_of(text, error.key)}: {error.message}") from error


class _BadValue(ConfigurationError):
    def __init__(self, key: str, value: object, wanted: str) -> None:
        super().__init__(f"`{key} = {value!r}` cannot be used: {wanted} is needed.")
        self.key = key


def parse_options(content: Mapping[str, Any], *, base: Path) -> Options:
    """Options from a TOML table; relative paths start at `base`. Raises ConfigurationError."""

    read = _Reader(content, base)
    chosen = read.text("format")
    if chosen is not None and chosen not in FORMATS:
        raise _BadValue("format", chosen, " or ".join(FORMATS))
    return Options(
        server=read.text("server"),
        collections=read.texts("collections"),
        **vars(read.pins()),
        **vars(read.rules()),
        x5u_hosts=read.texts("x5u_hosts"),
        tolerance_seconds=read.number("tolerance_seconds", least=0),
        trust=read.places("trust"),
        cache=read.path("cache"),
        json=read.path("json"),
        auth_file=read.path("auth_file"),
        deadline_seconds=read.number("deadline_seconds"),
        max_size_mib=read.number("max_size_mib"),
        format=chosen,
    )


class _Reader:
    """A TOML table whose values are asked for by name and kind. Each raises ConfigurationError."""

    def __init__(self, content: Mapping[str, Any], base: Path) -> None:
        self.content = content
        self.base = base

    def text(self, key: str) -> str | None:
        value = self.content.get(key)
        if value is not None and not (isinstance(value, str) and value):
            raise _BadValue(key, value, "a text")
        return value

    def texts(self, key: str) -> tuple[str, ...] | None:
        value = self.content.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) and item for item in value)):
            raise _BadValue(key, value, "a list of texts")
        return None if value is None else tuple(value)

    def number(self, key: str, least: float | None = None) -> float | None:
        value = self.content.get(key)
        if value is None or (type(value) in (int, float) and value < math.inf and (value > 0 or value == least)):
            return value
        raise _BadValue(key, value, "a positive number" if least is None else "a number from 0 on")

    def boolean(self, key: str) -> bool | None:
        value = self.content.get(key)
        if value is not None and not isinstance(value, bool):
            raise _BadValue(key, value, "true or false")
        return value

    def span(self, key: str) -> str | None:
        value = self.text(key)
        if value is not None and not spans.is_span(value):
            raise _BadValue(key, value, spans.WANTED)
        return value

    def path(self, key: str) -> Path | None:
        value = self.text(key)
        return None if value is None else self._absolute(value)

    def pins(self) -> Pins:
        """Keys are files, or digests that are no path."""
        keys, chains = self.texts("public_keys"), self.texts("chains")
        return Pins(
            None if keys is None else tuple(Path(key) if parse_fingerprint(key) else self._absolute(key) for key in keys),
            self.texts("x5u_roots"),
            self.texts("signer_ids"),
            None if chains is None else tuple(map(self._absolute, chains)),
        )

    def rules(self) -> GivenRules:
        return GivenRules(self.boolean("require_statement"), self.text("audience"), self.span("max_age"))

    def places(self, key: str) -> Mapping[str, TrustTable] | None:
        """Tables with pins and rules of their own, by bucket or ``bucket/collection``."""
        tables = self.content.get(key)
        if tables is None:
            return None
        found = {}
        for place, table in tables.items() if isinstance(tables, dict) else [("", tables)]:
            proper = isinstance(table, dict) and not table.keys() - {*PIN_NAMES, *RULE_NAMES}
            if not proper or not re.fullmatch(r"[a-zA-Z0-9][\w-]*(/[a-zA-Z0-9][\w-]*)?", place, re.ASCII):
                wanted = f"a table named by a bucket or by bucket/collection, with {', '.join((*PIN_NAMES, *RULE_NAMES))}"
                raise _BadValue(key, tables, wanted)
            inner = _Reader(table, self.base)
            found[place] = TrustTable(inner.pins(), inner.rules())
        return found

    def _absolute(self, value: str) -> Path:
        return self.base / Path(value).expanduser()


def _line_of(text: str, key: str) -> str:
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"""\s*\[?\s*["']?{re.escape(key)}\b""", line):
            return f", line {number} ({line.strip()[:80]})"
    return ""
