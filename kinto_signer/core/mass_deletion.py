"""The rule against publishing a deletion of nearly everything by mistake."""

from __future__ import annotations

from kinto_signer.errors import MassDeletionError

AT_LEAST = 10
"""Fewer deletions are never many: of a short list one record is a large share."""


def refuse_mass_deletion(name: str, *, published: int, deleted: int, percent: int) -> None:
    """Raise MassDeletionError where a publication removes more than `percent` of what is published.

    name: of the source, ``bucket/collection``. published: live records that readers have now. deleted: those of them that they
    would not have any more. percent: 0 for no limit.
    """
    if percent and deleted >= AT_LEAST and deleted * 100 > published * percent:
        raise MassDeletionError(name, published=published, deleted=deleted, percent=percent)
