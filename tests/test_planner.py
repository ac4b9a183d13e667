"""What PostgreSQL is told for one statement, and only for that."""

import pytest
import sqlalchemy

from kinto_signer.plugin.planner import with_room, without
from tests.support.servers import webtest_app
from tests.support.settings import kinto_settings


@pytest.fixture
def session(database):
    with webtest_app(kinto_settings(database)).app.registry.storage.client.connect() as session:
        yield session


def shown(session, name):
    return session.execute(sqlalchemy.text(f"SHOW {name}")).scalar()


@pytest.mark.parametrize(("before", "within"), [("4MB", "64MB"), ("64kB", "64MB"), ("512MB", "512MB")])
def test_there_is_room_within_the_block(session, before, within):
    session.execute(sqlalchemy.text(f"SET LOCAL work_mem = '{before}'"))
    with with_room(session):
        assert shown(session, "work_mem") == within
    assert shown(session, "work_mem") == before


@pytest.mark.parametrize("before", ["on", "off"])
@pytest.mark.parametrize("way", ["nestloop", "seqscan"])
def test_a_way_is_barred_within_the_block(session, way, before):
    session.execute(sqlalchemy.text(f"SET LOCAL enable_{way} = {before}"))
    with without(session, way), with_room(session):
        assert shown(session, f"enable_{way}") == "off"
    assert shown(session, f"enable_{way}") == before
