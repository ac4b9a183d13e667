"""What A keeps of the collections that it guards, in each mode."""

from typing import Any

from kinto_signer.plugin.kept import KeptForms
from kinto_signer.plugin.last_kept import LastKept
from kinto_signer.server.kept_states import KeptState
from tests.support.kept.altering import OF_A_FORM, in_words
from tests.support.kept.counts import Turns, count
from tests.support.kept.proofs import Proofs


def drop(patch: Any) -> None:
    """Also where nothing is to be kept: there is no setting for it."""
    read = KeptForms.read

    def after_a_loss(kept: KeptForms, *arguments: Any, **options: Any) -> Any:
        if kept._kept:
            count("A: dropped in memory")
            kept.forget()
        return read(kept, *arguments, **options)

    patch.setattr(KeptForms, "read", after_a_loss)


def poison(patch: Any, proofs: Proofs) -> None:
    get, turn = LastKept.get, Turns()

    def poisoned_in_memory(kept: Any, key: str) -> Any:
        found = get(kept, key)
        if found is None or isinstance(found, KeptState) or not found.form.blocks or proofs.is_altered(found.form):
            return found
        number, which = divmod(turn(), len(OF_A_FORM))
        other, last_block = OF_A_FORM[which](found, number)
        proofs.hand_out(other.form, "A", f"memory, {in_words(OF_A_FORM[which])}", last_block)
        return other

    patch.setattr(LastKept, "get", poisoned_in_memory)
