"""What was handed out altered of the kept forms, and whether their proof refused it."""

from collections import OrderedDict
from itertools import takewhile
from typing import Any

from kinto_signer.core.form import Form
from tests.support.kept.counts import count

REMEMBERED = 64


class Proofs:
    """patch: a pytest.MonkeyPatch; every proof is seen until it takes that back."""

    def __init__(self, patch: Any) -> None:
        self._known: OrderedDict[int, tuple[Form, str, str, int]] = OrderedDict()
        proven, sharing, changed = Form.proven, Form.sharing, Form.changed
        holds_together: Any = Form.__dict__["holds_together"]

        def noted(kept: Form, timestamp: int, expected: Any, other: Form, *arguments: Any) -> Form | None:
            found = proven(kept, timestamp, expected, other, *arguments)
            self._note(kept, other, found is not None)
            return found

        def looked_at(kept: Form) -> bool:
            sound: bool = holds_together.fget(kept)
            if not sound:
                self._note(kept, kept, sound)
            return sound

        def shared(kept: Form, *arguments: Any) -> Form:
            found = sharing(kept, *arguments)
            if id(kept) in self._known:
                self._remember(found, *self._known[id(kept)][1:])
            return found

        def changed_too(kept: Form, *arguments: Any) -> Form:
            found = changed(kept, *arguments)
            if id(kept) in self._known and _same_blocks(kept, found) == len(kept.blocks):
                self._remember(found, *self._known[id(kept)][1:])
            return found

        patch.setattr(Form, "proven", noted)
        patch.setattr(Form, "holds_together", property(looked_at))
        patch.setattr(Form, "sharing", shared)
        patch.setattr(Form, "changed", changed_too)

    def hand_out(self, altered: Form, side: str, way: str, last_block: int) -> None:
        """Remember that a form is altered, how, and the last block that is wrong."""
        count(f"{side}: handed out: {way}")
        self._remember(altered, side, way, last_block)

    def is_altered(self, form: Form) -> bool:
        """Whether it was handed out altered; to do so twice may undo it."""
        return id(form) in self._known

    def _remember(self, altered: Form, side: str, way: str, last_block: int) -> None:
        self._known[id(altered)] = altered, side, way, last_block  # it lives as long as its number is known
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _note(self, kept: Form, other: Form, sound: bool) -> None:
        if id(kept) in self._known:
            _, side, way, last_block = self._known[id(kept)]
            used = last_block >= _same_blocks(kept, other)
            count(f"{side}: {'recognised' if not sound else 'WRONG, taken' if used else 'not used'}: {way}")


def _same_blocks(one: Form, other: Form) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], zip(one.blocks, other.blocks, strict=False)))
