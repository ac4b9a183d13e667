"""Attacks on the updater, each through its command line and a hostile server on loopback.

Each is refused within the deadline, with the right exit code and reason; the cache stays byte for byte as it was, and no
credentials go anywhere else. The control: without Verify, each forged answer is accepted.
"""

import dataclasses
import gzip
import json
import time
from pathlib import Path

import pytest

from kinto_signer.cli import output, updater
from kinto_signer.core.changeset import TIMESTAMP_MARKER, merge, tombstone
from kinto_signer.core.repository import Synchronizer
from kinto_signer.remote import RemoteRepository
from kinto_signer.transport import Deadline, Session
from kinto_signer.updater import open_cache
from kinto_signer.updater.cache import SqliteRepository
from tests.support.hostile import FakeKinto, HostileServer, drip, endless, http, http_json
from tests.support.keys import write_key_pair
from tests.support.states import NAME, START, make_records, new_key, now_ms, sign, signed_state, since, trust_in

GENEROUS_S = 10
DEADLINE_S = 1.5
SECRET = "s3cr3t-pa55word"
OTHER_KEY = new_key()


class Reader:
    """A reader with a cache, a key file and credentials."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture) -> None:
        pair = write_key_pair(folder)
        self.key = pair.key()
        self.public = pair.public
        self.cache = folder / "cache"
        self.json = folder / "json"
        self.auth = folder / "auth"
        self.auth.write_text(f"reader:{SECRET}\n")
        self.auth.chmod(0o600)
        self.capsys = capsys
        first = make_records(30)
        second = [{**first[0], "text": "old", "last_modified": START + 50}, *first[1:]]
        self.older = signed_state(self.key, first)
        self.held = signed_state(self.key, second)
        third = [{**second[0], "text": "new", "last_modified": START + 100}, *second[2:], tombstone(second[1]["id"], START + 101)]
        self.next = signed_state(self.key, third)

    def gather(self, url: str, *more: str, deadline: float = DEADLINE_S) -> tuple[int, dict]:
        """Run gather-changes; its exit code and the one object it printed."""
        arguments = [url, "-c", NAME, "--public-key", self.public, "--cache", self.cache, "--json", self.json]
        arguments += ["--auth-file", self.auth, "--deadline", deadline, "--format", "json", *more]
        code = output.run(updater.cli, ["gather-changes", *map(str, arguments)])
        printed = self.capsys.readouterr()
        assert SECRET not in printed.out + printed.err
        answer = json.loads(printed.out)
        assert answer["exit_code"] == code
        return code, answer

    def hold(self, state) -> None:
        """Bring the cache to this state in the ordinary way."""
        with HostileServer(FakeKinto(state)) as server:
            code, answer = self.gather(server.url, deadline=30)
        assert (code, answer["collections"][0]["timestamp"]) == (0, state.timestamp)

    def files(self) -> dict[str, bytes]:
        paths = [*self.cache.rglob("*"), *self.json.rglob("*")]
        return {str(path): path.read_bytes() for path in paths if path.is_file()}

    def states(self):
        return {"older": self.older, "held": self.held, "next": self.next}


@pytest.fixture
def reader(tmp_path, capsys):
    return Reader(tmp_path, capsys)


def reason_of(answer: dict) -> str:
    return (answer.get("error") or answer["collections"][0].get("error") or {"reason": "none"})["reason"]


# --- forged states --------------------------------------------------------------------------------------------------


def edit(reader):
    changes = [dict(change) for change in reader.next.changes]
    changes[0]["text"] = "forged"
    return dataclasses.replace(reader.next, changes=changes)


def add(reader):
    extra = {"id": "extra", "last_modified": reader.next.timestamp - 1}
    return dataclasses.replace(reader.next, changes=[*reader.next.changes, extra])


def drop(reader):
    return dataclasses.replace(reader.next, changes=list(reader.next.changes)[1:])


def undo_a_deletion(reader):
    deleted = next(record for record in reader.held.records if record["id"] == reader.next.tombstones[0]["id"])
    return dataclasses.replace(reader.next, changes=[*list(reader.next.changes)[:-1], deleted])


def unsigned(reader, **what):
    metadata = {k: v for k, v in reader.next.metadata.items() if k not in ("signature", "signatures")} | what
    return dataclasses.replace(reader.next, metadata=metadata)


def signed_by(key, **changed):
    def forge(reader):
        entry = sign(key, reader.next.records, reader.next.timestamp) | changed
        return dataclasses.replace(reader.next, metadata={**reader.next.metadata, "signature": entry, "signatures": [entry]})

    return forge


def entry_changed(**changed):
    def forge(reader):
        entry = {**reader.next.metadata["signature"], **changed}
        return dataclasses.replace(reader.next, metadata={**reader.next.metadata, "signature": entry, "signatures": [entry]})

    return forge


def text_of(reader):
    return reader.next.metadata["signature"]["signature"]


def other_timestamp(reader):
    return dataclasses.replace(
        reader.next,
        timestamp=reader.next.timestamp + 5,
        metadata={**reader.next.metadata, "signed_timestamp": reader.next.timestamp + 5},
    )


def same_timestamp(reader):
    changes = [{**change, "text": "another"} for change in reader.held.changes]
    return signed_state(reader.key, changes, reader.held.timestamp)


def in_the_future(reader):
    return signed_state(reader.key, make_records(3, start=now_ms() + 48 * 3600 * 1000))


def everything_deleted(reader):
    marker = tombstone(TIMESTAMP_MARKER, START + 500)
    state = signed_state(OTHER_KEY, [marker, *[tombstone(c["id"], START + 400) for c in reader.held.changes]])
    return dataclasses.replace(state, metadata={**state.metadata, "signature": None, "signatures": []})


def mixed_up(reader):
    """Records of one publication, signature of the one before."""
    return dataclasses.replace(
        reader.next, timestamp=reader.held.timestamp, metadata={**reader.held.metadata, "last_modified": START + 999}
    )


FORGED = {
    "altered": (edit, "bad-signature"),
    "added": (add, "bad-signature"),
    "dropped": (drop, "bad-signature"),
    "deletion withheld": (undo_a_deletion, "bad-signature"),
    "all dropped": (everything_deleted, "unsigned"),
    "unsigned": (unsigned, "unsigned"),
    "signature null": (lambda reader: unsigned(reader, signature=None, signatures=None), "unsigned"),
    "signature empty": (entry_changed(signature=""), "bad-signature"),
    "signature shorter": (lambda reader: entry_changed(signature=text_of(reader)[:-1])(reader), "bad-signature"),
    "signature longer": (lambda reader: entry_changed(signature=text_of(reader) + "\n")(reader), "bad-signature"),
    "signature a list": (lambda reader: unsigned(reader, signature=[1], signatures=[2]), "bad-signature"),
    "unknown mode": (entry_changed(mode="rs256"), "bad-signature"),
    "foreign key": (signed_by(OTHER_KEY), "unknown-key"),
    "foreign key without a name": (signed_by(OTHER_KEY, public_key=None), "bad-signature"),
    "other timestamp": (other_timestamp, "bad-signature"),
    "older state": (lambda reader: reader.older, "rollback"),
    "same timestamp": (same_timestamp, "same-timestamp"),
    "in the future": (in_the_future, "not-yet-valid"),
    "mixed up": (mixed_up, "bad-signature"),
    "wrong hash": (lambda reader: signed_state(reader.key, list(reader.next.changes), hash="sha384-AAAA"), "hash-mismatch"),
    "other collection": (lambda reader: signed_state(reader.key, list(reader.next.changes), id="languages"), "other-collection"),
    "other bucket": (lambda reader: signed_state(reader.key, list(reader.next.changes), bucket="blog"), "other-collection"),
}  # fmt: skip


@pytest.mark.parametrize("changeset", [False, True], ids=["records", "changeset"])
@pytest.mark.parametrize("attack", FORGED)
def test_forged_states_are_refused(reader, attack, changeset):
    forge, reason = FORGED[attack]
    reader.hold(reader.held)
    before = reader.files()
    with HostileServer(FakeKinto(forge(reader), changes=changeset)) as server:
        code, answer = reader.gather(server.url, deadline=20)

    assert (code, reason_of(answer)) == (3, reason)
    assert reader.files() == before


@pytest.mark.parametrize("attack", FORGED)
def test_forged_states_are_refused_by_an_empty_cache(reader, attack):
    forge, reason = FORGED[attack]
    with HostileServer(FakeKinto(forge(reader))) as server:
        code, answer = reader.gather(server.url, deadline=20)
    if attack in ("older state", "same timestamp"):  # nobody can tell: it is properly signed
        assert code == 0
        return
    assert (code, reason_of(answer)) == (3, reason)
    assert not [path for path in reader.files() if path.endswith((".json", ".sqlite"))]


@pytest.mark.parametrize("changeset", [False, True], ids=["records", "changeset"])
@pytest.mark.parametrize("attack", FORGED)
def test_control_without_verify_forged_states_are_accepted(reader, attack, changeset):
    """So it is Verify that refuses them, not a server that fails to forge."""
    forged = FORGED[attack][0](reader)
    is_newer = forged.timestamp > reader.held.timestamp
    naive = SqliteRepository(reader.cache, trust_in(reader.key))
    if is_newer:  # an older state is refused by the cache itself; here it has no memory
        naive.apply(NAME, reader.held)
    with HostileServer(FakeKinto(forged, changes=changeset)) as server:
        Synchronizer(RemoteRepository(Session(server.url, deadline=Deadline(20))), naive).sync(NAME)

    expected = merge(reader.held, since(forged, reader.held.timestamp)) if is_newer else forged
    held = naive.changeset(NAME)
    assert (held.timestamp, held.metadata) == (forged.timestamp, forged.metadata)
    assert {record["id"]: record for record in held.records} == {record["id"]: record for record in expected.records}


# --- malformed and malicious answers --------------------------------------------------------------------------------


class Lying(FakeKinto):
    """Overrides one route with a function of (fake, request, the honest answer)."""

    def __init__(self, state, route, answer, **options):
        super().__init__(state, **options)
        honest = getattr(self, route)
        setattr(self, route, lambda request: answer(self, request, honest(request)))


def bytes_of(answer):
    return lambda *_: answer


def records_body(body, **headers):
    return bytes_of(http(200, body, ETag=f'"{START + 101}"', **headers))


def next_page_lost(fake, request, honest):
    head, body = honest
    return [b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"Next-Page")), body]


def next_page_for_ever(fake, request, _):
    number = int(request.query.get("_token", "0")) + 1
    return http_json(
        200, {"data": []}, ETag='"5"', Next_Page=f"http://{request.headers['host']}{request.path}?_token={number % 3}"
    )


def always_another(*_):
    return http_json(200, {"data": {"n": time.monotonic_ns()}})


def data(value):
    return records_body(json.dumps({"data": value}).encode())


BOMB = gzip.compress(bytes(5_000_000))
DEEP = b'{"data":[{"id":"a","last_modified":1,"x":' + b"[" * 500 + b"]" * 500 + b"}]}"
CHUNKED = http(200, Content_Length=None, Transfer_Encoding="chunked")[0]
ANSWERS = {
    # name: (route, answer, exit code, reason)
    "truncated page": ("records", next_page_lost, 3, "bad-signature"),
    "pages for ever": ("records", next_page_for_ever, 3, "too-large"),
    "endless body": ("records", lambda *_: endless([http(200, Content_Length=None)[0]], b" " * 60000), 3, "too-large"),
    "gzip bomb": ("records", lambda *_: http(200, BOMB, Content_Encoding="gzip"), 3, "too-large"),
    "redirects for ever": ("collection", lambda *_: http(302, Location="/v1/buckets/main/collections/regions"), 3, "bad-answer"),
    "record doubled": ("records", data([{"id": "a", "last_modified": 1}] * 2), 3, "bad-answer"),
    "record without id": ("records", data([{"last_modified": 1}]), 3, "bad-answer"),
    "record with a number for id": ("records", data([{"id": 5, "last_modified": 1}]), 3, "bad-answer"),
    "record of another type": ("records", data(["a"]), 3, "bad-answer"),
    "record without timestamp": ("records", data([{"id": "a"}]), 3, "bad-answer"),
    "record with a text for timestamp": ("records", data([{"id": "a", "last_modified": "1"}]), 3, "bad-answer"),
    "half-deleted record": ("records", data([{"id": "a", "last_modified": 1, "deleted": 1}]), 3, "bad-answer"),
    "deep record": ("records", records_body(DEEP), 3, "bad-answer"),
    "no data": ("records", records_body(b"{}"), 3, "bad-answer"),
    "data no list": ("records", data({"a": 1}), 3, "bad-answer"),
    "no object": ("records", records_body(b"[]"), 3, "bad-answer"),
    "no ETag": ("records", bytes_of(http_json(200, {"data": []})), 3, "bad-answer"),
    "HTML": ("records", records_body(b"<!doctype html><p>Welcome to the hotel", Content_Type="text/html"), 3, "bad-answer"),
    "UTF-16": ("records", records_body('{"data": []}'.encode("utf-16")), 3, "bad-answer"),
    "collection no object": ("collection", bytes_of(http_json(200, {"data": []})), 3, "bad-answer"),
    "root no Kinto": ("root", bytes_of(http_json(200, [1])), 3, "bad-answer"),
    "signed_timestamp a text": ("collection", bytes_of(http_json(200, {"data": {"signed_timestamp": "5"}})), 3, "bad-answer"),
    "status 400": ("records", bytes_of(http_json(400, {"message": "no"})), 3, "bad-answer"),
    "drips": ("records", lambda _fake, _request, honest: drip(honest), 5, "deadline"),
    "drips on": ("collection", lambda _fake, _request, honest: drip(honest), 5, "deadline"),
    "silent": ("root", lambda *_: drip([b"H"], every_s=8), 5, "deadline"),
    "cut": ("records", lambda _fake, _request, honest: [honest[0], honest[1][:40]], 5, "unreachable"),
    "cut at once": ("root", lambda *_: [], 5, "unreachable"),
    "cut chunk": ("records", lambda *_: [CHUNKED, b"ff\r\n{"], 5, "unreachable"),
    "500": ("records", bytes_of(http(500, b"oops")), 5, "unreachable"),
    "502": ("root", bytes_of(http(502, b"<html>")), 5, "unreachable"),
    "503": ("collection", bytes_of(http_json(503, {"message": "maintenance"})), 5, "unreachable"),
    "503 with Retry-After": ("root", bytes_of(http(503, b"", Retry_After="100000000")), 5, "backoff"),
    "429": ("records", bytes_of(http(429, b"", Retry_After="-1")), 5, "backoff"),
    "401": ("records", bytes_of(http_json(401, {"message": "no"})), 4, "refused"),
    "403": ("collection", bytes_of(http_json(403, {"message": "no"})), 4, "refused"),
    "credentials unknown": ("root", bytes_of(http_json(200, {"capabilities": {}})), 4, "refused"),
    "gone": ("collection", bytes_of(http_json(404, {})), 3, "rollback"),
    "no Kinto there": ("root", bytes_of(http_json(404, {})), 1, "not-found"),
    "changes all the while": ("collection", always_another, 6, "conflict"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ANSWERS)
def test_malformed_answers_are_refused(reader, attack):
    route, answer, exit_code, reason = ANSWERS[attack]
    reader.hold(reader.held)
    before = reader.files()
    config = reader.cache.parent / "config.toml"
    config.write_text("max_size_mib = 1\n")
    deadline = DEADLINE_S if reason == "deadline" else 20
    started = time.monotonic()
    with HostileServer(Lying(reader.next, route, answer, page=1)) as server:
        code, printed = reader.gather(server.url, "--config", str(config), deadline=deadline)

    assert time.monotonic() - started < deadline + GENEROUS_S
    assert (code, reason_of(printed)) == (exit_code, reason)
    assert reader.files() == before
    if reason == "backoff":
        assert "until" in printed["collections"][0]["error"]


@pytest.mark.parametrize("attack", ["redirect", "next page", "redirected root"])
def test_nothing_is_sent_elsewhere(reader, attack):
    reader.hold(reader.held)
    before = reader.files()
    with HostileServer(FakeKinto(reader.next)) as other:
        path = FakeKinto(reader.next).path
        lies = {
            "redirect": ("collection", lambda *_: http(302, Location=other.origin + path)),
            "next page": ("records", lambda *_: http_json(200, {"data": []}, ETag='"5"', Next_Page=other.origin + path)),
            "redirected root": ("root", lambda *_: http(307, Location=other.url + "/")),
        }  # fmt: skip
        with HostileServer(Lying(reader.next, *lies[attack])) as server:
            code, printed = reader.gather(server.url)

    assert (code, reason_of(printed)) == (3, "off-origin")
    assert other.requests == []
    assert reader.files() == before


def test_nobody_listens(reader):
    with HostileServer(FakeKinto(reader.next)) as server:
        url = server.url
    code, printed = reader.gather(url)
    assert (code, reason_of(printed)) == (5, "unreachable")


def test_bad_json(reader, shared):
    """Every file of JSONTestSuite that must be refused, as the answer with the records."""
    reader.hold(reader.held)
    before = reader.files()
    body = b""
    with HostileServer(Lying(reader.next, "records", lambda *_: records_body(body)())) as server:
        files = sorted((shared / "vectors" / "json-parsing").glob("n_*"))
        assert len(files) == 94
        for file in files:
            body = file.read_bytes()
            code, printed = reader.gather(server.url)
            assert (code, reason_of(printed)) == (3, "bad-answer"), file.name
    assert reader.files() == before


@pytest.mark.parametrize("changeset", [False, True], ids=["records", "changeset"])
def test_control_the_honest_answers_are_accepted(reader, changeset):
    """So the tables above do not pass because nothing would."""
    reader.hold(reader.held)
    with HostileServer(FakeKinto(reader.next, page=4, changes=changeset)) as server:
        code, printed = reader.gather(server.url)
    assert (code, printed["collections"][0]["status"]) == (0, "updated")
    with open_cache(reader.cache) as cache:
        assert {r["id"]: r for r in cache.records(NAME)} == {r["id"]: r for r in reader.next.records}
