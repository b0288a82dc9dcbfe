"""The endpoints for programs: each finds, calls one function and answers; rules live in the floors below."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from builds.api.answers import json_answer, keep_private, stamp
from builds.api.authentication import access_of
from builds.api.cancelling import cancel
from builds.api.detail import describe, find
from builds.api.errors import FieldError, invalid
from builds.api.listing import Page, read_page
from builds.api.parameters import namespace_of, refuse_unknown, single, whole_number
from builds.models import Scope
from builds.stats import pool_statistics

DEFAULT_TAIL_LINES = 100
MOST_TAIL_LINES = 1000


class ApiView(APIView):
    """What all endpoints share. `scopes` names the scope that each method takes."""

    scopes: ClassVar[Mapping[str, Scope]] = {}

    def perform_content_negotiation(self, *_: Any, **__: Any) -> tuple[BaseRenderer, str]:
        """JSON, whatever Accept says: there is nothing to choose from, and a 406 would help nobody."""
        return JSONRenderer(), JSONRenderer.media_type

    def options(self, *_: Any, **__: Any) -> Response:
        """The methods, which every answer names in Allow."""
        return Response(status=204)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return keep_private(super().dispatch(request, *args, **kwargs))


class BuildListView(ApiView):
    """GET /builds"""

    scopes = {"GET": Scope.BUILDS_READ}

    def get(self, request: Request) -> HttpResponse:
        page = read_page(request.query_params, access_of(request))
        neighbours = _neighbours(request, page)
        body = {
            "builds": page.rows,
            "count": len(page.rows),
            "total": page.total,
            "total_is_exact": True,
            "limit": page.limit,
            "page": page.page,
            "has_more": page.has_more,
            "next": neighbours.get("next"),
            "previous": neighbours.get("prev"),
            "success": True,
            "status": "success",
            **stamp(request),
        }
        # RFC 8288, with its registered relation types.
        link = ", ".join(f'<{url}>; rel="{relation}"' for relation, url in neighbours.items())
        return json_answer(body, headers={"Link": link} if link else None)


class BuildView(ApiView):
    """GET /builds/{id}"""

    scopes = {"GET": Scope.BUILDS_READ}

    def get(self, request: Request, key: str) -> HttpResponse:
        refuse_unknown(request.query_params, {"namespace", "tail_lines"})
        tail_lines = _tail_lines(request)
        access = access_of(request)
        build = find(key, namespace_of(request.query_params), access)
        body = {"build": describe(build, access, tail_lines), "success": True, **stamp(request)}
        return json_answer(body, headers={"Cache-Control": "private, no-cache"})


class CancelView(ApiView):
    """POST /builds/{id}/cancel"""

    scopes = {"POST": Scope.BUILDS_CANCEL}

    def post(self, request: Request, key: str) -> HttpResponse:
        refuse_unknown(request.query_params, {"namespace"})
        return cancel(request, key, namespace_of(request.query_params))


class StatsView(ApiView):
    """GET /async-jobs/stats"""

    scopes = {"GET": Scope.STATS_READ}

    def get(self, request: Request) -> HttpResponse:
        refuse_unknown(request.query_params, ())
        return json_answer({**pool_statistics(access_of(request)), "success": True, **stamp(request)})


def _neighbours(request: Request, page: Page) -> dict[str, str]:
    """The URLs of the pages beside this one, by relation; all other parameters stay."""
    numbers: dict[str, int] = {}
    if page.has_more:
        numbers["next"] = page.page + 1
    if page.page > 1:
        numbers["prev"] = page.page - 1
    urls = {}
    for relation, number in numbers.items():
        query = request.query_params.copy()
        query["page"] = str(number)
        urls[relation] = request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
    return urls


def _tail_lines(request: Request) -> int:
    text = single(request.query_params, "tail_lines")
    if text is None:
        return DEFAULT_TAIL_LINES
    lines = whole_number(text, least=0)
    if lines is None or lines > MOST_TAIL_LINES:
        raise invalid(FieldError("tail_lines", f"must be an integer from 0 to {MOST_TAIL_LINES}"))
    return lines
