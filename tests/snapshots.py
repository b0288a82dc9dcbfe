"""Snapshots of Jobs as the gateway would hand them out, built in a line; no cluster needed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from builds.kube import Condition, ContainerSnapshot, ContainerSpec, EventSnapshot, JobSnapshot, PodSnapshot

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """T0 and so many seconds."""
    return T0 + timedelta(seconds=seconds)


def a_job(uid: str = "uid-1", **over: Any) -> JobSnapshot:
    """A Job that was just created, with the labels of customer acme."""
    values: dict[str, Any] = {
        "namespace": "knative-lambda",
        "name": "build-acme-orders-0a1b2c",
        "uid": uid,
        "version": 10,
        "created_at": T0,
        "deleting_at": None,
        "labels": {
            "app": "knative-lambda-builder",
            "build.notifi.network/third-party-id": "acme",
            "build.notifi.network/parser-id": "orders",
        },
        "annotations": {},
        "suspended": False,
        "active": 1,
        "succeeded": 0,
        "failed": 0,
        "started_at": T0,
        "completed_at": None,
        "conditions": (),
        "containers": (
            ContainerSpec("kaniko", "kaniko:1", ("--destination=registry.local/acme/orders:1",), ()),
        ),
        "pods": (),
    }
    return JobSnapshot(**(values | over))


def a_container(name: str = "kaniko", state: Any = "running", **over: Any) -> ContainerSnapshot:
    """A container; running and terminated ones have started 5 s after T0."""
    started_at = at(5) if state in ("running", "terminated") else None
    values: dict[str, Any] = {
        "name": name,
        "state": state,
        "reason": None,
        "message": None,
        "exit_code": None,
        "started_at": started_at,
        "finished_at": at(20) if state == "terminated" else None,
        "restarts": 0,
        "first_started_at": started_at,
        "last_reason": None,
        "last_exit_code": None,
    }
    return ContainerSnapshot(**(values | over))


def a_pod(*containers: ContainerSnapshot, **over: Any) -> PodSnapshot:
    """A pod on a node, with these containers."""
    values: dict[str, Any] = {
        "name": "build-acme-orders-0a1b2c-x2x4z",
        "uid": "pod-1",
        "version": 11,
        "phase": "Running",
        "node": "node-a",
        "reason": None,
        "message": None,
        "created_at": at(1),
        "deleting_at": None,
        "conditions": (),
        "containers": containers,
        "init_containers": (),
        "job_uid": "uid-1",
    }
    return PodSnapshot(**(values | over))


def a_condition(kind: str, reason: str | None = None, message: str | None = None, **over: Any) -> Condition:
    """A condition that holds since 20 s after T0."""
    values: dict[str, Any] = {
        "type": kind,
        "status": True,
        "reason": reason,
        "message": message,
        "changed_at": at(20),
    }
    return Condition(**(values | over))


def running(job: JobSnapshot | None = None) -> JobSnapshot:
    """Its container runs."""
    return replace(job or a_job(), version=12, pods=(a_pod(a_container()),))


def succeeded(job: JobSnapshot | None = None) -> JobSnapshot:
    """It is complete."""
    return replace(
        job or a_job(),
        version=20,
        active=0,
        succeeded=1,
        completed_at=at(20),
        conditions=(a_condition("SuccessCriteriaMet"), a_condition("Complete")),
        pods=(a_pod(a_container(state="terminated", exit_code=0, reason="Completed"), phase="Succeeded"),),
    )


def failed(job: JobSnapshot | None = None, exit_code: int = 1, reason: str = "Error") -> JobSnapshot:
    """Its only pod ended with an exit code, and the limit of retries is reached."""
    limit = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    return replace(
        job or a_job(),
        version=20,
        active=0,
        failed=1,
        conditions=(a_condition("FailureTarget", *limit), a_condition("Failed", *limit)),
        pods=(a_pod(a_container(state="terminated", exit_code=exit_code, reason=reason), phase="Failed"),),
    )


def an_event(uid: str = "event-1", **over: Any) -> EventSnapshot:
    """An Event of the Job."""
    values: dict[str, Any] = {
        "uid": uid,
        "namespace": "knative-lambda",
        "version": 30,
        "involved_kind": "Job",
        "involved_name": "build-acme-orders-0a1b2c",
        "involved_uid": "uid-1",
        "type": "Normal",
        "reason": "SuccessfulCreate",
        "message": "Created pod: build-acme-orders-0a1b2c-x2x4z",
        "source": "job-controller",
        "count": 1,
        "first_at": T0,
        "last_at": T0,
    }
    return EventSnapshot(**(values | over))
