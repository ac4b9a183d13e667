"""``kinto.signer.resources``: which collections are signed, and where the signed copy goes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kinto_signer.errors import ConfigurationError

ID = r"[a-zA-Z0-9][a-zA-Z0-9_-]*"
_URI = re.compile(rf"/buckets/(?P<bucket>{ID})(/collections/(?P<collection>{ID}))?$")
_SHORT = re.compile(rf"(?P<bucket>{ID})(/(?P<collection>{ID}))?$")
SETTING = "kinto.signer.resources"
EVERYONE = "system.Everyone"
"""Kinto's name for whoever asks, known or not."""
_NO_PLACE = "neither `/buckets/ID`, `/buckets/ID/collections/ID` nor `bucket/collection`"


@dataclass(frozen=True)
class Place:
    """A bucket, or one collection of it."""

    bucket: str
    collection: str | None = None

    @property
    def name(self) -> str:
        """``bucket/collection``, as repositories name collections."""
        return f"{self.bucket}/{self.collection}"

    @property
    def uri(self) -> str:
        return f"/buckets/{self.bucket}" + (f"/collections/{self.collection}" if self.collection else "")

    def covers(self, bucket: str, collection: str) -> bool:
        return self.bucket == bucket and self.collection in (None, collection)

    def within(self, collection: str) -> Place:
        return Place(self.bucket, self.collection or collection)


@dataclass(frozen=True)
class Resource:
    """A source and where its signed copy goes. Covers every collection of a bucket where the places name none.

    local: the signed copy stays on this server, as previews do.
    """

    source: Place
    destination: Place
    preview: Place | None = None
    local: bool = False

    def concrete(self, collection: str) -> Resource:
        """The same for the source collection `collection`."""
        preview = self.preview.within(collection) if self.preview else None
        return Resource(self.source.within(collection), self.destination.within(collection), preview)

    @property
    def as_preview(self) -> Resource | None:
        """The same source with its preview for the signed copy; None where there is no preview."""
        return Resource(self.source, self.preview, local=True) if self.preview else None

    @property
    def copies(self) -> tuple[Place, ...]:
        """What the plugin alone writes."""
        return tuple(place for place in (self.preview, self.destination) if place)

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(place for place in (self.source, self.preview, self.destination) if place)


@dataclass(frozen=True)
class Resources:
    """The configured resources; those of single collections win over those of their bucket."""

    configured: tuple[Resource, ...]

    def of_source(self, bucket: str, collection: str) -> Resource | None:
        """The resource whose source is this collection, with collections filled in; None if it is no source.

        None also where the bucket's line would copy it to a place that another line names for a collection of its own.
        """
        fitting = [resource for resource in self.configured if resource.source.covers(bucket, collection)]
        fitting.sort(key=lambda resource: resource.source.collection is None)
        found = fitting[0].concrete(collection) if fitting else None
        return None if found is None or self._taken_from(found) else found

    def unsigned(self) -> tuple[tuple[Resource, Resource], ...]:
        """Each source collection of a bucket's line that is not signed, and the line whose place it would be copied to."""
        found: dict[Resource, Resource] = {}
        singles = [resource for resource in self.configured if resource.source.collection]
        for wide in [resource for resource in self.configured if not resource.source.collection]:
            for single, place in [(one, place) for one in singles for place in one.places[1:]]:
                collection = str(place.collection)
                concrete = wide.concrete(collection)
                if place in concrete.places[1:] and self.of_source(wide.source.bucket, collection) is None:
                    found[concrete] = single
        return tuple(found.items())

    def _taken_from(self, resource: Resource) -> bool:
        """Whether a copy's place is that of a line for another single collection: two sources never share one."""
        others = (other for other in self.configured if other.source.collection and other.source != resource.source)
        return any(place in resource.places[1:] for other in others for place in other.places[1:])

    def of_copy(self, bucket: str, collection: str) -> Resource | None:
        """The resource whose destination or preview is this collection, with collections filled in; None if it is neither."""
        for resource in self.configured:
            if any(place.covers(bucket, collection) for place in resource.copies):
                return resource.concrete(resource.source.collection or collection)
        return None

    def has_place_in(self, bucket: str) -> bool:
        """Whether the bucket is, or holds, a source, preview or destination."""
        return any(place.bucket == bucket for resource in self.configured for place in resource.places)

    def has_source_in(self, bucket: str) -> bool:
        return any(resource.source.bucket == bucket for resource in self.configured)

    def involves(self, bucket: str, collection: str) -> bool:
        """Whether the collection is a source, preview or destination."""
        return any(place.covers(bucket, collection) for resource in self.configured for place in resource.places)


def parse_resources(text: str | None) -> Resources:
    """Parse the setting. Raises ConfigurationError that quotes the line at fault."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    if not lines:
        raise ConfigurationError(
            f"{SETTING} is empty: name what is to be signed, e.g. `{SETTING} = /buckets/main-workspace -> /buckets/main`."
        )
    configured = [_parse_line(line) for line in lines]
    _refuse_twice(configured, lines)
    return Resources(tuple(configured))


def parse_places(setting: str, text: str | None) -> tuple[Place, ...]:
    """Parse a list of buckets and collections, separated by white space; `setting` is named in errors.

    A slash may follow, as in the peers' configurations, where an entry is the beginning of an address.
    Raises ConfigurationError that quotes what is at fault.
    """
    places = []
    for written in (text or "").split():
        match = _URI.match(written.removesuffix("/")) or _SHORT.match(written)
        if match is None:
            raise ConfigurationError(f"{setting} = {written}: {_NO_PLACE}.")
        places.append(Place(match["bucket"], match["collection"]))
    return tuple(dict.fromkeys(places))


def _parse_line(line: str) -> Resource:
    parts = [part.strip() for part in re.split(r"->|;", line)]
    if len(parts) not in (2, 3):
        raise _error(line, "it has to be `SOURCE -> DESTINATION` or `SOURCE -> PREVIEW -> DESTINATION`")
    places = [_parse_place(part, line) for part in parts]
    if len({place.collection is None for place in places}) > 1:
        raise _error(line, "it mixes a bucket and a collection")
    if len(set(places)) < len(places):
        raise _error(line, "it names the same place twice")
    return Resource(places[0], places[-1], places[1] if len(places) == 3 else None)


def _parse_place(text: str, line: str) -> Place:
    match = _URI.match(text) or _SHORT.match(text)
    if match is None:
        raise _error(line, f"`{text}` is {_NO_PLACE}")
    return Place(match["bucket"], match["collection"])


def _refuse_twice(configured: Sequence[Resource], lines: Sequence[str]) -> None:
    """No source, preview or destination twice, and nothing that is a source in one line and a copy in another.

    A line may name a collection for itself in the bucket of another line: sources there, copies there (`of_source`).
    """
    seen: dict[Place, str] = {}
    for resource, line in zip(configured, lines, strict=True):
        for place in resource.places:
            if place in seen:
                raise _error(line, f"`{place.uri}` stands already in `{seen[place]}`")
            for other in seen:
                same_role = (place == resource.source) == _is_source(other, configured)
                overlap = other.bucket == place.bucket and None in (other.collection, place.collection)
                if overlap and not same_role:
                    raise _error(line, f"`{place.uri}` overlaps with `{seen[other]}`")
        seen.update(dict.fromkeys(resource.places, line))


def _is_source(place: Place, configured: Sequence[Resource]) -> bool:
    return any(resource.source == place for resource in configured)


def _error(line: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{SETTING}: the line `{line}`: {why}.")
