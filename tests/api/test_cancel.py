"""POST /builds/{id}/cancel: every row of the contract's table, on rows and with a stand-in for the worker."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from builds.models import Build, BuildEvent, Cancellation, IdempotentRequest
from builds.states import Status
from tests.api.conftest import Api, client_of
from tests.builders import make_build, make_token

NOON = datetime(2025, 10, 29, 12, tzinfo=UTC)


def cancel(client: Client, build: Build | str, body: Any = None, **headers: str) -> Any:
    name = build if isinstance(build, str) else build.name
    content = b"" if body is None else json.dumps(body).encode()
    return client.generic("POST", f"/builds/{name}/cancel", content, "application/json", headers=headers)


@contextmanager
def worker(target: Status = Status.CANCELLED) -> Iterator[None]:
    """Plays the worker on rows alone: whatever is being cancelled ends like this."""
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.wait(0.01):
                for build in Build.objects.filter(status=Status.CANCELLING):
                    build.move_to(target, source="test", completed_at=timezone.now())
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def history(build: Build) -> list[str]:
    return list(BuildEvent.objects.filter(build=build).values_list("reason", flat=True))


# --- The table ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING])
def test_confirmed_within_the_wait_it_answers_200(api: Api, status: Status) -> None:
    build = make_build(status=status)
    with worker():
        answer = cancel(api(name="ci"), build, {"reason": " wrong branch "}, **{"X-Correlation-ID": "c-7"})
    body = answer.json()
    assert answer.status_code == 200
    assert body.pop("timestamp").endswith("Z")
    assert 0 < body.pop("duration") < 0.5
    assert body == {
        "build_id": build.name,
        "status": "cancelled",
        "message": "Build cancelled successfully",
        "success": True,
        "previous_status": status.value,
        "cancelled_by": "token:ci",
        "reason": "wrong branch",
        "correlation_id": "c-7",
    }
    assert "Retry-After" not in answer.headers
    wish = Cancellation.objects.get(build=build)
    assert (wish.requested_by, wish.reason, wish.correlation_id) == ("token:ci", "wrong branch", "c-7")


@pytest.mark.django_db(transaction=True)
def test_not_confirmed_in_time_it_answers_202_and_the_wish_is_stored(api: Api) -> None:
    build = make_build()
    started_s = time.monotonic()
    answer = cancel(api(), build, {"reason": "late"})
    assert time.monotonic() - started_s < 1
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
    assert (answer.json()["status"], answer.json()["previous_status"]) == ("cancelling", "running")
    assert Cancellation.objects.get(build=build).confirmed_at is None
    build.refresh_from_db()
    assert build.status == Status.CANCELLING


@pytest.mark.django_db(transaction=True)
def test_already_cancelling_it_answers_202_and_starts_nothing(api: Api) -> None:
    build = make_build()
    first = cancel(api(name="first"), build, {"reason": "mine"})
    second = cancel(api(name="second"), build, {"reason": "mine too"})
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.headers["Retry-After"] == "1"
    told = ("build_id", "status", "message", "success", "previous_status", "cancelled_by", "reason")
    assert [second.json()[key] for key in told] == [first.json()[key] for key in told]
    assert history(build) == ["running", "cancelling"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.SUCCEEDED, "build_already_finished"),
        (Status.FAILED, "build_already_finished"),
        (Status.CANCELLED, "build_already_cancelled"),
    ],
)
def test_finished_already_it_answers_409(api: Api, status: Status, code: str) -> None:
    build = make_build(status=status, completed_at=NOON)
    answer = cancel(api(), build)
    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert answer.json()["details"] == {
        "build_id": build.name,
        "build_status": status.value,
        "completed_at": "2025-10-29T12:00:00Z",
    }
    assert history(build) == [status.value]
    assert not Cancellation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_job_turned_out_to_have_finished_first_it_answers_409(api: Api) -> None:
    build = make_build()
    with worker(Status.SUCCEEDED):
        answer = cancel(api(), build)
    assert (answer.status_code, answer.json()["code"]) == (409, "build_already_finished")
    assert answer.json()["details"]["build_status"] == "succeeded"


def test_unknown_it_answers_404(api: Api) -> None:
    answer = cancel(api(), "nobody")
    assert (answer.status_code, answer.json()["code"]) == (404, "build_not_found")


def test_without_the_scope_it_answers_403(api: Api) -> None:
    build = make_build()
    answer = cancel(api("builds:read", "stats:read"), build)
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert answer.json()["details"] == {"scope": "builds:cancel"}
    assert not Cancellation.objects.exists()


def test_another_customers_it_answers_404_like_an_unknown_one(api: Api) -> None:
    build = make_build(third_party_id="theirs")
    client = api(customers=["mine"])
    refused, unknown = cancel(client, build).json(), cancel(client, "nobody").json()
    for body in (refused, unknown):
        for key in ("timestamp", "duration", "correlation_id"):
            del body[key]
    assert refused == unknown
    assert not Cancellation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_twenty_at_once_exactly_one_starts_it() -> None:
    build, secret = make_build(), make_token()

    def call(number: int) -> tuple[int, str]:
        try:
            answer = cancel(client_of(secret), build, {"reason": f"{number}"})
            return answer.status_code, answer.json().get("reason")
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(call, range(20)))
    assert {status for status, _ in answers} == {202}
    assert history(build) == ["running", "cancelling"]
    assert {reason for _, reason in answers} == {Cancellation.objects.get(build=build).reason}


def test_a_name_is_the_newest_attempt_and_a_uid_that_one(api: Api) -> None:
    old = make_build(name="again", uid="u-1", created_at=NOON)
    new = make_build(name="again", uid="u-2", status=Status.SUCCEEDED)
    client = api()
    assert cancel(client, "again").status_code == 409
    assert cancel(client, "u-1").status_code == 202
    assert history(old) == ["running", "cancelling"]
    assert history(new) == ["succeeded"]


# --- The same key again ------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_same_key_again_is_told_how_it_stands(api: Api) -> None:
    build, client = make_build(), api()
    key = {"Idempotency-Key": "k-1"}
    first = cancel(client, build, {"reason": "once"}, **key)
    assert first.status_code == cancel(client, build, **key).status_code == 202
    with worker():
        while not Build.objects.filter(pk=build.pk, status=Status.CANCELLED).exists():
            time.sleep(0.01)
    again = cancel(client, build, **key)
    assert (again.status_code, again.json()["status"], again.json()["reason"]) == (200, "cancelled", "once")
    assert again.json()["previous_status"] == "running"
    assert cancel(client, build).status_code == 409
    assert cancel(client, build, **{"Idempotency-Key": "k-2"}).status_code == 409
    assert cancel(api(), build, **key).status_code == 409  # another caller's key is another key
    assert cancel(client, build, **key).status_code == 200
    assert history(build) == ["running", "cancelling", "cancelled"]


@pytest.mark.django_db(transaction=True)
def test_the_same_key_after_the_job_finished_first_is_told_so(api: Api) -> None:
    build, client = make_build(), api()
    key = {"Idempotency-Key": "k-1"}
    with worker(Status.FAILED):
        assert cancel(client, build, **key).status_code == 409
    again = cancel(client, build, **key)
    assert (again.status_code, again.json()["status"]) == (200, "failed")


def test_a_key_whose_call_cancelled_nothing_gets_its_409_again(api: Api) -> None:
    build, client = make_build(status=Status.SUCCEEDED), api()
    for _ in range(2):
        assert cancel(client, build, **{"Idempotency-Key": "k-1"}).status_code == 409
    assert not IdempotentRequest.objects.exists()


def test_a_key_is_forgotten_after_a_day(api: Api) -> None:
    build, client = make_build(), api()
    key = {"Idempotency-Key": "k-1"}
    assert cancel(client, build, **key).status_code == 202
    build.refresh_from_db()
    build.move_to(Status.CANCELLED, source="test", completed_at=timezone.now())
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=23))
    assert cancel(client, build, **key).status_code == 200
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert cancel(client, build, **key).status_code == 409


def test_old_keys_are_swept_away(api: Api) -> None:
    cancel(api(), make_build(), **{"Idempotency-Key": "k-1"})
    IdempotentRequest.objects.create(
        caller="token:0", method="POST", path="/x", key="k", created_at=timezone.now() - timedelta(hours=25)
    )
    assert IdempotentRequest.objects.forget_old() == 1
    assert IdempotentRequest.objects.get().key == "k-1"


@pytest.mark.django_db(transaction=True)
def test_one_key_used_at_once_by_many_starts_it_once() -> None:
    build, secret = make_build(), make_token()

    def call(_: int) -> int:
        try:
            status: int = cancel(client_of(secret), build, **{"Idempotency-Key": "k-1"}).status_code
            return status
        finally:
            connection.close()

    with worker(), ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(call, range(10)))
    assert set(answers) <= {200, 202}
    assert history(build) == ["running", "cancelling", "cancelled"]
    assert IdempotentRequest.objects.count() == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "é"])
def test_a_strange_key_is_refused(api: Api, key: str) -> None:
    build = make_build()
    answer = cancel(api(), build, **{"Idempotency-Key": key})
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["Idempotency-Key"]
    assert not Cancellation.objects.exists()


# --- The body ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", "multipart/form-data"])
def test_an_empty_body_needs_no_type(api: Api, content_type: str | None) -> None:
    build = make_build()
    answer = api().generic("POST", f"/builds/{build.name}/cancel", b"", content_type or "")
    assert (answer.status_code, answer.json()["reason"]) == (202, None)


@pytest.mark.parametrize("reason", [None, "", "   ", "x" * 500, "wegen \u202e 💥", 'line\n"two"'])
def test_a_reason_is_any_text(api: Api, reason: str | None) -> None:
    build = make_build()
    answer = cancel(api(), build, {"reason": reason})
    assert answer.status_code == 202
    assert answer.json()["reason"] == ((reason or "").strip() or None)


BAD_BODIES: list[tuple[bytes, str, int, str]] = [
    (b'{"reason": ', "application/json", 400, "malformed_json"),
    (b"\xff\xfe", "application/json", 400, "malformed_json"),
    (b'{"reason": "\\ud800"}', "application/json", 400, "malformed_json"),
    (b'{"reason": NaN}', "application/json", 400, "malformed_json"),
    (b"[" * 100_000 + b"]" * 100_000, "application/json", 400, "malformed_json"),
    (b"[]", "application/json", 400, "invalid_request"),
    (b'"why"', "application/json", 400, "invalid_request"),
    (b"null", "application/json", 400, "invalid_request"),
    (b'{"reason": 7}', "application/json", 400, "invalid_request"),
    (b'{"reason": ["a"]}', "application/json", 400, "invalid_request"),
    (b'{"reason": "a\\u0000b"}', "application/json", 400, "invalid_request"),
    (b'{"reason": "' + b"x" * 501 + b'"}', "application/json", 400, "invalid_request"),
    (b'{"Reason": "a"}', "application/json", 400, "unknown_key"),
    (b'{"reason": "a", "force": true}', "application/json", 400, "unknown_key"),
    (b'{"reason": "a"}', "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    (b'{"reason": "a"}', "text/plain", 415, "unsupported_media_type"),
    (b'{"reason": "a"}', "", 415, "unsupported_media_type"),
    (b"--x--", "multipart/form-data; boundary=x", 415, "unsupported_media_type"),
    (b'{"reason": "' + b"x" * (1024 * 1024) + b'"}', "application/json", 413, "body_too_large"),
]


@pytest.mark.parametrize(("body", "content_type", "status", "code"), BAD_BODIES)
def test_a_bad_body_is_refused(api: Api, body: bytes, content_type: str, status: int, code: str) -> None:
    build = make_build()
    answer = api().generic("POST", f"/builds/{build.name}/cancel", body, content_type)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not Cancellation.objects.exists()


def test_a_charset_beside_the_type_is_no_trouble(api: Api) -> None:
    build = make_build()
    path = f"/builds/{build.name}/cancel"
    answer = api().generic("POST", path, b'{"reason": "a"}', "Application/JSON; charset=bz2_codec")
    assert (answer.status_code, answer.json()["reason"]) == (202, "a")


def test_a_body_without_a_length_is_not_passed_over(api: Api) -> None:
    build = make_build()
    answer = api().generic(
        "POST", f"/builds/{build.name}/cancel", b"", HTTP_TRANSFER_ENCODING="chunked", CONTENT_LENGTH=""
    )
    assert (answer.status_code, answer.json()["code"]) == (411, "length_required")


def test_an_unknown_parameter_is_refused(api: Api) -> None:
    build = make_build()
    answer = api().post(f"/builds/{build.name}/cancel?reason=x")
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_parameter")
    assert not Cancellation.objects.exists()


# --- A signed-in person ------------------------------------------------------------------------------------


def test_a_session_needs_the_csrf_token(session: Callable[..., Client]) -> None:
    build = make_build()
    browser = session("view_build", "cancel_build")
    answer = cancel(browser, build)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    assert not Cancellation.objects.exists()
    browser.get("/console/sign-in")
    token = "a" * 32
    browser.cookies["csrftoken"] = token
    answer = cancel(browser, build, **{"X-CSRFToken": token})
    assert answer.status_code == 202, answer.content
    assert answer.json()["cancelled_by"].startswith("person-")
    assert BuildEvent.objects.get(build=build, reason="cancelling").source == "api"
