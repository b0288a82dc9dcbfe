"""One build's page: everything that is known of it, in words, and no more refreshing than needed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries

from builds.models import Build, BuildEvent, BuildLog, Cancellation, OutgoingEvent
from builds.states import Reason, Status
from tests.builders import make_build

REFRESH = {"HX-Request": "true"}


def page_of(browser: Client, build: Build) -> str:
    answer = browser.get(reverse("console:build", args=[build.uid or build.name]))
    assert answer.status_code in (200, 286)
    return str(answer.content.decode())


def add_log(build: Build, text: str, **over: Any) -> BuildLog:
    return BuildLog.objects.create(build=build, text=text, as_of=timezone.now(), **over)


def test_a_build_is_found_by_uid_and_by_name(viewer: Client) -> None:
    old = make_build(name="twice", created_at=timezone.now() - timedelta(days=1), status=Status.SUCCEEDED)
    new = make_build(name="twice", third_party_id=old.third_party_id)
    waiting = make_build(name="waits", uid=None, status=Status.PENDING, job=None)
    assert str(new.uid) in viewer.get("/console/builds/twice").content.decode()
    assert str(old.uid) in page_of(viewer, old)
    assert "No pod has been seen yet" in page_of(viewer, waiting)
    assert "Attempts under this name" in page_of(viewer, old)
    assert f'href="/console/builds/{new.uid}"' in page_of(viewer, old)


@pytest.mark.parametrize(
    "path", ["/console/builds/unknown", "/console/builds/a%00b", "/console/builds/x?namespace=%00"]
)
def test_an_unknown_build_is_told(viewer: Client, path: str) -> None:
    answer = viewer.get(path)
    assert answer.status_code == 404
    assert b"There is nothing here" in answer.content
    assert answer["X-Correlation-ID"].encode() in answer.content


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"status": Status.PENDING}, "its build container has not started yet"),
        ({"status": Status.PENDING, "status_reason": Reason.IMAGE_PULL}, "cannot be fetched"),
        ({"status": Status.RUNNING}, "The build container has started"),
        ({"status": Status.RUNNING, "status_reason": Reason.RETRYING}, "the cluster is trying again"),
        ({"status": Status.SUCCEEDED}, "The image was built"),
        ({"status": Status.FAILED, "status_reason": Reason.OOM_KILLED}, "more memory than it may"),
        ({"status": Status.FAILED, "status_reason": Reason.DELETED}, "outside of the portal"),
    ],
)
def test_the_state_is_told_in_words(viewer: Client, over: dict[str, object], words: str) -> None:
    assert words in page_of(viewer, make_build(**over))


def test_error_pods_and_history_are_shown_as_text(viewer: Client) -> None:
    hostile = "<b onmouseover=alert(1)>\u202e"
    build = make_build(
        status=Status.FAILED,
        status_reason=Reason.ERROR,
        error_message=hostile,
        error_code="exit_code",
        error_container="kaniko",
        error_exit_code=0,
        image_uri=hostile,
    )
    container = {"name": hostile, "state": "terminated", "reason": hostile, "exit_code": 0, "restarts": 2}
    pod = {"name": "pod-1", "phase": "Failed", "node": None, "reason": hostile, "containers": [container]}
    condition = {"type": "Failed", "status": "True", "reason": hostile, "message": hostile}
    build.job = {"active": 0, "succeeded": 0, "failed": 1, "conditions": [condition], "pods": [pod]}
    build.save()
    BuildEvent.objects.create(
        build=build,
        type="Warning",
        reason=hostile,
        message=hostile,
        source=hostile,
        timestamp=timezone.now(),
        count=3,
    )
    add_log(
        build,
        hostile + "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\ a\rb \x08",
    )
    page = page_of(viewer, build)
    assert "<b onmouseover" not in page
    assert "\u202e" not in page
    assert "&lt;b onmouseover=alert(1)&gt;\N{REPLACEMENT CHARACTER}red link a\nb \u2408</pre>" in page
    assert "evil.example" not in page
    assert "with exit code <code>0</code>" in page
    assert "3 times" in page


def test_a_cancellation_has_a_receipt(viewer: Client) -> None:
    build = make_build(status=Status.CANCELLED, third_party_id="acme")
    now = timezone.now()
    cancellation = Cancellation.objects.create(
        build=build,
        requested_at=now,
        requested_by="grace",
        reason="Superseded <em>",
        previous_status=Status.RUNNING,
        next_try_at=now,
        confirmed_at=now,
        job_outcome=Cancellation.JobOutcome.DELETED,
        pods_outcome=Cancellation.PodsOutcome.TERMINATING,
    )
    page = page_of(viewer, build)
    for told in (
        "grace",
        "Superseded &lt;em&gt;",
        "while it was running",
        "<dd>Deleted</dd>",
        "<dd>Still ending</dd>",
    ):
        assert told in page
    assert "Waiting to be sent" not in page
    sent = OutgoingEvent.objects.create(
        build=build,
        position=1,
        type="io.knative.lambda.lifecycle.build.cancelled",
        source="s",
        subject=build.name,
        time=now,
        extensions={},
        data={},
        next_try_at=now,
    )
    assert "Waiting to be sent" in page_of(viewer, build)
    sent.sent_at = now
    sent.save()
    cancellation.pods_outcome = Cancellation.PodsOutcome.GONE
    cancellation.save()
    page = page_of(viewer, build)
    assert "<dd>Sent</dd>" in page
    assert "<dd>Gone</dd>" in page


@pytest.mark.parametrize(
    ("over", "log", "goes_on"),
    [
        ({"status": Status.RUNNING}, {}, True),
        ({"status": Status.CANCELLING}, {}, True),
        ({"status": Status.SUCCEEDED}, {"is_final": True}, False),
        ({"status": Status.FAILED, "age": timedelta(seconds=5)}, None, True),
        ({"status": Status.FAILED, "age": timedelta(hours=1)}, None, False),
        ({"status": Status.FAILED, "age": timedelta(seconds=5)}, {"next_try_at": timezone.now()}, True),
    ],
)
def test_the_page_refreshes_until_nothing_will_change(
    viewer: Client, over: dict[str, object], log: dict[str, object] | None, *, goes_on: bool
) -> None:
    over = dict(over)
    age = over.pop("age", None)
    if isinstance(age, timedelta):
        over["completed_at"] = timezone.now() - age
    build = make_build(**over)
    if log is not None:
        add_log(build, "line", **log)
    path = reverse("console:build", args=[build.uid])
    assert ("hx-trigger" in page_of(viewer, build)) is goes_on
    answer = viewer.get(path, headers=REFRESH)
    assert answer.status_code == (200 if goes_on else 286)
    assert answer.content.decode().strip().startswith('<article id="build"')


@pytest.mark.parametrize("permissions", [("view_build",), ("view_build", "cancel_build")])
def test_cancel_is_offered_to_those_who_may(
    signed_in: Callable[..., Client], permissions: tuple[str, ...]
) -> None:
    browser = signed_in(*permissions)
    offered = [
        "Cancel build</a>" in page_of(browser, make_build(status=status))
        for status in (Status.PENDING, Status.RUNNING, Status.CANCELLING, Status.SUCCEEDED)
    ]
    assert offered == ([True, True, False, False] if "cancel_build" in permissions else [False] * 4)


def test_the_number_of_queries_does_not_grow_with_the_history(
    viewer: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    build = make_build(name="busy")
    for rows in (1, 30):
        for number in range(rows):
            make_build(name="busy", third_party_id=build.third_party_id, status=Status.FAILED)
            BuildEvent.objects.create(
                build=build, type="Normal", reason=f"r{number}", source="kubelet", timestamp=timezone.now()
            )
        # Session, user, two for permissions; build with log and cancellation, events, attempts, freshness.
        with django_assert_num_queries(8):
            page_of(viewer, build)


def test_only_the_newest_events_and_last_lines_are_shown(viewer: Client) -> None:
    build = make_build()
    now = timezone.now()
    BuildEvent.objects.bulk_create(
        BuildEvent(
            build=build,
            type="Normal",
            reason=f"event-{number}.",
            source="x",
            timestamp=now + timedelta(number),
        )
        for number in range(120)
    )
    add_log(build, "".join(f"line-{number}.\n" for number in range(500)))
    page = page_of(viewer, build)
    assert "event-119." in page
    assert "event-20." in page
    assert "event-19." not in page
    assert "line-499." in page
    assert "line-300." in page
    assert "line-299." not in page


@pytest.mark.parametrize(
    ("over", "log", "words"),
    [
        ({"status": Status.PENDING}, None, "The build container has not started yet."),
        ({"status": Status.RUNNING}, None, "No line has been stored yet."),
        ({"status": Status.FAILED, "started_at": None}, None, "The build container never started."),
        ({"status": Status.SUCCEEDED}, {"is_final": True}, "The build container printed nothing."),
        (
            {"status": Status.PENDING},
            {"unavailable_reason": "image_pull"},
            "cannot be fetched, so nothing has run",
        ),
        ({"status": Status.FAILED}, {"unavailable_reason": "unreachable"}, "could not be asked for the log"),
        ({"status": Status.FAILED}, {"unavailable_reason": "unheard_of"}, "unheard_of"),
        (
            {"status": Status.FAILED},
            {"text": "x", "unavailable_reason": "pod_gone"},
            "No newer line was read. The pod",
        ),
        ({"status": Status.SUCCEEDED}, {"text": "x", "is_final": True}, "at most \u00b7 final"),
        ({"status": Status.CANCELLED, "gone_at": timezone.now()}, None, "this is how it was last seen"),
    ],
)
def test_what_is_missing_is_told_in_words(
    viewer: Client, over: dict[str, object], log: dict[str, Any] | None, words: str
) -> None:
    build = make_build(**over)
    if log is not None:
        add_log(build, **{"text": "", **log})
    assert words in " ".join(page_of(viewer, build).split())
