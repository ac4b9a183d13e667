"""The modes in which ``make kept-modes`` runs the tests do what they say, and the tests would notice what they harm."""

import pytest
from cryptography.exceptions import InvalidSignature

from kinto_signer.core.form import Form
from tests.support.editing import independently_verified
from tests.support.kept.counts import FILE, counted
from tests.support.kept.modes import put_into
from tests.support.kept.session import problems
from tests.support.publishing_site import SOURCE as COLLECTION
from tests.support.settings import signer_settings
from tests.support.site import DESTINATION, SOURCE, set_status, signer_app

pytestmark = pytest.mark.keeps("puts a process into a mode itself")
NAMES = [f"r{number:02d}" for number in range(20)]
MEMORY = ("byte", "blocks swapped", "hash states", "digest", "timestamp")
TO_BE_SEEN = (
    *(f"S: recognised: memory, {way}" for way in MEMORY),
    "S: recognised: table, ",
    "S: handed out: memory, record missing",  # nobody asks for a proof: they are counted
    "S: not used: memory, byte",  # in front of the change: only its hash counts
)


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """``seen()`` is what was counted so far."""
    path = tmp_path / "counts.txt"
    monkeypatch.setenv(FILE, str(path))
    return lambda: counted(path)


@pytest.fixture
def app(key_pair, database):
    return signer_app(key_pair, database=database, kinto__batch_max_requests="100")


def put(app, *names, value=0):
    parts = [{"method": "PUT", "path": f"{SOURCE}/records/{name}", "body": {"data": {"n": value}}} for name in names]
    app.post_json("/batch", {"requests": parts})


def publish(app, key_pair, times, first=0):
    """So many changes, to one record after the other; each publication is what its signature says."""
    for number in range(first, first + times):
        put(app, NAMES[number * 7 % len(NAMES)], value=f"{first} {number}")
        set_status(app, "to-sign")
        assert_signed(app, key_pair)


def assert_signed(app, key_pair):
    metadata = app.get(DESTINATION).json["data"]
    live = app.get(f"{DESTINATION}/records").json["data"]
    signature = metadata["signature"]["signature"]
    assert independently_verified(key_pair.public.read_bytes(), live, metadata["signed_timestamp"], signature) == metadata["hash"]


def test_poison_is_recognised_and_without_the_proof_it_is_noticed(app, key_pair, seen, monkeypatch):
    put(app, *NAMES)
    put_into(monkeypatch, "poisoned", compare=False)
    for turn in range(20):
        publish(app, key_pair, 8, first=turn)
        found = seen()
        missing = [start for start in TO_BE_SEEN if not any(what.startswith(start) for what in found)]
        if not missing:
            break
    assert missing == []
    assert problems("poisoned", found, "S") == []
    monkeypatch.setattr(Form, "proven", lambda form, *arguments: form)
    with pytest.raises(InvalidSignature):
        publish(app, key_pair, 12)


def test_what_is_about_to_be_signed_is_compared(app, key_pair, seen, monkeypatch):
    """For the many tests that would not look whether what they published verifies."""
    put(app, *NAMES)
    put_into(monkeypatch, "poisoned")
    publish(app, key_pair, 2)
    monkeypatch.setattr(Form, "proven", lambda form, *arguments: form)
    for number in range(12):
        put(app, "r07", value=f"again {number}")
        app.patch_json(SOURCE, {"data": {"status": "to-sign"}}, status=(200, 500))
    assert "S: WRONG, about to be signed" in problems("poisoned", seen())[0]


@pytest.mark.parametrize(("mode", "what"), [("dropped", "S: dropped in memory"), ("off", "S: WRONG, kept although it is off")])
def test_what_is_dropped_is_gone(app, key_pair, seen, monkeypatch, mode, what):
    """Off is a setting, which this server does not have."""
    put_into(monkeypatch, mode)
    publish(app, key_pair, 4)
    found = seen()
    assert found[what] >= 3
    assert bool(problems(mode, found, "S")) is (mode == "off")
    assert bool(found["S: dropped in the table"]) is (mode == "dropped")


def test_a_run_that_hits_nothing_fails():
    for mode, parts in (("off", 2), ("dropped", 3), ("poisoned", 3)):
        assert len(problems(mode, {"S: publications on PostgreSQL": 7})) == parts


def test_a_served_kinto_is_in_the_mode(live_kinto, key_pair, database, seen, tmp_path):
    environment = {"KEPT": "poisoned", FILE: str(tmp_path / "counts.txt")}
    client = live_kinto(signer_settings(key_pair.private, database=database), environment=environment).client()
    client.create_bucket(id=COLLECTION["bucket"])
    client.create_collection(bucket=COLLECTION["bucket"], id=COLLECTION["collection"])
    for number in range(8):
        client.create_record(**COLLECTION, data={"n": number})
        client.patch_collection(bucket=COLLECTION["bucket"], id=COLLECTION["collection"], data={"status": "to-sign"})
    found = seen()
    assert sum(times for what, times in found.items() if what.startswith("S: recognised"))
    assert [what for what in found if "WRONG" in what] == []
