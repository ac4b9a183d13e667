"""Passphrases of keys: from a file, the environment, or a question at the terminal; never from a flag, which everybody sees."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kinto_signer.cli import terminal
from kinto_signer.errors import ConfigurationError
from kinto_signer.signers import Given
from kinto_signer.signers.secret import read_guarded

MIN_CHARACTERS = 16
"""Of a new passphrase. PEM's encryption makes each guess cheap, so that a short one would not stand."""


@dataclass(frozen=True)
class Passphrase:
    """Where the passphrase of one key comes from. of: whose key, in messages."""

    of: str
    file: Path | None
    environ: Mapping[str, str]

    @property
    def flag(self) -> str:
        return f"--{self.of}-passphrase-file"

    @property
    def variable(self) -> str:
        return f"KINTO_PKI_{self.of.upper()}_PASSPHRASE"

    def existing(self) -> bytes:
        """The passphrase of a key that is there. Raises ConfigurationError, which never shows it."""
        return self._given() or self._asked(f"Passphrase of the {self.of}'s key: ").encode()

    def new(self) -> bytes:
        """A passphrase for a key to be made; asked for twice at a terminal. Raises ConfigurationError, which never shows it."""
        found = self._given()
        if found is None:
            found = self._asked(f"New passphrase for the {self.of}'s key: ").encode()
            self._refuse_short(found)
            if not hmac.compare_digest(found, self._asked("The same again: ").encode()):
                raise ConfigurationError("The two passphrases differ. Nothing was made.")
        self._refuse_short(found)
        return found

    def _given(self) -> bytes | None:
        if self.file:
            found = read_guarded(Given(str(self.file), f"{self.flag} {self.file}")).rstrip(b"\r\n")
        elif self.variable in self.environ:
            found = self.environ[self.variable].encode()
        else:
            return None
        if not found:
            raise ConfigurationError(f"{self.flag if self.file else self.variable}: the passphrase is empty. Nothing was made.")
        return found

    def _asked(self, question: str) -> str:
        instead = f"Give {self.flag} FILE or set {self.variable}."
        if not terminal.attended():
            raise ConfigurationError(f"No passphrase for the {self.of}'s key. {instead} Nothing was made.")
        return terminal.ask_hidden(question, what="passphrase", instead=instead)

    def _refuse_short(self, found: bytes) -> None:
        if len(found) < MIN_CHARACTERS:
            raise ConfigurationError(
                f"The new passphrase for the {self.of}'s key is shorter than {MIN_CHARACTERS} characters. Nothing was made; "
                "six words drawn at random make a good one."
            )
