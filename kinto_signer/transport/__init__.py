"""HTTP with limits that hold: one origin, one total deadline, a cap on what is decoded, no retries, our errors only."""

from kinto_signer.core.strict_json import parse_json
from kinto_signer.transport.bounded import BoundedSession, Limits, Origin, bounded_session
from kinto_signer.transport.deadline import Deadline
from kinto_signer.transport.session import Answer, Session, raise_for_status

__all__ = [
    "Answer",
    "BoundedSession",
    "Deadline",
    "Limits",
    "Origin",
    "Session",
    "bounded_session",
    "parse_json",
    "raise_for_status",
]
