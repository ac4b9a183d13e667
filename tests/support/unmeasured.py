"""For tests that do again, many times or in many processes, what other tests measure: coverage would nearly double their time."""

import pytest


@pytest.fixture
def unmeasured(no_cover: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No coverage in the test (pytest-cov's `no_cover`), nor in any process that it starts.

    ``pytestmark = pytest.mark.usefixtures("unmeasured")`` for a file; the fixture is imported there.
    """
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
