"""Fixtures for all tests; what they are made of is in ``tests/support``."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import chromium, faketime, kept, softhsm
from tests.support.autograph.server import described
from tests.support.campaigns import CampaignReport
from tests.support.kept.session import KeptSession
from tests.support.keys import KeyPair, write_key_pair
from tests.support.postgres import PostgresServer
from tests.support.servers import LiveKinto, started_postgres

ROOT = Path(__file__).resolve().parents[1]
LOG_TAIL = 20_000
SERVERS = pytest.StashKey[list[LiveKinto]]()


def pytest_configure(config: pytest.Config) -> None:
    if kept.MODE != "on":
        config.pluginmanager.register(KeptSession())


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One throw-away PostgreSQL for each pytest worker, with Kinto's schema in a template database."""
    with started_postgres() as server:
        yield server


@pytest.fixture
def create_database(postgres: PostgresServer) -> Iterator[Callable[[], str]]:
    """``create_database()`` is the URL of a new database with Kinto's schema; it is dropped after the test."""
    urls: list[str] = []

    def create() -> str:
        urls.append(postgres.create_database())
        return urls[-1]

    yield create
    for url in urls:
        postgres.drop_database(url)


@pytest.fixture
def back_up(postgres: PostgresServer) -> Iterator[Callable[[str], str]]:
    """``back_up(url)`` is the URL of a copy of that database as it is now; it is dropped after the test."""
    urls: list[str] = []

    def copy(url: str) -> str:
        urls.append(postgres.copy_database(url))
        return urls[-1]

    yield copy
    for url in urls:
        postgres.drop_database(url)


@pytest.fixture
def database(create_database: Callable[[], str]) -> str:
    """The URL of one new database with Kinto's schema."""
    return create_database()


@pytest.fixture(params=["memory", "postgresql"])
def storage_url(request: pytest.FixtureRequest) -> str | None:
    """Each test twice: None for Kinto's memory storage, then the URL of a new database."""
    return None if request.param == "memory" else request.getfixturevalue("create_database")()


@pytest.fixture
def live_kinto(request: pytest.FixtureRequest) -> Iterator[Callable[..., LiveKinto]]:
    """``live_kinto(settings, …)`` starts a LiveKinto that ends with the test; a failure shows its log."""
    servers = request.node.stash.setdefault(SERVERS, [])

    def start(*args: Any, **options: Any) -> LiveKinto:
        server = LiveKinto(*args, **options)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.close()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield
    if report.failed:
        for server in item.stash.get(SERVERS, []):
            report.sections.append((f"log of {server.name} ({server.url})", server.log_text()[-LOG_TAIL:]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What nobody tested is not to be overlooked."""
    terminalreporter.write_line(f"Autograph: {described()}")
    parts = (
        (chromium.MISSING, "the review in kinto-admin"),
        (softhsm.MISSING, "the PKCS#11 signer"),
        (faketime.MISSING, "whole processes with a wrong clock"),
    )
    for missing, what in parts:
        skipped = [report for report in terminalreporter.getreports("skipped") if missing in str(report.longrepr)]
        if skipped:
            text = f"{missing}: {len(skipped)} test(s) of {what} were SKIPPED."
            terminalreporter.write_line(text, yellow=True, bold=True)


@pytest.fixture
def key_pair(tmp_path: Path) -> KeyPair:
    """A new P-384 key pair in two PEM files."""
    return write_key_pair(tmp_path)


@pytest.fixture
def report_campaign(request: pytest.FixtureRequest) -> CampaignReport:
    """``report_campaign(name, counts, seed)`` puts a line into what ``make proof`` writes."""
    return CampaignReport(request.node.nodeid)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ``shared`` beside the checkout: vectors and real data that are not part of the project."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("The folder ../shared (vectors, real data) is not beside this checkout.")
    return path
