"""The one error body of the API, and which failure becomes which; holds no text of the failure itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from rest_framework import exceptions
from rest_framework.request import Request

from builds.api.answers import json_answer, keep_private, stamp

# What Django and psycopg raise when the database is not there, or does not answer in time.
DATABASE_AWAY = (OperationalError, InterfaceError)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one parameter, header or key; the message reads on after the field's name."""

    field: str
    message: str
    code: str = "invalid"


@dataclass(eq=False)
class ApiError(Exception):
    """Ends a request: `message` is one human sentence, `code` stays the same for ever."""

    status: int
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


def invalid(*errors: FieldError) -> ApiError:
    """400 for values that are not understood; the sentence tells the first of them."""
    return ApiError(400, "invalid_request", f"{errors[0].field} {errors[0].message}", errors=errors)


def unavailable(message: str = "The database cannot be reached; try again.", **details: Any) -> ApiError:
    """503: nothing is known, and nothing was done."""
    return ApiError(503, "unavailable", message, details=details, headers={"Retry-After": "5"})


def of_status(status: int) -> ApiError:
    """For answers that were made without a reason of the API's own."""
    if status in _BY_STATUS:
        code, message = _BY_STATUS[status]
        return ApiError(status, code, message)
    if status >= 500:
        return ApiError(status, *_BY_STATUS[500])
    phrase = HTTPStatus(status).phrase if status in _KNOWN else "Bad Request"
    return ApiError(status, phrase.lower().replace(" ", "_").replace("-", "_"), f"{phrase}.")


_KNOWN = frozenset(known.value for known in HTTPStatus)
_BY_STATUS = {
    400: ("bad_request", "The request was not understood."),
    401: ("not_authenticated", "This needs a token: Authorization: Bearer <token>."),
    403: ("forbidden", "This is not allowed."),
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take that method."),
    413: ("body_too_large", "The body is too large."),
    415: ("unsupported_media_type", "The body must be application/json."),
    500: ("internal_error", "Something went wrong here; quote the correlation id when you report it."),
}


def error_answer(request: Request | HttpRequest, error: ApiError) -> HttpResponse:
    """The error body, which is the same everywhere."""
    body = {
        "success": False,
        "status": "error",
        "error": error.message,
        "code": error.code,
        "details": dict(error.details),
        "errors": [
            {"field": wrong.field, "code": wrong.code, "message": wrong.message} for wrong in error.errors
        ],
    }
    trailer = stamp(request)
    order = ("correlation_id", "timestamp", "duration")
    response = json_answer(body | {key: trailer[key] for key in order}, error.status, error.headers)
    return keep_private(response)


def exception_handler(failure: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """REST framework's hook. None for what nobody foresaw: Django logs it, the middleware gives it a body."""
    error = _foreseen(failure)
    if error is None:
        return None
    if error.status == 503:
        log.warning("A request failed for want of the database.", failure=type(failure).__name__)
    return error_answer(context["request"], error)


def _foreseen(failure: Exception) -> ApiError | None:
    if isinstance(failure, ApiError):
        return failure
    if isinstance(failure, exceptions.APIException):
        return _of_framework(failure)
    if isinstance(failure, DATABASE_AWAY):
        return unavailable()
    for kind, status in _STATUS_OF_KIND:
        if isinstance(failure, kind):
            return of_status(status)
    return None


_STATUS_OF_KIND: tuple[tuple[type[Exception], int], ...] = (
    (Http404, 404),
    (PermissionDenied, 403),
    (RequestDataTooBig, 413),
    (SuspiciousOperation, 400),
    (UnreadablePostError, 400),
)


def _of_framework(failure: exceptions.APIException) -> ApiError:
    error = of_status(failure.status_code)
    # Set by the view for 401s, from the first authentication class.
    challenge = getattr(failure, "auth_header", None)
    if challenge:
        error.headers = {"WWW-Authenticate": challenge}
    return error
