"""What kinto-updater knows of its file without looking: how it was left, and what was found out before the commit.

The records in the file are no such thing: they are the copy. Where they are altered that is damage, which is said, and mended
with what the server has (``tests/test_updater_costs.py``, ``tests/test_updater_cache.py``).
"""

from typing import Any

from kinto_signer.updater.cache import SqliteRepository
from kinto_signer.updater.cache_file import CacheFile
from tests.support.kept.counts import count


def drop(patch: Any) -> None:
    look_after, apply = CacheFile.look_after, SqliteRepository.apply

    def in_full(file: CacheFile, **options: Any) -> None:
        count("reader: examined in full")
        file.examine()  # it notes nothing, so that a refusal changes no file
        look_after(file, **options)

    def anew(repository: SqliteRepository, *arguments: Any) -> None:
        if repository._found is not None:
            count("reader: found out once more before the commit")
            repository._found = None
        apply(repository, *arguments)

    patch.setattr(CacheFile, "look_after", in_full)
    patch.setattr(SqliteRepository, "apply", anew)
