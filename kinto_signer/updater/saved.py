"""Collections as JSON files: what ``--json`` writes and ``verify --file`` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinto_signer.core.changeset import Changeset, validate
from kinto_signer.core.strict_json import parse_json
from kinto_signer.core.trust import CARRIED
from kinto_signer.errors import BadAnswerError, ConfigurationError, StorageError
from kinto_signer.updater.files import write_atomically


def path_of(directory: Path, name: str) -> Path:
    """Where `save` puts a collection: ``DIRECTORY/BUCKET/COLLECTION.json``."""
    bucket, _, collection = name.partition("/")
    return directory / bucket / f"{collection}.json"


def save(directory: Path, name: str, state: Changeset, chains: Mapping[str, bytes] | None = None) -> Path:
    """Write the state's file by rename, unless it says so already. Raises StorageError.

    chains: certificate chains by x5u that the state does not carry itself, so that the file can be verified without a network.
    """
    path = path_of(directory, name)
    bucket, _, collection = name.partition("/")
    content: dict[str, Any] = {
        "bucket": bucket,
        "collection": collection,
        "data": state.records,
        "metadata": dict(state.metadata),
        "timestamp": state.timestamp,
    }
    if chains:
        content[CARRIED] = {x5u: pem.decode("utf-8", "replace") for x5u, pem in chains.items()}
    text = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    encoded = text.encode("utf-8") + b"\n"
    try:
        unchanged = path.read_bytes() == encoded
    except FileNotFoundError:
        unchanged = False
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}).") from error
    if not unchanged:
        write_atomically(path, encoded)
    return path


TOP_LEVEL = {"signature": "signature", "signatures": "signatures", "hash": "hash", "bucket": "bucket", "id": "collection"}
"""Attributes of the metadata, and where they stand in a file that has none."""


def load(path: Path) -> tuple[str, Changeset]:
    """The name ``bucket/collection``, as far as the file says it, and the state in a saved changeset or published vector.

    ``{"changes" or "data", "metadata", "timestamp"}``; what the metadata do not say is taken from the top level.
    Raises ConfigurationError if the file cannot be read, BadAnswerError for another shape.
    """
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}).") from error
    content = parse_json(body, where=str(path))
    if not isinstance(content, dict):
        raise BadAnswerError(f"{path}: no JSON object.")
    metadata = content.get("metadata", {})
    if not isinstance(metadata, dict):
        raise BadAnswerError(f"{path}: `metadata` is no object.")
    metadata = {**{ours: content[theirs] for ours, theirs in TOP_LEVEL.items() if theirs in content}, **metadata}
    beside, carried = content.get(CARRIED), metadata.get(CARRIED, {})
    if isinstance(beside, dict) and isinstance(carried, dict):
        metadata = {**metadata, CARRIED: {**carried, **beside}}
    changes = content.get("changes", content.get("data"))
    if not isinstance(changes, list):
        raise BadAnswerError(f"{path}: there is neither `changes` nor `data` with a list of records.")
    timestamp = _timestamp(path, content, metadata)
    name = f"{metadata.get('bucket', '')}/{metadata.get('id', '')}"
    return name, Changeset(timestamp, validate(str(path), changes), metadata)


def _timestamp(path: Path, content: Mapping[str, Any], metadata: Mapping[str, Any]) -> int:
    value = content.get("timestamp", metadata.get("signed_timestamp"))
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadAnswerError(f"{path}: `timestamp` is {str(value)[:80]!r}, which is no integer of milliseconds.")
    return value
