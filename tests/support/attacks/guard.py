"""A with the guard, without it, and with a guard that verifies nothing."""

from pathlib import Path
from typing import Any

from tests.support.attacks.attack import Attack
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
    target = Target(app, key_pair.key(), stranger.key(), bucket=attack.bucket, guarded=guarded, folder=folder)
    target.set_up()
    return target


def _fill(value: str, places: dict[str, str]) -> str:
    for name, path in places.items():
        value = value.replace(name, path)
    return value


def guard_off(monkeypatch: Any) -> dict[str, Any]:
    """Makes every verification of the guard succeed. Returns the settings that belong to it."""
    return {}
