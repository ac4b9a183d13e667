"""Which attributes of a collection are published beside its records."""

from __future__ import annotations

CLAIM = "signer_claim"
"""Attribute of a published collection: ``{"timestamp", "digest", "signature"}``, the digest that was signed and the signature.

It is written first and last in every publication. An authority that was left with part of a publication shows by it that what it
holds comes from this signer, and may be repaired; and a refresh signs this digest again (decision 8).
"""

PUBLICATION = "publication"
"""Attribute of a published collection: the publication statement, an envelope of its own (`core.statement`)."""

CARRIED = "chains"
"""Attribute of a published collection that carries certificate chains: ``{x5u: the chain file's text}``.

It is the signer's own, never copied from a source, and proves nothing: whoever uses a chain verifies it."""

COPIED_ATTRIBUTES = ("schema", "sort", "displayFields", "attachment", "flags")
"""Attributes of the source that the signed copies show too, unless ``kinto.signer.copied_attributes`` says otherwise."""

SIGNED_ATTRIBUTES = ("signature", "signatures", "signed_timestamp", "hash", CLAIM, PUBLICATION, CARRIED)
"""Attributes that a publication makes."""

PUBLISHED = (*COPIED_ATTRIBUTES, *SIGNED_ATTRIBUTES)
"""Attributes of S's signed copy that go to the authorities; the others are S's own."""
