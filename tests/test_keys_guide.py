"""``docs/keys.rst``: its commands, run as they stand against a live S, a live A and readers with each policy."""

import dataclasses
import json
import os
import shutil
import sys
import time
from pathlib import Path

import kinto_http
import pytest
import requests
from cryptography.hazmat.primitives import hashes, serialization

from kinto_signer.cli.authority_files import INTERMEDIATE_KEY, Authorities, issue_signer
from kinto_signer.cli.passphrases import Passphrase
from kinto_signer.cli.signer_files import as_pem
from kinto_signer.core.chain import load_chain
from kinto_signer.core.issuing import Period
from kinto_signer.core.trust import PinnedRoot, Trust, check, load_public_key
from tests.support.authorities import VARIABLES
from tests.support.guide import Guide, blocks
from tests.support.hostile import FakeKinto, HostileServer
from tests.support.servers import ROOT, LiveKinto
from tests.support.settings import PASSWORD, guarded_settings, signer_settings
from tests.support.statements import stated
from tests.support.states import make_records, now_ms, signed_state
from tests.support.unmeasured import unmeasured  # noqa: F401
from tests.support.workflow_site import principal

pytestmark = pytest.mark.usefixtures("unmeasured")

AUTHORITY = "https://a.example.org/v1"
PAGE = ROOT / "docs" / "keys.rst"
ABOUT_KEYS = {
    "signer": ("signer_backend", "signers", "signer.", "ecdsa.", "x5u_roots", "signer_ids"),
    "authority": ("public_keys", "x5u_", "signer_ids", "chains"),
}
PINNED = ("A pinned key", "To replace a pinned key", "A pinned key was stolen", "A pinned key was lost")
CERTIFIED = (
    "A root, an intermediate, and a signer below them",
    "To renew a signer's certificate",
    "A signer's key or the intermediate's was stolen",
)
IDS = ("pinned", "pinned-2")
"""Readers with the signer id below the first intermediate, and with the one below the second."""


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
    for folder in ("etc", "media/stick-1", "media/stick-2"):
        (place / folder).mkdir(parents=True)
    authority = LiveKinto(guarded_settings(Path(), create_database()), name="authority")
    settings = signer_settings(Path(), database=create_database(), authority=authority.url)
    signer = LiveKinto(settings | {"kinto.signer.status_principals": principal("editor")}, name="signer")
    site = Site(authority, signer)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KINTO_")} | VARIABLES
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    environment |= {"KINTO_SERVER": signer.url, "KINTO_AUTH": f"editor:{PASSWORD}"}
    names = {"/etc/kinto": str(place / "etc"), "/media/": f"{place / 'media'}/", AUTHORITY: authority.url}
    yield Guide(place, names, environment, site.restart, site.configure, place / "pki" / "root.pem")
    for server in (signer, authority):
        server.close()
        shutil.rmtree(server.folder, ignore_errors=True)


def test_pinned_keys(guide):
    """Replaced, stolen and lost: which reader accepts what is written beside the commands."""
    assert guide.run(blocks(PAGE, *PINNED)) > 25
    thief = serialization.load_pem_private_key((guide.place / "etc" / "second.pem").read_bytes(), None)
    state = signed_state(thief, make_records(2), timestamp=now_ms(), id="stops")
    assert what_readers_do_with(guide, state, "second", "third") == [0, 3]  # nobody told the first one
    what_a_thief_published_is_taken_over_and_undone(guide)


def what_a_thief_published_is_taken_over_and_undone(guide):
    """As the page says of a stolen key, while S still knows it. The thief has the key and S's account on A."""
    key = serialization.load_pem_private_key((guide.place / "etc" / "fourth.pem").read_bytes(), None)
    where = f"{guide.names[AUTHORITY]}/buckets/main/collections/stops"
    held = requests.get(where, timeout=60).json()["data"]["signed_timestamp"]
    evil = {"id": "evil", "name": "Evil", "last_modified": now_ms()}
    state = stated(key, signed_state(key, [evil], id="stops"), bucket="main", collection="stops")
    body = {"base": held, "timestamp": state.timestamp, "changes": [evil], "metadata": state.metadata, "complete": True}
    requests.post(f"{where}/changeset", json=body, auth=("signer", PASSWORD), timeout=60).raise_for_status()
    assert held_by(guide, "fourth") == {"evil": "Evil"}  # readers cannot know

    for command, code in (("kinto-signer refresh", 6), ("kinto-signer adopt main-workspace/stops", 0)):
        assert guide.call(command).returncode == code
    signer = kinto_http.Client(server_url=guide.environment["KINTO_SERVER"], auth=("editor", PASSWORD))
    signer.delete_record(bucket="main-workspace", collection="stops", id="evil")
    signer.create_record(bucket="main-workspace", collection="stops", id="brno", data={"name": "Brno"})
    assert guide.call("kinto-signer approve main-workspace/stops").returncode == 0
    assert held_by(guide, "fourth") == {"brno": "Brno"}


def held_by(guide, policy):
    """What a reader with this policy holds after an update: names by record id."""
    done = guide.call(f"kinto-updater gather-changes --config {policy}.toml")
    assert done.returncode == 0, done.stdout
    shown = guide.call(f"kinto-updater show main/stops --config {policy}.toml --records --format json").stdout
    return {record["id"]: record["name"] for record in json.loads(shown)["collections"][0]["data"]}


def test_certificates(guide, monkeypatch):
    """Renewed and stolen, below the same root."""
    assert guide.run(blocks(PAGE, *CERTIFIED)) > 20
    held = json.loads(guide.call("kinto-updater show --config pinned.toml --format json").stdout)["collections"][0]
    renewed = guide.place / "pki" / "stops.content-signature.example.org-2" / "public.pem"
    assert held["key"] == load_public_key(renewed.read_bytes(), where="the page").fingerprint

    assert what_readers_do_with(guide, issued_by_thief(guide, "stops.content-signature.example.org"), *IDS) == [0, 3]
    monkeypatch.setattr("kinto_signer.core.issuing.permits", lambda *_: True)
    monkeypatch.setattr("kinto_signer.cli.authority_files.check_chain", lambda *_, **__: None)
    outside = issued_by_thief(guide, "stops.cs2.example.org")
    assert what_readers_do_with(guide, outside, *IDS) == [3, 3]
    monkeypatch.setattr("kinto_signer.core.chain.name_fault", lambda *_, **__: "")
    (root,) = load_chain((guide.place / "pki" / "root.pem").read_bytes())
    pinned = Trust(roots=(PinnedRoot(root.fingerprint(hashes.SHA256()), "stops.cs2.example.org"),))
    assert check("main/stops", outside, pinned, at=int(time.time()))  # control: nothing else kept readers from accepting it


def issued_by_thief(guide, signer_id):
    """A state signed below the page's first intermediate, by somebody who has its key."""
    folder, now = guide.place / "pki", int(time.time())
    secret = Passphrase("intermediate", None, VARIABLES)
    period = Period.from_now(now, 90)
    made = issue_signer(
        Authorities.load(folder), folder / INTERMEDIATE_KEY, secret, signer_id, period=period, now=now, given=None
    )
    key = serialization.load_pem_private_key(made.private_pem, None)
    state = signed_state(key, make_records(2), timestamp=now_ms(), id="stops")
    entry = state.metadata["signature"] | {"x5u": "https://chains.example/a"}
    chains = {entry["x5u"]: as_pem(*made.chain).decode()}
    metadata = {**state.metadata, "signature": entry, "signatures": [entry], "chains": chains}
    return dataclasses.replace(state, metadata=metadata)


def what_readers_do_with(guide, state, *policies):
    """The exit codes of readers with these policies, who hold nothing yet and ask a server that answers with `state`."""
    with HostileServer(FakeKinto(state, "main/stops")) as server:
        done = []
        for policy in policies:
            text = (guide.place / f"{policy}.toml").read_text().replace(guide.names[AUTHORITY], server.url)
            (guide.place / f"{policy}-hostile.toml").write_text(text)
            done.append(guide.call(f"kinto-updater gather-changes --config {policy}-hostile.toml --cache hostile-{policy}"))
    return [each.returncode for each in done]
