"""A command that runs at a terminal of its own, and what somebody sees and types there."""

import contextlib
import os
import pty
import select
import subprocess
import sys
import time

PATIENCE_S = 30


class Terminal:
    """``with Terminal([...], environment) as terminal``. Its stdin and stderr are the terminal, its stdout a pipe."""

    def __init__(self, arguments, environment):
        self.arguments = [sys.executable, "-m", "kinto_signer.cli.signer", *map(str, arguments)]
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("KINTO_")} | environment
        self.seen = ""

    def __enter__(self):
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            self.arguments,
            env=self.environment,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,  # or a question would go to the terminal of whoever runs the tests
        )
        os.close(theirs)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        os.close(self._ours)

    def wait_for(self, text):
        """Read until `text` is on the screen."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            if not select.select([self._ours], [], [], max(0, deadline - time.monotonic()))[0] or not self._read():
                raise AssertionError(f"{text!r} did not appear: {self.seen!r}")

    def type(self, line):
        os.write(self._ours, f"{line}\n".encode())

    def end(self):
        """Wait for the end; returns the exit code and what was written to stdout."""
        out = self.process.communicate(timeout=PATIENCE_S)[0].decode()
        while select.select([self._ours], [], [], 0)[0] and self._read():
            pass
        return self.process.returncode, out

    def _read(self):
        with contextlib.suppress(OSError):  # Linux says so where the other side is closed
            read = os.read(self._ours, 65536).decode()
            self.seen += read
            return read
        return ""
