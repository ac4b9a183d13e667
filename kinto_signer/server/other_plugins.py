"""What other plugins of the server do to what is signed: warnings at start-up and of ``kinto-signer check``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyramid.settings import asbool

from kinto_signer.plugin.resources import Place, Resources

FLUSH, ATTACHMENT = "kinto.plugins.flush", "kinto_attachment"
KEEP = "keep_old_files"


def warnings(raw: Mapping[str, Any], resources: Resources) -> Iterator[str]:
    """A sentence for each line to change. raw: all settings, with or without ``kinto.``."""
    settings = {key.removeprefix("kinto."): value for key, value in raw.items()}
    included = settings.get("includes") or ()
    listed = included.split() if isinstance(included, str) else list(included)
    if FLUSH in listed:
        yield (
            f"kinto.includes has {FLUSH}: anybody may remove everything with `POST /__flush__`, past the reviewers and without a "
            "publication. Remove it."
        )
    if ATTACHMENT in listed:
        lost = [place.uri for place in _sources(settings, resources) if not _keeps_files(settings, place)]
        if lost:
            yield (
                f"kinto.includes has {ATTACHMENT}, which deletes the file of an attachment as soon as somebody replaces or "
                f"removes it in a source ({' '.join(lost)}): what is published, and what a rollback restores, then names a file "
                f"that is gone. Set `kinto.attachment.{KEEP} = true`."
            )


def _sources(settings: Mapping[str, Any], resources: Resources) -> Iterator[Place]:
    """The configured sources, and collections of source buckets that have a line of their own."""
    configured = [resource.source for resource in resources.configured]
    yield from configured
    for key in settings:
        bucket, _, collection = key.removeprefix("attachment.resources.").removesuffix(f".{KEEP}").partition(".")
        if key == f"attachment.resources.{bucket}.{collection}.{KEEP}" and Place(bucket) in configured:
            yield Place(bucket, collection)


def _keeps_files(settings: Mapping[str, Any], place: Place) -> bool:
    """Whether files stay: the most specific line decides."""
    keys = [f"attachment.{KEEP}", f"attachment.resources.{place.bucket}.{KEEP}"]
    if place.collection:
        keys.append(f"attachment.resources.{place.bucket}.{place.collection}.{KEEP}")
    return bool(asbool(next((settings[key] for key in reversed(keys) if key in settings), False)))
