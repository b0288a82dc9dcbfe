"""The watch streams of a real API server, played to the gateway, end in what the recordings contain."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from builds.kube import (
    Cluster,
    EventSeen,
    Heartbeat,
    JobChanged,
    JobGone,
    JobSnapshot,
    Listed,
    PodGone,
)
from tests.kube.conftest import Connect, Reader
from tests.kube.replay import KUBE_SYSTEM_UID, ReplayServer

Reading = Callable[[Cluster], Reader]
Container = tuple[str, str | None, int | None, int]
"""State, reason, exit code, restarts."""


@dataclass(frozen=True)
class End:
    """How a Job stands when its recording is over; `pods` are phase, reason and the build container."""

    conditions: tuple[str, ...]
    counts: tuple[int, int, int]
    pods: tuple[tuple[str, str | None, Container], ...]
    is_gone: bool = False


COMPLETE = ("SuccessCriteriaMet", "Complete")
FAILED = ("FailureTarget", "Failed")
GOOD = ("Succeeded", None, ("terminated", "Completed", 0, 0))
BAD = ("Failed", None, ("terminated", "Error", 1, 0))
EVICTED = ("Failed", "Evicted", ("terminated", "Error", 137, 0))
RUNNING = ("Running", None, ("running", None, None, 0))

ENDS: dict[str, dict[str, End]] = {
    "01-job-complete": {"build-0101": End(COMPLETE, (0, 1, 0), (GOOD,))},
    "02-job-failed-exit1": {"build-0201": End(FAILED, (0, 0, 1), (BAD,))},
    "03-deadline-exceeded": {"build-0301": End(FAILED, (0, 0, 1), ())},
    "03b-deadline-while-pending": {"build-0302": End(FAILED, (0, 0, 1), ())},
    "04-backoff-retries": {"build-0401": End(FAILED, (0, 0, 3), (BAD, BAD, BAD))},
    "04b-retry-then-success": {"build-0402": End(COMPLETE, (0, 1, 1), (BAD, GOOD))},
    "04c-onfailure-restart": {"build-0403": End(FAILED, (0, 0, 1), ())},
    "04d-pod-failure-policy": {
        "build-0404": End(FAILED, (0, 0, 1), (("Failed", None, ("terminated", "Error", 42, 0)),)),
        "build-0405": End((), (0, 0, 0), (EVICTED, EVICTED)),
        "build-0406": End(FAILED, (0, 0, 1), (EVICTED,)),
    },
    "07a-delete-default": {"build-07a": End((), (1, 0, 0), (RUNNING,), is_gone=True)},
    "07b-delete-background": {"build-07b": End((), (1, 0, 0), (RUNNING,), is_gone=True)},
    "07d-delete-orphan": {"build-07d": End((), (1, 0, 0), (RUNNING,), is_gone=True)},
    "09-suspend-resume": {
        "build-0901": End(COMPLETE, (0, 1, 0), (GOOD,)),
        "build-0902": End(COMPLETE, (0, 1, 0), (GOOD,)),
    },
    "18-stuck-pods": {
        "stuck-unsched": End(FAILED, (0, 0, 1), ()),
        "stuck-image": End((), (1, 0, 0), (("Pending", None, ("waiting", "ErrImagePull", None, 0)),)),
        "stuck-secret": End((), (1, 0, 0), (("Pending", None, ("waiting", "ContainerCreating", None, 0)),)),
        "stuck-env": End(
            (), (1, 0, 0), (("Pending", None, ("waiting", "CreateContainerConfigError", None, 0)),)
        ),
    },
}


def play(server: ReplayServer, connect: Connect, reader: Reading) -> Reader:
    """Follows the whole play."""
    reading = reader(connect(server))
    reading.until(server.finished.is_set)
    reading.settle()
    return reading


def end_of(job: JobSnapshot, *, is_gone: bool) -> End:
    return End(
        tuple(one.type for one in job.conditions if one.status),
        (job.active, job.succeeded, job.failed),
        tuple(
            (pod.phase or "", pod.reason, (one.state or "", one.reason, one.exit_code, one.restarts))
            for pod in job.pods
            for one in pod.containers
        ),
        is_gone,
    )


def last_of(reading: Reader, name: str) -> JobSnapshot:
    return next(
        one.snapshot
        for one in reversed(reading.changes)
        if isinstance(one, JobChanged | JobGone) and one.snapshot.name == name
    )


@pytest.mark.parametrize("recording", ENDS)
def test_the_last_snapshot_of_each_job(recording: str, connect: Connect, reader: Reading) -> None:
    with ReplayServer(recording, speed=30) as server:
        reading = play(server, connect, reader)
        gone = {one.snapshot.name for one in reading.of(JobGone)}
        told = {name: end_of(last_of(reading, name), is_gone=name in gone) for name in ENDS[recording]}
        assert told == ENDS[recording]
        assert all(one.job_uid is not None for one in reading.of(EventSeen))
        reading.stop()


def test_the_listing_agrees_with_what_was_followed(connect: Connect, reader: Reading) -> None:
    with ReplayServer("04b-retry-then-success") as server:
        reading = play(server, connect, reader)
        cluster = connect(server)
        followed = last_of(reading, "build-0402")
        listing = cluster.snapshots("builds")
        assert listing.jobs == (followed,)
        assert listing.version >= followed.version_seen
        assert cluster.get("builds", "build-0402") == followed
        assert cluster.pods_of("builds", followed.uid) == followed.pods
        assert cluster.get("builds", "another") is None
        assert cluster.identity() == KUBE_SYSTEM_UID
        reading.stop()


def test_times_and_spec_of_a_finished_build(connect: Connect, reader: Reading) -> None:
    with ReplayServer("01-job-complete") as server:
        reading = play(server, connect, reader)
        job = last_of(reading, "build-0101")
        reading.stop()
    (pod,) = job.pods
    (container,) = pod.containers
    assert job.started_at == datetime(2026, 11, 23, 4, 22, 27, tzinfo=UTC)
    assert job.completed_at == datetime(2026, 11, 23, 4, 22, 30, tzinfo=UTC)
    assert container.first_started_at == container.started_at
    assert container.started_at is not None
    assert container.finished_at is not None
    assert job.created_at <= pod.created_at <= container.started_at <= container.finished_at
    assert job.containers[0].name == "kaniko"
    assert "--destination=registry.local/team/app:latest" in job.containers[0].args
    assert job.annotations == {"portal.example.com/requested-by": "alice"}
    complete = job.condition("Complete")
    assert complete is not None
    assert complete.reason == "CompletionsReached"
    assert complete.changed_at == job.completed_at
    assert pod.job_uid == job.uid
    assert pod.node == "fake-node"


def test_the_outcome_is_known_before_the_job_is_over(connect: Connect, reader: Reading) -> None:
    with ReplayServer("03-deadline-exceeded") as server:
        reading = play(server, connect, reader)
        told = [one.snapshot for one in reading.of(JobChanged)]
        reading.stop()
    first = next(job for job in told if job.condition("FailureTarget"))
    assert first.condition("Failed") is None
    assert first.pods, "the pod is still ending"
    assert any(one.exit_code is not None for job in told for pod in job.pods for one in pod.containers), (
        "the pod's end is seen although the pod is deleted then"
    )


def test_a_suspended_condition_that_is_over_does_not_hold(connect: Connect, reader: Reading) -> None:
    with ReplayServer("09-suspend-resume") as server:
        reading = play(server, connect, reader)
        told = [one.snapshot for one in reading.of(JobChanged) if one.snapshot.name == "build-0901"]
        reading.stop()
    assert any(job.condition("Suspended") and job.started_at is None for job in told)
    resumed = [
        job for job in told if not job.suspended and any(one.type == "Suspended" for one in job.conditions)
    ]
    assert resumed
    assert [job.condition("Suspended") for job in resumed[1:]] == [None] * (len(resumed) - 1)


def test_restarts_keep_the_first_start(connect: Connect, reader: Reading) -> None:
    with ReplayServer("04c-onfailure-restart") as server:
        reading = play(server, connect, reader)
        told = [one.snapshot for one in reading.of(JobChanged)]
        reading.stop()
    containers = [one for job in told for pod in job.pods for one in pod.containers]
    waiting = next(one for one in containers if one.restarts == 1 and one.reason == "CrashLoopBackOff")
    assert waiting.started_at is None
    assert waiting.first_started_at is not None
    assert (waiting.last_reason, waiting.last_exit_code) == ("Error", 1)


def test_the_pods_of_a_deleted_job_are_told_until_the_last(connect: Connect, reader: Reading) -> None:
    with ReplayServer("07b-delete-background") as server:
        reading = play(server, connect, reader)
        (gone,) = reading.of(JobGone)
        (pod,) = reading.of(PodGone)
        reading.stop()
    assert reading.changes.index(gone) < reading.changes.index(pod)
    assert [one.uid for one in gone.snapshot.pods] == [pod.pod.uid]
    assert (pod.job_uid, pod.left, pod.pod.phase) == (gone.snapshot.uid, 0, "Failed")


@pytest.mark.parametrize(
    "recording", ["07c-delete-foreground", "07h-delete-lost-node", "15-ttl-after-finished"]
)
def test_no_pod_is_left_over_however_the_watches_race(
    recording: str, connect: Connect, reader: Reading
) -> None:
    with ReplayServer(recording) as server:
        reading = play(server, connect, reader)
        at_the_end = {one.snapshot.uid: {pod.uid for pod in one.snapshot.pods} for one in reading.of(JobGone)}
        for one in reading.of(PodGone):
            at_the_end[one.job_uid].discard(one.pod.uid)
        reading.stop()
    assert at_the_end
    assert set().union(*at_the_end.values()) == set()


@pytest.mark.parametrize("recording", ["01-job-complete", "03-deadline-exceeded", "15-ttl-after-finished"])
def test_the_version_seen_never_falls(recording: str, connect: Connect, reader: Reading) -> None:
    with ReplayServer(recording) as server:
        reading = play(server, connect, reader)
        told: dict[str, list[int]] = {}
        for one in reading.of(JobChanged):
            told.setdefault(one.snapshot.uid, []).append(one.snapshot.version_seen)
        reading.stop()
    assert told
    for versions in told.values():
        assert versions == sorted(versions)


def test_a_list_comes_first_and_is_empty_here(connect: Connect, reader: Reading) -> None:
    with ReplayServer("01-job-complete") as server:
        reading = play(server, connect, reader)
        first = next(one for one in reading.changes if not isinstance(one, Heartbeat))
        reading.stop()
    assert first == Listed("builds", 254, ())


def test_events_have_times_sources_and_their_job(connect: Connect, reader: Reading) -> None:
    with ReplayServer("18-stuck-pods") as server:
        reading = play(server, connect, reader)
        seen = reading.of(EventSeen)
        jobs = {one.snapshot.uid for one in reading.of(JobChanged)}
        reading.stop()
    by_reason = {one.event.reason: one.event for one in seen}
    scheduling = by_reason["FailedScheduling"]
    assert (scheduling.type, scheduling.source, scheduling.count) == ("Warning", "default-scheduler", 1)
    assert scheduling.first_at.year == 2026
    assert by_reason["FailedMount"].count > 1, "repeats raise the count of the same Event"
    assert {one.job_uid for one in seen} == jobs
