"""Collections where readers and servers have them: does each place hold what a trusted key signed, and all of them the same?

Nothing here writes. A publication that is under way looks like damage for a moment, on a plain Kinto at least, and S commits
after its authorities: what looks wrong is looked at once more, a little later, before it is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from kinto_signer.core.changeset import EMPTY, Changeset
from kinto_signer.core.comparison import compare
from kinto_signer.core.findings import Finding, differs, failed, fine, misconfigured, warned
from kinto_signer.core.freshness import Rules, refuse_untimely
from kinto_signer.core.renewal import DEFAULT, Complaint, Kind, Thresholds, complaints, validity_of
from kinto_signer.core.repository import FUTURE_TOLERANCE_MS
from kinto_signer.core.statement import check_published
from kinto_signer.core.trust import Trust
from kinto_signer.errors import (
    BadAnswerError,
    ConfigurationError,
    CredentialsError,
    KintoSignerError,
    NoStatementError,
    NotYetValidError,
    VerificationError,
)
from kinto_signer.remote import RemoteRepository, check_name
from kinto_signer.transport import Deadline, Limits, Session
from kinto_signer.validities import iso

LOOK_AGAIN_AFTER_S = 2.0
ANSWER_S = 10.0
"""How long a server may be silent, and how long it may take to say what it has."""

MONITOR = "/buckets/monitor/collections/changes/records"


@dataclass(frozen=True)
class Looked:
    """The complete state of a collection in a place, EMPTY if nothing is signed there; and why it does not verify.

    unstated: that it verifies, and has no publication statement where one is looked for.
    """

    state: Changeset
    error: KintoSignerError | None = None
    unstated: bool = False


class Place(Protocol):
    """Something that holds collections."""

    @property
    def where(self) -> str:
        """What messages call it."""
        ...

    def look(self, name: str, trust: Trust) -> Looked:
        """Read and verify it. Raises why it could not be read."""
        ...


@dataclass(frozen=True)
class Subject:
    """One collection, and the places that ought to have the same of it; the first one is what the others are compared with.

    trust: None where no key was given for it. thresholds: below what it is worth a warning.
    """

    name: str
    trust: Trust | None
    places: tuple[Place, ...]
    thresholds: Thresholds = DEFAULT


@dataclass(frozen=True)
class Server:
    """A server as anybody reads it.

    timeout_s: for one collection. trust: keys for all its collections, rather than each collection's. auth: of an account there,
    which tells what is missing from what is hidden: to anybody Kinto answers both alike. listed: what the server says it has.
    rules: of statements and age; None where nobody asks for statements, and one that is there is judged all the same. now: the
    clock, epoch seconds.
    """

    where: str
    timeout_s: float = 300.0
    trust: Trust | None = None
    auth: str | None = field(default=None, repr=False)
    listed: frozenset[str] | None = None
    rules: Rules | None = None
    now: Callable[[], float] = field(default=time.time, repr=False)

    def look(self, name: str, trust: Trust) -> Looked:
        try:
            state = self._repository(self.timeout_s).changeset(name)
        except CredentialsError:
            if not self._is_missing(name):
                raise
            return Looked(EMPTY)
        if state == EMPTY:
            return Looked(state)
        try:
            return Looked(state, unstated=not self._verify(name, state, self.trust or trust) and self.rules is not None)
        except VerificationError as error:
            return Looked(state, error)

    def _verify(self, name: str, state: Changeset, trust: Trust) -> bool:
        """Whether there is a publication statement. Raises why a reader would refuse the state."""
        now_ms = self.now() * 1000
        _, stated = check_published(name, state, trust)
        refuse_untimely(name, stated, state.timestamp, self.rules or Rules(), int(now_ms))
        if state.timestamp > now_ms + FUTURE_TOLERANCE_MS:
            raise NotYetValidError(f"{name}: it is dated {state.timestamp}, more than 24 hours from now; readers refuse it.")
        return stated is not None

    def names(self) -> list[str]:
        """What the server says that it guards, or lists in ``monitor/changes``; sorted. Previews are not signed.

        Raises ConfigurationError for a server that says neither, and what reading it raises.
        """
        repository = self._repository(ANSWER_S)
        capabilities = repository.capabilities()
        guarded = _places(capabilities.get("authority"), "resources")
        found = {f"{bucket}/{collection}" for bucket, collection in guarded if collection}
        if "changes" in capabilities:
            found |= set(_listed(repository.session))
        elif not guarded:
            raise ConfigurationError(f"{self.where} does not say what it has: name it with `-c BUCKET/COLLECTION`.")
        else:
            for bucket in {bucket for bucket, collection in guarded if not collection}:
                found |= {f"{bucket}/{collection}" for collection in repository.collections(bucket)}
        previews = _previews(capabilities.get("signer"))
        return sorted(name for name in found if name not in previews and name.partition("/")[0] not in previews)

    def _is_missing(self, name: str) -> bool:
        """Whether it is not there, after it was refused to anybody. Raises CredentialsError if it is hidden from readers."""
        if self.auth is None:
            return self.listed is not None and name not in self.listed
        try:
            if self._repository(ANSWER_S, self.auth).timestamp(name) == 0:
                return True
        except CredentialsError:  # no such bucket, or not this account's
            return True
        raise CredentialsError(f"{name}: readers may not read it: give `read` on it to system.Everyone there.")

    def _repository(self, seconds: float, auth: str | None = None) -> RemoteRepository:
        limits = Limits(max_size_bytes=Limits.max_collection_bytes, idle_s=min(ANSWER_S, seconds))
        return RemoteRepository(Session(self.where, auth, deadline=Deadline(seconds), limits=limits))


def examine(subjects: Sequence[Subject], sleep: Callable[[float], None] = time.sleep) -> list[Finding]:
    """Look at every collection in every place; what is wrong is looked at twice."""
    found = [_look(subject) for subject in subjects]
    wrong = [number for number, findings in enumerate(found) if any(_may_pass(finding) for finding in findings)]
    if wrong:
        sleep(LOOK_AGAIN_AFTER_S)
    for number in wrong:
        found[number] = _look(subjects[number])
    return [finding for findings in found for finding in findings]


def _may_pass(finding: Finding) -> bool:
    return finding.exit_code in (3, 6, 10)


def _look(subject: Subject) -> list[Finding]:
    if subject.trust is None:
        return [_without_key(subject)]
    name, found = subject.name, list[Finding]()
    looked: list[tuple[Place, Looked]] = []
    for place in subject.places:
        try:
            looked.append((place, place.look(name, subject.trust)))
        except KintoSignerError as error:
            found.append(failed(place.where, error, name))
    sound = [(place, one.state) for place, one in looked if one.error is None]
    for place, one in looked:
        if one.error is not None:
            compared = next((_compared(there, state, one.state) for there, state in sound if state != EMPTY), "")
            found.append(failed(place.where, one.error, name, compared))
        elif one.state != EMPTY:
            found += _sound(place.where, name, one.state, subject.thresholds)
            found += [_without_statement(place.where, name)] if one.unstated else []
        elif place is subject.places[0]:
            found.append(fine(place.where, "nothing is signed here yet", name))
    if sound and sound[0][0] is subject.places[0]:
        found += [finding for place, state in sound[1:] for finding in _against(name, sound[0], place, state)]
    return found


def _sound(where: str, name: str, state: Changeset, thresholds: Thresholds) -> list[Finding]:
    """What verifies, until when, and whether that is too soon."""
    now, validity = int(time.time() * 1000), validity_of(state.metadata)
    if validity.first(Kind.STATEMENT) is None:  # then nothing here says when it was signed last
        validity = replace(validity, signed_at=None)
    ends = [f"; {end.what} ends {iso(end.ends)}" for kind in (Kind.STATEMENT, Kind.CERTIFICATE) if (end := validity.first(kind))]
    said = f"verifies: {state.count} records, signed {iso(state.timestamp)}{''.join(ends)}"
    too_soon = [warned(where, complaint.reason, _renew(complaint), name) for complaint in complaints(validity, thresholds, now)]
    return [fine(where, said, name), *too_soon]


def _renew(complaint: Complaint) -> str:
    certificate = " once the signer has a new certificate" if complaint.kind is Kind.CERTIFICATE else ""
    return f"{complaint.said}. On the signer `kinto-signer refresh` renews it{certificate}."


def _compared(place: Place, here: Changeset, there: Changeset) -> str:
    return f"Compared with {place.where}: {compare(here, there)}."


def _without_statement(where: str, name: str) -> Finding:
    said = (
        "there is no publication statement: readers cannot tell an old state, or another collection's, from this one. "
        "`kinto.signer.statement` on the signer makes them; readers who are told to require one refuse this."
    )
    return warned(where, NoStatementError.reason, said, name)


def _without_key(subject: Subject) -> Finding:
    message = "no key was given to verify it with: name the signer's public key with `--public-key FILE`."
    return misconfigured(subject.places[0].where, "configuration", message, subject.name)


def _against(name: str, first: tuple[Place, Changeset], place: Place, state: Changeset) -> list[Finding]:
    where, here = first[0].where, first[1]
    if here == EMPTY and state == EMPTY:
        return []
    if state == EMPTY:
        return [differs(place.where, f"it is missing there; {where} has it, signed {iso(here.timestamp)}.", name)]
    if here == EMPTY:
        return [differs(place.where, f"it is there, signed {iso(state.timestamp)}, and not on {where}.", name)]
    return [differs(place.where, _compared(first[0], here, state), name)] if compare(here, state) else []


def _listed(session: Session) -> list[str]:
    body = session.get(MONITOR).json()
    entries = body.get("data") if isinstance(body, dict) else None
    try:
        return [check_name(f"{entry['bucket']}/{entry['collection']}") for entry in entries or ()]
    except (KeyError, TypeError, ConfigurationError) as error:
        raise BadAnswerError(f"{session.server_url}: monitor/changes is malformed. Nothing was checked.") from error


def _previews(capability: object) -> set[str]:
    """Buckets, or collections, that a signer names as previews."""
    found = _places(capability, "resources", "preview") - _places(capability, "resources", "destination")
    return {f"{bucket}/{collection}" if collection else bucket for bucket, collection in found}


def _places(capability: object, field: str, part: str | None = None) -> set[tuple[str, str]]:
    """``(bucket, collection or "")`` of each resource in a capability, whatever shape another server gives it."""
    listed = capability.get(field) if isinstance(capability, Mapping) else None
    found = set()
    for entry in listed if isinstance(listed, list) else ():
        place: Any = entry.get(part) if part and isinstance(entry, Mapping) else entry
        if isinstance(place, Mapping) and place.get("bucket"):
            found.add((str(place["bucket"]), str(place.get("collection") or "")))
    return found
