"""What every signer promises. A test module subclasses SignerContract and gives it a signer."""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kinto_signer.core.canonical import SIGNATURE_PREFIX
from kinto_signer.core.trust import Trust, check_signed
from kinto_signer.errors import SigningError, VerificationError
from kinto_signer.signers import Given, Signature, Signer
from kinto_signer.signers.several import Named, SignerSet


def read_from(settings, start=""):
    """What a backend reads its settings with; `settings` by name, e.g. ``{"ecdsa.private_key": "/a.pem"}``."""

    def read(name: str) -> Given:
        value = str(settings.get(name, ""))
        return Given(value, f"kinto.signer.{start}{name}" + (f" = {value}" if "/" in value else ""))

    return read


def digest_of(content: bytes) -> bytes:
    return hashlib.sha384(SIGNATURE_PREFIX + content).digest()


def sign(signer: Signer, content: bytes) -> tuple[Signature, ...]:
    """Have the content signed, whichever way the signer does it."""
    return signer.sign(digest_of(content), lambda: content)


def random_content() -> bytes:
    return os.urandom(64)


class SignerContract:
    """``keys``: how many keys it signs with. ``secrets``: what may never be seen of it, by the test's own fixture."""

    keys = 1

    @pytest.fixture
    def signer(self) -> Iterator[Signer]:
        raise NotImplementedError

    @pytest.fixture
    def secrets(self) -> list[str]:
        raise NotImplementedError

    def test_each_key_signs_in_order(self, signer):
        content = random_content()
        made = sign(signer, content)
        assert len(made) == self.keys
        for key, each in zip(signer.public_keys(), made, strict=False):
            assert check_signed("main/regions", [each.as_json()], digest_of(content), Trust((key,))) == key

    def test_what_is_published(self, signer):
        for made in sign(signer, random_content()):
            published = made.as_json()
            assert set(published) - {"signer_id", "ref"} == {"signature", "mode", "x5u", "public_key", "type"}
            assert published["mode"] == "p384ecdsa"
            assert re.fullmatch(r"[A-Za-z0-9_-]{128}", published["signature"])
            assert all(isinstance(value, str) for value in published.values())

    def test_every_signature_is_another(self, signer):
        content = random_content()
        found = {made.signature for _ in range(3) for made in sign(signer, content)}
        assert len(found) == 3 * self.keys

    def test_a_signature_is_over_what_was_given_and_nothing_else(self, signer):
        content = random_content()
        entries = [made.as_json() for made in sign(signer, content)]
        with pytest.raises(VerificationError):
            check_signed("main/regions", entries, digest_of(content + b" "), Trust(signer.public_keys()))

    @pytest.mark.parametrize("digest", [b"", b"x" * 32, b"x" * 47, b"x" * 49, b"x" * 64])
    def test_what_is_no_digest_is_refused(self, signer, digest):
        with pytest.raises(SigningError, match="no SHA-384 digest"):
            signer.sign(digest, lambda: b"something to sign")

    def test_a_digest_alone_suffices_unless_the_signer_says_otherwise(self, signer):
        digest = digest_of(random_content())
        if signer.needs_content:
            with pytest.raises(SigningError, match="content"):
                signer.sign(digest)
        else:
            assert len(signer.sign(digest)) == self.keys

    def test_its_keys_stay_and_are_all_of_the_curve(self, signer):
        keys = signer.public_keys()
        assert len(keys) >= self.keys
        assert len({key.der for key in keys}) == len(keys)
        assert {key.key.curve.name for key in keys} == {"secp384r1"}
        sign(signer, random_content())
        assert signer.public_keys() == keys

    def test_many_threads_at_once(self, signer):
        contents = [random_content() for _ in range(16)]
        several = SignerSet([Named("it", signer)])  # verifies
        with ThreadPoolExecutor(8) as pool:
            assert [len(made) for made in pool.map(lambda content: sign(several, content), contents)] == [self.keys] * 16

    def test_it_shows_no_secret(self, signer, secrets, caplog):
        with caplog.at_level(logging.DEBUG):
            made = sign(signer, random_content())
            shown = [repr(signer), str(signer), repr(made), repr(vars(signer)), str(made[0].as_json())]
            with pytest.raises(SigningError) as refused:
                signer.sign(b"no digest", lambda: b"no content")
        for text in (*shown, str(refused.value), caplog.text):
            for secret in secrets:
                assert secret not in text
