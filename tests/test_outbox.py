"""CloudEvents reach a real HTTP sink: at least once, in order per build, the same id each time."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from builds import outbox, record
from builds.models import OutgoingEvent
from builds.states import Status
from tests.sink import Sink, running_sink
from tests.snapshots import a_condition, a_job, failed, running, succeeded

pytestmark = pytest.mark.django_db


@pytest.fixture
def sink(settings: Settings) -> Iterator[Sink]:
    with running_sink() as sink:
        settings.EVENT_SINK = sink.url
        yield sink


def deliver_all() -> None:
    for _ in range(20):
        if not outbox.deliver_next():
            return
    raise AssertionError("deliveries never end")


def make_all_due() -> None:
    OutgoingEvent.objects.filter(sent_at__isnull=True).update(
        next_try_at=timezone.now() - timedelta(seconds=1)
    )


def test_a_whole_life(sink: Sink) -> None:
    annotated = a_job(annotations={"build.notifi.network/correlation-id": "req-7"})
    for snapshot in (annotated, running(annotated), succeeded(annotated)):
        record.apply(snapshot, source="watch")
    deliver_all()
    types = [headers["ce-type"] for headers, _ in sink.received]
    prefix = "io.knative.lambda.lifecycle.build"
    assert types == [f"{prefix}.started", f"{prefix}.completed"]
    headers, data = sink.received[1]
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-source"] == "io.knative.lambda/buildportal/knative-lambda"
    assert headers["ce-subject"] == "build-acme-orders-0a1b2c"
    assert headers["ce-correlationid"] == "req-7"
    assert headers["ce-idempotencykey"] == f"uid-1:{prefix}.completed"
    assert headers["content-type"] == "application/json"
    assert data == {
        "name": "build-acme-orders-0a1b2c",
        "uid": "uid-1",
        "namespace": "knative-lambda",
        "jobName": "build-acme-orders-0a1b2c",
        "buildId": "build-acme-orders-0a1b2c",
        "thirdPartyId": "acme",
        "parserId": "orders",
        "imageUri": "registry.local/acme/orders:1",
        "startedAt": "2026-03-01T12:00:05Z",
        "completedAt": "2026-03-01T12:00:20Z",
        "duration": 15.0,
    }
    assert not OutgoingEvent.objects.filter(sent_at__isnull=True).exists()


def test_a_refused_event_comes_again_with_the_same_id_and_holds_back_the_later_ones(sink: Sink) -> None:
    sink.answers = [503]
    record.apply(running(), source="watch")
    record.apply(failed(), source="watch")
    deliver_all()
    assert len(sink.received) == 1
    kept = OutgoingEvent.objects.order_by("position").first()
    assert kept is not None
    assert (kept.tries, kept.last_error) == (1, "answered 503")
    make_all_due()
    deliver_all()
    ids = [headers["ce-id"] for headers, _ in sink.received]
    assert ids[0] == ids[1] != ids[2]
    assert [headers["ce-type"].rsplit(".")[-1] for headers, _ in sink.received] == [
        "started",
        "started",
        "failed",
    ]
    assert sink.received[2][1]["reason"] == "error"


def test_one_builds_trouble_does_not_hold_back_another(sink: Sink) -> None:
    sink.answers = [500]
    record.apply(running(), source="watch")
    record.apply(running(a_job("uid-2", name="other")), source="watch")
    deliver_all()
    assert [body["name"] for _, body in sink.received] == ["build-acme-orders-0a1b2c", "other"]


def test_an_unreachable_sink_is_tried_again_later(settings: Settings) -> None:
    with running_sink() as gone:
        settings.EVENT_SINK = gone.url
    record.apply(running(), source="watch")
    deliver_all()
    event = OutgoingEvent.objects.get()
    assert event.sent_at is None
    assert event.last_error.startswith("no answer")
    assert event.next_try_at > timezone.now()


def test_a_deadline_is_told_as_timeout(sink: Sink) -> None:
    record.apply(running(), source="watch")
    deadline = replace(running(), version=20, conditions=(a_condition("FailureTarget", "DeadlineExceeded"),))
    assert record.apply(deadline, source="watch").status == Status.FAILED
    deliver_all()
    assert sink.received[-1][0]["ce-type"].endswith(".timeout")


@pytest.mark.parametrize("snapshot", [succeeded(), failed()])
def test_a_build_first_seen_finished_is_not_told(sink: Sink, snapshot: object) -> None:
    record.apply(snapshot, source="list")  # type: ignore[arg-type]
    assert not OutgoingEvent.objects.exists()


def test_without_a_sink_nothing_is_written_down(settings: Settings) -> None:
    settings.EVENT_SINK = None
    record.apply(running(), source="watch")
    record.apply(succeeded(), source="watch")
    assert not OutgoingEvent.objects.exists()
