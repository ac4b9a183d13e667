"""Wrong clocks of S: seven offsets as a whole process, the boundary, clocks that step meanwhile."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import kinto_http
import pytest
import requests

from kinto_signer.core.changeset import Changeset
from kinto_signer.core.freshness import DAY_MS, FUTURE_TOLERANCE_MS
from kinto_signer.core.statement import check_published
from kinto_signer.server import publisher, writing
from tests.support import faketime
from tests.support.faketime import DAY_S, OFFSETS, FakeClock
from tests.support.publishing_site import parse
from tests.support.settings import guarded_settings, signer_settings
from tests.support.site import DESTINATION, SOURCE, everything, set_status, signer_app
from tests.support.states import NAME, now_ms, trust_in
from tests.support.unmeasured import unmeasured  # noqa: F401

NEEDS_FAKETIME = pytest.mark.skipif(faketime.find_library() is None, reason=faketime.MISSING)

# --- S, with an A whose clock is right --------------------------------------------------------------------------------------

NEW_COLLECTION = {"-10y": "expired", "+10y": "not-yet-valid"}
"""What A says of the first publication."""
AGAIN = {"-10y": "not-yet-valid", "+10y": "not-yet-valid"}
"""What S (ten years back) or A says of a later one, and of a refresh."""


class WrongSigner:
    """A live S whose clock can be set, and a live A whose clock is right."""

    def __init__(self, live_kinto: Any, create_database: Any, key_pair: Any, folder: Path) -> None:
        self.clock, self.trust = FakeClock(folder), trust_in(key_pair.key())
        self.authority = live_kinto(guarded_settings(key_pair.public, create_database()), name="authority")
        settings = signer_settings(key_pair.private, authority=self.authority.url)
        self.signer = live_kinto(settings, name="signer", environment=self.clock.environment)
        self.client = self.signer.client("alice")
        self.client.create_bucket(id="main-workspace", permissions={"write": ["system.Authenticated"]})

    def create(self, name: str) -> str:
        return self.said(self.client.create_collection, bucket="main-workspace", id=name, if_not_exists=True)

    def edit(self, name: str, record: str) -> None:
        self.client.create_record(bucket="main-workspace", collection=name, id=record, data={"n": 1})

    def ask(self, name: str, status: str = "to-sign") -> str:
        return self.said(self.client.patch_collection, bucket="main-workspace", id=name, data={"status": status})

    def said(self, call: Any, **arguments: Any) -> str:
        """``""``, or the reason of a refusal, which is a 503 and names a tolerance."""
        refused: Any = None
        try:
            call(**arguments)
        except kinto_http.KintoException as error:
            refused = error.response
        if refused is None:
            return ""
        answer = refused.json()
        assert refused.status_code == 503
        assert re.search("24 hours|1 d 0 h|86400 s|no tolerance", answer["message"])
        return str(answer["details"]["reason"])

    def served(self, name: str) -> tuple[int, int]:
        """The timestamp and serial that A serves; what it serves verifies."""
        state = parse(requests.get(f"{self.authority.url}/buckets/main/collections/{name}/changeset?_expected=0", timeout=60))
        _, found = check_published(f"main/{name}", dataclasses.replace(state, metadata={**state.metadata}), self.trust)
        assert found is not None
        return state.timestamp, found.statement.serial


@NEEDS_FAKETIME
@pytest.mark.usefixtures("unmeasured")
def test_a_signer_with_a_wrong_clock(live_kinto, create_database, key_pair, tmp_path):
    site = WrongSigner(live_kinto, create_database, key_pair, tmp_path)
    for offset, seconds in OFFSETS.items():
        name = offset.replace("+", "p").replace("-", "m")
        site.clock.set(seconds)
        assert site.create(f"new-{name}") == NEW_COLLECTION.get(offset, ""), offset
        site.clock.set(0)
        assert site.create(f"new-{name}") == "", "with the right clock it is made"

        assert site.create(name) == ""
        site.edit(name, "r0")
        assert site.ask(name) == ""
        before = site.served(name)
        site.clock.set(seconds)
        site.edit(name, "r1")
        refused = AGAIN.get(offset, "")
        assert site.ask(name) == refused, offset
        after = site.served(name)
        assert after == before if refused else (after[0] > before[0] and after[1] > before[1])
        status = site.client.get_collection(bucket="main-workspace", id=name)["data"]["status"]
        assert status == ("work-in-progress" if refused else "signed")
        assert site.ask(name, "to-resign") == refused
        renewed = site.served(name)
        assert renewed == after if refused else (renewed[0] == after[0] and renewed[1] > after[1])

        site.clock.set(0)
        site.edit(name, "r2")
        if offset == "+10y":  # an edit was dated by that clock, and only by it
            assert site.ask(name) == "not-yet-valid"
            assert site.served(name) == before
        else:
            assert site.ask(name) == ""
            last = site.served(name)
            assert last[0] > renewed[0]
            assert last[1] > renewed[1]
    log = site.signer.log_text()
    assert "Traceback" not in log


@NEEDS_FAKETIME
@pytest.mark.usefixtures("unmeasured")
def test_a_signer_whose_clock_steps(live_kinto, create_database, key_pair, tmp_path):
    """Timestamps and serials grow, whichever way the clock goes."""
    site = WrongSigner(live_kinto, create_database, key_pair, tmp_path)
    site.create("stepping")
    served = [site.served("stepping")]
    for number, seconds in enumerate((0, 300, -300, 7200, -7200, 120, -DAY_S + 7200, 0)):
        site.clock.set(seconds)
        site.edit("stepping", f"r{number}")
        assert site.ask("stepping") == "", seconds
        served.append(site.served("stepping"))
    for column in zip(*served, strict=True):
        assert list(column) == sorted(set(column))


# --- S: boundaries ----------------------------------------------------------------------------------------------------------


def set_clock(monkeypatch: Any, clock: Any) -> None:
    for module in (publisher, writing):
        monkeypatch.setattr(module, "now_ms", clock)


def dated_by(app: Any, monkeypatch: Any) -> int:
    """The timestamp that the next publication has at least, which S says where it refuses it."""
    set_clock(monkeypatch, lambda: 1)
    message = set_status(app, "to-sign", status=503).json["message"]
    return int(re.search(r"dated (\d+), which readers refuse \(24 hours ahead at most\)", message)[1])


@pytest.mark.parametrize(("before", "refused"), [(1, True), (0, False), (-1000, False)])
def test_how_far_a_signer_dates_ahead_of_its_clock(before, refused, key_pair, monkeypatch):
    app = signer_app(key_pair)
    app.put_json(f"{SOURCE}/records/r0", {"data": {}})
    set_status(app, "to-sign")
    app.put_json(f"{SOURCE}/records/r1", {"data": {}})
    timestamp = dated_by(app, monkeypatch)
    held = everything(app)

    set_clock(monkeypatch, lambda: timestamp - FUTURE_TOLERANCE_MS - before)
    answer = set_status(app, "to-sign", status=503 if refused else 200)

    if refused:
        assert answer.json["details"]["reason"] == "not-yet-valid"
        assert everything(app) == held
    else:
        assert app.get(DESTINATION).json["data"]["signed_timestamp"] == timestamp


def test_a_clock_that_steps_in_a_publication(key_pair, monkeypatch):
    """Each look at the clock says something else: what comes out verifies, or nothing is signed."""
    app = signer_app(key_pair)
    trust, last = trust_in(key_pair.key()), (0, 0)
    for number in range(12):
        steps = [0, 3_600_000, -3_600_000, 20 * DAY_MS, -20 * DAY_MS]
        looks = iter([steps[(number + look) % 5] for look in range(50)])
        set_clock(monkeypatch, lambda looks=looks: now_ms() + next(looks))
        app.put_json(f"{SOURCE}/records/r{number}", {"data": {}})
        held = everything(app)
        answer = set_status(app, "to-sign", expect_errors=True)
        if answer.status_int != 200:
            assert (answer.status_int, answer.json["details"]["reason"]) == (503, "not-yet-valid")
            assert everything(app) == held
            continue
        found = app.get(DESTINATION).json["data"]
        state = Changeset(found["signed_timestamp"], app.get(f"{DESTINATION}/records").json["data"], {**found, "bucket": "main"})
        _, said = check_published(NAME, state, trust)
        assert (state.timestamp, said.statement.serial) > last
        last = (state.timestamp, said.statement.serial)
    assert last > (0, 0)
