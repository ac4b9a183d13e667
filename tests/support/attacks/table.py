"""Every attack, in one table."""

from tests.support.attacks import attributes, batches, cascades, changesets, plugins, races, records

ATTACKS = (
    *records.ATTACKS,
    *batches.ATTACKS,
    *attributes.ATTACKS,
    *cascades.ATTACKS,
    *plugins.ATTACKS,
    *changesets.ATTACKS,
    *races.ATTACKS,
)
