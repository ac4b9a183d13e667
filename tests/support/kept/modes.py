"""Puts a process into a mode: what S, A and kinto-updater are about to use of what they keep is dropped or altered.

Public names are patched; nothing in the product knows of it. One that is not there any more is an AttributeError.
"""

from typing import Any

from kinto_signer.core import form
from tests.support.kept import authority, reader, signer
from tests.support.kept.proofs import Proofs

RECORDS_IN_A_BLOCK = 3
"""The collections of the tests are small: so something stands in front of what changes, and something behind it."""


def put_into(patch: Any, mode: str, *, compare: bool = True) -> None:
    """Put this process into the mode. patch: a pytest.MonkeyPatch, which takes it back.

    compare: whether S's content is compared with what is stored before it is signed, for tests that would not notice.
    """
    if mode == "on":
        return
    patch.setattr(form, "BLOCK", RECORDS_IN_A_BLOCK)
    if compare:
        signer.compare(patch)
    if mode == "poisoned":
        proofs = Proofs(patch)
        signer.poison(patch, proofs)
        authority.poison(patch, proofs)
    else:
        (signer.drop if mode == "dropped" else signer.watch)(patch)
        authority.drop(patch)
    reader.drop(patch)
