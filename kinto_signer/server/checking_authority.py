"""What can be said about an authority before anything is published to it. Nothing is changed there.

Whether S's account may write is found out by asking for something impossible: Kinto looks at permissions first (401, 403), and
only then at the body, which is not acceptable as anything (400), whatever a proxy makes of the headers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

from kinto_signer.core.findings import Finding, failed, fine, misconfigured, warned
from kinto_signer.core.public_key import fingerprint
from kinto_signer.core.trust import PinnedRoot
from kinto_signer.errors import CredentialsError, DeadlineError, KintoSignerError, TryLaterError
from kinto_signer.plugin.resources import Place
from kinto_signer.plugin.storage import collection_uri
from kinto_signer.server.connection import Connection, as_object
from kinto_signer.server.own import PUBLISHED_TO
from kinto_signer.server.root import Root, Sender, parse_root
from kinto_signer.server.signing import AuthoritySettings

ANSWER_S = 10.0
KINTO_MAX_REQUESTS = 25
"""Kinto's own `batch_max_requests`: too few for all but the smallest publications."""
CLOCKS_APART_S = 60
IMPOSSIBLE = {"data": 0}
NO_NAME = "kinto-signer-check"
"""Stands for a collection of the bucket where S has none yet. It is never made."""


@dataclass(frozen=True)
class Destination:
    """Where S publishes on one authority. fingerprints: of the keys that sign for it. names: the collections that S has.

    schemas: those of them whose source has a JSON schema. pinned: the roots and signers of the chains that S publishes.
    """

    place: Place
    fingerprints: tuple[str, ...]
    names: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    pinned: tuple[PinnedRoot, ...] = ()


@dataclass(frozen=True)
class Asked:
    """readable: whether it makes sense to read collections there."""

    findings: list[Finding]
    readable: bool


def check_authority(settings: AuthoritySettings, instance: str, destinations: Sequence[Destination]) -> Asked:
    """Ask one authority about itself, within 10 seconds or its own shorter time. instance: S's."""
    seconds = min(ANSWER_S, settings.timeout_s)
    connection = Connection(replace(settings, timeout_s=seconds))
    try:
        answer = Sender(connection).send("GET", "/")
        found = list(_clock(settings.url, answer.headers.get("Date", ""), time.time()))
        root = parse_root(connection, answer.body, instance)
        found.append(fine(settings.url, f"answers; {settings.line('auth')} is known there as {root.account}"))
        for destination in destinations:
            found += _check_destination(connection, root, as_object(answer.body.get("capabilities")), destination)
    except DeadlineError:
        late = TryLaterError(f"{settings.line('url')} = {settings.url} does not answer within {seconds:g} s.")
        return Asked([failed(settings.url, late)], readable=False)
    except TryLaterError as error:
        late = TryLaterError(f"{settings.line('url')} = {settings.url}: {error.message}")
        return Asked([failed(settings.url, late)], readable=False)
    except KintoSignerError as error:
        return Asked([failed(settings.url, error)], readable=isinstance(error, CredentialsError))
    return Asked(found, readable=not any(finding.reason == "same-server" for finding in found))


def _clock(url: str, date: str, now: float) -> Iterator[Finding]:
    """Compare the header ``Date`` with our clock. now: epoch seconds."""
    try:
        apart = parsedate_to_datetime(date).timestamp() - now
    except (ValueError, TypeError):
        return
    if abs(apart) > CLOCKS_APART_S:
        said = f"its clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's: set both by NTP."
        yield warned(url, "clock", said)


def _check_destination(
    connection: Connection, root: Root, capabilities: Mapping[str, Any], destination: Destination
) -> Iterator[Finding]:
    url, uri = connection.url, destination.place.uri
    name = destination.place.name if destination.place.collection else f"{destination.place.bucket}/{NO_NAME}"
    if "authority" in capabilities:
        yield from _guard(url, as_object(capabilities["authority"]), destination)
    if root.takes_changesets(name):
        paths = [f"{collection_uri(one)}/changeset" for one in destination.names or (name,)]
        yield from _may_write(connection, root, [("POST", path) for path in paths], destination)
    else:
        yield from _plain(url, root, capabilities, destination)
        yield from _may_write(connection, root, _plain_probes(connection, destination), destination)
    for one in destination.names:
        shown = as_object(connection.request("GET", collection_uri(one)).body.get("data"))
        if PUBLISHED_TO in shown:
            said = f"{connection.settings.line('url')} = {url} is a server on S's own database. Name the server that readers use."
            yield misconfigured(url, "same-server", said)
            return
    if not destination.names:
        yield fine(url, f"{uri}: nothing was published from here yet")


def _guard(url: str, capability: Mapping[str, Any], destination: Destination) -> Iterator[Finding]:
    place = destination.place
    listed = capability.get("resources")
    resources = [as_object(resource) for resource in listed] if isinstance(listed, list) else []
    covering = [r for r in resources if r.get("bucket") == place.bucket and r.get("collection") in (None, place.collection)]
    if not covering:
        guarded = ", ".join(f"{r.get('bucket')}/{r.get('collection') or '*'}" for r in resources) or "nothing"
        said = f"{place.uri} is not guarded there ({guarded} is): add it to kinto.authority.resources of that server."
        yield misconfigured(url, "not-guarded", said)
    elif not any(_trusts(shown, destination) for shown in covering):
        keys = " or ".join(destination.fingerprints)
        roots = " or ".join(f"the signer {one.signer_id} below the root {fingerprint(one.sha256)}" for one in destination.pinned)
        said = (
            f"{place.uri}: that server will refuse every publication, since it does not trust S's key {keys}"
            f"{f', nor {roots}' if roots else ''}: add S's public key to kinto.authority.public_keys there"
            f"{', or x5u_roots and signer_ids' if roots else ''}."
        )
        yield misconfigured(url, "key-not-trusted", said)
    else:
        yield fine(url, f"{place.uri} is guarded there, and S's key is trusted")


def _trusts(shown: Mapping[str, Any], destination: Destination) -> bool:
    """Whether the policy that A shows for a place accepts one of the keys or certificates that sign for it."""
    keys, roots = shown.get("public_keys") or (), shown.get("x5u_roots") or ()
    pinned = [{"sha256": fingerprint(one.sha256), "signer_id": one.signer_id} for one in destination.pinned]
    return any(key in keys for key in destination.fingerprints) or any(root in roots for root in pinned)


def _plain(url: str, root: Root, capabilities: Mapping[str, Any], destination: Destination) -> Iterator[Finding]:
    """What matters where a publication is a batch: only without the plugin."""
    if 0 < root.max_requests <= KINTO_MAX_REQUESTS:
        said = (
            f"a publication of more than {root.max_requests - 2} changed records is refused: raise "
            f"kinto.batch_max_requests there (it is {root.max_requests}), or add the plugin kinto_signer.authority."
        )
        yield warned(url, "batch-max-requests", said)
    if "schema" in capabilities and destination.schemas:
        said = (
            f"it validates records (kinto.experimental_collection_schema_validation) and adds to those of "
            f"{destination.schemas[0]}, which then do not verify: switch it off there, or add the plugin kinto_signer.authority."
        )
        yield misconfigured(url, "schema", said, destination.schemas[0])
    elif "schema" in capabilities:
        said = (
            "it validates records (kinto.experimental_collection_schema_validation): a collection with a schema could not be "
            "published; switch it off there, or add the plugin kinto_signer.authority."
        )
        yield warned(url, "schema", said)


def _plain_probes(connection: Connection, destination: Destination) -> list[tuple[str, str]]:
    """The writes that a publication to a plain Kinto begins with."""
    place = destination.place
    bucket = f"/buckets/{place.bucket}"
    there = [name for name in destination.names if connection.request("GET", collection_uri(name)).status == 200]
    missing = len(there) < len(destination.names) or not destination.names
    found = [("PATCH", collection_uri(name)) for name in there]
    if missing and _exists(connection, bucket):
        found.append(("POST", f"{bucket}/collections"))
    elif missing:
        found.append(("POST", "/buckets"))
    return found


def _exists(connection: Connection, bucket: str) -> bool:
    """Whether S's account sees the bucket; one that it may not see is as good as none, but cannot be made either."""
    return connection.request("GET", bucket).status == 200


def _may_write(
    connection: Connection, root: Root, probes: Sequence[tuple[str, str]], destination: Destination
) -> Iterator[Finding]:
    for method, path in probes:
        answer = connection.request(method, path, IMPOSSIBLE)
        if answer.status in (401, 403):
            yield failed(connection.url, CredentialsError(_lacks(root, path, destination)))
            return
        if answer.status != 400:
            said = f"{destination.place.uri}: {method} {path} answered {answer.status}, which says nothing about permissions."
            yield warned(connection.url, "permissions", said)
            return
    yield fine(connection.url, f"{destination.place.uri}: {root.account} may write there")


def _lacks(root: Root, path: str, destination: Destination) -> str:
    bucket = destination.place.bucket
    needs = {
        "/buckets": f"may not make the bucket {bucket}: add it to kinto.bucket_create_principals there",
        f"/buckets/{bucket}/collections": f"may not make collections in {bucket}: give it `write` on that bucket there",
    }
    return f"{root.account} {needs.get(path, f'may not write {path}: give it `write` on the bucket {bucket} there')}."
