"""A signer as its users see it: collections, what is pending in them, and the workflow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from kinto_signer.cli.access import Access
from kinto_signer.cli.pending import Pending, read_pages
from kinto_signer.cli.signer_session import SignerSession, objects
from kinto_signer.cli.told import Told, read_told
from kinto_signer.core.workflow import TRACKING_FIELDS
from kinto_signer.errors import ConfigurationError, CredentialsError, GuardRefusedError, NotFoundError
from kinto_signer.remote import check_name

COMMENTS = ("last_editor_comment", "last_reviewer_comment")
PAGE = 1000
"""Changed records that are asked for at once."""
LOG_PAGE = 500

Pair = tuple[str, str | None]


class Signer:
    """What a person or a script may ask of a signer. Every method raises the refusal as one of our errors."""

    def __init__(self, access: Access) -> None:
        self._session = SignerSession(access)

    def members(self, uri: str) -> tuple[str, ...] | None:
        """Who is in a group; None where we may not know or there is none."""
        try:
            group = self._session.get(uri)
        except (CredentialsError, NotFoundError):
            return None
        return self._session.expected("a group", lambda: tuple(map(str, group["data"]["members"])))

    def names(self) -> list[str]:
        """The source collections of the signer's capability."""
        found: list[str] = []
        for (bucket, collection), _ in self._resources():
            if collection is None:
                found += [f"{bucket}/{listed.get('id')}" for listed in self._session.entries(f"/buckets/{bucket}/collections")]
            else:
                found.append(f"{bucket}/{collection}")
        return sorted(dict.fromkeys(found))

    # --- one source --------------------------------------------------------------------------------------------------

    def collection(self, name: str) -> dict[str, Any]:
        """The attributes of a collection."""
        found = self._session.get(_path(name))
        return self._session.expected("a collection", lambda: dict(found["data"].items()))

    def state(self, name: str) -> dict[str, Any]:
        """Status, tracking fields and comments of a source, and the signed copy on S."""
        data = self.collection(name)
        found = {"name": name, "status": data.get("status")}
        found |= {key: data[key] for key in (*TRACKING_FIELDS, *COMMENTS, "hash") if key in data}
        destination = self._destination(name)
        if destination:
            found["destination"] = destination
        return found

    def number_of_records(self, name: str) -> int:
        """The live records of a collection."""
        return self._session.total(f"{_path(name)}/records")

    def pending(self, name: str, against: str = "destination", *, most: int | None = None) -> Pending:
        """In what the source differs from its destination or preview. most: so many records at most; None for all."""
        pages = self._session.pages(f"{_path(name)}/diff", against=against, _limit=str(most or PAGE))
        return self._session.expected("a difference", lambda: read_pages(pages if most is None else islice(pages, 1)))

    def set_status(self, name: str, status: str, *, seen: int | None = None, **said: Any) -> None:
        """Ask for a status. seen: the collection's `last_modified` that it must still have, milliseconds.

        said: further attributes, such as comments.
        """
        headers = {"If-Match": f'"{seen}"'} if seen is not None else {}
        self._session.send("PATCH", _path(name), body={"data": {"status": status, **said}}, headers=headers)

    def discard(self, name: str, ids: Sequence[str]) -> dict[str, Any]:
        """Take the pending changes of these records back, all of them or none."""
        return self._session.send("POST", f"{_path(name)}/discard", body={"ids": list(dict.fromkeys(ids))})

    def log(self, name: str, limit: int) -> list[dict[str, Any]]:
        """The last actions, newest first, `limit` at most."""
        return list(islice(self._session.entries(f"{_path(name)}/log", _limit=str(min(limit, LOG_PAGE))), limit))

    # --- what is for `kinto.signer.status_principals` ----------------------------------------------------------------

    def told(self, name: str) -> Told | None:
        """What S tells of a source: its authorities, and what of it ends when. None where it does not tell us."""
        try:
            return next(iter(self.every_told(name)), Told(name))
        except NotFoundError:
            return Told(name)
        except (CredentialsError, GuardRefusedError):
            return None

    def every_told(self, name: str | None = None) -> list[Told]:
        """The same of one source, or of all that are there.

        Raises GuardRefusedError or CredentialsError where S does not tell us, NotFoundError for no source.
        """
        body = self._session.get("/signer/status", **({"collection": name} if name else {}))
        return self._session.expected("the status of collections", lambda: read_told(body))

    def authorities(self, name: str) -> Sequence[dict[str, Any]] | None:
        """What S tells of the authorities of a source collection; None where it does not tell us, nothing for no source."""
        found = self.told(name)
        return None if found is None else found.authorities

    def push(self, name: str | None, label: str | None) -> list[dict[str, Any]]:
        """Bring the authorities up to date; returns what became of each collection on each."""
        asked = {"collection": name, "to": label}
        body = {key: value for key, value in asked.items() if value is not None}
        found = self._session.send("POST", "/signer/push", body=body)
        return self._session.expected("a list of what was pushed", lambda: objects(found["data"]))

    def refresh_deleted(self, name: str) -> None:
        """Sign again what readers have of a source that was deleted."""
        self._session.send("POST", "/signer/refresh", body={"collection": name})

    def adopt(self, name: str, label: str | None) -> dict[str, Any]:
        """Have S take over what an authority holds; returns what was taken."""
        body = {"collection": name} | ({"authority": label} if label else {})
        found = self._session.send("POST", "/signer/adopt", body=body)["data"]
        return self._session.expected("what was taken over", lambda: {"source": found["source"], **found})

    # --- the capability ----------------------------------------------------------------------------------------------

    def configured(self) -> list[str]:
        """The single collections that the capability names as sources, whether they are there or not."""
        return [f"{bucket}/{collection}" for (bucket, collection), _ in self._resources() if collection is not None]

    def _resources(self) -> list[tuple[Pair, Pair]]:
        """(bucket, collection or None) of source and destination, of each resource in the capability."""
        root = self._session.root()
        signer = self._session.expected("a Kinto's root", lambda: root.get("capabilities", {}).get("signer"))
        if signer is None:
            raise ConfigurationError(f"{self._session.server} is no signer: kinto_signer is not in its kinto.includes.")
        return self._session.expected(
            "a signer's resources",
            lambda: [(_place(resource["source"]), _place(resource["destination"])) for resource in signer["resources"]],
        )

    def _destination(self, name: str) -> str | None:
        bucket, _, collection = name.partition("/")
        for source, destination in self._resources():
            if source[0] == bucket and source[1] in (None, collection):
                found = f"{destination[0]}/{destination[1] or collection}"
                try:
                    data = self.collection(found)
                except NotFoundError:
                    return f"{found}, nothing signed yet"
                except CredentialsError:
                    return f"{found}, which you may not read"
                return f"{found}, signed_timestamp {data.get('signed_timestamp')}, {data.get('hash')}"
        return None


def _path(name: str) -> str:
    bucket, _, collection = check_name(name).partition("/")
    return f"/buckets/{bucket}/collections/{collection}"


def _place(value: Any) -> Pair:
    collection = value["collection"]
    return str(value["bucket"]), None if collection is None else str(collection)
