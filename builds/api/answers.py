"""The JSON that every answer of the API is made of; knows no endpoint."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from rest_framework.request import Request

from buildportal import telemetry

# Where the middleware leaves the monotonic second at which a request came in.
STARTED_KEY = "buildportal.started_s"

ResponseT = TypeVar("ResponseT", bound=HttpResponseBase)


def json_answer(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """The body as compact JSON; times must be aware UTC, and leave with a Z."""
    return HttpResponse(
        msgspec.json.encode(body), status=status, content_type="application/json", headers=dict(headers or {})
    )


def stamp(request: Request | HttpRequest) -> dict[str, Any]:
    """The keys that end every body: now, the seconds spent so far, and the correlation id."""
    started_s = request.META.get(STARTED_KEY)
    return {
        "timestamp": datetime.now(UTC),
        "duration": None if started_s is None else round(time.monotonic() - started_s, 6),
        "correlation_id": telemetry.current_correlation_id(),
    }


def seconds(span: timedelta | None) -> float | None:
    """A length of time as the API spells it."""
    return None if span is None else span.total_seconds()


def keep_private(response: ResponseT) -> ResponseT:
    """Let no shared cache hand one caller's answer to another; an answer's own Cache-Control stands."""
    response.headers.setdefault("Cache-Control", "private, no-store")
    patch_vary_headers(response, ("Authorization", "Cookie"))
    return response
