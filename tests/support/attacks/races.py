"""Two who write at the same moment. Afterwards A serves one of the signer's states, whole.

Without the guard the same requests are sent in an order that two clients of a plain Kinto may well hit.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from kinto_signer.core.changeset import Changeset
from tests.support.attacks.attack import Attack, Leaves
from tests.support.attacks.publications import body, following, record
from tests.support.attacks.records import FORGED
from tests.support.attacks.target import Target

DEADLINE_S = 30
BUSY = 409


def _publish_until_it_is_taken(target: Target, state: Changeset) -> int:
    """POST changeset as S does: once more while A is busy. Returns the last status."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        answer = target.publish(body(target.second, state))
        if answer.status_int != BUSY or time.monotonic() > deadline:
            return answer.status_int
        time.sleep(0.01)


def _at_once(*runs: Callable[[], Any]) -> list[Any]:
    """Run them in threads that start together; what they returned. Their exceptions are raised here."""
    barrier, results, problems = threading.Barrier(len(runs)), [None] * len(runs), []

    def go(number: int, run: Callable[[], Any]) -> None:
        try:
            barrier.wait(DEADLINE_S)
            results[number] = run()
        except BaseException as problem:  # noqa: BLE001 - raised below
            problems.append(problem)

    threads = [threading.Thread(target=go, args=(number, run)) for number, run in enumerate(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return results


def _with_a_publication(target: Target, write: Callable[[], Any]) -> None:
    """`write` again and again while the third state is published."""
    if not target.guarded:
        write()
        target.batch(*target.replay(target.second, target.third))
        return
    over = threading.Event()

    def publish() -> int:
        try:
            return _publish_until_it_is_taken(target, target.third)
        finally:
            over.set()

    def keep_writing() -> None:
        while not over.is_set():
            write()

    status, _ = _at_once(publish, keep_writing)
    write()
    assert status in (200, 201), f"the publication was answered {status}"


def two_publications_at_once(target: Target) -> None:
    """Two signed publications that build on the same state are posted at the same moment."""
    rivals = [
        following(target.key, target.second, {**record(target.second, name), "text": name, "last_modified": later})
        for name, later in (("record-0000", target.third.timestamp), ("record-0003", target.third.timestamp + 5))
    ]
    target.rivals += rivals
    if not target.guarded:
        for rival in rivals:
            target.batch(*target.replay(target.second, rival))
        return
    statuses = _at_once(*(lambda rival=rival: _publish_until_it_is_taken(target, rival) for rival in rivals))
    assert sorted(statuses) == [200, 412], statuses


def record_written_during_a_publication(target: Target) -> None:
    """A record is written by hand again and again while a publication is posted."""
    _with_a_publication(target, lambda: target.send("PUT", f"{target.records}/forged", FORGED))


def attributes_written_during_a_publication(target: Target) -> None:
    """The older signature is put back by hand again and again while a publication is posted."""
    older = {name: target.first.metadata[name] for name in ("signature", "signatures", "signed_timestamp", "hash")}
    present = {name: target.second.metadata[name] for name in older}

    def write() -> None:
        for attributes in (present, older):
            target.send("PATCH", target.collection, {"data": attributes})

    if target.guarded:
        _with_a_publication(target, write)
    else:
        target.batch(*target.replay(target.second, target.third))
        write()


def records_deleted_during_a_publication(target: Target) -> None:
    """All records are deleted by hand again and again while a publication is posted."""
    _with_a_publication(target, lambda: target.send("DELETE", target.records))


def collection_deleted_during_a_publication(target: Target) -> None:
    """The collection is deleted and made again while a publication is posted."""

    def write() -> None:
        public = {"data": {}, "permissions": {"read": ["system.Everyone"]}}
        target.send("DELETE", target.collection)
        target.send("PUT", target.collection, public)

    _with_a_publication(target, write)


ATTACKS = tuple(
    Attack(49, run, leaves=Leaves.HONEST)
    for run in (
        two_publications_at_once,
        record_written_during_a_publication,
        attributes_written_during_a_publication,
        records_deleted_during_a_publication,
        collection_deleted_during_a_publication,
    )
)
