"""Which signers sign a collection: the settings as objects, each made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kinto_signer.errors import ConfigurationError
from kinto_signer.plugin.settings import Settings
from kinto_signer.plugin.signer_rows import KEY_ROWS
from kinto_signer.signers import Given, Read, Signer
from kinto_signer.signers.backends import find
from kinto_signer.signers.several import Named, SignerSet

ONLY = "signer"
"""The label of the signer where ``signers`` names none."""


@dataclass(frozen=True)
class _Made:
    """A signer, and the lines that it was made from: whoever has the same lines gets the same signer."""

    backend: str
    read: Mapping[str, Given]
    signer: Signer


class Signers:
    """The signers of one server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: list[_Made] = []

    def load_every(self) -> None:
        """Make the signers of every place that a line is about, also of collections that do not exist yet.

        Raises ConfigurationError.
        """
        names = {row.name for row in KEY_ROWS} | {"signer_backend", "signers"}
        names |= {name for name in self._settings.table.by_name if name.startswith("signer.")}
        for bucket, collection in self._settings.places(names):
            self.of(bucket, collection)

    def of(self, bucket: str, collection: str | None) -> SignerSet:
        """The signers of a source. Raises ConfigurationError, which quotes the line but no secret."""
        labels = self._settings.get("signers", bucket, collection)
        if not labels:
            return SignerSet([Named(ONLY, self._signer("signer_backend", "", bucket, collection))])
        self._refuse_both(bucket, collection)
        prefixes = {label: f"signer.{label}." for label in labels}
        return SignerSet(
            [Named(label, self._signer(f"{start}backend", start, bucket, collection)) for label, start in prefixes.items()]
        )

    def _refuse_both(self, bucket: str, collection: str | None) -> None:
        """The line of a single signer would be forgotten in silence, unless the one with several is about a narrower place."""
        single = self._settings.given("signer_backend", bucket, collection)
        several = self._settings.given("signers", bucket, collection)
        if single and several and len(_place(several, "signers")) <= len(_place(single, "signer_backend")):
            raise ConfigurationError(f"`{several.line}` and `{single.line}` exclude each other: keep one of them.")

    def _signer(self, backend_name: str, start: str, bucket: str, collection: str | None) -> Signer:
        def given(name: str) -> Given:
            return self._settings.given(start + name, bucket, collection) or Given("", f"kinto.signer.{start}{name}")

        backend = self._settings.get(backend_name, bucket, collection)
        for made in self._made:
            if made.backend == backend and all(given(name) == before for name, before in made.read.items()):
                return made.signer
        line = self._settings.given(backend_name, bucket, collection)
        make = find(backend, line=line.line if line else f"kinto.signer.{backend_name} = {backend}")
        read: dict[str, Given] = {}
        signer = make(_recorded(given, read))
        self._made.append(_Made(backend, read, signer))
        return signer


def _place(given: Given, name: str) -> str:
    return given.line.partition(" = ")[0].removesuffix(name)


def _recorded(given: Read, found: dict[str, Given]) -> Read:
    """`given`, which also puts down what was asked."""

    def read(name: str) -> Given:
        found[name] = given(name)
        return found[name]

    return read
