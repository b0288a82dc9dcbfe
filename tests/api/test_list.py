"""GET /builds: filters, order, pages, and what it refuses."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from builds.states import Status
from tests.api.conftest import Api
from tests.builders import make_build

NOON = datetime(2025, 10, 29, 12, tzinfo=UTC)


def listed(client: Client, **query: Any) -> dict[str, Any]:
    answer = client.get("/builds", query)
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def ids(client: Client, **query: Any) -> list[str]:
    return [build["id"] for build in listed(client, **query)["builds"]]


def test_has_all_keys_in_the_contracts_order(api: Api) -> None:
    make_build(
        name="build-customer-123-parser-abc-123def",
        uid="u-1",
        third_party_id="customer-123",
        parser_id="parser-abc",
        image_uri="registry.example/x:y",
        created_at=NOON,
        correlation_id="c-1",
    )
    body = listed(api())
    assert body["builds"] == [
        {
            "id": "build-customer-123-parser-abc-123def",
            "name": "build-customer-123-parser-abc-123def",
            "uid": "u-1",
            "third_party_id": "customer-123",
            "parser_id": "parser-abc",
            "status": "running",
            "status_reason": None,
            "created_at": "2025-10-29T12:00:00Z",
            "started_at": "2025-10-29T12:00:05Z",
            "completed_at": None,
            "duration": None,
            "image_uri": "registry.example/x:y",
            "correlation_id": "c-1",
        }
    ]
    assert list(body["builds"][0])[:5] == ["id", "name", "uid", "third_party_id", "parser_id"]
    assert list(body) == [
        *("builds", "count", "total", "total_is_exact", "limit", "page", "has_more", "next", "previous"),
        *("success", "status", "timestamp", "duration", "correlation_id"),
    ]
    assert (body["count"], body["total"], body["total_is_exact"]) == (1, 1, True)
    assert (body["success"], body["status"]) == (True, "success")
    assert body["timestamp"].endswith("Z")
    assert 0 < body["duration"] < 5


def test_a_finished_build_has_its_duration_in_seconds(api: Api) -> None:
    make_build(
        status=Status.SUCCEEDED,
        created_at=NOON,
        started_at=NOON + timedelta(seconds=5),
        completed_at=NOON + timedelta(seconds=65.25),
    )
    (build,) = listed(api())["builds"]
    assert build["duration"] == 60.25
    assert build["completed_at"] == "2025-10-29T12:01:05.250000Z"


def test_is_empty_without_builds(api: Api) -> None:
    body = listed(api())
    assert (body["builds"], body["total"], body["has_more"], body["page"]) == ([], 0, False, 1)
    assert body["next"] is body["previous"] is None


def test_filters_by_customer_and_parser_repeated_or_with_commas(api: Api) -> None:
    for customer in "abc":
        make_build(name=f"b-{customer}", third_party_id=customer, parser_id=f"p-{customer}")
    client = api()
    assert ids(client, third_party_id="a") == ["b-a"]
    assert sorted(ids(client, third_party_id=["a", "c"])) == ["b-a", "b-c"]
    assert sorted(ids(client, third_party_id="a,c")) == ["b-a", "b-c"]
    assert ids(client, parser_id="p-b") == ["b-b"]
    assert ids(client, third_party_id="a", parser_id="p-b") == []
    assert ids(client, third_party_id="A") == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *[(status.value, {status.value}) for status in Status],
        ("completed", {"succeeded"}),
        ("active", {"pending", "running", "cancelling"}),
        ("finished", {"succeeded", "failed", "cancelled"}),
        ("failed,active", {"failed", "pending", "running", "cancelling"}),
        (["failed", "completed"], {"failed", "succeeded"}),
    ],
)
def test_filters_by_status(api: Api, status: str | list[str], expected: set[str]) -> None:
    for value in Status:
        make_build(name=value.value, status=value)
    assert set(ids(api(), status=status)) == expected


def test_a_window_is_half_open(api: Api) -> None:
    for minute in range(4):
        make_build(name=f"b{minute}", created_at=NOON + timedelta(minutes=minute))
    client = api()
    window = {"created_after": "2025-10-29T12:01:00Z", "created_before": "2025-10-29T12:03:00Z"}
    assert ids(client, **window) == ["b2", "b1"]
    assert ids(client, created_after="2025-10-29T14:03:00+02:00") == ["b3"]
    assert ids(client, created_before="2025-10-29T12:01:00") == ["b0"]
    assert ids(client, created_after="2025-10-29", created_before="2025-10-30") == ["b3", "b2", "b1", "b0"]


def test_filters_by_correlation_id(api: Api) -> None:
    make_build(name="b1", correlation_id="c-1")
    make_build(name="b2", correlation_id="c-12")
    assert ids(api(), correlation_id="c-1") == ["b1"]


@pytest.mark.parametrize(
    "text", ["NAME-OF", "needle-customer", "needle-parser", "tag-needle", "exit code 137"]
)
def test_searches_in_any_case(api: Api, text: str) -> None:
    make_build(
        name="name-of-it",
        third_party_id="Needle-Customer",
        parser_id="needle-parser",
        image_uri="x:tag-needle",
        status=Status.FAILED,
        error_message="Exit code 137",
    )
    make_build(name="another", image_uri=None)
    assert ids(api(), q=text) == ["name-of-it"]


def test_a_search_has_no_wildcards(api: Api) -> None:
    make_build(name="plain")
    make_build(name="has-100%")
    assert ids(api(), q="%") == ["has-100%"]
    assert ids(api(), q="_") == []


def test_filters_combine(api: Api) -> None:
    make_build(name="right", third_party_id="a", status=Status.FAILED)
    make_build(name="other-status", third_party_id="a")
    make_build(name="other-customer", third_party_id="b", status=Status.FAILED)
    assert ids(api(), third_party_id="a", status="finished", q="T") == ["right"]


# --- Order -------------------------------------------------------------------------------------------------


def test_newest_first_and_ties_by_first_sight(api: Api) -> None:
    make_build(name="old", created_at=NOON - timedelta(days=1))
    make_build(name="tie-1", created_at=NOON)
    make_build(name="tie-2", created_at=NOON)
    client = api()
    assert ids(client) == ids(client, ordering="-created_at") == ["tie-2", "tie-1", "old"]
    assert ids(client, ordering="created_at") == ["old", "tie-1", "tie-2"]


@pytest.mark.parametrize(
    ("ordering", "expected"),
    [
        ("completed_at", ["first", "second", "never"]),
        ("-completed_at", ["second", "first", "never"]),
        ("duration", ["second", "first", "never"]),
        ("-duration", ["first", "second", "never"]),
    ],
)
def test_nulls_come_last_both_ways(api: Api, ordering: str, expected: list[str]) -> None:
    ended = {"third_party_id": "a", "status": Status.SUCCEEDED, "created_at": NOON}
    minutes = [timedelta(minutes=minute) for minute in range(12)]
    make_build(name="never", third_party_id="a")
    make_build(name="first", started_at=NOON, completed_at=NOON + minutes[10], **ended)
    make_build(name="second", started_at=NOON + minutes[10], completed_at=NOON + minutes[11], **ended)
    assert ids(api(), third_party_id="a", ordering=ordering) == expected


@pytest.mark.parametrize("ordering", ["completed_at", "-duration"])
def test_a_costly_order_needs_a_filter(api: Api, ordering: str) -> None:
    client = api()
    now = datetime.now(UTC)
    for refused_query in (
        {"status": "failed"},
        {"created_before": now.isoformat()},
        {"created_after": (now - timedelta(days=32)).isoformat()},
        {"created_after": "2025-01-01", "created_before": "2025-02-02"},
    ):
        answer = client.get("/builds", {"ordering": ordering} | refused_query)
        assert (answer.status_code, answer.json()["code"]) == (400, "ordering_needs_filter"), refused_query
    for query in (
        {"third_party_id": "a"},
        {"created_after": (now - timedelta(days=31)).isoformat()},
        {"created_after": "2025-01-01", "created_before": "2025-02-01"},
    ):
        assert listed(client, ordering=ordering, **query)["builds"] == []


# --- Pages -------------------------------------------------------------------------------------------------


def test_pages_are_whole_and_know_their_neighbours(api: Api) -> None:
    for number in range(5):
        make_build(name=f"b{number}", third_party_id="a", created_at=NOON + timedelta(minutes=number))
    client = api()
    first = client.get("/builds", {"limit": "2", "third_party_id": "a"})
    assert (first.json()["count"], first.json()["total"], first.json()["has_more"]) == (2, 5, True)
    assert first.json()["previous"] is None
    assert first.headers["Link"] == f'<{first.json()["next"]}>; rel="next"'
    second = client.get(first.json()["next"])
    assert [build["id"] for build in second.json()["builds"]] == ["b2", "b1"]
    assert second.json()["page"] == 2
    third = client.get(second.json()["next"])
    assert [build["id"] for build in third.json()["builds"]] == ["b0"]
    assert (third.json()["has_more"], third.json()["next"], third.json()["total"]) == (False, None, 5)
    assert third.headers["Link"] == f'<{third.json()["previous"]}>; rel="prev"'
    assert client.get(third.json()["previous"]).json()["builds"] == second.json()["builds"]


def test_a_full_last_page_has_no_next(api: Api) -> None:
    for _ in range(4):
        make_build()
    body = listed(api(), limit=2, page=2)
    assert (body["count"], body["total"], body["has_more"], body["next"]) == (2, 4, False, None)


def test_beyond_the_end_there_is_an_empty_page(api: Api) -> None:
    make_build()
    body = listed(api(), page=7)
    assert (body["builds"], body["count"], body["total"], body["has_more"]) == ([], 0, 1, False)


def test_the_limit_is_30_and_at_most_100(api: Api) -> None:
    client = api()
    assert listed(client)["limit"] == 30
    assert listed(client, limit=100)["limit"] == 100
    assert listed(client, limit=101)["limit"] == 100
    assert listed(client, limit="9" * 5000)["limit"] == 100


def test_a_deep_page_is_refused(api: Api) -> None:
    client = api()
    assert listed(client, limit=100, page=100)["builds"] == []
    for page in ("101", "9" * 5000):
        answer = client.get("/builds", {"limit": "100", "page": page})
        assert (answer.status_code, answer.json()["code"]) == (400, "page_too_deep")


# --- What is refused ---------------------------------------------------------------------------------------


def refused(client: Client, query: str) -> dict[str, Any]:
    answer = client.get(f"/builds?{query}")
    assert answer.status_code == 400, (query, answer.content)
    body: dict[str, Any] = answer.json()
    assert body["success"] is False
    return body


@pytest.mark.parametrize("name", ["statsu", "cursor", "Status", "format", "_method", "third_party_id[]"])
def test_an_unknown_parameter_is_refused_by_name(api: Api, name: str) -> None:
    body = refused(api(), urlencode({name: "x", "status": "failed"}))
    assert body["code"] == "unknown_parameter"
    assert [error["field"] for error in body["errors"]] == [name]
    assert "third_party_id" in body["error"]
    assert "limit" in body["details"]["allowed"]


HOSTILE: list[tuple[str, str]] = [
    *[("limit", value) for value in ("0", "-1", "", "ten", "1.5", "1e2", " 5", "+5", "٣", "0x10", "\x00")],
    *[("page", value) for value in ("0", "-1", "", "two", "²", "1\x00")],
    *[("status", value) for value in ("", "done", "failed,", "FAILED", "running,done", "\x00", "x" * 300)],
    *[("ordering", value) for value in ("", "name", "--created_at", "created_at,-duration", "-pk", "?")],
    *[
        (name, value)
        for name in ("created_after", "created_before")
        for value in (
            *(
                "",
                "yesterday",
                "2025-13-01",
                "2025-02-30",
                "2025-10-29T25:00:00Z",
                "1761739200",
                "2025-W01-1",
            ),
            *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0000-01-01", "10000-01-01"),
            *(
                "2025-10-29T12:00:00 02:00",
                "\uff12\uff10\uff12\uff15-10-29",
                "2025-10-29T12:00:00Z\x00",
                "20251029",
                "-1",
            ),
        )
    ],
    *[
        (name, value)
        for name in ("third_party_id", "parser_id")
        for value in ("", " ", "a,", ",", "\x00", "x" * 254, ",".join(["a"] * 101))
    ],
    *[("correlation_id", value) for value in ("", "a\x00", "x" * 129)],
    *[("q", value) for value in ("", "  ", "\x00", "x" * 201)],
]


@pytest.mark.parametrize(("name", "value"), HOSTILE)
def test_a_bad_value_is_refused_with_its_field(api: Api, name: str, value: str) -> None:
    make_build()
    body = refused(api(), urlencode({name: value}))
    assert body["code"] == "invalid_request"
    assert [error["field"] for error in body["errors"]] == [name]
    assert body["error"] == f"{name} {body['errors'][0]['message']}"


def test_limit_says_what_it_takes(api: Api) -> None:
    expected = {"field": "limit", "code": "invalid", "message": "must be an integer from 1 to 100"}
    assert refused(api(), "limit=0")["errors"] == [expected]


def test_all_that_is_wrong_is_told_at_once(api: Api) -> None:
    body = refused(api(), "limit=0&page=x&status=done&ordering=name&created_after=then")
    told = {error["field"] for error in body["errors"]}
    assert told == {"limit", "page", "status", "ordering", "created_after"}


@pytest.mark.parametrize(
    "name", ["limit", "page", "ordering", "created_after", "created_before", "correlation_id", "q"]
)
def test_a_single_value_may_not_be_repeated(api: Api, name: str) -> None:
    body = refused(api(), urlencode([(name, "1"), (name, "2")]))
    assert {"field": name, "code": "repeated", "message": "must be given once"} in body["errors"]


@pytest.mark.parametrize(
    "query",
    [
        urlencode({"created_after": "0001-01-01", "created_before": "9999-12-31T23:59:59.999999Z"}),
        urlencode({"q": "\u202e💥\ud7ff"}),
        "q=%ff%fe%ed%a0%80",
        urlencode({"third_party_id": "' OR 1=1 --"}),
        urlencode({"parser_id": "x" * 253}),
        urlencode({"third_party_id": ",".join(f"c{number}" for number in range(100))}),
    ],
)
def test_strange_but_legal_values_find_nothing_or_all(api: Api, query: str) -> None:
    make_build()
    answer = api().get(f"/builds?{query}")
    assert answer.status_code == 200
    assert answer.json()["total"] == (1 if "created_after" in query else 0)


# --- What it costs -----------------------------------------------------------------------------------------


def statements(client: Client, path: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path).status_code == 200
    return [query["sql"] for query in queries]


def test_costs_three_statements_for_any_number_of_rows(api: Api) -> None:
    client = api()
    for _ in range(3):
        make_build(status=Status.SUCCEEDED)
    few = statements(client, "/builds?limit=2&q=build")
    for _ in range(60):
        make_build(status=Status.SUCCEEDED)
    many = statements(client, "/builds?limit=50&q=build")
    # The token, the rows, the total.
    assert len(few) == len(many) == 3
    assert '"job"' not in many[1]


def test_a_page_that_shows_the_end_needs_no_count(api: Api) -> None:
    make_build()
    # The token and the rows.
    assert len(statements(api(), "/builds")) == 2


def test_the_body_is_plain_json_in_utf_8(api: Api) -> None:
    make_build(image_uri="registry.example/é\u2028:x")
    answer = api().get("/builds")
    assert answer.headers["Content-Type"] == "application/json"
    assert (
        json.loads(answer.content.decode("utf-8"))["builds"][0]["image_uri"] == "registry.example/é\u2028:x"
    )
