"""Hawk's header, against examples that were published with the protocol and one that a real Autograph accepted."""

import pytest

from kinto_signer.errors import ConfigurationError
from kinto_signer.signers.hawk import Credentials, Target, authorization, fresh_nonce, payload_hash

PUBLISHED = Credentials("dh37fgj492je", b"werxhqb98rpaxn39848xrunpaw3489ruxnpa98w4rxn")
TARGET = Target.of("http://example.com:8000/resource/1?b=1&a=2")


def test_the_published_example_with_a_payload():
    body = b"Thank you for flying Hawk"
    header = authorization(
        PUBLISHED, TARGET, body, "text/plain", method="POST", timestamp=1353832234, nonce="j4h3g2", ext="some-app-ext-data"
    )
    assert 'hash="Yi9LfIIFRtBEPt74PVmbTF/xVAwPn7ub15ePICfgnuY="' in header
    assert 'ext="some-app-ext-data", mac="aSe1DERmZuRl3pI36/9BdZmnErTw3sNzOOAUlfeKjVw="' in header


def test_the_hash_of_a_recorded_request():
    body = b'[{"input": "eyJkYXRhIjpbXSwibGFzdF9tb2RpZmllZCI6IjAifQ==", "keyid": "remote-settings"}]'
    assert payload_hash(body, "application/json") == "xUGZ/Bz/RjAdRDwpBMaCKJggx1hGdZFraadTEHXMm6s="
    assert payload_hash(b"", "") == "B0weSUXsMcb5UhL41FZbrUJCAotzSI3HawE1NPLRUz8="


@pytest.mark.parametrize(
    ("url", "uri", "host", "port", "header"),
    [
        ("https://autograph.example.org/sign/hash", "/sign/hash", "autograph.example.org", 443, "autograph.example.org"),
        ("https://autograph.example.org:443/sign/hash", "/sign/hash", "autograph.example.org", 443, "autograph.example.org"),
        (
            "https://Autograph.Example.org:8443/a/sign/hash",
            "/a/sign/hash",
            "autograph.example.org",
            8443,
            "autograph.example.org:8443",
        ),
        ("http://autograph/sign/hash", "/sign/hash", "autograph", 80, "autograph:80"),
        ("http://autograph:443/", "/", "autograph", 443, "autograph:443"),
        ("http://[::1]:8000?x=1", "/?x=1", "[::1]", 8000, "[::1]:8000"),
    ],
)
def test_addresses(url, uri, host, port, header):
    assert Target.of(url) == Target(uri, host, port, header)


@pytest.mark.parametrize("url", ["", "autograph", "ftp://autograph/", "http://autograph:99999/", "http://[::1/"])
def test_what_is_no_address(url):
    with pytest.raises(ConfigurationError, match="no http or https address"):
        Target.of(url)


@pytest.mark.parametrize("user", ["", 'a"b', "a\\b", "a\nb", "é"])
def test_users_that_cannot_be_sent(user):
    with pytest.raises(ConfigurationError):
        Credentials(user, b"x")


def test_nonces_do_not_repeat_and_credentials_hide_the_secret():
    assert len({fresh_nonce() for _ in range(1000)}) == 1000
    assert len(fresh_nonce()) == 16
    assert "werxhqb98" not in repr(PUBLISHED)
