"""A, with a collection of which two states were published, and all that it serves and stores."""

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import transaction
from cryptography.hazmat.primitives.asymmetric import ec
from webtest import TestApp

from kinto_signer.core.changeset import EMPTY, Changeset, is_tombstone
from kinto_signer.core.trust import check
from tests.support.attacks.publications import Json, body, following, story, whole
from tests.support.servers import PrefixedRequest, authorization
from tests.support.states import now_ms, trust_in

Key = ec.EllipticCurvePrivateKey

COLLECTION, UNBORN = "regions", "unborn"
LEAD_MS = 1000
"""How far ahead of the clock the first state is: S signs timestamps above everything that A has said so far."""
SHOWN_HEADERS = ("Content-Type", "ETag", "Last-Modified", "Next-Page", "Total-Objects", "Total-Records")
FILES = "files"


class Target:
    """A as an attacker sees it who has the password of S's account and may write everywhere, but has no key.

    first, second: what was published, in this order. third: what S has signed and not published yet.
    rivals: what else S has signed. tampered: what A holds was altered behind its back, and only a whole state heals it.
    answers: one (request, status, body) for each answer to the attack, those inside a batch included.
    """

    def __init__(
        self, app: TestApp, key: Key, stranger: Key, *, bucket: str, guarded: bool, folder: Path, database: str | None
    ) -> None:
        self.database = database
        self.app, self.guarded = app, guarded
        self.key, self.stranger = key, stranger
        self.files = folder / FILES
        self.reader = TestApp(app.app)
        self.reader.RequestClass = PrefixedRequest
        self.bucket = f"/buckets/{bucket}"
        self.name = f"{bucket}/{COLLECTION}"
        self.collection = f"{self.bucket}/collections/{COLLECTION}"
        self.records = f"{self.collection}/records"
        self.first, self.second, self.third = story(key, now_ms() + LEAD_MS)
        self.answers: list[tuple[str, int, Any]] = []
        self.rivals: list[Changeset] = []
        self.tampered = False

    # --- sending -----------------------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> Any:
        """One request, whatever the answer. content: JSON, or bytes as they are."""
        sent = dict(headers or {}) | (authorization(user) if user else {})
        raw = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
        if raw:
            sent.setdefault("Content-Type", "application/json")
        answer = self.app.request(path, method=method, body=raw, headers=sent, expect_errors=True)
        self._note(f"{method} {path}", answer)
        return answer

    def batch(self, *requests: Json, **defaults: Any) -> Any:
        content: Json = {"requests": list(requests)}
        return self.send("POST", "/batch", content | ({"defaults": defaults} if defaults else {}))

    def publish(self, content: Any, *, to: str | None = None, **options: Any) -> Any:
        """POST changeset."""
        return self.send("POST", f"{to or self.collection}/changeset", content, **options)

    def _note(self, request: str, answer: Any) -> None:
        said = answer.json if answer.body and answer.content_type == "application/json" else {}
        self.answers.append((request, answer.status_int, said))
        inner = said.get("responses", []) if isinstance(said, dict) else []
        self.answers += [(f"{request}: {one['path']}", one["status"], one.get("body")) for one in inner]

    @property
    def refusals(self) -> list[tuple[str, int, Any]]:
        return [answer for answer in self.answers if answer[1] >= 400]

    @property
    def crashes(self) -> list[tuple[str, int, Any]]:
        return [answer for answer in self.answers if answer[1] >= 500]

    # --- setting up --------------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """A bucket of the attacker's, and the two publications: POST changeset with the guard, ordinary requests without."""
        self.send("PUT", self.bucket, {"data": {}})
        for base, state in ((EMPTY, self.first), (self.first, self.second)):
            if self.guarded:
                answer = self.publish(body(base, state))
                if answer.status_int not in (200, 201):
                    raise AssertionError(f"A refused a signed state: {answer.status} {answer.text}")
            else:
                self.load(base, state)
        self.answers.clear()

    def load(self, base: Changeset, state: Changeset) -> None:
        """Bring a Kinto without a guard from `base` to `state` in one batch."""
        requests = list(self.replay(base, state))
        if base is EMPTY:
            public = {"data": {}, "permissions": {"read": ["system.Everyone"]}}
            requests.insert(0, put(self.collection, public))
        failed = [one for one in self.batch(*requests).json["responses"] if one["status"] >= 400]
        if failed:
            raise AssertionError(f"Kinto refused the state that the attack begins with: {failed}")

    def replay(self, base: Changeset, state: Changeset) -> Iterator[Json]:
        """The ordinary requests that lead from `base` to `state`, the attributes last."""
        for change in sorted(body(base, state)["changes"], key=lambda change: change["last_modified"]):
            path = f"{self.records}/{change['id']}"
            if is_tombstone(change):
                yield {"method": "DELETE", "path": f"{path}?last_modified={change['last_modified']}"}
            else:
                yield put(path, {"data": change})
        yield {"method": "PATCH", "path": self.collection, "body": {"data": dict(state.metadata)}}

    @contextmanager
    def storage(self) -> Iterator[Any]:
        """Kinto's storage, behind the back of Kinto and of the guard, which watches the methods of the object."""
        with transaction.manager:
            yield _unwatched(self.app.app.registry.storage)

    # --- looking -----------------------------------------------------------------------------------------------------

    def served(self) -> dict[str, Any]:
        """All that A answers about the guarded collection, and about one in the same bucket that does not exist."""
        ids = sorted({change["id"] for change in (*self.first.changes, *self.second.changes)})
        public = [self.collection, self.records, f"{self.records}?_since={self.first.timestamp}", f"{self.records}?_sort=id"]
        if self.guarded:
            changeset = f"{self.collection}/changeset?_expected=0"
            public += [changeset, f'{changeset}&_since="{self.first.timestamp}"']
            public += ["/buckets/monitor/collections/changes/changeset?_expected=0"]
        private = [self.collection, f"{self.bucket}/collections", *(f"{self.records}/{record_id}" for record_id in ids)]
        private += [f"{self.bucket}/collections/{UNBORN}", f"{self.bucket}/collections/{UNBORN}/records"]
        pages = {f"anybody {path}": _shown(self.reader.get(path, expect_errors=True)) for path in public}
        pages |= {f"S {path}": _shown(self.app.get(path, expect_errors=True)) for path in private}
        return pages

    def stored(self) -> dict[str, Any]:
        """The same straight from the backends, and the files of attachments."""
        bucket, objects = self.bucket, {}
        with self.storage() as storage:
            for path in (self.collection, f"{bucket}/collections/{UNBORN}"):
                found = storage.list_all("record", path, include_deleted=True)
                objects[path] = sorted(found, key=lambda one: str(one["id"]))
            collections = storage.list_all("collection", bucket, include_deleted=True)
            objects["collections"] = sorted(collections, key=lambda one: str(one["id"]))
            permission = self.app.app.registry.permission
            uris = [self.collection, *(f"{self.records}/{change['id']}" for change in self.second.records)]
            for uri, granted in zip(uris, permission.get_objects_permissions(uris), strict=True):
                objects[f"who {uri}"] = {name: sorted(who) for name, who in sorted(granted.items())}
        files = sorted(path for path in self.files.rglob("*") if path.is_file())
        return objects | {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def left_open(self) -> list[str]:
        """The last statement of each transaction of PostgreSQL that a request began and did not end: others wait for it."""
        if self.database is None:
            return []
        with closing(psycopg2.connect(self.database)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in trans%'"
            )
            return [row[0] for row in cursor.fetchall()]

    def held(self) -> Changeset:
        """The state that a reader gets who has nothing yet; EMPTY where there is no collection."""
        if self.guarded:
            answer = self.reader.get(f"{self.collection}/changeset?_expected=0", expect_errors=True)
            if answer.status_int in (401, 404):  # nobody may read what is not there
                return EMPTY
            return Changeset(answer.json["timestamp"], answer.json["changes"], answer.json["metadata"])
        answer = self.reader.get(self.collection, expect_errors=True)
        if answer.status_int != 200:
            return EMPTY
        metadata = answer.json["data"]
        return Changeset(metadata["signed_timestamp"], self.reader.get(self.records).json["data"], metadata)

    def since_first(self) -> Changeset | None:
        """What a reader is told who holds the first state; None if it is told to start anew."""
        timestamp = self.first.timestamp
        if not self.guarded:
            metadata = self.reader.get(self.collection).json["data"]
            changes = self.reader.get(f"{self.records}?_since={timestamp}").json["data"]
            return Changeset(metadata["signed_timestamp"], changes, metadata, since=timestamp)
        answer = self.reader.get(f'{self.collection}/changeset?_expected=0&_since="{timestamp}"', expect_errors=True)
        if answer.status_int != 200:
            return None
        return Changeset(answer.json["timestamp"], answer.json["changes"], answer.json["metadata"], since=timestamp)

    def verify(self) -> Changeset:
        """What a reader gets, if a reader would accept it. Raises VerificationError."""
        state = self.held()
        check(self.name, state, trust_in(self.key))
        return state

    def control(self) -> None:
        """A correctly signed publication has to pass and be served, whatever came before."""
        base, state = self.held(), self.third
        if base is not EMPTY and base.timestamp == self.second.timestamp:
            base = self.second
        elif base is not EMPTY:
            later = max(now_ms(), base.timestamp) + LEAD_MS
            state = following(self.key, base, {**base.records[0], "text": "control", "last_modified": later})
        answer = self.publish(whole(base, state) if self.tampered else body(base, state))
        assert answer.status_int in (200, 201), answer.text
        served = self.verify()
        assert state_of(served) == state_of(state)


def _unwatched(backend: Any) -> Any:
    """The same backend with the methods of its class, whatever was put around those of the object."""
    twin = copy.copy(backend)
    for name, value in list(vars(twin).items()):
        if callable(value) and hasattr(type(twin), name):
            delattr(twin, name)
    return twin


def put(path: str, content: Json) -> Json:
    """A PUT inside a batch."""
    return {"method": "PUT", "path": path, "body": content}


def state_of(state: Changeset) -> tuple[int, list[Json]]:
    """What two states have in common that are the same."""
    return state.timestamp, sorted(state.records, key=lambda record: str(record["id"]))


def _shown(answer: Any) -> tuple[int, dict[str, str], bytes]:
    return answer.status_int, {name: answer.headers[name] for name in SHOWN_HEADERS if name in answer.headers}, answer.body
