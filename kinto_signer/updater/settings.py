"""What kinto-updater is told: a TOML file, and flags that override it, parsed once."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs

from kinto_signer.core.trust import PublicKey, Trust, load_public_key
from kinto_signer.errors import ConfigurationError
from kinto_signer.remote import check_name
from kinto_signer.transport.credentials import read_credentials, read_file
from kinto_signer.transport.session import check_server_url

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
    cache: Path | None = None
    json: Path | None = None
    auth_file: Path | None = None
    deadline_seconds: float | None = None
    max_size_mib: float | None = None
    format: str | None = None

    def overridden_by(self, flags: Options) -> Options:
        """These options, with what `flags` say instead where they say something."""
        ours, theirs = vars(self), vars(flags)
        return Options(**{name: ours[name] if theirs[name] is None else theirs[name] for name in ours})

    @property
    def cache_directory(self) -> Path:
        return self.cache or default_cache()

    def trusted_keys(self) -> tuple[PublicKey, ...]:
        """The public keys, loaded. Raises ConfigurationError."""
        return tuple(load_public_key(read_file(path), where=str(path)) for path in self.public_keys or ())


@dataclass(frozen=True)
class Settings:
    """What a run of gather-changes needs, complete and checked."""

    server: str
    collections: tuple[str, ...]
    trust: Trust
    cache: Path
    json: Path | None = None
    credentials: str | None = field(default=None, repr=False)
    deadline_s: float = DEFAULT_DEADLINE_S
    max_size_bytes: int = int(DEFAULT_MAX_SIZE_MIB * 2**20)


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
    if not options.public_keys:
        raise ConfigurationError(
            "No trusted key was given: use `--public-key FILE`, or `public_keys` in the configuration. Ask the publisher for "
            "it by another way than the server."
        )
    return Settings(
        server=check_server_url(options.server),
        collections=tuple(dict.fromkeys(check_name(name) for name in options.collections)),
        trust=Trust(options.trusted_keys()),
        cache=options.cache_directory,
        json=options.json,
        credentials=read_credentials(options.auth_file) if options.auth_file else None,
        deadline_s=DEFAULT_DEADLINE_S if options.deadline_seconds is None else options.deadline_seconds,
        max_size_bytes=int((DEFAULT_MAX_SIZE_MIB if options.max_size_mib is None else options.max_size_mib) * 2**20),
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

    def texts(key: str) -> tuple[str, ...] | None:
        value = content.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) and item for item in value)):
            raise _BadValue(key, value, "a list of texts")
        return None if value is None else tuple(value)

    def text(key: str) -> str | None:
        value = content.get(key)
        if value is not None and not (isinstance(value, str) and value):
            raise _BadValue(key, value, "a text")
        return value

    def path(value: str) -> Path:
        return base / Path(value).expanduser()

    def number(key: str) -> float | None:
        value = content.get(key)
        if value is not None and not (type(value) in (int, float) and 0 < value < math.inf):
            raise _BadValue(key, value, "a positive number")
        return value

    chosen, keys = text("format"), texts("public_keys")
    if chosen is not None and chosen not in FORMATS:
        raise _BadValue("format", chosen, " or ".join(FORMATS))
    cache, json, auth_file = text("cache"), text("json"), text("auth_file")
    return Options(
        server=text("server"),
        collections=texts("collections"),
        public_keys=None if keys is None else tuple(path(key) for key in keys),
        cache=None if cache is None else path(cache),
        json=None if json is None else path(json),
        auth_file=None if auth_file is None else path(auth_file),
        deadline_seconds=number("deadline_seconds"),
        max_size_mib=number("max_size_mib"),
        format=chosen,
    )


def _line_of(text: str, key: str) -> str:
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"""\s*\[?\s*["']?{re.escape(key)}\b""", line):
            return f", line {number} ({line.strip()[:80]})"
    return ""
