"""Many readers while S publishes again and again: what each of them gets is one publication, as a whole."""

import itertools
import threading
from collections import Counter

import pytest
import requests

from kinto_signer.core.changeset import Changeset
from kinto_signer.core.trust import check
from kinto_signer.errors import VerificationError
from tests.support.campaigns import rounds
from tests.support.publishing_site import CHANGESET, URI, Published, Site, digest, parse
from tests.support.states import NAME
from tests.support.unmeasured import unmeasured  # noqa: F401

pytestmark = pytest.mark.usefixtures("unmeasured")

READERS = 16


class Hammer:
    """Threads that read until they are told to stop: changesets, plain lists, and states put together from two requests."""

    def __init__(self, site):
        self.site = site
        self.counts = Counter()
        self.timestamps = set()
        self.lists = []
        self.failures = []
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(READERS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number):
        kinds = itertools.cycle([self._changeset, self._changeset, self._list, self._assembled])
        for _ in range(number % 4):
            next(kinds)
        with requests.Session() as session:
            for read in kinds:
                if self._stopped.is_set():
                    return
                try:
                    read(session)
                except Exception as error:  # noqa: BLE001 - reported by the test's own thread
                    with self._lock:
                        self.failures.append(error)

    def _changeset(self, session):
        state = parse(session.get(self.site.authority.url + CHANGESET, timeout=60))
        check(NAME, state, self.site.trust)
        with self._lock:
            self.counts["changesets"] += 1
            self.timestamps.add(state.timestamp)

    def _list(self, session):
        answer = session.get(f"{self.site.authority.url}{URI}/records", timeout=60)
        answer.raise_for_status()
        with self._lock:
            self.counts["lists"] += 1
            self.lists.append((int(answer.headers["ETag"].strip('"')), digest(answer.json()["data"])))

    def _assembled(self, session):
        """What a client without GET changeset has to do: the control, in which publications do mix."""
        metadata = session.get(f"{self.site.authority.url}{URI}", timeout=60).json()["data"]
        records = session.get(f"{self.site.authority.url}{URI}/records", timeout=60).json()["data"]
        try:
            check(NAME, Changeset(metadata["signed_timestamp"], records, metadata), self.site.trust)
        except VerificationError:
            mixed = 1
        else:
            mixed = 0
        with self._lock:
            self.counts["assembled from two requests"] += 1
            self.counts["of these mixed"] += mixed

    @property
    def reads(self):
        """Whole publications and plain lists; those from two requests are a control, and not counted."""
        return self.counts["changesets"] + self.counts["lists"]


@pytest.mark.proof
def test_readers_never_see_two_publications_at_once(live_kinto, create_database, key_pair, report_campaign):
    site = Site(live_kinto, create_database, key_pair, workers=3)
    publications, reads = rounds(12, 200), rounds(240, 10_000)
    published = Published()
    published.add(*site.signed())
    with Hammer(site) as hammer:
        for number in range(publications):
            site.edit(number)
            site.sign()
            published.add(*site.signed())
            wait_for(lambda wanted=reads * (number + 1) // publications: hammer.reads >= wanted or hammer.failures)
    assert not hammer.failures, hammer.failures[:3]
    assert hammer.reads >= reads
    assert len(hammer.timestamps) >= publications * 3 // 4
    assert hammer.timestamps <= published.digests.keys()
    behind = lists_behind(hammer.lists, published)
    mixed = hammer.counts["of these mixed"]
    assert mixed > 0 or publications < 100, "the control saw nothing: the hammer is too weak to show anything"
    counts = {"publications": publications, "threads": READERS, **hammer.counts}
    counts |= {"distinct timestamps": len(hammer.timestamps), "changesets that did not verify": 0}
    report_campaign("readers while S publishes", counts | {"lists whose ETag was of the publication before": behind})


def lists_behind(lists, published):
    """Each plain list is exactly one publication's; returns how many came with an earlier one's ETag.

    Kinto reads the timestamp first and the list with another statement, so a client that asks again with that ETag gets what it
    has once more, and misses nothing.
    """
    timestamps = {content: timestamp for timestamp, content in published.digests.items()}
    behind = 0
    for etag, content in lists:
        assert etag in published.digests
        assert content in timestamps, "a list of records is none that was published"
        assert etag <= timestamps[content]
        behind += etag < timestamps[content]
    return behind


def test_a_mixed_state_is_detected(live_kinto, create_database, key_pair):
    """The control for the check: attributes of one publication and records of the next do not verify."""
    site = Site(live_kinto, create_database, key_pair, workers=1)
    states = []
    for number in range(2):
        site.edit(number)
        site.sign()
        states.append(site.assert_verifies())
    for one, other in (states, states[::-1]):
        with pytest.raises(VerificationError):
            check(NAME, Changeset(one.timestamp, other.changes, one.metadata), site.trust)


def wait_for(condition):
    done = threading.Event()
    for _ in range(60_000):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("the readers do not get on")
