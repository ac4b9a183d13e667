"""``docs/moving.rst``: every setting of the peers is in it, and the way back is one that can be gone."""

import re

import pytest

from kinto_signer.plugin.tables import CHANGES, RECORD_CACHE, SIGNER
from tests.support.moving import INCLUDES, verified
from tests.support.servers import ROOT
from tests.support.workflow import BUCKET, DESTINATION, EDITOR, PREVIEW, REVIEWER, SOURCE, review_site

GUIDE = (ROOT / "docs" / "moving.rst").read_text()
PEERS = [
    "resources",
    "signer_backend",
    "to_review_enabled",
    "allow_floats",
    "auto_create_resources",
    "auto_create_resources_principals",
    "hard_delete_destination_on_source_deletion",
    "ecdsa.private_key",
    "ecdsa.public_key",
    "autograph.server_url",
    "autograph.hawk_id",
    "autograph.hawk_secret",
    "autograph.key_ids",
    "heartbeat_certificate_min_remaining_days",
    "heartbeat_certificate_max_remaining_days",
    "heartbeat_certificate_percentage_remaining_validity",
    "editors_group",
    "reviewers_group",
    "group_check_enabled",
]
"""``kinto.signer.*`` of kinto-signer 8 and kinto-remote-settings."""
PEERS_CHANGES = ["resources", "excluded_collections", "since_max_age_days", "since_max_age_redirect_ttl_seconds", "http_host"]
OURS = ("published_to", "signed_timestamp", "hash", "signer_claim", "signatures", "signer_contributors", "signer_approval")


def test_every_setting_of_the_peers_is_known_and_in_the_guide():
    assert set(PEERS) <= SIGNER.by_name.keys()
    assert set(PEERS_CHANGES) == CHANGES.by_name.keys()
    caches = {row.name.rpartition(".")[2] for row in RECORD_CACHE.rows}
    for name in (*PEERS, *(f"kinto.changes.{name}" for name in PEERS_CHANGES)):
        assert f"``{name}``" in GUIDE, name
    for name in caches:
        assert f"{name}``" in GUIDE, name


def test_every_include_of_the_peers_is_in_the_guide():
    for name, ours in INCLUDES.items():
        (line,) = [line for line in GUIDE.splitlines() if line.strip().startswith(f"``{name}`` ")]
        assert f"``{ours}``" in line or name == "kinto_changes"
    assert "kinto.signer.four_eyes = contributors" in GUIDE


def test_the_way_back_leaves_what_a_peer_stores(key_pair, database, postgres):
    """Our attributes go; records, timestamps and the one signature that kinto-signer 8 reads stay, and verify."""
    site = review_site(key_pair, database=database)
    site.put(EDITOR, "r1", title="Ünö")
    site.set_status(EDITOR, "to-review")
    site.set_status(REVIEWER, "to-sign")
    site.put(EDITOR, "r2", title="Pending")
    before = {uri: (site.attributes(uri), site.app.get(f"{uri}/records").json) for uri in (SOURCE, PREVIEW, DESTINATION)}
    assert {"signed_timestamp", "hash", "signer_claim", "signatures"} <= before[DESTINATION][0].keys()
    assert {"signer_contributors", "signer_approval"} <= before[SOURCE][0].keys()

    (statement,) = re.findall(r"\.\. code-block:: sql\n\n(.*?;)\n", GUIDE, re.DOTALL)
    assert BUCKET in statement
    postgres.execute(statement, database)

    for uri, (attributes, records) in before.items():
        after = site.attributes(uri)
        assert site.app.get(f"{uri}/records").json == records
        assert after.pop("last_modified") >= attributes.pop("last_modified")
        assert after == {name: value for name, value in attributes.items() if name not in OURS}
    assert set(verified(site.app, "main-workspace/regions")) == {"r1"}
    # Coming here again, too.
    site.set_status(EDITOR, "to-review")
    site.set_status(REVIEWER, "to-sign")
    assert set(verified(site.app, "main-workspace/regions")) == {"r1", "r2"}


@pytest.mark.parametrize("page", ["README.rst"])
def test_it_is_linked(page):
    assert "docs/moving.rst" in (ROOT / page).read_text()
