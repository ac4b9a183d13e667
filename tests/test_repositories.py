"""The contract of repositories on those that need no server."""

import pytest

from kinto_signer.core.repository import MemoryRepository, Middleware
from kinto_signer.updater.cache import SqliteRepository
from tests.support.contract import RepositoryContract


class TestMemory(RepositoryContract):
    @pytest.fixture
    def repository(self):
        return MemoryRepository()


class TestMiddleware(RepositoryContract):
    """A middleware that changes nothing is a repository like the one inside."""

    @pytest.fixture
    def repository(self):
        return Middleware(MemoryRepository())


class TestSqlite(RepositoryContract):
    @pytest.fixture
    def repository(self, tmp_path):
        return SqliteRepository(tmp_path / "cache", self.trust)


class TestSqliteReopened(RepositoryContract):
    """Every operation by a new object, as different programs do."""

    @pytest.fixture
    def repository(self, tmp_path):
        trust = self.trust

        class Reopened:
            def __getattr__(self, name):
                return getattr(SqliteRepository(tmp_path / "cache", trust), name)

        return Reopened()
