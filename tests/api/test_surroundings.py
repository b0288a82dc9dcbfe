"""What every answer carries, whoever made it: correlation id, trace, CORS and caching headers."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client, override_settings

from builds.models import BuildEvent, Cancellation
from tests.api.conftest import Api
from tests.builders import make_build

ORIGIN = "https://portal.example"
TRACE = "0af7651916cd43dd8448eb211c80319c"


# --- Correlation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Correlation-ID": "a.B_c:1-2"}, "a.B_c:1-2"),
        ({"X-Request-ID": "r-1"}, "r-1"),
        ({"X-Correlation-ID": "c-1", "X-Request-ID": "r-1"}, "c-1"),
        ({"X-Correlation-ID": "has blank", "X-Request-ID": "r-1"}, "r-1"),
        ({"X-Correlation-ID": "x" * 128}, "x" * 128),
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/builds", "/console/sign-in", "/static/portal/x"])
def test_the_callers_id_is_returned(db: None, headers: dict[str, str], expected: str, path: str) -> None:
    answer = Client().get(path, headers=headers)
    assert answer.headers["X-Correlation-ID"] == expected
    if answer.headers["Content-Type"] == "application/json":
        assert answer.json()["correlation_id"] == expected


@pytest.mark.parametrize("value", ["", "x" * 129, "a b", "a\x00b", "é", "<script>", "a\n", "a,b", None])
def test_an_id_that_may_not_be_echoed_is_replaced(db: None, value: str | None) -> None:
    headers = {} if value is None else {"X-Correlation-ID": value}
    answers = [Client().get("/healthz", headers=headers) for _ in range(2)]
    ids = [answer.headers["X-Correlation-ID"] for answer in answers]
    assert ids[0] != ids[1]
    assert str(uuid.UUID(ids[0])) == ids[0] == answers[0].json()["correlation_id"]


def test_the_id_is_on_all_rows_that_the_request_causes(api: Api) -> None:
    build = make_build(correlation_id="of-the-build")
    api().post(f"/builds/{build.name}/cancel", b"", "application/json", headers={"X-Correlation-ID": "c-9"})
    assert BuildEvent.objects.get(build=build, reason="cancelling").correlation_id == "c-9"
    assert Cancellation.objects.get(build=build).correlation_id == "c-9"


def lines_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What structlog has handed to the handlers for requests."""
    logged = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [line for line in logged if line["event"] == "request"]


def test_one_line_is_logged_per_request(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    make_build(name="b-1")
    api().get(
        "/builds/b-1?tail_lines=3",
        headers={"X-Correlation-ID": "c-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
    )
    (line,) = lines_of(caplog)
    assert (line["method"], line["path"], line["status"]) == ("GET", "/builds/b-1", 200)
    assert (line["route"], line["correlation_id"], line["trace_id"]) == ("builds/<str:key>", "c-1", TRACE)
    assert line["caller"].startswith("token:")
    assert 0 < line["duration_s"] < 5
    assert "tail_lines" not in str(line)


@pytest.mark.parametrize(
    "traceparent",
    [
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        "garbage",
    ],
)
def test_a_broken_trace_is_passed_over(db: None, caplog: pytest.LogCaptureFixture, traceparent: str) -> None:
    assert Client().get("/healthz", headers={"traceparent": traceparent}).status_code == 200
    (line,) = lines_of(caplog)
    assert "trace_id" not in line


# --- CORS ---------------------------------------------------------------------------------------------------


@pytest.fixture
def allowed() -> Iterator[None]:
    override = override_settings(CORS_ALLOWED_ORIGINS=[ORIGIN])
    override.enable()
    yield
    override.disable()


def vary_of(answer: object) -> set[str]:
    return {name.strip().lower() for name in answer.headers["Vary"].split(",")}  # type: ignore[attr-defined]


@pytest.mark.usefixtures("allowed")
def test_a_listed_origin_may_read_the_answers_and_their_headers(api: Api) -> None:
    answer = api().get("/builds", headers={"Origin": ORIGIN})
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
    assert {"X-Correlation-ID", "Link", "Location", "ETag", "Retry-After", "RateLimit"} <= exposed
    assert {"origin", "authorization", "cookie"} <= vary_of(answer)


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("path", ["/builds", "/nowhere", "/builds/x"])
def test_a_listed_origin_may_read_errors_too(db: None, path: str) -> None:
    answer = Client().get(path, headers={"Origin": ORIGIN})
    assert answer.status_code >= 400
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "origin" in vary_of(answer)


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "*",
        "https://evil.example",
        "http://portal.example",
        "https://portal.example.evil",
        "http://[",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_no_other_origin_is_let_in(api: Api, origin: str, method: str) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    answer = api().generic(method, "/builds", headers=headers)
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "origin" in vary_of(answer)


@pytest.mark.usefixtures("allowed")
def test_a_preflight_needs_no_token_and_carries_the_id(db: None) -> None:
    answer = Client().options(
        "/builds/x/cancel",
        headers={
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,idempotency-key",
            "X-Correlation-ID": "c-1",
        },
    )
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["X-Correlation-ID"] == "c-1"
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    allowed = {name.strip().lower() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert allowed == {
        *("authorization", "content-type", "x-correlation-id", "x-request-id", "idempotency-key"),
        *("if-none-match", "range", "traceparent", "x-csrftoken"),
    }
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("path", ["/console/sign-in", "/admin/login/"])
def test_pages_are_for_their_own_origin_alone(db: None, path: str) -> None:
    answer = Client().get(path, headers={"Origin": ORIGIN})
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


# --- Caching ------------------------------------------------------------------------------------------------


def test_no_answer_is_kept_by_a_shared_cache(api: Api) -> None:
    build = make_build()
    for path in ("/builds", f"/builds/{build.name}", "/async-jobs/stats", "/builds/nobody", "/readyz"):
        answer = api().get(path)
        assert answer.headers["Cache-Control"].startswith("private, no-")
        assert {"authorization", "cookie"} <= vary_of(answer)
