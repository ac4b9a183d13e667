"""Sixteen writers with the right key publish to one collection: one wins each time, the others get 412; nothing is lost."""

import threading
from collections import Counter

import pytest
import requests

from kinto_signer.core.changeset import by_record_id
from kinto_signer.core.trust import check
from kinto_signer.errors import VerificationError
from tests.support.campaigns import rounds
from tests.support.publications import body_of
from tests.support.publishing_site import CHANGESET, URI, parse
from tests.support.servers import ROOT
from tests.support.settings import PASSWORD, guarded_settings
from tests.support.states import NAME, make_records, now_ms, signed_state, trust_in
from tests.support.unmeasured import unmeasured  # noqa: F401

pytestmark = pytest.mark.usefixtures("unmeasured")

WRITERS = 16
SAMPLERS = 2


class Contest:
    """Writers that build on what they read, and readers that look all the while.

    Every accepted publication adds one to the record `counter` and leaves a record of its own, so that a lost one shows.
    """

    def __init__(self, authority, key, each):
        self.authority = authority
        self.key = key
        self.each = each
        self.answers = Counter()
        self.samples = Counter()
        self.acknowledged = set()
        self.failures = []
        self.over = threading.Event()
        self._lock = threading.Lock()

    def run(self):
        self._post(signed_state(self.key, [{"id": "counter", "last_modified": now_ms(), "value": 0}]), base=0)
        samplers = [threading.Thread(target=self._guarded, args=(self._sample,)) for _ in range(SAMPLERS)]
        writers = [threading.Thread(target=self._guarded, args=(self._write, number)) for number in range(WRITERS)]
        for thread in samplers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        self.over.set()
        for thread in samplers:
            thread.join()
        return self

    def served(self, session=requests):
        return parse(session.get(self.authority.url + CHANGESET, timeout=60))

    def _guarded(self, work, *arguments):
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001 - reported by the test's own thread
            self.failures.append(error)
            self.over.set()

    def _write(self, number):
        done = 0
        with requests.Session() as session:
            while done < self.each and not self.over.is_set():
                base = self.served(session)
                own = f"writer-{number}-{done}"
                answer = self._post(self._next(base, own), base.timestamp, session)
                with self._lock:
                    self.answers[answer.status_code] += 1
                    if answer.status_code in (200, 201):
                        self.acknowledged.add(own)
                        done += 1
                if answer.status_code == 412:
                    assert answer.json()["errno"] == 114
                    assert answer.json()["details"]["timestamp"] > base.timestamp

    def _next(self, base, own):
        records = by_record_id(base.changes)
        at = max(base.timestamp + 1, now_ms() - 2)
        records[own] = {**make_records(1)[0], "id": own, "last_modified": at}
        records["counter"] = {"id": "counter", "last_modified": at + 1, "value": records["counter"]["value"] + 1}
        return signed_state(self.key, list(records.values()))

    def _post(self, state, base, session=requests):
        url = f"{self.authority.url}{URI}/changeset"
        return session.post(url, json=body_of(state, base), auth=("signer", PASSWORD), timeout=120)

    def _sample(self):
        trust = trust_in(self.key)
        with requests.Session() as session:
            while not self.over.is_set():
                state = self.served(session)
                try:
                    check(NAME, state, trust)
                except VerificationError:
                    self.samples["did not verify"] += 1
                else:
                    self.samples["verified"] += 1


@pytest.mark.proof
def test_one_writer_wins_and_nothing_that_was_accepted_is_lost(live_kinto, database, key_pair, report_campaign):
    authority = live_kinto(guarded_settings(key_pair.public, database), name="authority", workers=3, threads=8)
    each = rounds(3, 25)
    contest = Contest(authority, key_pair.key(), each).run()
    assert not contest.failures, contest.failures[:3]
    assert contest.answers.keys() <= {200, 412, 409}, contest.answers
    assert contest.answers[412] > 0
    accepted = contest.answers[200]
    assert accepted == WRITERS * each == len(contest.acknowledged)
    final = contest.served()
    check(NAME, final, trust_in(key_pair.key()))
    records = by_record_id(final.changes)
    assert records["counter"]["value"] == accepted
    assert records.keys() == contest.acknowledged | {"counter"}
    assert contest.samples["did not verify"] == 0
    assert contest.samples["verified"] > each
    counts = {"writers": WRITERS, "accepted": accepted, "refused with 412": contest.answers[412]}
    counts |= {"refused with 409 (busy)": contest.answers[409], "states sampled": contest.samples["verified"]}
    report_campaign("writers of one collection", {**counts, "states that did not verify": 0, "accepted and lost": 0})


def test_without_the_lock_publications_mix(live_kinto, database, key_pair):
    """The control: the lock is what keeps two publications apart that were both right when they were looked at."""
    settings = guarded_settings(key_pair.public, database)
    settings["kinto.includes"] += " tests.support.no_lock"
    environment = {"PYTHONPATH": str(ROOT)}
    authority = live_kinto(settings, name="authority", workers=3, threads=8, environment=environment)
    contest = Contest(authority, key_pair.key(), each=3)
    stop = threading.Timer(60, contest.over.set)
    stop.start()
    contest.run()
    stop.cancel()
    final = by_record_id(contest.served().changes)
    lost = contest.answers[200] - final["counter"]["value"]
    broken = contest.answers[503] + contest.answers[500] + contest.samples["did not verify"]
    assert lost > 0 or broken > 0, (contest.answers, contest.samples)
