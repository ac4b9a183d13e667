"""What S keeps of its signed copies, in each mode."""

from typing import Any

import sqlalchemy

from kinto_signer.plugin import saved_forms
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server import publisher
from kinto_signer.server.kept_states import KeptStates, read_form
from tests.support.kept.altering import EVERYWHERE, IN_MEMORY, alter_table, in_words
from tests.support.kept.counts import Turns, count
from tests.support.kept.proofs import Proofs

TABLES = ("kinto_signer_blocks", "kinto_signer_forms")


def compare(patch: Any) -> None:
    """What is about to be signed is compared with what is stored."""
    read_stored = publisher.read_stored

    def compared(registry: Any, place: Any, planned: Any, *arguments: Any, **options: Any) -> Any:
        stored = read_stored(registry, place, planned, *arguments, **options)
        if stored is not None and StorageRepository(registry.storage).atomic:
            with registry.storage.client.connect() as session:
                right = read_form(session, place.name).digests(planned.timestamp)
            count("S: publications on PostgreSQL" if stored.digests == right else "S: WRONG, about to be signed")
            if stored.digests != right:
                raise AssertionError(f"{place.name}: something else is about to be signed than what is stored.")
        return stored

    patch.setattr(publisher, "read_stored", compared)


def watch(patch: Any) -> None:
    """The setting is there; nothing is to be kept."""
    get = KeptStates.get

    def watched(states: KeptStates, name: str) -> Any:
        found = get(states, name)
        count("S: nothing there" if found is None else "S: WRONG, kept although it is off")
        return found

    patch.setattr(KeptStates, "get", watched)


def drop(patch: Any) -> None:
    get, load = KeptStates.get, saved_forms.load

    def after_a_loss(states: KeptStates, name: str) -> Any:
        if get(states, name) is not None:
            count("S: dropped in memory")
            states.forget()
        return get(states, name)

    def from_an_empty_table(session: Any, uri: str, *beside: Any) -> Any:
        count("S: dropped in the table")
        for table in TABLES:
            session.execute(sqlalchemy.text(f"DELETE FROM {table} WHERE uri = :uri"), {"uri": uri})
        return load(session, uri, *beside)

    patch.setattr(KeptStates, "get", after_a_loss)
    patch.setattr(saved_forms, "load", from_an_empty_table)


def poison(patch: Any, proofs: Proofs) -> None:
    get, load, turn = KeptStates.get, saved_forms.load, Turns()

    def poisoned_in_memory(states: KeptStates, name: str) -> Any:
        found = get(states, name)
        if found is None or not found.form.blocks or proofs.is_altered(found.form):
            return found
        number, which = divmod(turn(), len(IN_MEMORY) + 2)
        if which >= len(IN_MEMORY):
            return None  # so that the table is looked at
        way = IN_MEMORY[which]
        other, last_block = way(found, number)
        proofs.hand_out(other.form, "S", f"memory, {in_words(way)}", last_block)
        return other

    def poisoned_in_the_table(session: Any, uri: str, *beside: Any) -> Any:
        way = alter_table(session, uri, turn())
        found = load(session, uri, *beside)
        if way is not None and found is None:
            count(f"S: recognised: table, {way}")
        elif way is not None:
            proofs.hand_out(found.form, "S", f"table, {way}", EVERYWHERE)
        return found

    patch.setattr(KeptStates, "get", poisoned_in_memory)
    patch.setattr(saved_forms, "load", poisoned_in_the_table)
