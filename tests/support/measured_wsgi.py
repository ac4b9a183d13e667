"""``config/wsgi.py`` where coverage sees it: granian's threads are not Python's own, so nothing traces them."""

import runpy
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

kinto = runpy.run_path(str(Path(__file__).resolve().parents[2] / "config" / "wsgi.py"))["application"]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if sys.gettrace() is None:
        sys.settrace(threading.gettrace())
    answer: Iterable[bytes] = kinto(environ, start_response)
    return answer
