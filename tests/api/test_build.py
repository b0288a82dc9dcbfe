"""GET /builds/{id}: what a build's record holds, which attempt a name means, and what that costs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from builds.models import Build, BuildEvent, BuildLog, Cancellation, NamespaceSync, OutgoingEvent
from builds.states import Reason, Status
from tests.api.conftest import Api
from tests.builders import make_build

NOON = datetime(2025, 10, 29, 12, tzinfo=UTC)


def shown(client: Client, key: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"/builds/{key}", query)
    assert answer.status_code == 200, answer.content
    build: dict[str, Any] = answer.json()["build"]
    return build


def log_of(build: Build, text: str, **over: Any) -> BuildLog:
    return BuildLog.objects.create(build=build, text=text, as_of=NOON, **over)


def test_has_the_lists_fields_and_its_own(api: Api) -> None:
    build = make_build(created_at=NOON)
    client = api()
    answer = client.get(f"/builds/{build.name}")
    body = answer.json()
    (row,) = client.get("/builds").json()["builds"]
    assert {key: body["build"][key] for key in row} == row
    assert list(body["build"])[len(row) :] == [
        *("namespace", "job", "events", "error"),
        *("logs_preview", "logs_source", "logs_as_of", "logs_unavailable_reason"),
        *("cancellation", "attempts", "actions", "observed_at"),
    ]
    assert list(body) == ["build", "success", "timestamp", "duration", "correlation_id"]
    assert body["build"]["job"] == build.job
    assert body["build"]["namespace"] == "knative-lambda"
    assert body["build"]["error"] is body["build"]["cancellation"] is None
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert {"Authorization", "Cookie"} <= {name.strip() for name in answer.headers["Vary"].split(",")}


def test_a_build_whose_job_does_not_exist_yet(api: Api) -> None:
    build = make_build(
        status=Status.PENDING, status_reason=Reason.QUEUED, uid=None, job=None, observed_at=None
    )
    found = shown(api(), build.name)
    assert found["uid"] is found["job"] is found["observed_at"] is None


# --- Which build a key means -------------------------------------------------------------------------------


def test_a_name_means_the_newest_attempt_and_a_uid_that_very_one(api: Api) -> None:
    for number in (2, 3, 1):
        make_build(
            name="again", uid=f"u-{number}", third_party_id="a", created_at=NOON + timedelta(minutes=number)
        )
    client = api()
    newest = shown(client, "again")
    assert newest["uid"] == "u-3"
    assert [attempt["uid"] for attempt in newest["attempts"]] == ["u-3", "u-2", "u-1"]
    assert newest["attempts"][0] == {"uid": "u-3", "status": "running", "created_at": "2025-10-29T12:03:00Z"}
    assert shown(client, "u-1")["attempts"] == newest["attempts"]
    assert shown(client, "u-1")["uid"] == "u-1"


def test_of_two_of_the_same_second_the_one_seen_later_is_newer(api: Api) -> None:
    for uid in ("u-1", "u-2"):
        make_build(name="again", uid=uid, created_at=NOON)
    assert shown(api(), "again")["uid"] == "u-2"


def test_attempts_are_the_same_customers_and_namespaces_only(api: Api) -> None:
    make_build(name="again", uid="u-1", third_party_id="a", created_at=NOON)
    make_build(name="again", uid="u-2", third_party_id="b")
    make_build(name="again", uid="u-3", third_party_id="a", namespace="other")
    everybodys = api()
    assert [attempt["uid"] for attempt in shown(everybodys, "u-1")["attempts"]] == ["u-1"]
    assert shown(everybodys, "again")["uid"] == "u-2"
    assert shown(api(customers=["a"]), "again")["uid"] == "u-1"
    assert shown(everybodys, "again", namespace="other")["uid"] == "u-3"


def test_a_uid_is_found_whatever_another_build_is_named(api: Api) -> None:
    make_build(name="u-1", uid="u-2")
    make_build(name="plain", uid="u-1", created_at=NOON)
    assert shown(api(), "u-1")["name"] == "plain"


@pytest.mark.parametrize(
    "key",
    [
        "nobody",
        "summary",
        "%00",
        "a%00b",
        "x" * 254,
        "x" * 5000,
        "%ff",
        "%0a",
        "..",
        "%2e%2e",
        "é",
        "%25",
        "'",
    ],
)
def test_an_unknown_id_is_404(api: Api, key: str) -> None:
    make_build()
    answer = api().get(f"/builds/{key}")
    assert (answer.status_code, answer.json()["code"]) == (404, "build_not_found")
    assert answer.json()["error"] == "Build not found"


# --- What belongs to it ------------------------------------------------------------------------------------


def test_events_are_the_newest_hundred_newest_last(api: Api) -> None:
    build = make_build(created_at=NOON)
    BuildEvent.objects.bulk_create(
        BuildEvent(
            build=build,
            type=BuildEvent.Type.NORMAL,
            reason="Pulled",
            message=f"{number}",
            source="kubelet",
            timestamp=NOON + timedelta(seconds=number),
            cluster_uid=f"e-{number}",
        )
        for number in range(1, 121)
    )
    events = shown(api(), build.name)["events"]
    assert [event["message"] for event in events] == [str(number) for number in range(21, 121)]
    assert events[-1] == {
        "type": "Normal",
        "reason": "Pulled",
        "message": "120",
        "source": "kubelet",
        "actor": None,
        "timestamp": "2025-10-29T12:02:00Z",
    }


def test_the_first_sight_is_an_event(api: Api) -> None:
    build = make_build(created_at=NOON)
    (event,) = shown(api(), build.name)["events"]
    assert (event["type"], event["reason"], event["source"]) == ("transition", "running", "watch")


def test_an_error_tells_what_is_known(api: Api) -> None:
    build = make_build(
        status=Status.FAILED,
        status_reason=Reason.OOM_KILLED,
        error_code="oom_killed",
        error_message="The container used more memory than it may",
        error_container="kaniko",
        error_exit_code=137,
    )
    assert shown(api(), build.name)["error"] == {
        "code": "oom_killed",
        "message": "The container used more memory than it may",
        "category": None,
        "retryable": None,
        "container": "kaniko",
        "exit_code": 137,
        "evidence": None,
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "\n".join(f"line {number}" for number in range(20, 120))),
        ({"tail_lines": "2"}, "line 118\nline 119"),
        ({"tail_lines": "0"}, ""),
        ({"tail_lines": "1000"}, "\n".join(f"line {number}" for number in range(120))),
    ],
)
def test_the_preview_is_the_last_lines(api: Api, query: dict[str, str], expected: str) -> None:
    build = make_build()
    log_of(build, "".join(f"line {number}\n" for number in range(120)))
    assert shown(api(), build.name, **query)["logs_preview"] == expected


def test_a_carriage_return_ends_no_line(api: Api) -> None:
    build = make_build()
    log_of(build, "one\n10%\r20%\x0b\u2028\rdone\n")
    assert shown(api(), build.name, tail_lines=1)["logs_preview"] == "10%\r20%\x0b\u2028\rdone"


@pytest.mark.parametrize("value", ["-1", "1001", "", "x", "1.0", "٣", "9" * 5000, "\x00"])
def test_tail_lines_is_from_0_to_1000(api: Api, value: str) -> None:
    build = make_build()
    answer = api().get(f"/builds/{build.name}", {"tail_lines": value})
    assert answer.status_code == 400
    expected = {"field": "tail_lines", "code": "invalid", "message": "must be an integer from 0 to 1000"}
    assert answer.json()["errors"] == [expected]


@pytest.mark.parametrize(
    ("status", "log", "source", "reason"),
    [
        (Status.PENDING, None, "none", "pod_initializing"),
        (Status.RUNNING, None, "none", "not_read_yet"),
        (Status.RUNNING, {"text": ""}, "none", "empty"),
        (Status.RUNNING, {"text": "a\n"}, "live", None),
        (Status.SUCCEEDED, {"text": "a\n"}, "archived", None),
        (Status.SUCCEEDED, {"text": "a\n", "is_final": True}, "archived", None),
        (Status.FAILED, {"text": "", "unavailable_reason": "pod_gone"}, "none", "pod_gone"),
    ],
)
def test_says_where_the_log_comes_from(
    api: Api, status: Status, log: dict[str, Any] | None, source: str, reason: str | None
) -> None:
    build = make_build(status=status)
    if log is not None:
        log_of(build, **log)
    found = shown(api(), build.name)
    assert (found["logs_source"], found["logs_unavailable_reason"]) == (source, reason)
    assert found["logs_as_of"] == (None if log is None else "2025-10-29T12:00:00Z")


@pytest.mark.parametrize(
    ("sent_at", "expected"), [(None, "pending"), (NOON, "sent"), ("no event is due", None)]
)
def test_shows_its_cancellation(api: Api, sent_at: datetime | str | None, expected: str | None) -> None:
    build = make_build(status=Status.CANCELLED)
    Cancellation.objects.create(
        build=build,
        requested_at=NOON,
        requested_by="token:ci",
        reason="wrong branch",
        previous_status="running",
        next_try_at=NOON,
        confirmed_at=NOON + timedelta(seconds=1),
        job_outcome="deleted",
        pods_outcome="terminating",
    )
    for word in ("started", "cancelled"):
        if sent_at != "no event is due":
            OutgoingEvent.objects.create(
                build=build,
                position=1,
                type=f"io.knative.lambda.lifecycle.build.{word}",
                source="s",
                subject=build.name,
                time=NOON,
                extensions={},
                data={},
                next_try_at=NOON,
                sent_at=NOON if word == "started" else sent_at,
            )
    assert shown(api(), build.name)["cancellation"] == {
        "requested_at": "2025-10-29T12:00:00Z",
        "requested_by": "token:ci",
        "reason": "wrong branch",
        "confirmed_at": "2025-10-29T12:00:01Z",
        "cleanup": {"job": "deleted", "pods": "terminating", "event": expected},
    }


def test_says_what_this_caller_may_do_now(api: Api) -> None:
    running, finished = make_build(), make_build(status=Status.SUCCEEDED)
    may_cancel, may_read = api(), api("builds:read")
    assert shown(may_cancel, running.name)["actions"]["cancel"] == {"allowed": True, "reason": None}
    for client, build, word in ((may_read, running, "permission"), (may_cancel, finished, "succeeded")):
        cancel = shown(client, build.name)["actions"]["cancel"]
        assert cancel["allowed"] is False
        assert word in cancel["reason"]
    assert shown(may_cancel, finished.name)["actions"]["retry"] == {
        "allowed": False,
        "reason": "Retrying is not offered yet.",
    }


@pytest.mark.parametrize(
    ("listed_at", "gone_at", "expected"),
    [
        (None, None, "2025-10-29T12:00:00Z"),
        (NOON + timedelta(minutes=1), None, "2025-10-29T12:01:00Z"),
        (NOON - timedelta(minutes=1), None, "2025-10-29T12:00:00Z"),
        (NOON + timedelta(minutes=1), NOON, "2025-10-29T12:00:00Z"),
    ],
)
def test_a_later_list_confirms_a_job_that_is_still_there(
    api: Api, listed_at: datetime | None, gone_at: datetime | None, expected: str
) -> None:
    build = make_build(observed_at=NOON, gone_at=gone_at)
    NamespaceSync.objects.create(namespace=build.namespace, listed_at=listed_at)
    NamespaceSync.objects.create(namespace="other", listed_at=NOON + timedelta(days=1))
    assert shown(api(), build.name)["observed_at"] == expected


# --- What it refuses and costs -----------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["limit=1", "tail=3", "tail_lines=3&If-None-Match=x"])
def test_an_unknown_parameter_is_refused(api: Api, query: str) -> None:
    build = make_build()
    answer = api().get(f"/builds/{build.name}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_parameter")
    assert answer.json()["details"]["allowed"] == ["namespace", "tail_lines"]


@pytest.mark.parametrize(
    "query", ["namespace=", "namespace=%00", f"namespace={'x' * 64}", "namespace=a&namespace=b"]
)
def test_a_strange_namespace_is_refused(api: Api, query: str) -> None:
    build = make_build()
    answer = api().get(f"/builds/{build.name}?{query}")
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["namespace"]


def test_costs_four_statements_however_much_there_is(api: Api) -> None:
    client = api()
    for number in range(5):
        build = make_build(name="again", third_party_id="a", created_at=NOON + timedelta(minutes=number))
        log_of(build, "text\n" * 10)
    with CaptureQueriesContext(connection) as queries:
        assert client.get("/builds/again").status_code == 200
    # The token; the build with its log, cancellation, event and list; its history; its attempts.
    assert len(queries) == 4
    # The other attempts' logs and Jobs are left where they are.
    assert queries[1]["sql"].endswith("LIMIT 1")
