"""A file, Autograph and a token sign together, and no secret of theirs is ever seen."""

import logging

import pytest

from kinto_signer.core.trust import PublicKey
from tests.support.autograph.standin import StandIn
from tests.support.site import DESTINATION, SOURCE, attributes, everything, set_status, signer_app
from tests.support.softhsm import MISSING, PIN, SoftHsm, find_module
from tests.test_signer_local import write_key

PASSPHRASE = "Tr0ub4dor&3 is not it"


@pytest.fixture
def hsm(tmp_path, monkeypatch):
    if find_module() is None:
        pytest.skip(MISSING)
    import pkcs11

    found = SoftHsm(tmp_path)
    monkeypatch.setenv("SOFTHSM2_CONF", str(found.conf))
    found.make_token("main")
    found.public = found.put_key("main", "signer", "01")
    library = pkcs11.lib(found.module)
    library.finalize()
    library.initialize()
    return found


@pytest.fixture
def standin():
    with StandIn() as found:
        yield found


def test_three_kinds_of_signer_and_no_secret_anywhere(key_pair, tmp_path, hsm, standin, caplog, monkeypatch):
    local = write_key(tmp_path / "local.pem", passphrase=PASSPHRASE)
    lines = {"signer_backend": "", "signers": "file autograph token", "signer.autograph.backend": "autograph"}
    lines |= {"signer.file.ecdsa.private_key": tmp_path / "local.pem", "signer.token.backend": "pkcs11"}
    lines |= {
        f"signer.autograph.autograph.{name}": value for name, value in {"server_url": standin.url, "hawk_id": "alice"}.items()
    }
    lines |= {f"signer.token.{name}": value for name, value in hsm.settings().items() if name != "pkcs11.pin"}
    monkeypatch.setenv("KINTO_SIGNER_SIGNER_FILE_ECDSA_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("KINTO_SIGNER_SIGNER_AUTOGRAPH_AUTOGRAPH_HAWK_SECRET", standin.hawk_ids["alice"])
    monkeypatch.setenv("KINTO_SIGNER_SIGNER_TOKEN_PKCS11_PIN", PIN)
    shown = []
    with caplog.at_level(logging.DEBUG):
        app = signer_app(key_pair, **{f"kinto__signer__{name.replace('.', '__')}": str(value) for name, value in lines.items()})
        app.put_json(f"{SOURCE}/records/r1", {"data": {"n": 1}})
        before = everything(app)
        app.get("/__heartbeat__")
        for fault in ("503", "skew", "wrong signature", "200"):
            standin.faults = [fault]
            shown.append(set_status(app, "to-sign", status=503).text)
            assert everything(app) == before
        (tmp_path / "local.pem").write_text("broken")
        hsm.tokens.rename(tmp_path / "away")
        import pkcs11

        pkcs11.lib(hsm.module).finalize()
        shown.append(set_status(app, "to-sign", status=503).text)
        (tmp_path / "away").rename(hsm.tokens)
        set_status(app, "to-sign")
        shown += [app.get("/").text, app.get(DESTINATION).text, repr(app.app.registry.signing.settings)]
        shown += [
            repr(member) for member in app.app.registry.signing.signer(app.app.registry.signing.resources.configured[0]).members
        ]
    keys = (local, PublicKey(standin.keys["remote-settings"].key.public_key()), hsm.public)
    assert app.app.registry.signing.trust(app.app.registry.signing.resources.configured[0]).keys == keys
    assert [entry["type"] for entry in attributes(app, DESTINATION)["signatures"]] == [
        "contentsignature",
        "contentsignaturepki",
        "contentsignature",
    ]
    assert "on the token 'main' cannot be used" in shown[4]
    for text in (*shown, caplog.text):
        for secret in (PASSPHRASE, standin.hawk_ids["alice"], PIN, "PRIVATE KEY"):
            assert secret not in text
