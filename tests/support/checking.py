"""What the tests of ``kinto-signer check`` share: a signer's or an authority's file, and the command in this process."""

import json
import logging

from kinto_signer import examining
from kinto_signer.cli import output
from kinto_signer.cli.signer import cli
from tests.support.servers import write_ini
from tests.support.settings import PASSWORD


class Report:
    """What ``check --format json`` printed."""

    def __init__(self, code, found):
        self.code = code
        self.findings = found["findings"]
        self.summary = found["summary"]
        assert found["exit_code"] == code

    def __repr__(self):
        return "\n".join([f"exit code {self.code}", *map(str, self.findings)])

    def of(self, level):
        return [finding for finding in self.findings if finding["level"] == level]

    @property
    def errors(self):
        return self.of("error")

    def one(self, reason, *words, level="error"):
        """The only finding with this reason; it says all these words."""
        (found,) = [finding for finding in self.of(level) if finding["reason"] == reason]
        for word in words:
            assert word in found["message"], found
        return found


class Command:
    """``kinto-signer`` in this process. It does not wait before it looks again, and leaves logging as it was."""

    def __init__(self, capsys, monkeypatch, folder):
        self.capsys = capsys
        self.folder = folder
        monkeypatch.setattr(examining, "LOOK_AGAIN_AFTER_S", 0)
        monkeypatch.setattr(logging.root, "handlers", [])
        monkeypatch.setattr(logging.root, "level", logging.WARNING)

    def run(self, *arguments):
        """``run("check", …)`` -> exit code, stdout, stderr."""
        code = output.run(cli, [str(argument) for argument in arguments])
        captured = self.capsys.readouterr()
        assert PASSWORD not in captured.out + captured.err
        return code, captured.out, captured.err

    def __call__(self, settings, *arguments):
        """``check`` with these settings as an .ini file, or without one for None."""
        flags = []
        if settings is not None:
            write_ini(self.folder / "server.ini", settings)
            flags = ["--ini", self.folder / "server.ini"]
        code, out, err = self.run("check", *arguments, *flags, "--format", "json")
        assert out, err
        return Report(code, json.loads(out))
