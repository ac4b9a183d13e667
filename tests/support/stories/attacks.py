"""The stories: what the server does, in the words of `docs/statement.rst`, and what becomes of it.

A story is told twice, to a reader of collections without statements and to one of collections with them. Its end is a list of
what happened, one after the other: ``accepted``, the reasons of refusals, and what is said in ``WORDS``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from kinto_signer.core.freshness import DAY_MS
from kinto_signer.core.statement import peek
from tests.support.statements import stated
from tests.support.states import make_records, new_key, now_ms, signed_state
from tests.support.stored import Stored
from tests.support.stories.reader import Reader
from tests.support.stories.stage import (
    NAME,
    Stage,
    attributes,
    publish,
    uri,
    with_attributes,
    with_collection,
    with_records,
    with_state,
)

WORDS = ("accepted", "not stored", "not found out", "found out")
IN_40_DAYS = ("--at", now_ms() // 1000 + 40 * 24 * 3600)
FOR_EVER = ("--at", "2100-01-01")
NOBODY = "http://127.0.0.1:9/v1"


@dataclass(frozen=True)
class Story:
    """tell: returns what happened. holds: the state that the reader has at the beginning. typed: as a command of its own."""

    tell: Callable[[Stage, Reader], list[str]]
    holds: str = "held"
    typed: bool = False

    def outcome(self, stage: Stage, reader: Reader) -> list[str]:
        """What happened; what happened again at once is said once."""
        return [what for what, _ in groupby(self.tell(stage, reader))]


def _without(stored: Stored, bucket: str, *names: str) -> Stored:
    return with_attributes(stored, bucket, lambda found: {name: found[name] for name in found if name not in names})


def _evil(stored: Stored, bucket: str) -> Stored:
    """A record altered."""
    return with_records(stored, bucket, {"r2": {**stored.get(uri(bucket), "record", "r2"), "name": "evil"}})


def _evil_attributes(stored: Stored, bucket: str) -> Stored:
    return with_attributes(stored, bucket, lambda found: {**found, "displayFields": ["evil"]})


def _shown(stage: Stage, reader: Reader, *states: Stored) -> list[str]:
    """Each of the states to a reader of its own."""
    return [reader.like().look(stage.put(state)) for state in states]


def _signed(stage: Stage, reader: Reader, *, at: int, key=None, **said) -> Stored:
    """A state of two other records that is signed with S's key, or another one, and dated `at`, as what A holds."""
    key = key or stage.key_pair.key()
    state = signed_state(key, make_records(2, start=at - 1), displayFields=["text"])
    if reader.stated:
        state = stated(key, state, **{"audience": "production", **said})
    return with_state(stage.held["next"], reader.bucket, state)


# --- without the signer's key ------------------------------------------------------------------------------------------------


def alters_records(stage, reader):
    next_, bucket = stage.held["next"], reader.bucket
    last_modified = next_.get(uri(bucket), "record", "r2")["last_modified"]
    altered = [
        _evil(next_, bucket),
        with_records(next_, bucket, {"r9": {"name": "evil", "last_modified": last_modified - 1}}),
        with_records(next_, bucket, {"r3": None}),
    ]
    return _shown(stage, reader, *altered, *(_without(state, bucket, "hash") for state in altered))


def signs_with_another_key(stage, reader):
    unsigned = _without(stage.held["next"], reader.bucket, "signature", "signatures")
    return _shown(stage, reader, _signed(stage, reader, at=now_ms(), key=new_key()), unsigned)


def mixes_and_matches(stage, reader):
    bucket, held, next_ = reader.bucket, stage.held["held"], stage.held["next"]
    mixed = [
        with_attributes(next_, bucket, lambda _: attributes(held, bucket)),
        with_attributes(held, bucket, lambda _: attributes(next_, bucket)),
    ]
    return _shown(stage, reader, *mixed, *(_without(state, bucket, "hash") for state in mixed))


def shows_other_attributes(stage, reader):
    old = attributes(stage.held["old"], reader.bucket)["displayFields"]
    return _shown(
        stage,
        reader,
        with_attributes(stage.held["next"], reader.bucket, lambda found: {**found, "displayFields": old}),
        with_attributes(stage.held["next"], reader.bucket, lambda found: {**found, "flags": ["evil"]}),
    )


def adds_attributes(stage, reader):
    url = stage.put(with_attributes(stage.held["next"], reader.bucket, lambda found: {**found, "note": "evil"}))
    outcome = reader.look(url)
    return [outcome if "note" in reader.show()["metadata"] else "not stored"]


def shows_another_collection(stage, reader):
    return _shown(stage, reader, with_collection(stage.held["next"], stage.held["next"], reader.bucket, "languages"))


def shows_staging(stage, reader):
    return [reader.like().look(stage.staging.url), reader.like(audience=None).look(stage.staging.url)]


def rolls_back(stage, reader):
    return _shown(stage, reader, stage.held["old"])


def shows_old_to_new_readers(stage, reader):
    url = stage.put(stage.held["old"])
    return [reader.new().look(url), reader.new().look(url, *FOR_EVER)]


def freezes(stage, reader):
    url = stage.put(stage.held["held"])
    outcome = [reader.look(url), reader.look(url, *IN_40_DAYS)]
    return outcome if reader.stated else [*outcome, reader.look(url, *IN_40_DAYS, "--max-age", "30d")]


def answers_nothing(stage, reader):
    return [reader.look(NOBODY), reader.look(NOBODY, *IN_40_DAYS, *(() if reader.stated else ("--max-age", "30d")))]


def takes_the_statement_away(stage, reader):
    return _shown(stage, reader, *(_without(stage.held[moment], reader.bucket, "publication") for moment in ("held", "next")))


def takes_it_away_from_new_readers(stage, reader):
    url = stage.put(_without(stage.held["next"], reader.bucket, "publication"))
    return [reader.new().look(url), reader.new().look(url, "--require-statement")]


def shows_an_older_statement(stage, reader):
    return _shown(stage, reader, stage.held["held"])


def shows_another_statement(stage, reader):
    old = attributes(stage.held["held"], reader.bucket)["publication"]
    return _shown(stage, reader, with_attributes(stage.held["next"], reader.bucket, lambda found: {**found, "publication": old}))


def shows_old_beside_new(stage, reader):
    both = {"collections": (NAME, "languages")}
    url = stage.put(with_collection(stage.held["next"], stage.held["old"], reader.bucket))
    return [reader.new().look(url, **both), reader.new().look(url, *FOR_EVER)]


WITHOUT_THE_KEY = {
    "alters, adds or removes records": Story(alters_records),
    "takes the signature away, or signs with a key of its own": Story(signs_with_another_key),
    "shows records and signature of two publications (mix-and-match)": Story(mixes_and_matches, typed=True),
    "shows attributes of another publication, or its own": Story(shows_other_attributes),
    "adds attributes that no statement covers": Story(adds_attributes),
    "shows one collection's state as another's (cross-collection)": Story(shows_another_collection, typed=True),
    "shows staging's signed state in production (one key)": Story(shows_staging),
    "shows an older state (rollback)": Story(rolls_back, typed=True),
    "the same to a new reader": Story(shows_old_to_new_readers),
    "shows the same state for ever (freeze)": Story(freezes, typed=True),
    "does not answer any more": Story(answers_nothing),
    "takes the statement away": Story(takes_the_statement_away),
    "takes it away from a new reader": Story(takes_it_away_from_new_readers),
    "shows an older statement of the same data": Story(shows_an_older_statement, holds="renewed"),
    "shows the statement of another publication": Story(shows_another_statement),
    "shows a new reader an old collection beside new ones": Story(shows_old_beside_new),
}


# --- with the key ------------------------------------------------------------------------------------------------------------


def dates_far_ahead(stage, reader):
    states = [_signed(stage, reader, at=now_ms() + 2 * DAY_MS)]
    if reader.stated:
        states += [_signed(stage, reader, at=now_ms(), serial=now_ms() + 2 * DAY_MS)]
    return _shown(stage, reader, *states)


def dates_a_little_ahead(stage, reader):
    outcome = [reader.look(stage.put(_signed(stage, reader, at=now_ms() + DAY_MS // 2)))]
    honest = stage.honest()
    outcome.append(reader.look(honest))
    code, _ = reader.run("updater", "reset", f"{reader.bucket}/{NAME}", "--accept-older", "--cache", reader.cache)
    assert code == 0
    return [*outcome, reader.look(honest)]


def signs_whatever(stage, reader):
    url = stage.put(_signed(stage, reader, at=now_ms()))
    return [reader.like().look(url), reader.like(key=stage.new_key_pair.public).look(url)]


def tells_two_histories(stage, reader):
    """Two readers with the same past; the second is shown another present, signed with the same key."""
    other = reader.like()
    before = peek(attributes(stage.held["held"], reader.bucket))
    fork = _signed(stage, reader, at=now_ms(), **({"previous": before.digest} if before else {}))
    outcome = [reader.look(stage.honest()), other.look(stage.put(fork))]
    mine, theirs = ({entry["serial"]: entry["digest"] for entry in one.show("--log")["log"]} for one in (reader, other))
    previous = [one.show("--log")["log"][-1]["previous"] for one in (reader, other)] if mine else []
    found = bool(mine) and mine != theirs and before is not None and previous[1] == before.digest
    return [*outcome, "found out" if found else "not found out"]


WITH_THE_KEY = {
    "date a state more than 24 hours ahead (fast-forward)": Story(dates_far_ahead, typed=True),
    "date it less than 24 hours ahead": Story(dates_a_little_ahead),
    "sign whatever they want": Story(signs_whatever, typed=True),
    "show two readers two histories": Story(tells_two_histories),
}


# --- with a database, without the key ------------------------------------------------------------------------------------------


def alters_records_and_waits(stage, reader):
    url = stage.put(_evil(stage.held["next"], reader.bucket))
    return [stage.refresh(reader.bucket), reader.look(url)]


def alters_attributes_and_waits(stage, reader):
    url = stage.put(_evil_attributes(stage.held["next"], reader.bucket))
    outcome = [reader.like().look(url)]
    assert stage.refresh(reader.bucket) == "accepted"
    outcome.append(reader.look(url))
    assert reader.show()["metadata"]["displayFields"] == attributes(stage.held["next"], reader.bucket)["displayFields"]
    return outcome


def alters_the_signed_copy(stage, reader):
    url = stage.honest()
    stage.here.put(_evil_attributes(stage.own, reader.bucket))
    outcome = [stage.refresh(reader.bucket), reader.like().look(url)]
    stage.here.put(_evil(stage.own, reader.bucket))
    assert stage.refresh(reader.bucket) == "accepted", "what was signed is signed again, no record is read"
    outcome.append(reader.look(url))
    assert "evil" not in str(reader.show("--records"))
    return outcome


def alters_the_source(stage, reader):
    url = stage.honest()
    stage.here.put(_evil(stage.own, f"{reader.bucket}-workspace"))
    outcome = [stage.refresh(reader.bucket), reader.look(url)]
    assert "evil" not in str(reader.show("--records"))
    publish(stage.signer, NAME, {})
    outcome.append(reader.look(url))
    assert "evil" in str(reader.show("--records"))
    return outcome


WITH_A_DATABASE = {
    "alter records in A's database, and wait for S's refresh": Story(alters_records_and_waits),
    "alter attributes there, and wait": Story(alters_attributes_and_waits),
    "alter the signed copy in S's database, and wait": Story(alters_the_signed_copy),
    "alter the source in S's database, and wait for an approval": Story(alters_the_source),
}
