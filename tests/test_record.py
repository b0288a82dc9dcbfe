"""Snapshots, absences and Events become rows: whatever order they come in."""

from dataclasses import replace

import pytest
from pytest_django import DjangoAssertNumQueries

from builds import record
from builds.models import Build, BuildEvent, BuildLog
from builds.states import Reason, Status
from tests.snapshots import a_container, a_job, a_pod, an_event, at, failed, running, succeeded

pytestmark = pytest.mark.django_db


def history(build: Build) -> list[tuple[str | None, str | None]]:
    return list(build.events.filter(type=BuildEvent.Type.TRANSITION).values_list("from_status", "to_status"))


def test_first_sight() -> None:
    build = record.apply(a_job(), source="watch")
    build.refresh_from_db()
    assert (build.name, build.third_party_id, build.parser_id) == (
        "build-acme-orders-0a1b2c",
        "acme",
        "orders",
    )
    assert (build.status, build.created_at, build.image_uri) == (
        "pending",
        at(0),
        "registry.local/acme/orders:1",
    )
    assert history(build) == [(None, "pending")]


def test_a_whole_life_leaves_one_event_per_transition() -> None:
    for snapshot in (a_job(), running(), running(), succeeded(), succeeded()):
        build = record.apply(snapshot, source="watch")
    build.refresh_from_db()
    assert history(build) == [(None, "pending"), ("pending", "running"), ("running", "succeeded")]
    assert (build.started_at, build.completed_at) == (at(5), at(20))


@pytest.mark.parametrize("last", [succeeded(), failed()])
def test_steps_may_be_skipped(last: object) -> None:
    record.apply(a_job(), source="watch")
    build = record.apply(last, source="list")  # type: ignore[arg-type]
    assert len(history(build)) == 2
    assert build.started_at == at(5)


def test_a_snapshot_that_was_overtaken_while_it_was_recorded_changes_nothing() -> None:
    record.apply(a_job(), source="watch")
    read_before = Build.objects.get()
    record.apply(failed(), source="watch")
    expected = Build.objects.values().get()
    record.apply(running(), source="cancellation", known=read_before)
    assert Build.objects.values().get() == expected


def test_late_and_repeated_snapshots_change_nothing() -> None:
    done = record.apply(succeeded(), source="watch")
    before = Build.objects.values().get()
    for late in (a_job(), running(), replace(failed(), version=19)):
        record.apply(late, source="watch")
    assert Build.objects.values().get() == before
    assert history(done) == [(None, "succeeded")]


def test_a_finished_build_keeps_its_outcome_even_from_newer_snapshots() -> None:
    record.apply(succeeded(), source="watch")
    record.apply(replace(failed(), version=99), source="watch")
    assert Build.objects.get().status == Status.SUCCEEDED


def test_running_never_goes_back_to_pending() -> None:
    record.apply(running(), source="watch")
    gone_pod = replace(a_job(), version=13, pods=())
    assert record.apply(gone_pod, source="watch").status == Status.RUNNING


def test_an_unchanged_snapshot_writes_nothing(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    build = record.apply(running(), source="watch")
    build.refresh_from_db()
    with django_assert_num_queries(0):
        record.apply(running(), source="list", known=build)
    with django_assert_num_queries(1):  # the row
        record.apply(running(), source="list")


def test_a_stale_row_in_hand_does_no_harm() -> None:
    stale = record.apply(a_job(), source="watch")
    record.apply(running(), source="watch")
    record.apply(succeeded(), source="watch")
    assert record.apply(succeeded(), source="list", known=stale).status == Status.SUCCEEDED
    assert history(stale) == [(None, "pending"), ("pending", "running"), ("running", "succeeded")]


def test_completion_time_replaces_that_of_the_success_criteria() -> None:
    criteria = replace(succeeded(), conditions=succeeded().conditions[:1], completed_at=None, version=19)
    record.apply(running(), source="watch")
    record.apply(criteria, source="watch")
    record.apply(replace(succeeded(), completed_at=at(21)), source="watch")
    assert Build.objects.get().completed_at == at(21)


def test_a_new_uid_is_a_new_attempt() -> None:
    record.apply(failed(), source="watch")
    record.apply(a_job("uid-2", created_at=at(100)), source="watch")
    assert [build.uid for build in Build.objects.newest_first()] == ["uid-2", "uid-1"]
    newest = Build.objects.named("build-acme-orders-0a1b2c")
    assert newest is not None
    assert newest.uid == "uid-2"
    by_uid = Build.objects.named("uid-1")
    assert by_uid is not None
    assert by_uid.status == Status.FAILED


def test_label_edits_are_history_not_followed() -> None:
    build = record.apply(a_job(), source="watch")
    moved = replace(a_job(), version=15, labels={"third-party-id": "other"})
    for _ in range(2):
        record.apply(moved, source="watch")
    build.refresh_from_db()
    assert (build.third_party_id, build.parser_id) == ("acme", "orders")
    assert [event.reason for event in build.events.filter(type=BuildEvent.Type.CHANGE)] == ["LabelsChanged"]


def test_the_log_falls_due_with_the_end() -> None:
    build = record.apply(running(), source="watch")
    assert not BuildLog.objects.exists()
    record.apply(failed(), source="watch")
    assert BuildLog.objects.get(build=build).next_try_at is not None


@pytest.mark.parametrize(("was_seen", "reason"), [(True, "deleted"), (False, "lost")])
def test_a_job_that_vanished(was_seen: bool, reason: str) -> None:
    build = record.apply(running(), source="watch")
    assert record.vanished(build, was_seen=was_seen, source="list") is False
    build.refresh_from_db()
    assert (build.status, build.status_reason) == ("failed", reason)
    assert build.gone_at is not None
    assert build.error_message


def test_a_finished_build_keeps_its_outcome_when_the_job_goes() -> None:
    build = record.apply(succeeded(), source="watch")
    record.vanished(build, was_seen=True, source="watch")
    build.refresh_from_db()
    assert (build.status, build.status_reason) == ("succeeded", None)
    assert build.gone_at is not None


def test_a_cancelling_build_is_left_to_its_cancellation() -> None:
    build = record.apply(running(), source="watch")
    build.move_to(Status.CANCELLING, source="api", actor="ann")
    assert record.vanished(build, was_seen=True, source="watch") is True
    assert Build.objects.get().status == Status.CANCELLING


def test_a_cancelling_build_whose_job_finished_first() -> None:
    build = record.apply(running(), source="watch")
    build.move_to(Status.CANCELLING, source="api", actor="ann")
    assert record.apply(running(), source="watch").status == Status.CANCELLING
    assert record.apply(succeeded(), source="watch").status == Status.SUCCEEDED


def test_cluster_events_are_kept_once_and_counted() -> None:
    record.apply(a_job(), source="watch")
    assert record.note(an_event(), job_uid="uid-1")
    assert record.note(an_event(count=3, last_at=at(9)), job_uid="uid-1")
    assert record.note(an_event(), job_uid="uid-1")
    kept = BuildEvent.objects.get(cluster_uid="event-1")
    assert (kept.count, kept.timestamp, kept.source) == (3, at(9), "job-controller")
    assert record.note(an_event(), job_uid="nobody's") is False


def test_a_volume_that_cannot_be_mounted_shows_in_an_event_alone() -> None:
    pulling = a_job(pods=(a_pod(a_container(state="waiting", reason="ContainerCreating")),))
    record.apply(pulling, source="watch")
    record.note(an_event(type="Warning", reason="FailedMount"), job_uid="uid-1")
    assert Build.objects.get().status_reason == Reason.CONFIG_ERROR
    record.apply(replace(pulling, version=14), source="list")
    assert Build.objects.get().status_reason == Reason.CONFIG_ERROR
    record.apply(running(), source="watch")
    assert Build.objects.get().status_reason is None
