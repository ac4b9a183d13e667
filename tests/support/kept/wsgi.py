"""``config/wsgi.py`` in a process that is in the mode of ``KEPT``."""

import runpy
from pathlib import Path

import pytest

from tests.support.kept import MODE
from tests.support.kept.modes import put_into

put_into(pytest.MonkeyPatch(), MODE)
application = runpy.run_path(str(Path(__file__).resolve().parents[3] / "config" / "wsgi.py"))["application"]
