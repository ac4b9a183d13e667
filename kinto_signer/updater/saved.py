"""Collections as JSON files: written by ``export`` and ``--json``, read by ``--from-file`` and ``verify --file``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinto_signer.core.changeset import Changeset, validate
from kinto_signer.core.strict_json import parse_json
from kinto_signer.core.trust import CARRIED
from kinto_signer.errors import BadAnswerError, NewerFormatError, StorageError, TooLargeError
from kinto_signer.transport import Limits
from kinto_signer.updater.files import read_bounded, write_atomically

FORMAT = 1
"""Of the files that `export` writes; files without one are read as well."""


def path_of(directory: Path, name: str) -> Path:
    """Where `save` puts a collection: ``DIRECTORY/BUCKET/COLLECTION.json``."""
    bucket, _, collection = name.partition("/")
    return directory / bucket / f"{collection}.json"


def save(directory: Path, name: str, state: Changeset, chains: Mapping[str, bytes] | None = None) -> Path:
    """Write the state's file by rename, unless it says so already. Raises StorageError.

    chains: certificate chains by x5u that the state does not carry itself, so that the file can be verified without a network.
    """
    path = path_of(directory, name)
    encoded = _encode(_about(name, state, chains) | {"data": state.records}, indent=1)
    try:
        unchanged = path.read_bytes() == encoded
    except FileNotFoundError:
        unchanged = False
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}).") from error
    if not unchanged:
        write_atomically(path, encoded)
    return path


def exported(name: str, state: Changeset, chains: Mapping[str, bytes]) -> bytes:
    """The file that carries a complete state elsewhere: a changeset, its chains, and the format's number."""
    return _encode(_about(name, state, chains) | {"changes": state.records, "format": FORMAT})


def _about(name: str, state: Changeset, chains: Mapping[str, bytes] | None) -> dict[str, Any]:
    bucket, _, collection = name.partition("/")
    content = {"bucket": bucket, "collection": collection, "metadata": dict(state.metadata), "timestamp": state.timestamp}
    if chains:
        content[CARRIED] = {x5u: pem.decode("utf-8", "replace") for x5u, pem in chains.items()}
    return content


def _encode(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    text = json.dumps(content, ensure_ascii=False, indent=indent, sort_keys=True, allow_nan=False)
    return text.encode("utf-8") + b"\n"


TOP_LEVEL = {"signature": "signature", "signatures": "signatures", "hash": "hash", "bucket": "bucket", "id": "collection"}
"""Attributes of the metadata, and where they stand in a file that has none."""


def load(path: Path, max_bytes: int = Limits.max_size_bytes) -> tuple[str, Changeset]:
    """The name ``bucket/collection``, as far as the file says it, and the state in a saved changeset or published vector.

    Nothing is verified. Raises ConfigurationError if the file cannot be read, TooLargeError, and what `parse` raises.
    """
    return parse(read_bounded(path, max_bytes), str(path))


def parse(body: bytes, where: str) -> tuple[str, Changeset]:
    """The same for a file's content: ``{"changes" or "data", "metadata", "timestamp"}``, and where it has them ``chains``, and
    ``format``. What the metadata do not say is taken from the top level.

    where: what messages call it. Raises BadAnswerError for another shape, TooLargeError, NewerFormatError.
    """
    content = parse_json(body, where=where)
    if not isinstance(content, dict):
        raise BadAnswerError(f"{where}: no JSON object.")
    _refuse_newer(where, content.get("format", FORMAT))
    metadata = content.get("metadata", {})
    if not isinstance(metadata, dict):
        raise BadAnswerError(f"{where}: `metadata` is no object.")
    metadata = {**{ours: content[theirs] for ours, theirs in TOP_LEVEL.items() if theirs in content}, **metadata}
    beside, carried = content.get(CARRIED), metadata.get(CARRIED, {})
    if isinstance(beside, dict) and isinstance(carried, dict):
        metadata = {**metadata, CARRIED: {**carried, **beside}}
    changes = content.get("changes", content.get("data"))
    if not isinstance(changes, list):
        raise BadAnswerError(f"{where}: there is neither `changes` nor `data` with a list of records.")
    if len(changes) > Limits.max_records:
        raise TooLargeError(f"{where}: more than {Limits.max_records} records. Nothing was accepted.")
    timestamp = _timestamp(where, content, metadata)
    name = f"{metadata.get('bucket') or ''}/{metadata.get('id') or ''}"
    return name, Changeset(timestamp, validate(where, changes), metadata)


def _refuse_newer(where: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadAnswerError(f"{where}: `format` is {str(value)[:80]!r}, which is no number of a format.")
    if value > FORMAT:
        raise NewerFormatError(
            f"{where}: format {value}, written by a newer kinto-updater; this one knows {FORMAT}. Nothing was changed; upgrade "
            "this program."
        )


def _timestamp(where: str, content: Mapping[str, Any], metadata: Mapping[str, Any]) -> int:
    value = content.get("timestamp", metadata.get("signed_timestamp"))
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadAnswerError(f"{where}: `timestamp` is {str(value)[:80]!r}, which is no integer of milliseconds.")
    return value
