"""A with the guard, without it, and with a guard that verifies nothing."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from kinto_signer.authority import body, guard, publication, views
from kinto_signer.core import acceptance
from tests.support.attacks.attack import Attack
from tests.support.attacks.publications import Json
from tests.support.attacks.target import Target
from tests.support.keys import KeyPair, write_key_pair
from tests.support.servers import webtest_app
from tests.support.settings import kinto_settings

GUARD = "kinto_signer.authority"


def guarded(
    attack: Attack,
    database: str | None,
    key_pair: KeyPair,
    folder: Path,
    *,
    plugins: str | None = None,
    settings: dict[str, str] | None = None,
) -> Target:
    """A with two published states. Raises ConfigurationError if it does not start."""
    authority = {
        "kinto.authority.resources": f"/buckets/{attack.bucket}",
        "kinto.authority.public_keys": str(key_pair.public),
    }
    includes = f"{attack.plugins if plugins is None else plugins} {GUARD}".strip()
    return _target(
        attack, database, key_pair, folder, includes, {**authority, **attack.settings, **(settings or {})}, guarded=True
    )


def plain(attack: Attack, database: str | None, key_pair: KeyPair, folder: Path) -> Target:
    """A plain Kinto with the same other plugins, into which the same two states were written by ordinary requests."""
    settings = {name: value for name, value in attack.settings.items() if not name.startswith("kinto.authority.")}
    return _target(attack, database, key_pair, folder, attack.plugins, settings, guarded=False)


def _target(
    attack: Attack,
    database: str | None,
    key_pair: KeyPair,
    folder: Path,
    includes: str,
    settings: dict[str, str],
    *,
    guarded: bool,
) -> Target:
    stranger = write_key_pair(folder, "stranger")
    places = {"{folder}": str(folder), "{stranger}": str(stranger.public)}
    filled = {name: _fill(value, places) for name, value in settings.items()}
    app = webtest_app(kinto_settings(database) | {"kinto.includes": includes} | filled)
    target = Target(app, key_pair.key(), stranger.key(), bucket=attack.bucket, guarded=guarded, folder=folder, database=database)
    target.set_up()
    return target


def _fill(value: str, places: dict[str, str]) -> str:
    for name, path in places.items():
        value = value.replace(name, path)
    return value


def guard_off(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """POST changeset stores whatever it is sent. Returns what `guarded` has to be given beside that."""
    for module, name in CHECKS:
        monkeypatch.setattr(module, name, _nothing)
    monkeypatch.setattr(body, "parse_json", lambda content, **_: json.loads(content))
    monkeypatch.setattr(views, "parse_posted", _posted)
    monkeypatch.setattr(views, "getattr", _nothing, raising=False)  # of a request: whether it is a part of a batch
    monkeypatch.setattr(publication, "canonical_parsed", lambda record: json.dumps(record).encode())
    monkeypatch.setattr(publication, "published_attributes", lambda name, posted, content_hash: dict(posted.metadata))
    monkeypatch.setattr(publication, "attributes_digest", lambda attributes: "")
    monkeypatch.setattr(publication, "effective", _everything)
    return {"settings": {"kinto.authority.max_changeset_bytes": "1000000000"}}


CHECKS = (
    (publication, "check_content"),
    (publication, "check_first"),
    (publication, "refuse_time"),
    (publication, "refuse_replay"),
    (publication.Publication, "_refuse_other_content"),
    (publication.Publication, "_is_held_already"),
    (guard.Guard, "refuse_if_damaged"),
)


def _nothing(*_: Any, **__: Any) -> None:
    """A check that finds nothing wrong."""


def _posted(name: str, content: Json) -> acceptance.Posted:
    """What was posted, as it is; it builds on whatever A holds."""
    changes, complete = content["changes"], content.get("complete", False)
    return acceptance.Posted(mock.ANY, content["timestamp"], changes, content["metadata"], complete)


def _everything(posted: acceptance.Posted, live: Any, gone: Any, etag: int) -> acceptance.Effective:
    """Every change that was posted, in the last version of each record."""
    last = {change["id"]: change for change in posted.changes}
    return acceptance.Effective(list(last.values()), gone=list(gone))
