"""The body of a posted changeset: received within bounds and decompressed, then parsed strictly."""

from __future__ import annotations

import zlib
from typing import Any

from kinto_signer.core.problems import MAX_DEPTH
from kinto_signer.core.strict_json import ENVELOPE_DEPTH, parse_json
from kinto_signer.errors import ChangesetTooLargeError, MalformedChangesetError

PIECE = 2**20
GZIP = 16 + zlib.MAX_WBITS


def receive(request: Any, max_bytes: int) -> list[bytes]:
    """The request's body in pieces, decompressed; no more than `max_bytes` are taken. It waits for the sender.

    Raises ChangesetTooLargeError and MalformedChangesetError.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise MalformedChangesetError(f"Content-Encoding: {encoding[:40]!r} is not understood; send gzip, or nothing.")
    if request.content_type not in ("application/json", ""):
        raise MalformedChangesetError(f"Content-Type: {request.content_type[:40]!r} is not understood; send application/json.")
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    return _read(request.body_file, max_bytes, encoding == "gzip")


def parse(pieces: list[bytes]) -> Any:
    """The JSON value of a body that was received. The pieces are used up, so that nobody keeps them beside what they say.

    Raises BadAnswerError for what is no proper JSON.
    """
    content = b"".join(pieces)
    pieces.clear()
    return parse_json(content, where="the body", max_depth=MAX_DEPTH + ENVELOPE_DEPTH)


def _read(stream: Any, max_bytes: int, compressed: bool) -> list[bytes]:
    inflate = zlib.decompressobj(GZIP) if compressed else None
    parts: list[bytes] = []
    size = 0
    try:
        while piece := stream.read(PIECE):
            while piece:
                part = inflate.decompress(piece, PIECE) if inflate else piece
                piece = inflate.unconsumed_tail if inflate else b""
                size += len(part)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                parts.append(part)
    except zlib.error as error:
        raise MalformedChangesetError(
            "The body is not what Content-Encoding says: no proper gzip. Nothing was stored."
        ) from error
    if inflate and (not inflate.eof or inflate.unused_data):
        raise MalformedChangesetError("The body is cut off, or goes on behind its gzip data. Nothing was stored.")
    return parts


def _too_large(max_bytes: int) -> ChangesetTooLargeError:
    return ChangesetTooLargeError(
        f"The changeset is larger than the {max_bytes} bytes of kinto.authority.max_changeset_bytes. Nothing was stored; raise "
        "the setting there, if that much is right."
    )
