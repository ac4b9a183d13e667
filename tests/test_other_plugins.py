"""What other plugins do to what is signed, said at start-up."""

import pytest

from kinto_signer.core.findings import WARNING
from kinto_signer.plugin.resources import parse_resources
from kinto_signer.server.checking_settings import check_settings
from kinto_signer.server.other_plugins import warnings
from kinto_signer.server.signing import Signing
from tests.support.settings import signer_settings
from tests.support.site import signer_app

RESOURCES = parse_resources("main-workspace -> main-preview -> main\none/a -> two/b")
ATTACHMENT = {"includes": "kinto_attachment kinto_signer"}
KEEP = "attachment.keep_old_files"
OF_ONE, OF_ALL = "attachment.resources.one.a.keep_old_files", "attachment.resources.main-workspace.keep_old_files"
OF_A_COLLECTION = "attachment.resources.main-workspace.c.keep_old_files"

ROWS = [
    ({}, ["/buckets/main-workspace", "/buckets/one/collections/a"]),
    ({KEEP: "false"}, ["/buckets/main-workspace", "/buckets/one/collections/a"]),
    ({KEEP: "true"}, []),
    ({"kinto.attachment.keep_old_files": "true"}, []),
    ({KEEP: True}, []),
    ({OF_ALL: "true"}, ["/buckets/one/collections/a"]),
    ({OF_ALL: "true", OF_ONE: "true"}, []),
    ({KEEP: "true", OF_ONE: "false"}, ["/buckets/one/collections/a"]),
    ({KEEP: "true", OF_A_COLLECTION: "false"}, ["/buckets/main-workspace/collections/c"]),
    ({KEEP: "true", "attachment.resources.other.c.keep_old_files": "false"}, []),
    ({"attachment.resources.one.keep_old_files": "true"}, ["/buckets/main-workspace"]),
]


@pytest.mark.parametrize(("lines", "sources"), ROWS)
def test_files_of_which_sources_do_not_stay(lines, sources):
    found = list(warnings(ATTACHMENT | lines, RESOURCES))
    if not sources:
        assert found == []
        return
    (warning,) = found
    assert f"({' '.join(sources)})" in warning
    assert "kinto.attachment.keep_old_files = true" in warning


def test_a_server_without_attachments_is_not_bothered():
    assert list(warnings({"includes": "kinto_signer"}, RESOURCES)) == []
    assert list(warnings({}, RESOURCES)) == []


@pytest.mark.parametrize("includes", ["kinto.plugins.flush kinto_signer", ["kinto.plugins.flush", "kinto_signer"]])
def test_flushing_is_warned_of(includes):
    (warning,) = warnings({"kinto.includes": includes}, RESOURCES)
    assert "kinto.includes has kinto.plugins.flush" in warning


def test_the_server_says_so_when_it_starts(key_pair, caplog, tmp_path):
    lines = {
        "kinto__includes": "kinto.plugins.flush kinto_attachment kinto_signer",
        "kinto__attachment__base_path": str(tmp_path),
    }
    signer_app(key_pair, **lines)
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "kinto.plugins.flush" in said
    assert "keep_old_files" in said


def test_so_does_the_check(key_pair):
    raw = signer_settings(key_pair.private) | {"kinto.includes": "kinto.plugins.flush kinto_attachment kinto_signer"}
    raw = {name.removeprefix("kinto."): value for name, value in raw.items()}
    found = check_settings(Signing.from_settings(raw), raw["includes"])
    warned = [finding.message for finding in found if finding.level == WARNING]
    assert any("kinto.plugins.flush" in message for message in warned)
    assert any("kinto.attachment.keep_old_files = true" in message for message in warned)
