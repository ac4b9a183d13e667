"""The tests with what is kept in another mode: ``make kept-modes`` runs them in each.

``KEPT`` says what becomes of what S, A and kinto-updater keep to be fast, in the process of the tests and in each served Kinto:

* ``on``: nothing, the default.
* ``off``: nothing is kept (``kinto.signer.kept_forms_mib = 0`` on S).
* ``dropped``: it is gone before each use.
* ``poisoned``: it is altered before each use, in several ways by turn.

Whatever the mode, the same is published and read. A test that looks at what is kept itself has the marker ``keeps``.
"""

import os
from collections.abc import Mapping

MODES = ("on", "off", "dropped", "poisoned")


def mode_of(environment: Mapping[str, str]) -> str:
    """Raises ValueError for what is none."""
    mode = environment.get("KEPT") or "on"
    if mode not in MODES:
        raise ValueError(f"KEPT = {mode}: one of {', '.join(MODES)}.")
    return mode


MODE = mode_of(os.environ)
"""Of this test session."""


def in_mode(settings: Mapping[str, str], mode: str = MODE) -> dict[str, str]:
    """Settings of a server, with what the mode adds to those of S."""
    if mode == "off" and "kinto_signer" in settings.get("kinto.includes", "").split():
        return {"kinto.signer.kept_forms_mib": "0", **settings}
    return dict(settings)
