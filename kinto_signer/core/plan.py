"""What one publication writes, and with which timestamps (decisions 2 and 4).

Readers ask for what changed after the timestamp they verified last, and old readers verify against the ETag of the records. So
whatever is written anywhere gets a timestamp above everything that was there, all of them increase strictly, and the greatest
one, carried by a record or a tombstone in every place, is the one that is signed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from kinto_signer.core.canonical import Record, same_content
from kinto_signer.core.changeset import TIMESTAMP_MARKER, by_record_id, is_tombstone, latest, tombstone


@dataclass(frozen=True)
class Held:
    """What a place holds before a publication.

    etag: of its list of records, integer milliseconds. changes: live records and the tombstones that are known.
    fresh: nothing was ever published there, so that nobody has read it and old timestamps may be written. rest: the greatest
    timestamp among what is not listed, since nothing is to be done about it; 0 where everything is listed.
    """

    etag: int
    changes: Sequence[Record] = ()
    fresh: bool = False
    rest: int = 0

    @property
    def records(self) -> list[Record]:
        return [change for change in self.changes if not is_tombstone(change)]

    @property
    def latest(self) -> int:
        """The greatest timestamp of a record or a tombstone, listed or not; 0 where there is nothing."""
        return max(latest(self.changes), self.rest)


@dataclass(frozen=True)
class Plan:
    """A publication: the timestamp to sign, and what to write to S's destination and to each authority.

    Each list holds live records and tombstones in the order in which they have to be written (increasing timestamps).
    """

    timestamp: int
    records: list[Record]
    """All live records after the publication, but for those that the source does not list."""
    destination: list[Record]
    authorities: list[list[Record]]


def plan(
    source: Sequence[Record],
    destination: Held,
    authorities: Sequence[Held],
    now: int,
    *,
    renew: bool = False,
    dated: Mapping[str, Record] | None = None,
) -> Plan:
    """Plan the publication of the live records `source`.

    destination: S's own signed copy. authorities: the servers that readers use. now: S's clock, integer milliseconds.
    renew: sign a new timestamp even if no record differs, since the attributes beside the records do. dated: records by id that
    were just written to another copy of the same source: one that is new here as well gets the same timestamp, where it may.
    Content that is the same everywhere keeps its timestamp, so that no difference means no new records. What an
    authority already holds of an earlier, unfinished publication keeps the timestamp it has there.
    Records that are exactly the same in every place need not be listed: they change nothing but `Held.rest`.
    """
    everywhere, places = [destination, *authorities], _distinct([destination, *authorities])
    authorities = places[1:]
    newest = max(max(place.etag, place.latest) for place in places)
    dated = dated or {}
    above = max(_may_be_dated_above(place, latest(list(dated.values()))) for place in places)
    dated = {record_id: record for record_id, record in dated.items() if record["last_modified"] > above}
    fresh_timestamp = count(max(now, newest, latest(list(dated.values()))) + 1)
    records = _stamp(source, destination, authorities, fresh_timestamp, dated)
    dead = _bury(records, destination, authorities, fresh_timestamp)
    writes = [_missing(records, dead, place) for place in places]
    timestamp = max(latest(records), latest(dead), destination.latest)
    known = renew and any(timestamp <= place.etag and not place.fresh for place in places)
    if known or any(not _carries(timestamp, place, missing) for place, missing in zip(places, writes, strict=True)):
        next(fresh_timestamp)  # the marker has to be created, a millisecond earlier, before it can be deleted
        timestamp = next(fresh_timestamp)
        marker = tombstone(TIMESTAMP_MARKER, timestamp)
        writes = [[*missing, marker] for missing in writes]
    by_place = {id(place): missing for place, missing in zip(places, writes, strict=True)}
    return Plan(timestamp, records, writes[0], [by_place[id(place)] for place in everywhere[1:]])


def repeated(planned: Plan, destination: Held, ids: Collection[str]) -> Plan | None:
    """What `plan` makes for another copy of the same source, `dated` by the one of `planned`; None where that is to be found out.

    destination: that other copy, to which nobody else publishes. ids: of all records that are to be published there.
    It is the same plan where no record is there, and the first copy got all of its records now.
    """
    written = planned.destination
    above = _may_be_dated_above(destination, planned.timestamp)
    if destination.changes or not written or written[0]["last_modified"] <= above:
        return None
    if len(written) != len(ids) or any(is_tombstone(change) or change["id"] not in ids for change in written):
        return None
    return Plan(planned.timestamp, planned.records, written, []) if len(planned.records) == len(written) else None


def _may_be_dated_above(place: Held, end: int) -> int:
    """What comes from another copy is written there with timestamps above this one, the last of them `end`.

    Below the clock only where nothing was ever published.
    """
    return place.latest if place.fresh and end > place.etag else max(place.etag, place.latest)


def _distinct(places: Sequence[Held]) -> list[Held]:
    """Each place once: an authority that holds what S does is handed in as the very same object, and is compared once."""
    return list({id(place): place for place in places}.values())


def _stamp(
    source: Sequence[Record],
    destination: Held,
    authorities: Sequence[Held],
    fresh: Iterator[int],
    dated: Mapping[str, Record],
) -> list[Record]:
    """The records to be published, each with the timestamp it will have everywhere."""
    published = by_record_id(destination.records)
    elsewhere = [by_record_id(place.records) for place in authorities]
    stamped = []
    for record in sorted(source, key=lambda record: record["last_modified"]):
        candidates = [place.get(record["id"]) for place in (published, *elsewhere)]
        timestamp = _kept_timestamp(record, candidates, destination, authorities)
        like = dated.get(record["id"]) if timestamp is None else None
        if like is not None and same_content(like, record):
            timestamp = like["last_modified"]
        stamped.append({**record, "last_modified": next(fresh) if timestamp is None else timestamp})
    return stamped


def _kept_timestamp(
    record: Record, candidates: Sequence[Record | None], destination: Held, authorities: Sequence[Held]
) -> int | None:
    """A timestamp that the record already has, if every place either holds exactly it or may still be given it."""
    places = [destination, *authorities]
    for candidate in candidates:
        if candidate is None or not same_content(candidate, record):
            continue
        timestamp = candidate["last_modified"]
        if all(
            there is candidate
            or is_exactly(there, {**record, "last_modified": timestamp})
            or place.fresh
            or timestamp > place.etag
            for there, place in zip(candidates, places, strict=True)
        ):
            return int(timestamp)
    return None


def is_exactly(there: Record | None, record: Record) -> bool:
    """Whether `there` is the same record, timestamp included."""
    return there is not None and there["last_modified"] == record["last_modified"] and same_content(there, record)


def _bury(records: Sequence[Record], destination: Held, authorities: Sequence[Held], fresh: Iterator[int]) -> list[Record]:
    """A tombstone for everything that is alive somewhere and is to be published nowhere."""
    live = {record["id"] for record in records}
    places = [destination, *authorities]
    doomed = {change["id"] for place in places for change in place.records} - live
    return [tombstone(record_id, next(fresh)) for record_id in sorted(doomed)]


def _missing(records: Sequence[Record], dead: Sequence[Record], place: Held) -> list[Record]:
    """What has to be written to `place`, in the order of timestamps."""
    there = by_record_id(place.records)
    writes = [record for record in records if not is_exactly(there.get(record["id"]), record)]
    writes += [grave for grave in dead if grave["id"] in there]
    return sorted(writes, key=lambda change: change["last_modified"])


def _carries(timestamp: int, place: Held, missing: Sequence[Record]) -> bool:
    """Whether the place's ETag will be `timestamp` once `missing` is written there."""
    written = any(change["last_modified"] == timestamp for change in missing)
    return timestamp > place.etag if written else timestamp == place.etag and place.latest > 0
