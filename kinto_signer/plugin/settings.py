"""The SETTINGS table, and how a value is found, parsed and refused.

A value is found by looking up a *known* name under the most specific prefix (``signer.B.C.``, the old ``signer.B_C.``,
``signer.B.``, ``signer.``), never by splitting a key. The collection part may be a regular expression.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kinto_signer.errors import ConfigurationError
from kinto_signer.signers import Given

PREFIX = "signer."


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    type: how the value is written (``text``, ``boolean``, ``seconds``, ``list``, ``file``, ``url``). scope: ``server``, or
    ``collection`` where it may be set per bucket and collection. offered: False for names of the peers that this release
    knows but does not act on; switching one of them on is refused, since ignoring it in silence would be worse.
    """

    name: str
    type: str
    default: str | None
    doc: str
    scope: str = "collection"
    secret: bool = False
    offered: bool = True

    def parse(self, text: str, key: str) -> Any:
        """The value that `text` stands for. Raises ConfigurationError that quotes the line (without a secret)."""
        try:
            value = PARSERS[self.type](text)
        except ValueError as error:
            shown = "(hidden)" if self.secret else re.sub(r"//[^/]*@", "//(hidden)@", text)
            raise ConfigurationError(f"kinto.{key} = {shown}: {error}") from None
        if not self.offered and value:
            raise ConfigurationError(f"kinto.{key} = {text}: {self.doc} Not part of this release: remove the line.")
        return value


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in ("true", "yes", "on", "y", "t", "1"):
        return True
    if lowered in ("false", "no", "off", "n", "f", "0", ""):
        return False
    raise ValueError("neither true nor false.")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError("not a number of seconds.") from None
    if not 0 < seconds <= 86400:
        raise ValueError("has to be more than 0 and at most 86400 seconds.")
    return seconds


def _url(text: str) -> str:
    url = text.strip().rstrip("/")
    if not re.match(r"https?://[^/\s@?#]+(/[^\s?#]*)?$", url):
        raise ValueError("not an http(s) address (credentials go to authority.auth; no query, no fragment).")
    try:
        urlsplit(url).port  # noqa: B018 - raises for a port out of range
    except ValueError:
        raise ValueError("not a possible port.") from None
    return url if re.search(r"/v\d+$", url) else url + "/v1"


def _auth(text: str) -> str:
    text = text.strip()
    if re.match(r"(?i)bearer \S+$", text) or re.match(r"[^:\s]+:.+$", text):
        return text
    raise ValueError("has to be `user:password` or `Bearer TOKEN`.")


PARSERS: dict[str, Callable[[str], Any]] = {
    "text": str.strip,
    "list": str.split,
    "boolean": _boolean,
    "seconds": _seconds,
    "url": _url,
    "auth": _auth,
    "file": str.strip,
}

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "resources",
        "text",
        "/buckets/main-workspace -> /buckets/main-preview -> /buckets/main",
        "Which collections are signed, one line each: `/buckets/SOURCE -> /buckets/DESTINATION`, with a preview in the "
        "middle, or with `/collections/ID` for single collections; `bucket/collection` and `;` are understood too.",
        scope="server",
    ),
    Setting("signer_backend", "text", "local", "What keeps the key: `kinto_signer.signer.local_ecdsa` (a PEM file)."),
    Setting("ecdsa.private_key", "file", None, "PEM file with the P-384 private key of the local signer."),
    Setting("ecdsa.public_key", "file", None, "PEM file with a public key whose earlier signatures are accepted as well."),
    Setting("allow_floats", "boolean", "false", "Accept numbers with a fraction (needs the extra `[floats]` everywhere)."),
    Setting(
        "auto_create_resources",
        "boolean",
        "false",
        "Create the buckets and collections named in `resources` when the server starts.",
        scope="server",
    ),
    Setting(
        "auto_create_resources_principals",
        "list",
        "system.Authenticated",
        "Who may write in the source buckets created that way.",
        scope="server",
    ),
    Setting("authority.url", "url", None, "Address of the Kinto server that readers use, e.g. `https://a.example.org/v1`."),
    Setting("authority.auth", "auth", None, "The signer's account there: `user:password` or `Bearer TOKEN`.", secret=True),
    Setting("authority.timeout_seconds", "seconds", "300", "Total time that one publication to the authority may take."),
    Setting(
        "authority.bootstrap",
        "boolean",
        "false",
        "At start-up, fill configured collections that are empty here from the authority, after verification.",
        scope="server",
    ),
    Setting(
        "lock_timeout_seconds",
        "seconds",
        "5",
        "How long a request waits for another one on the same collection before it is answered 409 with Retry-After.",
        scope="server",
    ),
    # Names of kinto-signer and kinto-remote-settings that are known, and not part of this release.
    Setting("to_review_enabled", "boolean", "false", "Reviews before publication.", offered=False),
    Setting("group_check_enabled", "boolean", "false", "Groups of editors and reviewers.", offered=False),
    Setting("hard_delete_destination_on_source_deletion", "boolean", "false", "Deletes without tombstones.", offered=False),
    Setting("editors_group", "text", "{collection_id}-editors", "Name of the editors' group (shown in the capability)."),
    Setting(
        "reviewers_group",
        "text",
        "{collection_id}-reviewers",
        "Name of the reviewers' group (shown in the capability).",
    ),
    Setting("autograph.server_url", "text", "", "Signing with Autograph.", offered=False),
    Setting("autograph.hawk_id", "text", "", "Signing with Autograph.", offered=False),
    Setting("autograph.hawk_secret", "text", "", "Signing with Autograph.", secret=True),
    Setting("autograph.key_ids", "text", "remote-settings", "Signing with Autograph; means nothing with a local key."),
    Setting("heartbeat_certificate_min_remaining_days", "text", "10", "Certificates; means nothing with a local key."),
    Setting("heartbeat_certificate_max_remaining_days", "text", "30", "Certificates; means nothing with a local key."),
    Setting(
        "heartbeat_certificate_percentage_remaining_validity",
        "text",
        "5",
        "Certificates; means nothing with a local key.",
    ),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


class Settings:
    """The values of one server, looked up by known names. Never shows a secret."""

    def __init__(self, raw: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._values = {key: _as_text(value) for key, value in _signer_keys(raw)}
        for key in [*self._values, *(PREFIX + setting.name for setting in SETTINGS)]:
            variable = "KINTO_" + _as_variable(key)
            if variable in environ:
                self._values[key] = environ[variable]
        self.warnings = (*self._check_all(), *_unknown_elsewhere(raw, environ))

    def __repr__(self) -> str:
        return f"<Settings {sorted(self._values)}>"

    def get(self, name: str, bucket: str | None = None, collection: str | None = None) -> Any:
        """The parsed value of the setting `name` for a source collection; its default where it is not set."""
        setting = BY_NAME[name]
        for key in self._candidates(name, bucket, collection):
            if key in self._values:
                return setting.parse(self._values[key], key)
        return None if setting.default is None else PARSERS[setting.type](setting.default)

    def given(self, name: str, bucket: str | None = None, collection: str | None = None) -> Given | None:
        """The value of the setting, as text, with the line that gave it; None where no line does."""
        for key in self._candidates(name, bucket, collection):
            if key in self._values:
                return self._given(key)
        return None

    def every(self, name: str) -> list[Given]:
        """Every value that the setting has anywhere."""
        return [self._given(key) for key in self._values if _known_name(key) == name]

    def _given(self, key: str) -> Given:
        value = self._values[key].strip()
        return Given(value, f"kinto.{key} = {value}")

    def misplaced(self, buckets: Collection[str]) -> Iterator[str]:
        """A warning for each line whose bucket is none of `buckets`, those that are signed."""
        for key in self._values:
            place = _place(key)
            if place and not any(place == bucket or place.startswith((f"{bucket}.", f"{bucket}_")) for bucket in buckets):
                yield f"kinto.{key} means nothing: no line of kinto.signer.resources has the source bucket that it names."

    def _candidates(self, name: str, bucket: str | None, collection: str | None) -> Iterator[str]:
        if bucket and collection:
            yield f"{PREFIX}{bucket}.{collection}.{name}"
            yield f"{PREFIX}{bucket}_{collection}.{name}"
            head, tail = f"{PREFIX}{bucket}.", f".{name}"
            for key in self._values:
                pattern = key.removeprefix(head).removesuffix(tail)
                if key == f"{head}{pattern}{tail}" and _matches(pattern, collection):
                    yield key
        if bucket:
            yield f"{PREFIX}{bucket}.{name}"
        yield f"{PREFIX}{name}"

    def _check_all(self) -> Iterator[str]:
        for key, text in self._values.items():
            name = _known_name(key)
            if name is None:
                nearest = difflib.get_close_matches(key.removeprefix(PREFIX), BY_NAME, n=1, cutoff=0.5)
                hint = f"; did you mean kinto.{PREFIX}{nearest[0]}?" if nearest else "."
                yield f"kinto.{key} is no setting of kinto-signer and means nothing{hint}"
            else:
                BY_NAME[name].parse(text, key)
                _check_pattern(key)


def _known_name(key: str) -> str | None:
    """The longest known name that `key` ends with, after the prefix and possibly a bucket and a collection."""
    rest = key.removeprefix(PREFIX)
    fitting = [name for name in BY_NAME if rest == name or rest.endswith("." + name)]
    return max(fitting, key=len, default=None)


def _place(key: str) -> str:
    """The bucket, or bucket and collection, that a key with a known name is about; empty for the whole server."""
    name = _known_name(key) or ""
    return key.removeprefix(PREFIX).removesuffix(name).rstrip(".") if name else ""


def _check_pattern(key: str) -> None:
    try:
        re.compile(_place(key))
    except re.error as error:
        raise ConfigurationError(f"kinto.{key}: `{_place(key)}` is no regular expression ({error}).") from error


def _unknown_elsewhere(raw: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[str]:
    """Warnings for environment variables that name nothing, and for settings of a plugin that is not part of this release."""
    for variable in environ:
        if variable.startswith("KINTO_SIGNER_") and not any(variable.endswith("_" + _as_variable(name)) for name in BY_NAME):
            yield f"The environment variable {variable} names no setting of kinto-signer and means nothing."
    for key in raw:
        if key.startswith("kinto.authority."):
            yield f"{key} means nothing: A's plugin kinto_signer.authority is not part of this release."


def _as_variable(key: str) -> str:
    return re.sub(r"[.-]", "_", key).upper()


def _matches(pattern: str, collection: str) -> bool:
    try:
        return re.fullmatch(pattern, collection) is not None
    except re.error:
        return False


def _signer_keys(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in raw.items():
        bare = key.removeprefix("kinto.")
        if bare.startswith(PREFIX):
            yield bare, value


def _as_text(value: Any) -> str:
    """Kinto turns what looks like JSON into values, so that a password of digits arrives as an integer."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
