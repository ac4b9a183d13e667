"""Our errors as Kinto's answers: one exception view, so that a refusal inside a batch refuses the whole batch."""

from __future__ import annotations

import logging
from typing import Any

from kinto.core.errors import ERRORS, http_error
from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPConflict,
    HTTPForbidden,
    HTTPNotFound,
    HTTPPreconditionFailed,
    HTTPRequestEntityTooLarge,
    HTTPServiceUnavailable,
)

from kinto_signer.errors import (
    ChangesetTooLargeError,
    ConflictError,
    GuardRefusedError,
    KintoSignerError,
    LockedError,
    MalformedChangesetError,
    NotFoundError,
    OutdatedBaseError,
    SourceChangedError,
    UnsignableValue,
    WorkflowError,
)
from kinto_signer.plugin import metrics

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 3


def includeme(config: Any) -> None:
    config.include(metrics)
    config.add_exception_view(refuse, context=KintoSignerError)


def refuse(error: KintoSignerError, request: Any) -> Any:
    """Answer a refusal, and log it in one line."""
    answer = as_http(error)
    log_refusal(request, answer)
    return answer


def log_refusal(request: Any, answer: Any) -> None:
    """One line for each refusal: why, what was asked, and by whom; it is counted too."""
    metrics.refused(request, answer.json["details"]["reason"])
    request.authenticated_userid  # noqa: B018 - makes Kinto find out who asks, before its views do
    logger.warning(
        "refused reason=%s status=%s request=%s:%s by=%s: %s",
        answer.json["details"]["reason"],
        answer.status_code,
        request.method,
        request.path,
        request.prefixed_userid,
        "".join(character if character.isprintable() else " " for character in answer.json["message"]),
    )


_KINDS: tuple[tuple[type[KintoSignerError], Any, Any], ...] = (
    # The first that fits.
    (UnsignableValue, HTTPBadRequest, ERRORS.INVALID_POSTED_DATA),
    (MalformedChangesetError, HTTPBadRequest, ERRORS.INVALID_PARAMETERS),
    (ChangesetTooLargeError, HTTPRequestEntityTooLarge, ERRORS.REQUEST_TOO_LARGE),
    (GuardRefusedError, HTTPForbidden, ERRORS.FORBIDDEN),
    (SourceChangedError, HTTPPreconditionFailed, ERRORS.MODIFIED_MEANWHILE),
    (OutdatedBaseError, HTTPPreconditionFailed, ERRORS.MODIFIED_MEANWHILE),
    (ConflictError, HTTPConflict, ERRORS.CONSTRAINT_VIOLATED),
    (NotFoundError, HTTPNotFound, ERRORS.MISSING_RESOURCE),
    (KintoSignerError, HTTPServiceUnavailable, ERRORS.BACKEND),
)
"""Which answer, and which of Kinto's error numbers, an error becomes."""


def as_http(error: KintoSignerError) -> Any:
    """The answer, in Kinto's format: the message for people, ``details.reason`` for programs."""
    answer, errno = next((answer, errno) for kind, answer, errno in _KINDS if isinstance(error, kind))
    if isinstance(error, WorkflowError):
        answer, errno = (HTTPForbidden, ERRORS.FORBIDDEN) if error.forbidden else (HTTPBadRequest, ERRORS.INVALID_POSTED_DATA)
    response = http_error(answer(), errno=errno, message=error.message, details=_details(error))
    if response.status_code in (409, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _details(error: KintoSignerError) -> dict[str, Any]:
    if isinstance(error, UnsignableValue):
        return {"reason": "unsignable", "record": error.record or "", "path": error.path}
    if isinstance(error, OutdatedBaseError):
        return {"reason": error.reason, "timestamp": error.timestamp, "hash": error.hash or ""}
    return {"reason": error.reason} | ({"locked": True} if isinstance(error, LockedError) else {})
