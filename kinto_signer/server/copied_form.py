"""The canonical form of a copy whose records were all copied from its source inside PostgreSQL: they were read there already."""

from __future__ import annotations

from typing import Any

from kinto_signer.core.changeset import is_tombstone
from kinto_signer.core.form import Form
from kinto_signer.core.plan import Plan
from kinto_signer.core.redated import redated
from kinto_signer.plugin.rows import timestamps
from kinto_signer.plugin.storage import collection_uri
from kinto_signer.plugin.touched import touched
from kinto_signer.server.compared import Compared


def copied_form(session: Any, name: str, planned: Plan, compared: Compared) -> Form | None:
    """The form of the copy `name`, whose content was just found to be that of the source; None where it has to be read.

    What was read of the source is the content of the copy if nobody wrote there since; the timestamps are those that are stored.
    """
    written = {change["id"]: change["last_modified"] for change in planned.destination if not is_tombstone(change)}
    if compared.since is None or not written or written.keys() != compared.created.keys():
        return None
    read = compared.later.texts
    if read.forms.keys() != written.keys() or touched(session, collection_uri(compared.source.name), compared.since).ids:
        return None
    if timestamps(session, collection_uri(name)) != written:
        return None
    return Form.of(
        (record_id, redated(read.forms[record_id], read.timestamps[record_id], written[record_id]))
        for record_id in sorted(written)
    )
