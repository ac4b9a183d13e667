"""Several authorities: required or not, down, slow, refusing, and up again; what S says, what it remembers, and `push`."""

import json
import time

import pytest
import requests
from pyramid.exceptions import ConfigurationError as PyramidConfigurationError

from kinto_signer.core.changeset import by_record_id
from kinto_signer.server import authorities
from tests.support.emptied import emptied, memory_kinto
from tests.support.servers import authorization
from tests.support.settings import PASSWORD, authority_settings, guarded_settings
from tests.support.site import DESTINATION, SOURCE, attributes, everything, set_status, signer_app
from tests.support.slow import SlowWay

NAME = {"bucket": "main", "collection": "regions"}


@pytest.fixture(params=["plain", "plugin"])
def kind(request, key_pair):
    """Settings of a plain A, or of one with the plugin, on a database or in memory."""
    if request.param == "plain":
        return authority_settings
    return lambda database=None: guarded_settings(key_pair.public, database)


PLAIN_ONLY = pytest.mark.parametrize("kind", ["plain"], indirect=True)


@pytest.fixture(scope="module")
def plain_kintos():
    with memory_kinto("eu") as eu, memory_kinto("us") as us:
        yield {"eu": eu, "us": us}


@pytest.fixture
def started(request, live_kinto, kind):
    """``started("eu")``: an A of this kind with that name, with nothing in it."""
    if kind is authority_settings:
        return lambda name: emptied(request.getfixturevalue("plain_kintos")[name])
    return lambda name: live_kinto(kind(), name=name)


@pytest.fixture
def eu(started):
    return started("eu")


@pytest.fixture
def us(started):
    return started("us")


@pytest.fixture
def slow(us):
    with SlowWay(us) as way:
        yield way


def lines(**authorities):
    """Settings that name these authorities: label=URL."""
    found = {"kinto__signer__authorities": " ".join(authorities), "kinto__signer__status_principals": "system.Authenticated"}
    for label, url in authorities.items():
        found[f"kinto__signer__authority__{label}__url"] = url
        found[f"kinto__signer__authority__{label}__auth"] = f"signer:{PASSWORD}"
    return found


def put(app, name, **data):
    return app.put_json(f"{SOURCE}/records/{name}", {"data": data})


def state(app):
    return {
        one["label"]: one for one in app.get("/signer/status?collection=main-workspace/regions").json["data"][0]["authorities"]
    }


def held(server):
    return by_record_id(server.client("reader").get_records(**NAME))


def signed(app):
    return by_record_id(app.get(f"{DESTINATION}/records").json["data"])


def test_signed_means_that_all_of_them_have_it(key_pair, eu, us, database):
    app = signer_app(key_pair, database=database, **lines(eu=eu.url, us=us.url))
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    assert held(eu) == held(us) == signed(app) != {}
    for server in (eu, us):
        assert int(server.client().get_records_timestamp(**NAME)) == attributes(app, DESTINATION)["signed_timestamp"]
    seen = state(app)
    assert [seen[label]["reader_sees_last_approval"] for label in ("eu", "us")] == [True, True]
    assert seen["eu"]["last_success"]["timestamp"] == seen["eu"]["timestamp"] == attributes(app, DESTINATION)["signed_timestamp"]
    assert seen["eu"]["last_error"] is None
    set_status(app, "to-resign")
    there = [server.client().get_collection(bucket="main", id="regions")["data"]["signature"] for server in (eu, us)]
    assert there == [attributes(app, DESTINATION)["signature"]] * 2
    beats = app.get("/__heartbeat__").json
    assert (beats["signer"], beats["signer.authority.eu"], beats["signer.authority.us"]) == (True, True, True)


def test_a_required_one_that_is_down_after_the_first_took_it(key_pair, eu, us, database, monkeypatch):
    """The first has it, S does not commit; the next `to-sign` finds the first ahead by S's own work, and goes on."""
    app = signer_app(key_pair, database=database, **lines(eu=eu.url, us=us.url))
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    put(app, "r1", n=2)
    put(app, "r2", n=2)
    before = everything(app)
    push_to = {"count": 0}

    give = authorities._give

    def fail_second(*arguments):
        push_to["count"] += 1
        if push_to["count"] == 2:
            us.sigkill()
        return give(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(authorities, "_give", fail_second)
        answer = set_status(app, "to-sign", status=503)
    assert answer.json["details"]["reason"] == "unreachable"
    assert us.origin in answer.json["message"]
    assert everything(app) == before
    assert held(eu)["r2"]["n"] == 2, "the first took it"
    seen = state(app)
    assert seen["eu"]["reader_sees_last_approval"] is False
    assert "did not finish publishing" in seen["eu"]["why"]
    assert (seen["us"]["failing"], seen["us"]["reader_sees_last_approval"]) == (True, None)
    assert seen["us"]["last_error"]["reason"] == "unreachable"
    beats = app.get("/__heartbeat__", status=503).json
    assert (beats["signer"], beats["signer.authority.eu"], beats["signer.authority.us"]) == (False, True, False)
    us.start()
    put(app, "r1", n=1)  # the editors went on: what the first authority has is not in the source any more
    app.delete(f"{SOURCE}/records/r2")
    set_status(app, "to-sign")
    assert held(eu) == signed(app)
    assert set(signed(app)) == {"r1"}
    seen = state(app)
    assert seen["eu"]["reader_sees_last_approval"] is True
    assert seen["us"]["failing"] is False
    assert app.get("/__heartbeat__").json["signer"] is True


def test_one_that_is_not_required(key_pair, eu, us, database, caplog):
    """Down: S publishes without it and says so once. Up again: it is behind until `push`, or the next publication."""
    app = signer_app(key_pair, database=database, **lines(eu=eu.url, us=us.url), kinto__signer__authority__us__required="false")
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    first = attributes(app, DESTINATION)["signed_timestamp"]
    us.sigkill()
    put(app, "r1", n=2)
    put(app, "r2", n=2)
    caplog.clear()
    set_status(app, "to-sign")
    (line,) = [record for record in caplog.records if record.getMessage().startswith("left out main/regions")]
    assert line.levelname == "WARNING"
    assert us.url in line.getMessage()
    assert "reason=unreachable" in line.getMessage()
    assert attributes(app)["status"] == "signed"
    assert held(eu) == signed(app)
    beats = app.get("/__heartbeat__").json
    assert (beats["signer"], beats["signer.authority.us"]) == (True, None)
    us.start()  # in memory: it has lost everything
    assert "does not have the collection" in state(app)["us"]["why"]
    done = app.post_json("/signer/push", {"collection": "main-workspace/regions", "to": "us"}).json
    (pushed,) = done["data"]
    assert (pushed["label"], done["exit_code"]) == ("us", 0)
    assert pushed["what"].startswith("it had nothing; 2 records ")
    # A plain Kinto starts the clock of an empty list when it is looked at.
    assert ("its ETag is" in pushed["what"]) == ("kinto_signer" not in us.settings["kinto.includes"])
    assert held(us) == signed(app)
    seen = state(app)
    assert seen["us"]["reader_sees_last_approval"] is True
    assert seen["us"]["last_success"]["timestamp"] > first
    assert seen["us"]["failing"] is False
    put(app, "r3", n=3)
    set_status(app, "to-sign")
    assert held(us) == held(eu) == signed(app)
    assert int(us.client().get_records_timestamp(**NAME)) == attributes(app, DESTINATION)["signed_timestamp"]


def test_push_brings_one_up_to_date_that_was_down_for_a_while(key_pair, eu, kind, live_kinto, create_database):
    """With its database: only what it missed is sent, deletions included, and its ETag is the signed timestamp."""
    us = live_kinto(kind(create_database()), name="us")
    options = lines(eu=eu.url, us=us.url) | {"kinto__signer__authority__us__required": "false"}
    app = signer_app(key_pair, database=create_database(), **options)
    for i in range(4):
        put(app, f"r{i}", n=i)
    set_status(app, "to-sign")
    since = us.client().get_records_timestamp(**NAME)
    us.stop()
    put(app, "r1", n=10)
    app.delete(f"{SOURCE}/records/r2")
    set_status(app, "to-sign")
    signature = attributes(app, DESTINATION)["signature"]
    us.start()
    assert "older than" in state(app)["us"]["why"]
    assert "kinto-signer push" in state(app)["us"]["why"]
    (done,) = app.post_json("/signer/push", {"to": "us"}).json["data"]
    assert done["what"].endswith("0 records created, 1 updated (r1), 1 deleted (r2)")
    assert held(us) == signed(app)
    assert {change["id"] for change in us.client().get_records(**NAME, _since=since)} == {"r1", "r2"}
    assert int(us.client().get_records_timestamp(**NAME)) == attributes(app, DESTINATION)["signed_timestamp"]
    assert us.client().get_collection(bucket="main", id="regions")["data"]["signature"] == signature, "nothing was signed again"
    (again,) = app.post_json("/signer/push", {"to": "us"}).json["data"]
    assert again["what"] == "up to date"


@pytest.mark.parametrize("required", ["true", "false"])
def test_one_that_is_slow(key_pair, eu, database, slow, required):
    options = lines(eu=eu.url, us=slow.url) | {"kinto__signer__authority__us__required": required}
    app = signer_app(key_pair, database=database, **options, kinto__signer__authority__us__timeout_seconds="1.5")
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    slow.delay_s = 30
    put(app, "r2", n=2)
    before, started = everything(app), time.monotonic()
    answer = set_status(app, "to-sign", status=503 if required == "true" else 200)
    assert time.monotonic() - started < 15
    if required == "true":
        assert answer.json["details"]["reason"] == "deadline"
        assert "kinto.signer.authority.us.timeout_seconds" in answer.json["message"]
        assert everything(app) == before
    else:
        assert set(held(eu)) == {"r1", "r2"}
    seen = state(app)["us"]
    assert (seen["reader_sees_last_approval"], seen["last_error"]["reason"], seen["failing"]) == (None, "deadline", True)
    assert "it does not say what it has" in seen["why"]
    slow.delay_s = 0
    set_status(app, "to-sign")
    assert state(app)["us"]["reader_sees_last_approval"] is True
    assert slow.server.client().get_collection(bucket="main", id="regions")["data"]["hash"] == attributes(app)["hash"]


@PLAIN_ONLY
def test_one_that_refuses_leaves_what_it_has(key_pair, eu, us, database):
    """Not required, and altered by somebody: it is left out, and never overwritten."""
    app = signer_app(key_pair, database=database, **lines(eu=eu.url, us=us.url), kinto__signer__authority__us__required="false")
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    us.client("signer").patch_record(**NAME, id="r1", data={"n": 666})
    put(app, "r2", n=2)
    set_status(app, "to-sign")
    assert {name: record["n"] for name, record in held(us).items()} == {"r1": 666}
    assert state(app)["us"]["last_error"]["reason"] == "hash-mismatch"
    done = app.post_json("/signer/push", {"to": "us"}).json
    assert held(us)["r1"]["n"] == 666
    assert (done["data"][0]["error"]["reason"], done["exit_code"]) == ("conflict", 6)
    assert "does not take an older timestamp back" in done["data"][0]["error"]["message"]


@PLAIN_ONLY
def test_push_never_goes_over_what_is_newer(key_pair, eu, create_database):
    database = create_database()
    app = signer_app(key_pair, database=database, **lines(eu=eu.url))
    put(app, "r1", n=1)
    set_status(app, "to-sign")
    storage = app.app.registry.storage
    older = {**attributes(app, DESTINATION), "signed_timestamp": 1}
    del older["hash"]
    put(app, "r1", n=2)
    set_status(app, "to-sign")
    there = held(eu)
    import transaction

    storage.update("collection", "/buckets/main", "regions", older)
    transaction.commit()
    answer = app.post_json("/signer/push", {"collection": "main-workspace/regions"}, status=503)
    assert answer.json["details"]["reason"] == "bad-signature", "S's own copy has to verify before it goes anywhere"
    app.put_json("/buckets/main-workspace/collections/other", {})
    done = {one["destination"]: one for one in app.post_json("/signer/push", {}).json["data"]}
    assert done["main/regions"]["error"]["reason"] == "bad-signature"
    assert done["main/other"]["what"] == "up to date"
    assert held(eu) == there


@PLAIN_ONLY
def test_who_may_ask(key_pair, eu, database):
    options = lines(eu=eu.url)
    app = signer_app(key_pair, database=database, **options | {"kinto__signer__status_principals": ""})
    for ask in (
        lambda: app.get("/signer/status", status=403),
        lambda: app.post_json("/signer/push", {}, status=403),
        lambda: app.post_json("/signer/adopt", {"collection": "main-workspace/regions"}, status=403),
    ):
        assert "kinto.signer.status_principals" in ask().json["message"]
    alice = attributes(app)["last_signature_by"]
    app = signer_app(key_pair, database=database, collection=False, **options | {"kinto__signer__status_principals": alice})
    assert app.get("/signer/status").json["data"][0]["source"] == "main-workspace/regions"
    app.get("/signer/status", headers=authorization("bob"), status=403)
    app.authorization = None
    app.get("/signer/status", status=403)


@PLAIN_ONLY
def test_malformed_requests(key_pair, eu, database):
    app = signer_app(key_pair, database=database, **lines(eu=eu.url))
    for name in ("nonsense", "main/regions", "main-workspace/nothing", "main-workspace/a/b", "/"):
        app.get(f"/signer/status?collection={name}", status=404)
    for body in ([], {"collection": 1}, {"unknown": "x"}, "x"):
        app.post_json("/signer/push", body, status=400)
    app.post("/signer/push", "{", headers={"Content-Type": "application/json"}, status=400)
    app.post_json("/signer/adopt", {}, status=400)
    answer = app.post_json("/signer/push", {"to": "xx"}, status=503)
    assert "Known: eu" in answer.json["message"]
    assert PASSWORD not in json.dumps(app.get("/signer/status").json)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"kinto__signer__authority__url": "http://x.example"}, "exclude each other"),
        ({"kinto__signer__authorities": "eu us xx"}, "kinto.signer.authority.xx.url is not set"),
        ({"kinto__signer__authorities": "eu EU"}, "`EU` is no label"),
        ({"kinto__signer__authorities": "eu eu"}, "stands there twice"),
        ({"kinto__signer__authority__us__url": "http://eu.example/v1/"}, "kinto.signer.authority.eu.url is the same server"),
        ({"kinto__signer__authority__us__required": "perhaps"}, "kinto.signer.authority.us.required = perhaps"),
        ({"kinto__signer__main-workspace__authority__us__timeout_seconds": "0"}, "more than 0"),
    ],
)
def test_mistakes_stop_the_server(key_pair, extra, words):
    with pytest.raises(PyramidConfigurationError) as error:
        signer_app(key_pair, collection=False, **lines(eu="http://eu.example", us="http://us.example") | extra)
    assert words in str(error.value)
    assert PASSWORD not in str(error.value)


def test_labels_that_nobody_lists_are_named(key_pair, caplog, monkeypatch):
    monkeypatch.setenv("KINTO_SIGNER_AUTHORITY_EU_AUTH", "from:environment")
    options = lines(eu="http://eu.example") | {"kinto__signer__authority__xx__url": "http://xx.example"}
    app = signer_app(key_pair, collection=False, **options)
    assert "kinto.signer.authority.xx.url means nothing: kinto.signer.authorities does not name xx." in caplog.text
    signing = app.app.registry.signing
    (authority,) = signing.authorities(signing.resources.configured[0])
    assert (authority.label, authority.auth, authority.required, authority.timeout_s) == ("eu", "from:environment", True, 300)
    assert "environment" not in repr(authority)


@PLAIN_ONLY
def test_a_collection_may_go_elsewhere(key_pair, eu, us, database):
    options = lines(eu=eu.url, us=us.url) | {
        "kinto__signer__authorities": "eu",
        "kinto__signer__main-workspace__other__authorities": "us",
    }
    app = signer_app(key_pair, database=database, **options)
    app.put_json("/buckets/main-workspace/collections/other", {})
    assert requests.get(f"{us.url}{DESTINATION}", timeout=10).status_code != 200
    assert requests.get(f"{us.url}/buckets/main/collections/other", timeout=10).status_code == 200
    assert requests.get(f"{eu.url}{DESTINATION}", timeout=10).status_code == 200
    pushed = app.post_json("/signer/push", {"to": "us"}).json["data"]
    assert [(one["destination"], one["label"], one["what"]) for one in pushed] == [("main/other", "us", "up to date")]
    assert len(app.post_json("/signer/push", {}).json["data"]) == 2


@PLAIN_ONLY
def test_one_of_them_is_this_server(key_pair, eu, live_kinto, create_database):
    """On S's own database, and not even required: still a configuration error."""
    database = create_database()
    same = live_kinto(authority_settings(database), name="same")
    options = lines(eu=eu.url, us=same.url) | {"kinto__signer__authority__us__required": "false"}
    app = signer_app(key_pair, database=database, collection=False, **options)
    answer = app.put_json(SOURCE, {}, status=503)
    assert answer.json["details"]["reason"] == "configuration"
    assert "kinto.signer.authority.us.url" in answer.json["message"]
