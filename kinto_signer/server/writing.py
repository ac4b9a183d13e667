"""What one publication writes to S's own signed copy."""

from __future__ import annotations

from typing import Any

from kinto_signer.core.changeset import TIMESTAMP_MARKER
from kinto_signer.core.plan import Plan, plan, repeated
from kinto_signer.core.problems import find_record_problem
from kinto_signer.core.repository import FUTURE_TOLERANCE_MS
from kinto_signer.errors import NotYetValidError, UnsignableValue
from kinto_signer.plugin.bulk import Copied, apply_in_bulk, copy_all
from kinto_signer.plugin.clock import now_ms
from kinto_signer.plugin.storage import StorageRepository, collection_uri
from kinto_signer.server.authorities import Authorities
from kinto_signer.server.compared import Compared
from kinto_signer.server.own import Own
from kinto_signer.server.stored import Copy


def make_plan(own: Own, authorities: Authorities, compared: Compared, beside: Copy | None, now: int, *, renew: bool) -> Plan:
    """The plan of a publication. beside: another copy of the same source that was just published.

    What differs is enough where every authority holds what S does, or where there is nothing else.
    """
    if authorities.settings:
        compared.read_created()  # it goes over the network
    elif (again := _repeated(own, compared, beside)) is not None:
        return again
    dated = {} if beside is None else beside.dated
    if not compared.partly:  # Kinto's memory storage moves what it is given at its clock
        dated = {record_id: record for record_id, record in dated.items() if record["last_modified"] > own.held.etag}
    if own.part is not None and (own.part.rest == 0 or authorities.are_like(own)):
        return plan(compared.source_stubs, own.part, authorities.held, now, renew=renew, dated=dated)
    authorities.look_at_everything(own)
    return plan(compared.records, own.held, authorities.held, now, renew=renew, dated=dated)


def _repeated(own: Own, compared: Compared, beside: Copy | None) -> Plan | None:
    if own.part is None or compared.source_part or beside is None or beside.planned is None or beside.form is None:
        return None
    return repeated(beside.planned, own.part, compared.created) if len(beside.form) == len(compared.created) else None


def refuse_values(name: str, planned: Plan, compared: Compared, *, allow_floats: bool) -> None:
    """What was stored before the plugin was there is looked at now, and what every reader would refuse.

    The values of what is copied without being sent are looked at where it is read. Raises UnsignableValue, NotYetValidError.
    """
    if planned.timestamp > now_ms() + FUTURE_TOLERANCE_MS:
        raise NotYetValidError(
            f"{name}: the timestamps here or on the authority are so far ahead of this machine's clock "
            f"that it would have to be dated {planned.timestamp}, which readers refuse "
            f"({FUTURE_TOLERANCE_MS // 3_600_000} hours ahead at most). Nothing was signed. Look at this machine's clock; if "
            "it was ahead for a while: docs/operating.rst, *Clocks*."
        )
    if any(record["id"] == TIMESTAMP_MARKER for record in planned.records):
        raise UnsignableValue("this id is kept for the signer; delete the record", path="$.id", record=TIMESTAMP_MARKER)
    live = {record["id"] for record in planned.records}
    for change in planned.destination:
        if change["id"] in compared.created or change["id"] not in live:
            continue
        problem = find_record_problem(change, allow_floats=allow_floats)
        if problem:
            raise UnsignableValue(f"{problem.why}. Nothing was signed", path=problem.path, record=change["id"])


def write(storage: Any, name: str, planned: Plan, compared: Compared, beside: Copy | None) -> None:
    """Write it to the signed copy `name`, in the current transaction."""
    repository, uri, timestamp = StorageRepository(storage), collection_uri(name), planned.timestamp
    if not repository.atomic:
        repository.write(name, planned.destination)
    elif beside is not None and beside.is_repeated_by(planned):
        copy_all(storage, uri, collection_uri(beside.compared.copy.name), timestamp=timestamp)
    else:
        copied = Copied(collection_uri(compared.source.name), compared.created) if compared.created else None
        apply_in_bulk(storage, uri, planned.destination, complete=False, timestamp=timestamp, copied=copied)
