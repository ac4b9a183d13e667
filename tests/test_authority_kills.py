"""SIGKILL in the middle of publications: A always holds a state that verifies, and the next publication needs no help."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter

import kinto_http
import pytest
import requests

from tests.support.campaigns import rounds
from tests.support.phases import IDLE, PHASES, Notes
from tests.support.publishing_site import Site
from tests.support.servers import ROOT
from tests.support.unmeasured import unmeasured  # noqa: F401

pytestmark = pytest.mark.usefixtures("unmeasured")

DWELL_S = 0.06
SEED = 20_260_711
VICTIMS = ("A's worker", "A's PostgreSQL backend", "S's PostgreSQL backend", "S")
UNAVAILABLE = (kinto_http.KintoException, requests.RequestException)


class Range:
    """The site, and who shoots at it."""

    def __init__(self, site, postgres, notes, seed):
        self.site = site
        self.postgres = postgres
        self.notes = notes
        self.random = random.Random(seed)
        self.phases = Counter()
        self.victims = Counter()
        self.asked_again = 0
        self.taken_nonetheless = 0

    def shoot(self, number, target):
        """Start a publication and kill somebody in the phase `target`, or at any moment for None."""
        victim = self.random.choice(VICTIMS)
        backends = {name: self.postgres.backends(url) for name, url in self.site.databases.items()}
        self._tried(lambda: self.site.edit(number))
        before = self._tried(self.site.served).timestamp
        self.notes.write(IDLE)
        publisher = threading.Thread(target=self._publish, daemon=True)
        publisher.start()
        self._wait_for(target, publisher)
        phase = self._kill(victim, backends)
        publisher.join()
        self._revive()
        self.phases[phase] += 1
        self.victims[victim] += 1
        state = self._tried(self.site.assert_verifies)
        self.taken_nonetheless += state.timestamp > before

    def publish_next(self, number):
        """Ask again, as a reviewer would: nothing else is done."""
        self._tried(lambda: self.site.edit(number))
        self._tried(self.site.sign)
        self._tried(self.site.assert_equal)

    def _publish(self):
        with contextlib.suppress(UNAVAILABLE):
            self.site.sign()

    def _wait_for(self, target, publisher):
        if target is None:
            time.sleep(self.random.uniform(0, DWELL_S * len(PHASES) * 2))
            return
        while self.notes.read()[0] != target and publisher.is_alive():
            time.sleep(0.001)
        time.sleep(self.random.uniform(0, DWELL_S * 0.7))

    def _kill(self, victim, backends):
        phase, pid = self.notes.read()
        if victim in ("A's worker", "S"):
            server = self.site.signer if victim == "S" else self.site.authority
            workers = server.worker_pids()
            os.kill(pid if pid in workers else self.random.choice(workers), signal.SIGKILL)
        else:
            os.kill(self.random.choice(backends["authority" if victim.startswith("A") else "signer"]), signal.SIGKILL)
        return phase

    def _revive(self):
        self.postgres.wait_until_ready()
        for server in (self.site.authority, self.site.signer):
            try:
                requests.get(f"{server.url}/", timeout=5).raise_for_status()
            except requests.RequestException:
                server.sigkill()
                server.start()

    def _tried(self, what):
        """Connections that PostgreSQL cut are found out by using them: Kinto answers 503 or 500, and works when asked again."""
        for _ in range(40):
            try:
                return what()
            except UNAVAILABLE as error:
                status = getattr(getattr(error, "response", None), "status_code", 503)
                if status not in (409, 500, 503):
                    raise
                self.asked_again += 1
                time.sleep(0.2)
                self._revive()  # a server that died after it was looked at
        return what()


@pytest.mark.proof
@pytest.mark.timeout(5400)
def test_kills_at_random_moments_leave_nothing_to_mend(
    live_kinto, create_database, key_pair, postgres, tmp_path, report_campaign
):
    notes = Notes(tmp_path / "phase")
    notes.write(IDLE)
    settings = {"kinto.phases.file": str(notes.path), "kinto.phases.dwell_seconds": str(DWELL_S)}
    site = Site(
        live_kinto,
        create_database,
        key_pair,
        on_both=settings,
        includes=" tests.support.phases",
        environment={"PYTHONPATH": str(ROOT)},
        respawn=True,
    )
    shooting = Range(site, postgres, notes, SEED)
    shots, wanted = rounds(len(PHASES), 100), rounds(1, 10)
    number = 0
    while number < shots * 3 // 2:
        short = [phase for phase in PHASES if shooting.phases[phase] < wanted]
        if number >= shots and not short:  # a shot that was aimed at a phase may come after it
            break
        aimed = sum(wanted - shooting.phases[phase] for phase in short) >= shots - number
        shooting.shoot(2 * number, shooting.random.choice(short) if aimed and short else None)
        shooting.publish_next(2 * number + 1)
        number += 1
    inside = sum(shooting.phases[phase] for phase in PHASES)
    assert inside >= number * 8 // 10, shooting.phases
    assert all(shooting.phases[phase] >= wanted for phase in PHASES), shooting.phases
    counts = {"SIGKILLs": number, "inside a publication": inside}
    counts |= {f"while {phase}": shooting.phases[phase] for phase in (*PHASES, IDLE)}
    counts |= {f"of {victim}": shooting.victims[victim] for victim in VICTIMS}
    counts |= {"publications that A had taken": shooting.taken_nonetheless, "requests asked again": shooting.asked_again}
    for server in (site.signer, site.authority):  # a worker that waits in its phase does not end in good order
        server.sigkill()
    report_campaign("SIGKILL in a publication", {**counts, "states that did not verify": 0}, SEED)
