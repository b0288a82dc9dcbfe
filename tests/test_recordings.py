"""Recordings of a real API server, fed through the gateway and sync, end in the builds that they contain."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from builds import sync
from builds.kube import Cluster, ClusterConfig
from builds.models import Build, BuildEvent
from tests.kube.replay import NAMESPACE, ReplayServer, entries

pytestmark = pytest.mark.django_db

Obj = dict[str, Any]

# Recording -> per attempt, in order of creation: the Job, its states after `pending`, the reason of the last
# one, the error's code and exit code.
EXPECTED: dict[str, list[tuple[str, str, str | None, str | None, int | None]]] = {
    "01-job-complete": [("build-0101", "running succeeded", None, None, None)],
    "02-job-failed-exit1": [("build-0201", "running failed", "error", "error", 1)],
    "03-deadline-exceeded": [("build-0301", "running failed", "timeout", "deadline_exceeded", None)],
    "03b-deadline-while-pending": [("build-0302", "failed", "timeout", "deadline_exceeded", None)],
    "04-backoff-retries": [("build-0401", "running failed", "error", "error", 1)],
    "04b-retry-then-success": [("build-0402", "running succeeded", None, None, None)],
    "04c-onfailure-restart": [("build-0403", "running failed", "error", "error", 1)],
    "04d-pod-failure-policy": [
        ("build-0404", "running failed", "error", "error", 42),
        ("build-0405", "running", "retrying", None, None),
        ("build-0406", "running failed", "evicted", "evicted", None),
    ],
    "07a-delete-default": [
        ("build-07a", "running failed", "deleted", "job_deleted", None),
        ("build-07a", "running", None, None, None),
    ],
    "07b-delete-background": [("build-07b", "running failed", "deleted", "job_deleted", None)],
    "07c-delete-foreground": [("build-07c", "running failed", "deleted", "job_deleted", None)],
    "07d-delete-orphan": [("build-07d", "running failed", "deleted", "job_deleted", None)],
    "07e-delete-grace0-background": [("build-07e", "running failed", "deleted", "job_deleted", None)],
    "07f-delete-empty-deleteoptions": [("build-07f", "running failed", "deleted", "job_deleted", None)],
    "07h-delete-lost-node": [("build-07z", "running failed", "deleted", "job_deleted", None)],
    "09-suspend-resume": [
        ("build-0901", "running succeeded", None, None, None),
        ("build-0902", "running succeeded", None, None, None),
    ],
    "15-ttl-after-finished": [
        ("ttl-1", "running succeeded", None, None, None),
        ("ttl-2", "running succeeded", None, None, None),
        ("ttl-3", "running succeeded", None, None, None),
    ],
    "18-stuck-pods": [
        ("stuck-unsched", "failed", "error", "backoff_limit_exceeded", None),
        ("stuck-image", "", "image_pull", None, None),
        ("stuck-secret", "", "config_error", None, None),
        ("stuck-env", "", "config_error", None, None),
    ],
}


@pytest.fixture(autouse=True)
def recorded_namespace(settings: Settings) -> None:
    settings.NAMESPACES = [NAMESPACE]
    settings.MISSING_GRACE_S = 0


def follow_to_the_end(recording: str, folder: Path) -> None:
    """Play the recording and record what follows, until everything of it has been taken in."""
    with ReplayServer(recording) as server:
        cluster = Cluster.connect(ClusterConfig(mode="kubeconfig", kubeconfig=server.kubeconfig(folder)))
        stop = threading.Event()

        def end_soon() -> None:
            server.finished.wait(30)
            time.sleep(1.0)
            stop.set()

        threading.Thread(target=end_soon, daemon=True).start()
        for _ in sync.follow(cluster, NAMESPACE, stop=stop):
            pass
        cluster.close()


def recorded(recording: str, resource: str) -> Iterator[tuple[str, Obj]]:
    """(type, object) of the recorded watch of a resource, as the server sent them."""
    for one in entries(recording):
        request = one.get("request", {})
        if request.get("query", {}).get("watch") and request["path"].endswith(f"/{resource}"):
            for line in one["response"]["stream"]:
                yield line["event"]["type"], line["event"]["object"]
            return


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def recorded_start(recording: str, job_uid: str) -> datetime | None:
    """The earliest start of container kaniko in any state of any pod of the Job."""
    starts = [
        state[kind]["startedAt"]
        for _, pod in recorded(recording, "pods")
        if pod["metadata"]["labels"].get("batch.kubernetes.io/controller-uid") == job_uid
        for status in pod.get("status", {}).get("containerStatuses", [])
        if status["name"] == "kaniko"
        for state in (status.get("state", {}), status.get("lastState", {}))
        for kind in ("running", "terminated")
        if state.get(kind, {}).get("startedAt")
    ]
    return moment(min(starts, default=None))


def recorded_end(recording: str, job_uid: str) -> datetime | None:
    """completionTime, else the first transition to an outcome; None if the Job was never finished."""
    end = None
    for _, job in recorded(recording, "jobs"):
        if job["metadata"]["uid"] != job_uid:
            continue
        status = job.get("status", {})
        outcomes = [
            one["lastTransitionTime"]
            for one in status.get("conditions", [])
            if one["type"] in ("SuccessCriteriaMet", "Complete", "FailureTarget", "Failed")
        ]
        end = status.get("completionTime") or min(outcomes, default=end)
    return moment(end)


def recorded_events(recording: str, job_uid: str) -> dict[str, tuple[str, int]]:
    """uid -> (reason, last count) of the Events about the Job and its pods."""
    pods = {
        pod["metadata"]["uid"]
        for _, pod in recorded(recording, "pods")
        if pod["metadata"]["labels"].get("batch.kubernetes.io/controller-uid") == job_uid
    }
    return {
        event["metadata"]["uid"]: (event["reason"], event.get("count") or 1)
        for _, event in recorded(recording, "events")
        if event["involvedObject"]["uid"] in pods | {job_uid}
    }


@pytest.mark.parametrize("recording", EXPECTED)
def test_a_recording_ends_in_its_builds(recording: str, tmp_path: Path) -> None:
    follow_to_the_end(recording, tmp_path)
    created = {job["metadata"]["uid"]: job for _, job in recorded(recording, "jobs")}
    builds = list(Build.objects.order_by("created_at", "pk"))
    assert {build.uid for build in builds} == set(created), "no build is lost, none is invented"
    told = []
    for build in builds:
        assert build.uid is not None
        first, *states = build.events.filter(type=BuildEvent.Type.TRANSITION).values_list(
            "to_status", flat=True
        )
        assert first == "pending"
        told.append(
            (
                build.name,
                " ".join(map(str, states)),
                build.status_reason,
                build.error_code,
                build.error_exit_code,
            )
        )
        assert build.created_at == moment(created[build.uid]["metadata"]["creationTimestamp"])
        assert build.started_at == recorded_start(recording, build.uid)
        if build.status_reason != "deleted":
            assert build.completed_at == recorded_end(recording, build.uid)
        kept = build.events.filter(cluster_uid__isnull=False).values_list("cluster_uid", "reason", "count")
        assert {uid: (reason, count) for uid, reason, count in kept} == recorded_events(recording, build.uid)
    assert told == EXPECTED[recording]


def test_every_recording_with_a_watch_of_jobs_is_here() -> None:
    folder = Path(__file__).parent / "recordings"
    watched = {path.stem for path in folder.glob("0*.json") if any(recorded(path.stem, "jobs"))}
    assert watched <= set(EXPECTED)
