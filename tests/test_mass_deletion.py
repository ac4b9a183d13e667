"""A publication that would remove most of what readers have is refused until it is allowed, once."""

import pytest

from tests.support.site import DESTINATION, SOURCE, attributes, delete_source, everything, set_status, signer_app

PREVIEW = "/buckets/main-preview/collections/regions"


def site(key_pair, database=None, *, percent="50", count=20):
    lines = {"kinto__signer__resources": "main-workspace -> main-preview -> main", "kinto__batch_max_requests": "100"}
    app = signer_app(key_pair, database=database, kinto__signer__mass_deletion_percent=percent, **lines)
    put(app, range(count))
    set_status(app, "to-sign")
    return app


def put(app, numbers):
    parts = [{"method": "PUT", "path": f"{SOURCE}/records/r{i}", "body": {"data": {"n": i}}} for i in numbers]
    app.post_json("/batch", {"requests": parts})


def delete(app, numbers):
    app.post_json("/batch", {"requests": [{"method": "DELETE", "path": f"{SOURCE}/records/r{i}"} for i in numbers]})


def count(app):
    return int(app.head(f"{DESTINATION}/records").headers["Total-Records"])


def test_it_is_refused_before_anything_is_signed_and_allowed_once(key_pair, storage_url):
    app = site(key_pair, storage_url)
    delete(app, range(11))
    set_status(app, "to-review")  # a preview may say so
    before = everything(app, PREVIEW)
    answer = set_status(app, "to-sign", status=403)
    assert (answer.json["errno"], answer.json["details"]["reason"]) == (121, "mass-deletion")
    assert "11 of the 20 published records" in answer.json["message"]
    assert "`kinto-signer approve main-workspace/regions --allow-mass-deletion`" in answer.json["message"]
    assert everything(app, PREVIEW) == before
    for value in ("true", 1, "yes", False, None):
        app.patch_json(SOURCE, {"data": {"status": "to-sign", "allow_mass_deletion": value}}, status=403)
    app.patch_json(SOURCE, {"data": {"status": "to-sign", "allow_mass_deletion": True}})
    assert count(app) == 9
    assert "allow_mass_deletion" not in attributes(app)
    put(app, range(20, 31))
    set_status(app, "to-sign")
    delete(app, range(20, 31))
    set_status(app, "to-sign", status=403)


def test_so_many_and_no_more_are_published_unasked(key_pair):
    app = site(key_pair)
    delete(app, range(10))
    set_status(app, "to-sign")
    assert count(app) == 10


def test_without_the_setting_everything_may_go(key_pair):
    app = site(key_pair, percent="0")
    app.delete(f"{SOURCE}/records")
    set_status(app, "to-sign")
    assert count(app) == 0


def test_what_is_replaced_by_as_much_is_a_deletion_all_the_same(key_pair):
    app = site(key_pair)
    delete(app, range(20))
    put(app, range(100, 120))
    set_status(app, "to-sign", status=403)


def test_a_confirmed_deletion_of_the_source_is_allowed_by_that(key_pair):
    app = site(key_pair)
    delete_source(app)
    assert count(app) == 0


@pytest.mark.parametrize("wanted", ["to-rollback", "to-resign"])
def test_nothing_else_is_kept_back(key_pair, wanted):
    app = site(key_pair)
    app.delete(f"{SOURCE}/records")
    set_status(app, wanted)
    assert count(app) == 20
