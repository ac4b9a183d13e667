"""``docs/keys.rst``: its commands, run as they stand against a live S, a live A and readers with each policy."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.support.authorities import VARIABLES
from tests.support.guide import Guide, blocks
from tests.support.hostile import FakeKinto, HostileServer
from tests.support.servers import ROOT, LiveKinto
from tests.support.settings import PASSWORD, guarded_settings, signer_settings
from tests.support.states import make_records, now_ms, signed_state

AUTHORITY = "https://a.example.org/v1"
PAGE = ROOT / "docs" / "keys.rst"
ABOUT_KEYS = {
    "signer": ("signer_backend", "signers", "signer.", "ecdsa."),
    "authority": ("public_keys", "x5u_", "signer_ids", "chains"),
}
PINNED = ("A pinned key", "To replace a pinned key", "A pinned key was stolen", "A pinned key was lost")


class Site:
    """S and A, which start at their first restart. S has one record that nobody approved yet."""

    def __init__(self, authority: LiveKinto, signer: LiveKinto) -> None:
        self.servers = {"authority": authority, "signer": signer}

    def configure(self, name, lines):
        settings = self.servers[name].settings
        start = tuple(f"kinto.{name}.{about}" for about in ABOUT_KEYS[name])
        for key in [key for key in settings if key.startswith(start)]:
            del settings[key]
        settings.update(lines)

    def restart(self, name):
        server = self.servers[name]
        first = not server.ini.exists()
        server.stop()
        server.start()
        if first and name == "signer":
            editor = server.client("editor")
            editor.create_bucket(id="main-workspace")
            editor.create_collection(bucket="main-workspace", id="stops")
            editor.create_record(bucket="main-workspace", collection="stops", id="brno", data={"name": "Brno"})


@pytest.fixture
def guide(create_database, tmp_path):
    place = tmp_path / "place"
    (place / "etc").mkdir(parents=True)
    authority = LiveKinto(guarded_settings(Path(), create_database()), name="authority")
    signer = LiveKinto(signer_settings(Path(), database=create_database(), authority=authority.url), name="signer")
    site = Site(authority, signer)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KINTO_")} | VARIABLES
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment |= {"KINTO_SERVER": signer.url, "KINTO_AUTH": f"editor:{PASSWORD}"}
    names = {"/etc/kinto": str(place / "etc"), AUTHORITY: authority.url}
    yield Guide(place, names, environment, site.restart, site.configure)
    for server in (signer, authority):
        server.close()
        shutil.rmtree(server.folder, ignore_errors=True)


def test_pinned_keys(guide):
    """Replaced, stolen and lost: which reader accepts what is written beside the commands."""
    assert guide.run(blocks(PAGE, *PINNED)) > 25
    thief = serialization.load_pem_private_key((guide.place / "etc" / "second.pem").read_bytes(), None)
    state = signed_state(thief, make_records(2), timestamp=now_ms(), id="stops")
    assert what_readers_do_with(guide, state, "second", "third") == [0, 3]  # nobody told the first one


def what_readers_do_with(guide, state, *policies):
    """The exit codes of readers with these policies, who hold nothing yet and ask a server that answers with `state`."""
    with HostileServer(FakeKinto(state, "main/stops")) as server:
        done = []
        for policy in policies:
            text = (guide.place / f"{policy}.toml").read_text().replace(guide.names[AUTHORITY], server.url)
            (guide.place / f"{policy}-hostile.toml").write_text(text)
            done.append(guide.call(f"kinto-updater gather-changes --config {policy}-hostile.toml --cache hostile-{policy}"))
    return [each.returncode for each in done]
