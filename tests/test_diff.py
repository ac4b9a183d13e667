"""``GET …/diff``: what would be published, for whom, in pages, and never two states mixed."""

import pytest
from kinto.core.views.openapi import openapi_view

from kinto_signer.core.canonical import canonical_json
from kinto_signer.core.difference import MISSING, difference, reviewed_digest
from kinto_signer.core.difference_pages import from_json
from kinto_signer.errors import ConflictError
from kinto_signer.plugin.resources import Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server import shown as reading
from kinto_signer.server.own import COPIED_ATTRIBUTES
from tests.support.servers import authorization
from tests.support.site import BUCKET, DESTINATION, JSON_PATCH, SOURCE, set_status, signer_app
from tests.support.workflow import EDITOR, EDITOR_AND_REVIEWER, READER, REVIEWER, WITH_PREVIEW, review_site

DIFF = f"{SOURCE}/diff"
BOB = authorization("bob")


@pytest.fixture
def app(key_pair):
    return signer_app(key_pair)


def put(app, record_id, **data):
    return app.put_json(f"{SOURCE}/records/{record_id}", {"data": data}).json["data"]


def diff(app, query="", **options):
    answer = app.get(f"{DIFF}{query}", **options)
    return answer.json["data"] if answer.status_int == 200 else answer.json


def publish(app, **records):
    for record_id, value in records.items():
        put(app, record_id, v=value)
    set_status(app, "to-sign")


# --- what it says ---------------------------------------------------------------------------------------------------------


def test_records_before_and_after(app):
    publish(app, kept=1, changed=1, gone=1)
    before = {record["id"]: record for record in app.get(f"{DESTINATION}/records").json["data"]}
    put(app, "kept", v=1)  # touched, and the same
    changed, new = put(app, "changed", v=True), put(app, "new", v="é")
    app.delete(f"{SOURCE}/records/gone")
    found = diff(app)
    assert found["created"] == [new]
    assert found["updated"] == [{"before": before["changed"], "after": changed}]
    assert found["deleted"] == [before["gone"]]
    assert found["attributes"] == {}
    assert found["counts"] == {"created": 1, "updated": 1, "deleted": 1, "attributes": 0}
    assert (found["records"], found["next_token"]) == (3, None)
    grave = {"id": "gone", "deleted": True, "last_modified": before["gone"]["last_modified"]}
    assert found["size_bytes"] == sum(len(canonical_json(change)) for change in (new, changed, grave))
    assert (found["source"], found["against"], found["status"]) == ("main-workspace/regions", "main/regions", "work-in-progress")
    assert found["last_modified"] == app.get(SOURCE).json["data"]["last_modified"]
    set_status(app, "to-sign")
    assert from_json([diff(app)]).empty


def test_attributes_before_and_after(app):
    app.patch_json(SOURCE, {"data": {"sort": "-n", "displayFields": ["a"], "flags": None}})
    set_status(app, "to-sign")
    app.patch_json(SOURCE, {"data": {"displayFields": ["a", "b"], "schema": {"type": "object"}, "note": 1}})
    app.patch_json(SOURCE, [{"op": "remove", "path": "/data/sort"}], headers={"Content-Type": JSON_PATCH})
    found = diff(app)
    assert found["attributes"] == {
        "schema": {"after": {"type": "object"}},
        "sort": {"before": "-n"},
        "displayFields": {"before": ["a"], "after": ["a", "b"]},
    }
    assert (found["records"], found["counts"]["attributes"]) == (0, 3)
    assert from_json([found]).attributes["sort"] == ("-n", MISSING)


def test_numbers_keep_their_kinds_on_the_way(key_pair):
    app = signer_app(key_pair, kinto__signer__allow_floats="true")
    publish(app, a=1, b=1.5, c=1)
    for record_id, value in (("a", 1.0), ("b", 1.5), ("c", True)):
        put(app, record_id, v=value)
    found = from_json([diff(app)])
    assert [(repr(before["v"]), repr(after["v"])) for before, after in found.updated] == [("1", "1.0"), ("1", "True")]


def test_the_digest_is_that_of_what_is_stored(key_pair, storage_url):
    app = signer_app(key_pair, database=storage_url, kinto__signer__allow_floats="true")
    for number, value in enumerate((1, 1.0, 1e21, 1e-7, -0.0, "é\x7f\u2028😀", {"b": [None, True], "a": {}})):
        put(app, f"r{number}", v=value)
    app.patch_json(SOURCE, {"data": {"sort": "x", "note": "not published"}})
    repository = StorageRepository(app.app.registry.storage)
    records, attributes = repository.records("main-workspace/regions"), repository.attributes("main-workspace/regions")
    found = difference(records, [], attributes, {}, COPIED_ATTRIBUTES)
    digest = diff(app)["digest"]
    assert digest == reviewed_digest(found, attributes, repository.attributes("main/regions"), COPIED_ATTRIBUTES)
    app.patch_json(SOURCE, {"data": {"note": "another"}})
    assert diff(app)["digest"] == digest
    put(app, "r0", v=2)
    assert diff(app)["digest"] != digest


def test_against_the_preview(key_pair):
    app = signer_app(key_pair, kinto__signer__resources=WITH_PREVIEW, kinto__signer__to_review_enabled="true")
    put(app, "a", v=1)
    app.patch_json(SOURCE, {"data": {"sort": "x", "status": "to-review"}})
    put(app, "b", v=1)
    app.patch_json(SOURCE, {"data": {"sort": "y"}})
    against = {name: diff(app, f"?against={name}") for name in ("preview", "destination")}
    assert [against[name]["against"] for name in against] == ["main-preview/regions", "main/regions"]
    assert [record["id"] for record in against["preview"]["created"]] == ["b"]
    assert against["preview"]["attributes"] == {"sort": {"before": "x", "after": "y"}}
    assert [record["id"] for record in against["destination"]["created"]] == ["a", "b"]
    assert against["destination"]["attributes"] == {"sort": {"after": "y"}}
    assert against["preview"]["digest"] == against["destination"]["digest"]


def test_the_rule_in_force_and_who_took_part(key_pair):
    site = review_site(key_pair, kinto__signer__four_eyes="contributors", kinto__signer__copied_attributes="sort note")
    site.put(EDITOR, "a", v=1)
    site.app.patch_json(SOURCE, {"data": {"note": 1, "schema": {}}}, headers=site.headers(EDITOR_AND_REVIEWER))
    found = site.app.get(DIFF, headers=site.headers(READER)).json["data"]
    took_part = sorted(site.principals[user] for user in (EDITOR, EDITOR_AND_REVIEWER))
    assert (found["reviews"], found["four_eyes"], found["contributors"]) == (True, "contributors", took_part)
    assert (found["requested_by"], found["attributes"]) == (None, {"note": {"after": 1}})
    site.set_status(EDITOR, "to-review")
    found = site.app.get(DIFF, headers=site.headers(READER)).json["data"]
    assert (found["status"], found["requested_by"]) == ("to-review", site.principals[EDITOR])
    site.app.get(DIFF, headers=site.headers("stranger"), status=403)


def test_the_digest_is_what_an_approval_may_name(key_pair):
    site = review_site(key_pair)
    site.put(EDITOR, "a", v=1)
    site.set_status(EDITOR, "to-review")
    seen = site.app.get(DIFF).json["data"]
    site.set_status(REVIEWER, "to-sign", reviewed_digest=f"{seen['digest']}x", status=412)
    site.set_status(REVIEWER, "to-sign", reviewed_digest=seen["digest"])
    approval = site.attributes()["signer_approval"]
    assert (approval["digest"], approval["created"]) == (seen["digest"], 1)


def test_the_timestamp_is_what_an_approval_may_name(key_pair):
    site = review_site(key_pair)
    site.put(EDITOR, "a", v=1)
    site.set_status(EDITOR, "to-review")
    seen = site.app.get(DIFF).json["data"]["last_modified"]
    for stamp, status in ((seen - 1, 412), (seen, 200)):
        headers = {**site.headers(REVIEWER), "If-Match": f'"{stamp}"'}
        site.app.patch_json(SOURCE, {"data": {"status": "to-sign"}}, headers=headers, status=status)


def test_a_copy_that_is_not_there_is_empty(app):
    put(app, "a", v=1)
    storage = app.app.registry.storage
    StorageRepository(storage).wipe_below(DESTINATION)
    storage.delete("collection", "/buckets/main", "regions")
    assert diff(app)["counts"] == {"created": 1, "updated": 0, "deleted": 0, "attributes": 0}


# --- for whom -------------------------------------------------------------------------------------------------------------

GRANTS = (
    (SOURCE, "read", 200),
    (SOURCE, "write", 200),
    (SOURCE, "record:create", 403),
    (BUCKET, "read", 200),
    (BUCKET, "write", 200),
    (BUCKET, "collection:create", 403),
)


def principal(app, user):
    return app.get("/", headers=authorization(user)).json["user"]["id"]


@pytest.mark.parametrize("through_a_group", [False, True])
def test_who_may_read_the_records_may_read_the_diff(app, through_a_group):
    for number, (uri, permission, status) in enumerate(GRANTS):
        user = f"user{number}"
        app.get(DIFF, headers=authorization(user), status=403)
        allowed = principal(app, user)
        if through_a_group:
            app.put_json(f"{BUCKET}/groups/group{number}", {"data": {"members": [allowed]}})
            allowed = f"{BUCKET}/groups/group{number}"
        app.patch_json(uri, {"permissions": {permission: [allowed]}})
        app.get(SOURCE, headers=authorization(user), status=403 if permission == "collection:create" else 200)
        app.get(DIFF, headers=authorization(user), status=status)


def test_permissions_in_the_settings_count(key_pair):
    app = signer_app(key_pair, kinto__collection_read_principals="system.Authenticated")
    app.get(DIFF, headers=BOB, status=200)
    app.get(DIFF, headers={"Authorization": ""}, status=401)


def test_who_may_read_the_copy_only_may_not(app):
    publish(app, a=1)
    app.get(f"{DESTINATION}/records", headers={"Authorization": ""}, status=200)
    app.get(DIFF, headers={"Authorization": ""}, status=401)


def test_what_is_no_source_is_not_found(app):
    for uri in (DESTINATION, f"{BUCKET}/collections/unknown", f"{BUCKET}/collections/no.id", "/buckets/no.id/collections/a"):
        app.get(f"{uri}/diff", status=(403, 404) if uri == DESTINATION else 404)
    app.put_json("/buckets/other/collections/regions", {}, expect_errors=True)
    app.put_json("/buckets/other", {})
    app.put_json("/buckets/other/collections/regions", {})
    answer = app.get("/buckets/other/collections/regions/diff", status=404)
    assert "kinto.signer.resources" in answer.json["message"]


def test_parameters_that_mean_nothing_are_named(app):
    for query in ("against=source", "against=preview", "_limit=0", "_limit=x", "_token=", "_token=abc"):
        answer = app.get(f"{DIFF}?{query}", status=400).json
        assert answer["errno"] == 107
        assert (answer["details"][0]["name"], answer["details"][0]["location"]) == (query.partition("=")[0], "querystring")


# --- pages ----------------------------------------------------------------------------------------------------------------


def pages(app, query):
    answer = app.get(f"{DIFF}{query}")
    yield answer.json["data"]
    while "Next-Page" in answer.headers:
        answer = app.get(answer.headers["Next-Page"].removeprefix("http://localhost/v1"))
        yield answer.json["data"]


def test_pages_by_record_id(app):
    publish(app, **dict.fromkeys("bdf", 1))
    app.patch_json(SOURCE, {"data": {"sort": "x"}})
    for record_id in "abc":
        put(app, record_id, v=2)
    app.delete(f"{SOURCE}/records/f")
    whole = diff(app)
    assert whole["records"] == 4
    found = list(pages(app, "?_limit=2"))
    assert [sorted(from_json([page]).ids) for page in found] == [["a", "b"], ["c", "f"]]
    assert from_json(found) == from_json([whole])
    for page in found:
        assert {name: page[name] for name in ("counts", "records", "size_bytes", "digest", "attributes")} == {
            name: whole[name] for name in ("counts", "records", "size_bytes", "digest", "attributes")
        }
    assert [page["next_token"] is None for page in found] == [False, True]
    assert diff(app, f"?_limit=1&_token={found[0]['next_token']}")["created"][0]["id"] == "c"


def edit_source(app):
    put(app, "z", v=1)


def edit_attributes(app):
    app.patch_json(SOURCE, {"data": {"sort": "x"}})


def approve(app):
    set_status(app, "to-sign")


def alter_the_copy(app):
    StorageRepository(app.app.registry.storage).write("main/regions", [{"id": "y", "last_modified": 10**12}])


def test_a_page_of_another_state_is_refused(app):
    for record_id in "abc":
        put(app, record_id, v=1)
    for change in (edit_source, edit_attributes, alter_the_copy, approve):
        token = diff(app, "?_limit=1")["next_token"]
        assert diff(app, f"?_limit=1&_token={token}")["created"][0]["id"] == "b"
        change(app)
        answer = app.get(f"{DIFF}?_limit=1&_token={token}", status=412).json
        assert (answer["errno"], answer["details"]["reason"]) == (114, "changed")
        assert "first page" in answer["message"]


def test_a_change_of_status_or_an_edit_taken_back_is_the_same_state(app):
    for record_id in "abc":
        put(app, record_id, v=1)
    token = diff(app, "?_limit=1")["next_token"]
    app.patch_json(SOURCE, {"data": {"status": "to-review"}})
    put(app, "a", v=2)
    put(app, "a", v=1)
    assert diff(app, f"?_limit=1&_token={token}")["created"][0]["id"] == "b"


def test_nothing_is_cut_off(key_pair, storage_url):
    app = signer_app(key_pair, database=storage_url, kinto__storage_max_fetch_size="3", kinto__paginate_by="2")
    for number in range(8):
        put(app, f"r{number}", v=1)
    assert diff(app)["counts"]["created"] == 8
    set_status(app, "to-sign")
    for number in range(7):
        app.delete(f"{SOURCE}/records/r{number}")
    assert diff(app)["counts"] == {"created": 0, "updated": 0, "deleted": 7, "attributes": 0}


# --- one moment -----------------------------------------------------------------------------------------------------------


class Meddling:
    """Runs `change` before source and copy are compared, `times` times."""

    def __init__(self, change, times):
        self.change, self.times, self.compare = change, times, reading.Compared

    def __call__(self, *args):
        if self.times:
            self.times -= 1
            self.change()
        return self.compare(*args)


def test_source_and_copy_are_of_one_moment(app, monkeypatch):
    put(app, "a", v=1)
    registry, resource = app.app.registry, app.app.registry.signing.resources.of_source("main-workspace", "regions")
    assert isinstance(resource, Resource)
    meddling = Meddling(lambda: set_status(app, "to-sign"), 1)
    monkeypatch.setattr(reading, "Compared", meddling)
    found = reading.shown(registry, resource, resource.destination)
    assert meddling.times == 0
    assert found.difference.empty  # without a second look: the status and the copy would be of two moments

    values = iter(range(100))
    monkeypatch.setattr(reading, "Compared", Meddling(lambda: put(app, "a", v=next(values)), 100))
    with pytest.raises(ConflictError, match="all the time"):
        reading.shown(registry, resource, resource.destination)


def test_it_is_described_with_the_other_addresses(app, monkeypatch):
    monkeypatch.delattr(openapi_view, "__json__", raising=False)  # Kinto keeps that of the process's first server
    described = app.get("/__api__").json["paths"]["/buckets/{bucket_id}/collections/{collection_id}/diff"]
    assert described["get"]["tags"] == ["Signer"]
