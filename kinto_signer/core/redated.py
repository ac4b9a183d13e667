"""The canonical form of a record with another timestamp, or with none, without making it again."""

from __future__ import annotations


def says_when_once(form: bytes, timestamp: int) -> bool:
    """Whether this is the only place where the form may say `timestamp`: no object within the record does so too.

    form: the canonical form of a record with the ``last_modified`` `timestamp`. There is an ``id`` in front of it.
    """
    return form.count(_when(timestamp)) == 1


def undated(form: bytes, timestamp: int) -> bytes:
    """The canonical form of the record without its timestamp, which it says once."""
    return form.replace(_when(timestamp), b"", 1)


def redated(form: bytes, before: int, after: int) -> bytes:
    """The canonical form of the record with the timestamp `after`. It says `before` once."""
    return form.replace(_when(before), _when(after), 1)


def _when(timestamp: int) -> bytes:
    return b',"last_modified":%d' % timestamp
