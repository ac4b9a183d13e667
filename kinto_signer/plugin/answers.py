"""Our errors as Kinto's answers: one exception view, so that a refusal inside a batch refuses the whole batch."""

from __future__ import annotations

import logging
from typing import Any

from kinto.core.errors import ERRORS, http_error
from pyramid.httpexceptions import HTTPBadRequest, HTTPConflict, HTTPForbidden, HTTPNotFound, HTTPServiceUnavailable

from kinto_signer.errors import ConflictError, KintoSignerError, NotFoundError, UnsignableValue, WorkflowError

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 3


def includeme(config: Any) -> None:
    config.add_exception_view(refuse, context=KintoSignerError)


def refuse(error: KintoSignerError, request: Any) -> Any:
    """Answer a refusal, and log it in one line."""
    answer = as_http(error)
    log_refusal(request, answer)
    return answer


def log_refusal(request: Any, answer: Any) -> None:
    """One line for each refusal: why, what was asked, and by whom."""
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


def as_http(error: KintoSignerError) -> Any:
    """The answer, in Kinto's format: the message for people, ``details.reason`` for programs."""
    details: dict[str, Any] = {"reason": error.reason}
    if isinstance(error, WorkflowError):
        kind = (HTTPForbidden(), ERRORS.FORBIDDEN) if error.forbidden else (HTTPBadRequest(), ERRORS.INVALID_POSTED_DATA)
    elif isinstance(error, UnsignableValue):
        kind = (HTTPBadRequest(), ERRORS.INVALID_POSTED_DATA)
        details = {"reason": "unsignable", "record": error.record or "", "path": error.path}
    elif isinstance(error, ConflictError):
        kind = (HTTPConflict(), ERRORS.CONSTRAINT_VIOLATED)
    elif isinstance(error, NotFoundError):
        kind = (HTTPNotFound(), ERRORS.MISSING_RESOURCE)
    else:
        kind = (HTTPServiceUnavailable(), ERRORS.BACKEND)
    answer, errno = kind
    response = http_error(answer, errno=errno, message=error.message, details=details)
    if response.status_code in (409, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
