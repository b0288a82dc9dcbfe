"""What surrounds every request: its correlation id, its line in the log, and a JSON body for its errors."""

import re
import time
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template import loader
from django.utils.cache import patch_vary_headers

from buildportal import telemetry
from builds.api.answers import STARTED_KEY
from builds.api.authentication import CALLER_KEY
from builds.api.errors import DATABASE_AWAY, error_answer, of_status, unavailable

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# W3C Trace Context, version 00; later versions may go on behind a further dash.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)
_ANSWERS_IN_HTML = ("/console/", "/admin/")
_STATIC = "/static/"

log = structlog.get_logger(__name__)


class RequestContextMiddleware:
    """Outermost, so that every answer carries the id: errors, preflights and static files too."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started_s = time.monotonic()
        request.META[STARTED_KEY] = started_s
        with telemetry.correlated(_given_id(request), **_trace(request)) as correlation_id:
            response = self._get_response(request)
            response.headers["X-Correlation-ID"] = correlation_id
            if not request.path_info.startswith(_STATIC):
                _log_access(request, response, time.monotonic() - started_s)
        return response


class ErrorBodyMiddleware:
    """Gives the errors that Django and its middleware make the API's body; pages keep their HTML."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if response.status_code < 400 or is_json or _is_page(request):
            return response
        return _with_json_body(request, response)

    def process_exception(self, request: HttpRequest, failure: Exception) -> HttpResponse | None:
        """Django's hook for what a view raised: a database that is away is no fault of the portal."""
        if not isinstance(failure, DATABASE_AWAY):
            return None
        log.warning("A request failed for want of the database.", failure=type(failure).__name__)
        if not _is_page(request):
            return error_answer(request, unavailable())
        page = loader.get_template("500.html").render({})
        return HttpResponse(page, status=503, headers={"Retry-After": "5", "Cache-Control": "no-store"})


def _given_id(request: HttpRequest) -> str | None:
    """The caller's id, if it may be echoed."""
    for name in ("X-Correlation-ID", "X-Request-ID"):
        accepted = telemetry.accepted_correlation_id(request.headers.get(name))
        if accepted:
            return accepted
    return None


def _trace(request: HttpRequest) -> dict[str, str]:
    """The caller's trace, for the log lines; nothing if the header breaks its rules."""
    parts = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    return {"trace_id": parts.group(1), "parent_span_id": parts.group(2)} if parts else {}


def _log_access(request: HttpRequest, response: HttpResponseBase, duration_s: float) -> None:
    """One line per request. The query is left out: it may name customers."""
    log.info(
        "request",
        method=request.method,
        path=request.path_info,
        route=request.resolver_match.route if request.resolver_match else None,
        status=response.status_code,
        duration_s=round(duration_s, 6),
        caller=request.META.get(CALLER_KEY),
    )


def _is_page(request: HttpRequest) -> bool:
    return request.path_info.startswith(_ANSWERS_IN_HTML)


def _with_json_body(request: HttpRequest, response: HttpResponseBase) -> HttpResponse:
    """A new answer of the same status with the old one's headers and cookies."""
    answer = error_answer(request, of_status(response.status_code))
    for name, value in response.headers.items():
        if name not in ("Content-Type", "Content-Length", "Content-Encoding", "Cache-Control", "Vary"):
            answer.headers[name] = value
    if response.has_header("Vary"):
        patch_vary_headers(answer, [name.strip() for name in response.headers["Vary"].split(",")])
    answer.cookies = response.cookies
    # Not response.close(): it would tell Django that the request has ended, and end its database connection.
    return answer
