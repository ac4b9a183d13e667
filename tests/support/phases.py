"""A Kinto plugin that writes into a file how far a publication is, on S and on A, and stays a moment in each phase.

The file holds the phase and the process that reached it last; after a SIGKILL it says where that struck. ``phases.file`` and
``phases.dwell_seconds`` are settings of both servers.
"""

import functools
import os
import time
from pathlib import Path

import sqlalchemy
import transaction

from kinto_signer.authority.publication import Publication
from kinto_signer.server import publisher
from kinto_signer.server.authorities import Authorities

PHASES = (
    "S looks",
    "S writes its copy",
    "S pushes",
    "A verifies",
    "A writes in bulk",
    "A before its commit",
    "A has committed",
    "S before its commit",
)
IDLE = "idle"


def includeme(config):
    settings = config.get_settings()
    notes = Notes(settings["phases.file"], float(settings["phases.dwell_seconds"]))
    if hasattr(config.registry, "guard"):
        on_authority(config.registry, notes)
    else:
        on_signer(notes)


class Notes:
    """The file. A line is written at once, and read as a whole."""

    def __init__(self, path, dwell_s=0.0):
        self.path = Path(path)
        self.dwell_s = dwell_s

    def write(self, phase):
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(descriptor, f"{phase:<40}{os.getpid():>10}".encode(), 0)
        os.close(descriptor)

    def reach(self, phase):
        self.write(phase)
        time.sleep(self.dwell_s)

    def read(self):
        """The phase, and the process id of who reached it."""
        text = self.path.read_text()
        return text[:40].strip(), int(text[40:])


def on_authority(registry, notes):
    carry_out = Publication.carry_out

    @functools.wraps(carry_out)
    def noted(publication):
        notes.reach("A verifies")
        published = carry_out(publication)
        notes.reach("A before its commit")
        transaction.get().addAfterCommitHook(lambda success: notes.reach("A has committed") if success else None)
        return published

    Publication.carry_out = noted
    engine = registry.storage.client.session_factory.get_bind()

    @sqlalchemy.event.listens_for(engine, "after_cursor_execute")
    def after_statement(connection, cursor, statement, *rest):
        if "INSERT INTO objects" in statement and "kinto_signer_stage" in statement:
            notes.reach("A writes in bulk")


def on_signer(notes):
    look, write, push = Authorities.look, publisher.write, Authorities.push

    def noted_look(*arguments):
        notes.reach("S looks")
        return look(*arguments)

    def noted_write(*arguments):
        notes.reach("S writes its copy")
        return write(*arguments)

    def noted_push(*arguments):
        notes.reach("S pushes")
        push(*arguments)
        notes.reach("S before its commit")

    Authorities.look, publisher.write, Authorities.push = noted_look, noted_write, noted_push
