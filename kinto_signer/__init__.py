"""Signed collections for Kinto.

Including this package in Kinto (``kinto.includes = kinto_signer``) makes the server S, the signer. Importing it loads
neither Kinto nor Pyramid: a reader's install has none of them.
"""

from typing import Any

__version__ = "9.0.0"


def includeme(config: Any) -> None:
    """Make this Kinto server the signer. Called by Pyramid; list it last in ``kinto.includes``."""
    config.include("kinto_signer.server")
