"""How the value of a setting is found, parsed and refused; the settings themselves are rows of `plugin.tables`.

A value is found by looking up a *known* name under the most specific prefix (``signer.B.C.``, the old ``signer.B_C.``,
``signer.B.``, ``signer.``), never by splitting a key. The collection part may be a regular expression.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin.parsers import PARSERS
from kinto_signer.signers import Given

LABEL = "[a-z][a-z0-9-]{0,31}"


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    type: how the value is written (``text``, ``boolean``, ``seconds``, ``list``, ``file``, ``url``,
    ``bytes``, ``integer``, ``lifetime``: whole seconds, 0 included). scope: ``server``, or
    ``collection`` where it may be set per bucket and collection. idle: a name of the peers that this release knows and does not
    act on; switching one of them on is a warning that says so.
    """

    name: str
    type: str
    default: str | None
    doc: str
    scope: str = "collection"
    secret: bool = False
    idle: bool = False

    def parse(self, text: str, key: str) -> Any:
        """The value that `text` stands for. Raises ConfigurationError that quotes the line (without a secret)."""
        try:
            return PARSERS[self.type](text)
        except ValueError as error:
            shown = "(hidden)" if self.secret else re.sub(r"//[^/]*@", "//(hidden)@", text)
            raise ConfigurationError(f"kinto.{key} = {shown}: {error}") from None


@dataclass(frozen=True)
class Family:
    """Rows that exist once for each label in a list setting: ``authority.eu.url`` where ``authorities`` names ``eu``.

    list_name: that setting. name: what the rows begin with, without a dot. members: the rows, each named by its last part.
    """

    list_name: str
    name: str
    members: tuple[Setting, ...]

    def rows(self, labels: Iterable[str]) -> tuple[Setting, ...]:
        return tuple(replace(row, name=f"{self.name}.{label}.{row.name}") for label in labels for row in self.members)

    def label_in(self, key: str) -> str | None:
        """The label in a key that looks like one of the family's; None for any other key."""
        members = "|".join(re.escape(row.name) for row in self.members)
        match = re.search(rf"(?:^|\.){re.escape(self.name)}\.({LABEL})\.(?:{members})$", key)
        return match[1] if match else None


@dataclass(frozen=True)
class Table:
    """The settings of one plugin. prefix: ``signer.`` for ``kinto.signer.*``. families: further rows, by label."""

    prefix: str
    rows: tuple[Setting, ...]
    families: tuple[Family, ...] = ()

    def with_labels(self, raw: Mapping[str, Any], environ: Mapping[str, str]) -> Table:
        """This table with the rows of every label that some line names, for any bucket or collection.

        Raises ConfigurationError for a label that cannot stand in the name of a setting, or that stands there twice.
        """
        found: list[Setting] = []
        for family in self.families:
            own, labels = self.prefix + family.list_name, list[str]()
            values = {key: _as_text(value) for key, value in _keys(raw, self.prefix)}
            for key in dict.fromkeys([*values, own]):
                if key == own or key.endswith(f".{family.list_name}"):
                    labels += family_labels(environ.get("KINTO_" + _as_variable(key), values.get(key, "")), key)
            found += family.rows(dict.fromkeys(labels))
        return replace(self, rows=(*self.rows, *found))

    def unlisted(self, key: str) -> str | None:
        """The reason why a key that is one of a family's means nothing; None for any other key."""
        rest = key.removeprefix(self.prefix)
        for family in self.families:
            label = family.label_in(rest)
            listed = label and (self.known_name(key) or "").startswith(f"{family.name}.{label}.")
            if label and not listed and label not in (row.name for row in family.members):
                return f"kinto.{key} means nothing: kinto.{self.prefix}{family.list_name} does not name {label}."
        return None

    def unknown(self, key: str) -> str:
        """A warning about a key that is no setting."""
        if found := self.unlisted(key):
            return found
        rest = key.removeprefix(self.prefix)
        nearest = difflib.get_close_matches(rest, self.by_name, n=1, cutoff=0.5)
        hint = f"; did you mean kinto.{self.prefix}{nearest[0]}?" if nearest else "."
        return f"kinto.{key} is no setting of kinto-signer and means nothing{hint}"

    @cached_property
    def by_name(self) -> dict[str, Setting]:
        return {row.name: row for row in self.rows}

    def known_name(self, key: str) -> str | None:
        """The longest known name that `key` ends with, after the prefix and possibly a bucket and a collection."""
        rest = key.removeprefix(self.prefix)
        fitting = [name for name in self.by_name if rest == name or rest.endswith("." + name)]
        return max(fitting, key=len, default=None)

    def place(self, key: str) -> str:
        """The bucket, or bucket and collection, that a key with a known name is about; empty for the whole server."""
        name = self.known_name(key) or ""
        return key.removeprefix(self.prefix).removesuffix(name).rstrip(".") if name else ""


def family_labels(text: str, key: str) -> list[str]:
    """The labels in the value of a list setting. Raises ConfigurationError that quotes the line."""
    labels = text.split()
    for label in labels:
        if not re.fullmatch(LABEL, label):
            raise ConfigurationError(
                f"kinto.{key} = {text.strip()}: `{label}` is no label. It has to begin with a small letter; up to 31 small "
                "letters, digits and hyphens may follow."
            )
        if labels.count(label) > 1:
            raise ConfigurationError(f"kinto.{key} = {text.strip()}: `{label}` stands there twice.")
    return labels


class Settings:
    """The values that one server gives to the settings of a table, looked up by known names. Never shows a secret."""

    def __init__(self, raw: Mapping[str, Any], table: Table, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self.table = table = table.with_labels(raw, environ)
        self._values = {key: _as_text(value) for key, value in _keys(raw, table.prefix)}
        start = "KINTO_" + _as_variable(table.prefix)
        self._environ = {variable: value for variable, value in environ.items() if variable.startswith(start)}
        for key in [*self._values, *(table.prefix + row.name for row in table.rows)]:
            if (text := self._text(key)) is not None:
                self._values[key] = text
        self._read: set[str] = set()
        self._warnings = (*self._check_all(), *self._unknown_variables())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with lines. Those that are in no table and were read all the same are another package's."""
        return tuple(text for key, text in self._warnings if key not in self._read)

    def __repr__(self) -> str:
        return f"<Settings {sorted(self._values)}>"

    def get(self, name: str, bucket: str | None = None, collection: str | None = None) -> Any:
        """The parsed value of the setting `name` for a source collection; its default where it is not set."""
        setting = self.table.by_name[name]
        for key in self._candidates(name, bucket, collection):
            if (text := self._text(key)) is not None:
                return setting.parse(text, key)
        return None if setting.default is None else PARSERS[setting.type](setting.default)

    def given(self, name: str, bucket: str | None = None, collection: str | None = None) -> Given | None:
        """The value of the setting, as text, with the line that gave it; None where no line does."""
        for key in self._candidates(name, bucket, collection):
            if self._text(key) is not None:
                if self.table.known_name(key) is None:
                    self._read |= {key, "KINTO_" + _as_variable(key)}
                return self._given(key)
        return None

    def _text(self, key: str) -> str | None:
        """What is written for `key`; a variable wins over the file, also one for a bucket that the file does not name."""
        return self._environ.get("KINTO_" + _as_variable(key), self._values.get(key))

    def every(self, name: str) -> list[Given]:
        """Every value that the setting has anywhere."""
        named = {"KINTO_" + _as_variable(key) for key in self._values}
        elsewhere = {variable: text for variable, text in self._environ.items() if variable not in named}
        found = [self._given(key) for key in self._values if self.table.known_name(key) == name]
        return found + [Given(text, variable) for variable, text in elsewhere.items() if self._row_of(variable, name)]

    def places(self, names: Collection[str]) -> list[tuple[str, str | None]]:
        """The buckets, or buckets and collections (or patterns of them), for which one of the settings `names` has a line."""
        found = {self.table.place(key) for key in self._values if self.table.known_name(key) in names}
        parted = [place.partition(".") for place in sorted(found) if place]
        return [(bucket, collection or None) for bucket, _, collection in parted]

    def together(self, names: Collection[str], bucket: str, collection: str | None) -> dict[str, Given]:
        """Those of the settings `names` that the most specific place with any of them has; none of it from any other place."""
        prefix = self.table.prefix
        less_specific = [prefix, f"{prefix}{bucket}."]
        places = dict.fromkeys(key.removesuffix(name) for name in names for key in self._candidates(name, bucket, collection))
        for place in sorted(places, key=lambda place: less_specific.index(place) if place in less_specific else 2, reverse=True):
            if found := self._at(place, names):
                return found
        return {}

    def every_together(self, names: Collection[str]) -> list[dict[str, Given]]:
        """The same for every place that some line names."""
        lines = [(key, self.table.known_name(key)) for key in self._values]
        places = dict.fromkeys(key.removesuffix(name) for key, name in lines if name is not None and name in names)
        return [self._at(place, names) for place in places]

    def _at(self, place: str, names: Collection[str]) -> dict[str, Given]:
        return {name: self._given(place + name) for name in names if self._text(place + name) is not None}

    def _given(self, key: str) -> Given:
        value = (self._text(key) or "").strip()
        setting = self.table.by_name.get(self.table.known_name(key) or "")
        return Given(value, f"kinto.{key} = {'(hidden)' if setting is None or setting.secret else value}")

    def collections(self, bucket: str) -> tuple[str, ...]:
        """The collections of `bucket` that have lines of their own: ids and regular expressions, as they are written."""
        places = [self.table.place(key) for key in self._values]
        own = [place[len(bucket) + 1 :] for place in places if place.startswith((f"{bucket}.", f"{bucket}_"))]
        return tuple(dict.fromkeys(own))

    def misplaced(self, buckets: Collection[str]) -> Iterator[str]:
        """A warning for each line whose bucket is none of `buckets`, those that are signed."""
        for key in self._values:
            place = self.table.place(key)
            if place and self.table.unlisted(key):
                yield self.table.unknown(key)
            elif place and not any(place == bucket or place.startswith((f"{bucket}.", f"{bucket}_")) for bucket in buckets):
                yield f"kinto.{key} means nothing: no line of kinto.{self.table.prefix}resources has the bucket that it names."

    def _candidates(self, name: str, bucket: str | None, collection: str | None) -> Iterator[str]:
        prefix = self.table.prefix
        if bucket and collection:
            yield f"{prefix}{bucket}.{collection}.{name}"
            yield f"{prefix}{bucket}_{collection}.{name}"
            head, tail = f"{prefix}{bucket}.", f".{name}"
            for key in self._values:
                pattern = key.removeprefix(head).removesuffix(tail)
                if key == f"{head}{pattern}{tail}" and matches(pattern, collection):
                    yield key
        if bucket:
            yield f"{prefix}{bucket}.{name}"
        yield f"{prefix}{name}"

    def _check_all(self) -> Iterator[tuple[str, str]]:
        table = self.table
        for key, text in self._values.items():
            name = table.known_name(key)
            if name is None:
                yield key, table.unknown(key)
            else:
                value = table.by_name[name].parse(text, key)
                _check_pattern(key, table.place(key))
                if value and table.by_name[name].idle:
                    yield key, f"kinto.{key} means nothing here. {table.by_name[name].doc}"

    def _unknown_variables(self) -> Iterator[tuple[str, str]]:
        for variable, text in self._environ.items():
            if row := self._row_of(variable):
                row.parse(text, f"{self.table.prefix}{row.name} (in the environment as {variable})")
            else:
                yield variable, f"The environment variable {variable} names no setting of kinto-signer and means nothing."

    def _row_of(self, variable: str, name: str | None = None) -> Setting | None:
        """The row with the longest name that the variable ends with; None if that is not `name`, where it is given."""
        fitting = [row for row in self.table.rows if variable.endswith("_" + _as_variable(row.name))]
        row = max(fitting, key=lambda row: len(row.name), default=None)
        return row if row and name in (None, row.name) else None


def _check_pattern(key: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(f"kinto.{key}: `{pattern}` is no regular expression ({error}).") from error


def _as_variable(key: str) -> str:
    return re.sub(r"[.-]", "_", key).upper()


def matches(pattern: str, collection: str) -> bool:
    """Whether a line for the collections `pattern` is about `collection`; the whole id has to match."""
    try:
        return re.fullmatch(pattern, collection) is not None
    except re.error:
        return False


def _keys(raw: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in raw.items():
        bare = key.removeprefix("kinto.")
        if bare.startswith(prefix):
            yield bare, value


def _as_text(value: Any) -> str:
    """Kinto turns what looks like JSON into values, so that a password of digits arrives as an integer."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
