"""A plain Kinto on memory for all tests of a file, each of which finds it running and empty."""

import requests

from tests.support.servers import LiveKinto
from tests.support.settings import authority_settings


def memory_kinto(name: str) -> LiveKinto:
    """One that `emptied` can empty; ``with memory_kinto("authority") as server`` in a fixture of the module."""
    return LiveKinto(authority_settings(), includes="kinto.plugins.flush", name=name)


def emptied(server: LiveKinto) -> LiveKinto:
    """The same, with nothing in it; started again if a test has ended it."""
    if server.running():
        requests.post(f"{server.url}/__flush__", timeout=60).raise_for_status()
    else:
        server.stop()
        server.start()
    return server
