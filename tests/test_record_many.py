"""Many snapshots at once end in the rows that one after the other would make, in few statements."""

from dataclasses import replace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from builds import record
from builds.kube import JobSnapshot
from builds.models import Build, BuildEvent, BuildLog, OutgoingEvent
from builds.states import Status
from tests.snapshots import a_job, failed, running, succeeded

pytestmark = pytest.mark.django_db


def named(job: JobSnapshot, number: int) -> JobSnapshot:
    return replace(job, uid=f"uid-{number}", name=f"build-acme-orders-{number:06x}")


def history(uid: str) -> list[str]:
    events = BuildEvent.objects.filter(build__uid=uid, type=BuildEvent.Type.TRANSITION).order_by("pk")
    return [f"{event.from_status}>{event.to_status}" for event in events]


def test_a_whole_life_at_once_leaves_one_event_per_transition(settings: Settings) -> None:
    settings.EVENT_SINK = "http://sink.example.org/"
    lives = [named(job, number) for job in (a_job(), running(), succeeded()) for number in (1, 2)]
    ended = record.apply_all(lives, source="watch")
    assert ended == set(Build.objects.values_list("pk", flat=True))
    for uid in ("uid-1", "uid-2"):
        assert history(uid) == ["None>pending", "pending>running", "running>succeeded"]
        told = OutgoingEvent.objects.filter(build__uid=uid).order_by("position")
        assert [one.type.rpartition(".")[2] for one in told] == ["started", "completed"]
    assert BuildLog.objects.filter(next_try_at__isnull=False).count() == 2


def test_late_and_repeated_ones_in_between_change_nothing() -> None:
    record.apply_all([a_job(), running(), a_job(), running(), failed(), running(), failed()], source="watch")
    assert history("uid-1") == ["None>pending", "pending>running", "running>failed"]
    assert Build.objects.get().status == Status.FAILED


def test_a_change_that_is_taken_back_within_a_batch_is_taken_back() -> None:
    record.apply(running(), source="watch")
    suspended = replace(running(), version=running().version + 1, suspended=True)
    resumed = replace(running(), version=running().version + 2)
    record.apply_all([suspended, resumed], source="watch")
    assert Build.objects.get().status_reason is None


def test_a_page_of_new_jobs_costs_no_more_statements_than_one() -> None:
    with CaptureQueriesContext(connection) as one:
        record.apply_all([named(succeeded(), 0)], source="list")
    with CaptureQueriesContext(connection) as many:
        record.apply_all([named(succeeded(), number) for number in range(1, 31)], source="list")
    assert Build.objects.count() == BuildLog.objects.count() == 31
    assert len(many) == len(one)


def test_what_is_unchanged_costs_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    jobs = [named(job, number) for number, job in enumerate([a_job(), running(), succeeded(), failed()])]
    record.apply_all(jobs, source="list")
    with django_assert_num_queries(1):
        assert record.apply_all(jobs, source="list") == set()


def test_another_process_may_have_one_of_a_page_already() -> None:
    jobs = [named(running(), number) for number in range(3)]

    def be_first() -> None:
        record.apply(jobs[1], source="list")

    # The fence is asked after the rows were looked for and before anything is written.
    record.apply_all(jobs, source="watch", fence=be_first)
    assert [history(f"uid-{number}") for number in range(3)] == [["None>running"]] * 3
    assert BuildEvent.objects.get(build__uid="uid-1").source == "list"
