"""Attacks through live S, A and kinto-updater: each row of the tables of ``docs/statement.rst`` is a story that is told here."""

import re
from dataclasses import replace

import pytest

from kinto_signer import errors
from kinto_signer.updater.cache_file import CacheFile
from tests.support.servers import ROOT
from tests.support.stories.attacks import WITH_A_DATABASE, WITH_THE_KEY, WITHOUT_THE_KEY, WORDS
from tests.support.stories.reader import Reader, run_in_this_process
from tests.support.stories.stage import BUCKETS, NAME, command, publish, staged
from tests.support.stories.stolen_key import looks, posted_to_a, shown_by_database, verified
from tests.support.unmeasured import unmeasured  # noqa: F401

pytestmark = [pytest.mark.xdist_group("stories"), pytest.mark.usefixtures("unmeasured")]

STORIES = WITHOUT_THE_KEY | WITH_THE_KEY | WITH_A_DATABASE
NONE = "(there is none)"
REASONS = {kind.reason for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "reason")}


@pytest.fixture(scope="module")
def stage(postgres, tmp_path_factory):
    with staged(postgres, tmp_path_factory.mktemp("stage")) as found:
        yield found


@pytest.fixture(scope="module")
def holding(stage, tmp_path_factory):
    """``holding(bucket, moment)``: a reader who holds what A had then, got in the honest way."""
    known = {}

    def reader(bucket, moment):
        if (bucket, moment) not in known:
            folder = tmp_path_factory.mktemp("readers") / f"{bucket}-{moment}"
            found = Reader(stage, bucket, folder, run_in_this_process)
            assert found.look(stage.put(stage.held[moment])) == "accepted"
            known[bucket, moment] = found
        return known[bucket, moment]

    return reader


# --- the page ----------------------------------------------------------------------------------------------------------------


def rows_of(page):
    """Each row of the page's tables of three columns, as texts; a table's rows begin where its first cell is not empty."""
    rows = []
    for table in re.findall(r"^(=+ +=+ +=+)\n.*?\n\1\n(.*?)\n\1$", page, re.MULTILINE | re.DOTALL):
        edges = [match.start() for match in re.finditer(r"=+", table[0])]
        for line in table[1].splitlines():
            cells = [line[edges[0] : edges[1]], line[edges[1] : edges[2]], line[edges[2] :]]
            cells = [cell.strip() for cell in cells]
            if cells[0]:
                rows.append(cells)
            else:
                rows[-1] = [f"{cell} {more}".strip() for cell, more in zip(rows[-1], cells, strict=True)]
    return {first: (second, third) for first, second, third in rows}


def promised(cell):
    """What a cell says, one after the other: words, and the reasons of refusals."""
    found = re.findall(rf"``([a-z-]+)``|\b({'|'.join(WORDS)})\b", cell)
    return [reason or word for reason, word in found if word or reason in REASONS]


PAGE = rows_of((ROOT / "docs" / "statement.rst").read_text())


def test_every_row_has_a_story_and_every_story_a_row():
    assert set(PAGE) == set(STORIES)
    assert len(PAGE) >= 20


def test_each_cell_promises_something():
    for row, cells in PAGE.items():
        for cell in cells:
            assert cell == NONE or promised(cell), (row, cell)
    assert promised("refused: ``rollback``; **accepted** with ``--max-age`` and ``schema``, not found out") == [
        "rollback",
        "accepted",
        "not found out",
    ]


# --- the stories -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("row", STORIES)
def test_the_story_ends_as_the_page_says(stage, holding, row, bucket):
    cell = PAGE[row][BUCKETS[::-1].index(bucket)]
    if cell == NONE:
        return
    story = STORIES[row]
    stage.honest()
    run = command if story.typed else run_in_this_process  # which takes a tenth of the time
    assert story.outcome(stage, holding(bucket, story.holds).like(run=run)) == promised(cell), cell


@pytest.fixture
def without_checks(monkeypatch):
    """Readers in this process who verify nothing, and compare nothing with what they had."""
    for place in ("core.repository", "updater.gather", "updater.reading"):
        monkeypatch.setattr(f"kinto_signer.{place}.check_published", lambda name, state, trust: (trust.keys[0], None))
    for place in ("core.repository.refuse_older", "core.repository.refuse_untimely", "updater.gather.refuse_untimely"):
        monkeypatch.setattr(f"kinto_signer.{place}", lambda *args: None)
    for name in ("_refuse_wrong_time", "_refuse_other_content"):
        monkeypatch.setattr(f"kinto_signer.core.repository.Verify.{name}", lambda *args: None)
    known = CacheFile.catalogue_in  # the cache itself refuses what is older

    def forgotten(self, connection):
        return {name: replace(held, highest=0) for name, held in dict(known(self, connection)).items()}

    monkeypatch.setattr(CacheFile, "catalogue_in", forgotten)


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("row", WITHOUT_THE_KEY | WITH_THE_KEY)
def test_without_the_checks_every_attack_gets_in(stage, holding, row, bucket, without_checks):
    """The control."""
    cell = PAGE[row][BUCKETS[::-1].index(bucket)]
    if cell == NONE:
        return
    story = STORIES[row]
    outcome = story.outcome(stage, holding(bucket, story.holds).like())
    assert not REASONS & set(outcome) - {"unreachable"}


# --- the stolen key -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def readers(stage, holding):
    """Three readers of the same past who trust the old key, both, and the new one."""
    old, new = holding("main", "next"), stage.new_key_pair.public
    return {"old": old.like(), "both": old.like(more_keys=(new,)), "new": old.like(key=new)}


def test_until_each_place_has_dropped_the_stolen_key(stage, readers):
    """The last one on this stage: S has another key afterwards."""
    old, new = stage.key_pair, stage.new_key_pair
    stage.honest()

    # The key is stolen, and nobody knows.
    assert shown_by_database(stage, readers) == {"old": "accepted", "both": "accepted", "new": "unknown-key"}
    assert posted_to_a(stage) == "accepted"
    assert verified(readers["old"]) == verified(readers["both"]) == "accepted"
    assert verified(readers["new"]) == "unknown-key", "the copy that a dropped key signed"

    # Both keys sign, so that every reader can follow; the thief still can, too.
    signers = {"kinto.signer.signer_backend": "", "kinto.signer.signers": "old new"}
    signers |= {f"kinto.signer.signer.{name}.ecdsa.private_key": str(pair.private) for name, pair in (("old", old), ("new", new))}
    stage.reconfigure(signers, {"kinto.authority.public_keys": f"{old.public}\n{new.public}"})
    publish(stage.signer, NAME, {"r4": {"name": "signed by both"}})
    assert looks(stage, readers) == dict.fromkeys(readers, "accepted")
    assert {verified(reader) for reader in readers.values()} == {"accepted"}
    assert shown_by_database(stage, readers) == {"old": "accepted", "both": "accepted", "new": "unknown-key"}
    assert posted_to_a(stage) == "accepted"

    # The new one alone signs, and A takes no other.
    stage.reconfigure({"kinto.signer.signers": "new"}, {"kinto.authority.public_keys": str(new.public)})
    publish(stage.signer, NAME, {"r5": {"name": "signed by the new one"}})
    assert posted_to_a(stage) == "unknown-key"
    typing = {name: reader.like(run=command) for name, reader in readers.items()}
    assert looks(stage, typing) == {"old": "unknown-key", "both": "accepted", "new": "accepted"}
    assert verified(typing["new"]) == "accepted"
    assert {record["id"] for record in typing["new"].show("--records")["data"]} >= {"r4", "r5"}

    # Who did not drop it is the thief's for ever.
    assert shown_by_database(stage, readers) == {"old": "accepted", "both": "accepted", "new": "unknown-key"}
