"""Every attack, in one table."""

from tests.support.attacks import attributes, batches, cascades, changesets, envelopes, plugins, races, records

ATTACKS = (
    *records.ATTACKS,
    *batches.ATTACKS,
    *attributes.ATTACKS,
    *cascades.ATTACKS,
    *plugins.ATTACKS,
    *changesets.ATTACKS,
    *envelopes.ATTACKS,
    *races.ATTACKS,
)
