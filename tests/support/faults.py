"""A Kinto plugin that makes one request, or one part of a batch, fail as a file says; the file is used up by that.

``{"do": "409" | "412" | "503" | "crash" | "kill" | "kill-after-commit", "at": k}``: at the k-th part of the next batch (1 is
the first, -1 the last, 0 the middle). ``{"do": "kill-before-commit"}``: when the server has done everything but commit a
collection that was set to a new status.
"""

import json
import os
import signal
from pathlib import Path

import transaction
from kinto.core.errors import ERRORS, http_error
from kinto.core.events import ACTIONS, ResourceChanged
from pyramid.events import NewRequest
from pyramid.httpexceptions import HTTPConflict, HTTPPreconditionFailed, HTTPServiceUnavailable

SETTING = "faults.file"
ANSWERS = {
    "409": (HTTPConflict, ERRORS.CONSTRAINT_VIOLATED),
    "412": (HTTPPreconditionFailed, ERRORS.MODIFIED_MEANWHILE),
    "503": (HTTPServiceUnavailable, ERRORS.BACKEND),
}


def includeme(config):
    config.add_subscriber(on_new_request, NewRequest)
    config.add_subscriber(on_collection, ResourceChanged, for_resources=("collection",), for_actions=(ACTIONS.UPDATE,))


def armed(registry):
    file = Path(registry.settings[SETTING])
    return json.loads(file.read_text()) if file.exists() else None


def disarm(registry):
    Path(registry.settings[SETTING]).unlink()


def on_new_request(event):
    parent = getattr(event.request, "parent", None)
    if parent is None:
        return
    fault = armed(event.request.registry)
    if fault is None or fault["do"] == "kill-before-commit":
        return
    parent.faults_seen = getattr(parent, "faults_seen", 0) + 1
    count = len(json.loads(parent.body)["requests"])
    if parent.faults_seen != {-1: count, 0: max(count // 2, 1)}.get(fault["at"], fault["at"]):
        return
    disarm(event.request.registry)
    strike(fault["do"])


def strike(what):
    if what in ANSWERS:
        kind, errno = ANSWERS[what]
        raise http_error(kind(), errno=errno, message="a fault of the test")
    if what == "crash":
        raise RuntimeError("a fault of the test")
    if what == "kill-after-commit":
        transaction.get().addAfterCommitHook(lambda success: die())
    else:
        die()


def on_collection(event):
    fault = armed(event.request.registry)
    if fault and fault["do"] == "kill-before-commit" and any("status" in change["new"] for change in event.impacted_objects):
        disarm(event.request.registry)
        transaction.get().addBeforeCommitHook(die)


def die():
    os.kill(os.getpid(), signal.SIGKILL)
