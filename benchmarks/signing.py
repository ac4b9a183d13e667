"""What S does, over HTTP: sign-off, refresh, reviews, edits, and what it costs to publish to A as well.

Every scenario works on its own copy of a filled database, and ends with a look at what it published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.measured import Figures, Peak, repeated
from benchmarks.sites import Desk, fill
from tests.support.keys import KeyPair
from tests.support.postgres import PostgresServer
from tests.support.servers import LiveKinto
from tests.support.settings import Settings, guarded_settings, kinto_settings, signer_settings

ALONE = "/buckets/main-workspace -> /buckets/main"
PREVIEW = "/buckets/main-workspace -> /buckets/main-preview -> /buckets/main"
KEPT_TABLES = "kinto_signer_forms, kinto_signer_blocks"
FIRST, KEPT, LOADED, DROPPED, REFRESH = "first", "kept", "loaded", "dropped", "refresh"


@dataclass(frozen=True)
class Repeats:
    """How often each thing is done; starts: of those for which the server is started again."""

    changes: int = 9
    edits: int = 9
    starts: int = 3


class Signing:
    """Scenarios with so many records on one PostgreSQL; they put into the figures they are given what is known so far."""

    def __init__(self, postgres: PostgresServer, key_pair: KeyPair, count: int, repeats: Repeats = Repeats()) -> None:
        self.postgres, self.key_pair, self.count, self.repeats = postgres, key_pair, count, repeats
        self._filled = postgres.create_database()
        with LiveKinto(kinto_settings(self._filled), name="bench-filling") as server:
            Desk(server, count).create()
        fill(self._filled, count)

    def forget(self) -> None:
        """Drop the filled database."""
        self.postgres.drop_database(self._filled)

    def alone(self, figures: Figures) -> None:
        """S without A, without a preview."""
        with self._desk(self._settings()) as (desk, database):
            peak = Peak(desk.server)
            figures[FIRST] = [self._first(desk)]
            figures["first_mib"] = [peak.mib()]
            figures[KEPT] = self._kept(desk)
            figures[REFRESH] = repeated(lambda: desk.ask("to-resign"), self.repeats.changes)
            figures[LOADED], figures["loaded_mib"] = self._after_restarts(desk)
            figures[DROPPED], figures["dropped_mib"] = self._after_restarts(
                desk, lambda: self.postgres.execute(f"TRUNCATE {KEPT_TABLES}", database)
            )
            desk.check(self.key_pair)

    def first(self, resources: str = ALONE) -> float:
        """Seconds of one more first sign-off."""
        with self._desk(self._settings(resources)) as (desk, _):
            return self._first(desk)

    def firsts(self, figures: Figures) -> None:
        """As many more first sign-offs as there are starts, without and with a preview in turn: one alone says little."""
        for _ in range(self.repeats.starts - 1):
            figures[FIRST].append(self.first())
            figures["preview_first"].append(self.first(PREVIEW))

    def edits(self, figures: Figures) -> None:
        """The same edits on S and on a plain Kinto, in turn: the first after a signature, and those that follow it."""
        first, more, plainly = (figures.setdefault(key, []) for key in ("edit_first", "edit_more", "plain_edit"))
        with self._desk(self._settings()) as (desk, _), self._desk(kinto_settings()) as (plain, _):
            self._first(desk)
            plain.edit()
            for _ in range(self.repeats.edits):
                first.append(desk.edit())
                plainly.append(plain.edit())
                more.append(desk.edit())
                plainly.append(plain.edit())
                desk.ask("to-sign")

    def with_preview(self, figures: Figures) -> None:
        """First without reviews, so that one PATCH signs both; then with them."""
        with self._desk(self._settings(PREVIEW)) as (desk, _):
            figures["preview_first"] = [self._first(desk)]
            figures["preview_kept"] = self._kept(desk)
            figures["preview_refresh"] = repeated(lambda: desk.ask("to-resign"), self.repeats.changes)
            figures["preview_loaded"], _ = self._after_restarts(desk)
            desk.server.stop()
            desk.server.settings["kinto.signer.to_review_enabled"] = "true"
            desk.server.start()
            self._reviewed(desk)
            pairs = [self._reviewed(desk) for _ in range(self.repeats.changes)]
            figures["request_review"], figures["approve"] = [list(values) for values in zip(*pairs, strict=True)]
            desk.check(self.key_pair)

    @contextmanager
    def published(self, figures: Figures) -> Iterator[tuple[Desk, LiveKinto]]:
        """S and A with the plugin: the desk in front of S, and A."""
        settings = guarded_settings(self.key_pair.public, self.postgres.create_database())
        settings["kinto.authority.lock_timeout_seconds"] = "60"
        with LiveKinto(settings, name="bench-authority") as authority:
            own = signer_settings(self.key_pair.private, authority=authority.url)
            own["kinto.signer.authority.timeout_seconds"] = "300"
            with self._desk(own) as (desk, _):
                figures["authority_first"] = [self._first(desk)]
                figures["authority_kept"] = self._kept(desk)
                desk.check(self.key_pair)
                yield desk, authority

    def _settings(self, resources: str = ALONE) -> Settings:
        return signer_settings(self.key_pair.private, resources=resources)

    @contextmanager
    def _desk(self, settings: Settings) -> Iterator[tuple[Desk, str]]:
        database = self.postgres.copy_database(self._filled)
        server = LiveKinto(settings | kinto_settings(database), name="bench-signer")
        with server:
            desk = Desk(server, self.count)
            desk.warm_up()
            yield desk, database
        self.postgres.drop_database(database)

    def _first(self, desk: Desk) -> float:
        desk.edit()
        return desk.ask("to-sign")

    def _kept(self, desk: Desk) -> list[float]:
        """Seconds of one change, again and again, without the first two: they are the first to look at each new row."""
        repeated(desk.publish_one_change, 2)
        return repeated(desk.publish_one_change, self.repeats.changes)

    def _reviewed(self, desk: Desk) -> tuple[float, float]:
        desk.edit()
        return desk.ask("to-review"), desk.ask("to-sign", desk.reviewer)

    def _after_restarts(self, desk: Desk, before: Callable[[], object] = lambda: None) -> tuple[list[float], list[float]]:
        """The first change of a process that has just started: seconds, and MiB above what it had when idle."""
        seconds, mib = [], []
        for _ in range(self.repeats.starts):
            desk.server.stop()
            before()
            desk.server.start()
            desk.warm_up()
            peak = Peak(desk.server)
            seconds.append(desk.publish_one_change())
            desk.publish_one_change()
            mib.append(peak.mib())
        return seconds, mib
