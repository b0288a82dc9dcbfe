"""What is packed comes out as it was, for every Job and pod of the recordings, and in little memory."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from builds.kube.errors import Call
from builds.kube.packing import JoinedJobs, PackedJob, PackedPod
from builds.kube.resources import JOBS, PODS
from builds.kube.snapshot import JobSnapshot, PodSnapshot
from tests.kube.replay import RECORDINGS, entries

CALL = Call("watch", "jobs", "builds")


def watched(resource: str) -> Iterator[bytes]:
    """Every object of that type in the recorded watches."""
    for path in sorted(RECORDINGS.glob("[01]*.json")):
        for one in entries(path.stem):
            request: dict[str, Any] = one.get("request", {})
            is_watch = bool(request.get("query", {}).get("watch"))
            if is_watch and request["path"].endswith(f"/{resource}"):
                for line in one["response"].get("stream", ()):
                    event = line.get("event")
                    found = event.get("object", {}) if isinstance(event, dict) else {}
                    if found.get("metadata", {}).get("uid"):
                        yield json.dumps(found).encode()


@pytest.fixture(scope="module")
def jobs() -> list[JobSnapshot]:
    return [JOBS.snapshot_of(CALL, raw) for raw in watched("jobs")]


@pytest.fixture(scope="module")
def pods() -> list[PodSnapshot]:
    return [PODS.snapshot_of(CALL, raw) for raw in watched("pods")]


def test_nothing_is_lost(jobs: list[JobSnapshot], pods: list[PodSnapshot]) -> None:
    assert len(jobs) > 50
    assert [PackedJob.of(job).joined(()) for job in jobs] == jobs
    assert len(pods) > 50
    assert [PackedPod.of(pod).unpacked() for pod in pods] == pods


def test_equal_ones_are_equal_when_packed(pods: list[PodSnapshot]) -> None:
    first, *_, last = pods
    assert PackedPod.of(first) == PackedPod.of(first) != PackedPod.of(last)


def test_it_is_little(jobs: list[JobSnapshot], pods: list[PodSnapshot]) -> None:
    packed: list[PackedJob | PackedPod] = [*map(PackedJob.of, jobs), *map(PackedPod.of, pods)]
    assert sum(len(one.packed) for one in packed) / len(packed) < 350


def test_joined_with_pods_in_order(jobs: list[JobSnapshot], pods: list[PodSnapshot]) -> None:
    each = list({pod.uid: pod for pod in pods}.values())[:20]
    job, some = PackedJob.of(jobs[0]), tuple(map(PackedPod.of, reversed(each)))
    joined = JoinedJobs([(job, some, 7), (job, (), 0)])
    assert len(joined) == 2
    assert joined[0].pods == jobs[0].with_pods(each).pods
    assert [one.pods_version for one in joined] == [7, 0]
    assert joined[1:] == (jobs[0],)
    assert joined != ()
