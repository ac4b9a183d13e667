"""Which deletions are too many to be published unasked."""

import pytest

from kinto_signer.core.mass_deletion import refuse_mass_deletion
from kinto_signer.errors import MassDeletionError

ROWS = [
    # published, deleted, percent, refused
    (100, 50, 50, False),
    (100, 51, 50, True),
    (100, 100, 50, True),
    (100, 100, 0, False),
    (100, 100, 100, False),
    (9, 9, 50, False),
    (10, 10, 50, True),
    (19, 10, 50, True),
    (20, 10, 50, False),
    (1000, 11, 1, True),
    (1000, 10, 1, False),
    (0, 0, 50, False),
]


@pytest.mark.parametrize(("published", "deleted", "percent", "refused"), ROWS)
def test_a_larger_share_than_allowed_and_at_least_ten(published, deleted, percent, refused):
    counts = {"published": published, "deleted": deleted, "percent": percent}
    if not refused:
        refuse_mass_deletion("b/c", **counts)
        return
    with pytest.raises(MassDeletionError) as error:
        refuse_mass_deletion("b/c", **counts)
    assert (error.value.reason, error.value.exit_code, error.value.forbidden) == ("mass-deletion", 6, True)
    assert f"{deleted} of the {published}" in error.value.message
    assert "kinto-signer approve b/c --allow-mass-deletion" in error.value.message
