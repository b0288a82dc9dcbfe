"""The one error body: for whoever made the error, with no word too much, and HTML for pages alone."""

import re
from typing import Any

import pytest
from django.test import Client, override_settings

from tests.api import urls_with_faults
from tests.api.conftest import Api
from tests.builders import make_build


def error_of(answer: Any) -> dict[str, Any]:
    """The body, after a look at all that every error has in common."""
    assert answer.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert list(body) == [
        *("success", "status", "error", "code", "details", "errors"),
        *("correlation_id", "timestamp", "duration"),
    ]
    assert (body["success"], body["status"]) == (False, "error")
    assert re.fullmatch(r"[a-z0-9_]+", body["code"])
    assert body["correlation_id"] == answer.headers["X-Correlation-ID"]
    assert body["timestamp"].endswith("Z")
    assert 0 <= body["duration"] < 10
    assert answer.headers["Cache-Control"] == "private, no-store"
    return body


@pytest.mark.parametrize("path", ["/nowhere", "/builds/", "/builds/x/", "/api", "/healthz/", "/static/x.css"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_route_is_404(db: None, path: str, method: str) -> None:
    answer = Client(enforce_csrf_checks=True).generic(method, path)
    assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/builds", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/builds/x", {"GET", "HEAD", "OPTIONS"}),
        ("PATCH", "/async-jobs/stats", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/builds/x/cancel", {"POST", "OPTIONS"}),
        ("PUT", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/readyz", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/builds", {"GET", "HEAD", "OPTIONS"}),
        ("FOO", "/builds", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/", {"GET", "HEAD"}),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_ones(
    api: Api, method: str, path: str, allowed: set[str]
) -> None:
    answer = api().generic(method, path)
    assert (answer.status_code, error_of(answer)["code"]) == (405, "method_not_allowed")
    assert {name.strip() for name in answer.headers["Allow"].split(",")} >= allowed - {"HEAD"}


def test_options_names_the_methods(api: Api) -> None:
    answer = api().options("/builds")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "GET" in answer.headers["Allow"]


def test_head_answers_like_get_without_a_body(api: Api) -> None:
    build = make_build()
    for path in ("/builds", f"/builds/{build.name}", "/healthz"):
        answer = api().head(path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_accept_does_not_matter(api: Api) -> None:
    client = api()
    for accept in ("text/html", "application/xml", "application/json; indent=4", "nonsense", ""):
        answer = client.get("/builds", headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
        assert b"\n" not in answer.content


@pytest.mark.parametrize("host", ["evil.example", "localhost:bad", "a_b.example", "[::1", "localhost, evil"])
def test_a_foreign_host_is_400(db: None, host: str) -> None:
    answer = Client().get("/builds", headers={"Host": host})
    assert (answer.status_code, error_of(answer)["code"]) == (400, "bad_request")
    assert host not in answer.content.decode()


def test_a_foreign_host_is_400_also_before_a_redirect_to_https(db: None) -> None:
    with override_settings(SECURE_SSL_REDIRECT=True):
        answer = Client().get("/builds", headers={"Host": "evil.example"})
    assert (answer.status_code, error_of(answer)["code"]) == (400, "bad_request")


@pytest.mark.parametrize("view", ["api-view", "plain"])
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        ("fault", 500, "internal_error"),
        ("database", 503, "unavailable"),
        ("absent", 404, "not_found"),
        ("denied", 403, "forbidden"),
        ("suspicious", 400, "bad_request"),
    ],
)
def test_a_failure_tells_nothing_of_its_inside(
    view: str, debug: bool, failure: str, status: int, code: str
) -> None:
    with override_settings(ROOT_URLCONF=urls_with_faults.__name__, DEBUG=debug):
        answer = Client(raise_request_exception=False).get(f"/{view}/{failure}")
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    for word in ("secret", "SELECT", "internal", "Traceback", "Django", "/srv"):
        assert word not in answer.content.decode().replace("internal_error", "")
    assert answer.headers.get("Retry-After") == ("5" if status == 503 else None)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/console/nowhere", 404),
        ("/console/broken/fault", 500),
        ("/console/broken/database", 503),
    ],
)
def test_pages_fail_in_html(db: None, path: str, status: int) -> None:
    with override_settings(ROOT_URLCONF=urls_with_faults.__name__):
        answer = Client(raise_request_exception=False).get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "secret" not in answer.content.decode()
    assert "X-Correlation-ID" in answer.headers


@pytest.mark.parametrize("path", ["/", "/console", "/admin"])
def test_the_ways_in_lead_to_the_pages(db: None, path: str) -> None:
    answer = Client().get(path)
    assert answer.status_code == 302
    assert answer.headers["Location"] == ("/admin/" if path == "/admin" else "/console/")
