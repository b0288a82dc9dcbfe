"""What a snapshot says about a build: a table of cases."""

from dataclasses import replace
from typing import Any

import pytest

from builds import facts
from builds.kube import ContainerSpec, JobSnapshot
from tests.snapshots import (
    a_condition,
    a_container,
    a_job,
    a_pod,
    at,
    failed,
    running,
    succeeded,
)


def waiting(reason: str, message: str | None = None) -> Any:
    return a_container(state="waiting", reason=reason, message=message)


CASES: dict[str, tuple[JobSnapshot, str, str | None]] = {
    "no pod yet": (a_job(), "pending", None),
    "suspended before it ran": (a_job(suspended=True), "pending", "suspended"),
    "no node": (a_job(pods=(a_pod(node=None, phase="Pending"),)), "pending", "unscheduled"),
    "pulling": (a_job(pods=(a_pod(waiting("ContainerCreating")),)), "pending", "pulling"),
    "cannot pull": (a_job(pods=(a_pod(waiting("ImagePullBackOff")),)), "pending", "image_pull"),
    "init container cannot pull": (
        a_job(pods=(a_pod(waiting("PodInitializing"), init_containers=(waiting("ErrImagePull"),)),)),
        "pending",
        "image_pull",
    ),
    "secret missing": (
        a_job(pods=(a_pod(waiting("CreateContainerConfigError")),)),
        "pending",
        "config_error",
    ),
    "the Job says active, the pod waits": (
        a_job(active=1, pods=(a_pod(waiting("ContainerCreating")),)),
        "pending",
        "pulling",
    ),
    "only the sidecar runs": (
        a_job(pods=(a_pod(a_container("sidecar"), waiting("ContainerCreating")),)),
        "pending",
        "pulling",
    ),
    "running": (running(), "running", None),
    "ended, but the Job has not noticed": (
        a_job(pods=(a_pod(a_container(state="terminated", exit_code=1)),)),
        "running",
        None,
    ),
    "second try": (replace(running(), failed=1), "running", "retrying"),
    "restarted in place": (a_job(pods=(a_pod(a_container(restarts=1)),)), "running", "retrying"),
    "suspended while it ran": (
        replace(running(), suspended=True, conditions=(a_condition("Suspended"),)),
        "running",
        "suspended",
    ),
    "resumed": (replace(running(), conditions=(a_condition("Suspended", status=False),)), "running", None),
    "success criteria alone": (
        replace(succeeded(), conditions=(a_condition("SuccessCriteriaMet"),), completed_at=None, succeeded=0),
        "succeeded",
        None,
    ),
    "complete": (succeeded(), "succeeded", None),
    "an older server's complete": (
        replace(succeeded(), conditions=(a_condition("Complete"),)),
        "succeeded",
        None,
    ),
    "exit 1": (failed(), "failed", "error"),
    "failure target alone": (replace(failed(), conditions=failed().conditions[:1]), "failed", "error"),
    "out of memory": (failed(exit_code=137, reason="OOMKilled"), "failed", "oom_killed"),
    "evicted": (
        replace(failed(), pods=(a_pod(phase="Failed", reason="Evicted", message="low on disk"),)),
        "failed",
        "evicted",
    ),
    "preempted": (
        replace(
            failed(), pods=(a_pod(conditions=(a_condition("DisruptionTarget", "PreemptionByScheduler"),)),)
        ),
        "failed",
        "evicted",
    ),
    "node gone": (
        replace(failed(), pods=(a_pod(conditions=(a_condition("DisruptionTarget", "DeletionByPodGC"),)),)),
        "failed",
        "node_lost",
    ),
    "deadline while it ran": (
        replace(
            running(),
            conditions=(a_condition("FailureTarget", "DeadlineExceeded", "Job was active too long"),),
        ),
        "failed",
        "timeout",
    ),
    "deadline, killed by it": (
        replace(failed(exit_code=137), conditions=(a_condition("FailureTarget", "DeadlineExceeded"),)),
        "failed",
        "timeout",
    ),
    "deadline while it could not pull": (
        a_job(
            conditions=(a_condition("FailureTarget", "DeadlineExceeded"),),
            pods=(a_pod(waiting("ErrImagePull", "not found")),),
        ),
        "failed",
        "image_pull",
    ),
    "failed without a trace": (replace(failed(), pods=()), "failed", "error"),
}


@pytest.mark.parametrize("case", CASES)
def test_status_and_reason(case: str) -> None:
    snapshot, status, reason = CASES[case]
    seen = facts.read(snapshot)
    assert (seen.status, seen.reason) == (status, reason)


def test_times() -> None:
    seen = facts.read(succeeded())
    assert (seen.started_at, seen.completed_at) == (at(5), at(20))


def test_a_failed_job_ends_with_its_deciding_condition() -> None:
    first = a_condition("FailureTarget", "BackoffLimitExceeded", changed_at=at(18))
    job = replace(failed(), conditions=(a_condition("Failed", "BackoffLimitExceeded"), first))
    assert facts.read(job).completed_at == at(18)


def test_the_start_is_the_first_of_all_pods() -> None:
    second = a_pod(a_container(first_started_at=at(60)), name="b", uid="pod-2", created_at=at(50))
    assert facts.read(replace(running(), pods=(*running().pods, second))).started_at == at(5)


def test_failure_names_container_and_exit_code() -> None:
    why = facts.read(failed(exit_code=2)).failure
    assert why is not None
    assert (why.code, why.container, why.exit_code) == ("error", "kaniko", 2)
    assert why.message == 'Container "kaniko" exited with code 2. Job has reached the specified backoff limit'


@pytest.mark.parametrize(
    ("reason", "code"), [("OOMKilled", "oom_killed"), ("ContainerCannotRun", "container_cannot_run")]
)
def test_codes_are_the_deciding_reason(reason: str, code: str) -> None:
    why = facts.read(failed(exit_code=137, reason=reason)).failure
    assert why is not None
    assert why.code == code


def test_a_failing_sidecar_is_named_if_the_build_container_did_not_fail() -> None:
    pod = a_pod(
        a_container("clone", state="terminated", exit_code=128),
        a_container(state="terminated", exit_code=0),
        phase="Failed",
    )
    why = facts.read(replace(failed(), pods=(pod,))).failure
    assert why is not None
    assert (why.container, why.exit_code) == ("clone", 128)


def test_secrets_and_nul_do_not_leave() -> None:
    message = "cannot push with password=hunter2hunter2\0"
    job = replace(failed(), conditions=(a_condition("Failed", "X", message),), pods=())
    why = facts.read(job).failure
    assert why is not None
    assert "hunter2" not in why.message
    assert "\0" not in why.message
    assert "hunter2" not in str(facts.read(job).job)


@pytest.mark.parametrize(
    ("labels", "customer"),
    [
        ({"build.notifi.network/third-party-id": "new", "third-party-id": "old"}, "new"),
        ({"third-party-id": "old"}, "old"),
        ({"build.notifi.network/third-party-id": "", "third-party-id": "old"}, "old"),
        ({}, None),
    ],
)
def test_customer_label_falls_back(labels: dict[str, str], customer: str | None) -> None:
    assert facts.read(a_job(labels=labels)).third_party_id == customer


@pytest.mark.parametrize(
    ("annotations", "args", "image"),
    [
        ({"lambda.knative.io/image-uri": "a:1"}, ("--destination=b:1",), "a:1"),
        ({}, ("--context=x", "--destination=b:1"), "b:1"),
        ({}, ("--destination", "b:1"), "b:1"),
        ({}, ("--destination",), None),
        ({}, (), None),
    ],
)
def test_image_falls_back(annotations: dict[str, str], args: tuple[str, ...], image: str | None) -> None:
    spec = ContainerSpec("kaniko", "k", args, ())
    other = ContainerSpec("sidecar", "s", ("--destination=wrong:1",), ())
    job = a_job(annotations=annotations, containers=(other, spec))
    assert facts.read(job).image_uri == image


def test_without_kaniko_the_first_container_builds() -> None:
    job = a_job(containers=(ContainerSpec("main", None, (), ()), ContainerSpec("other", None, (), ())))
    assert facts.read(job).build_container == "main"


@pytest.mark.parametrize(("given", "taken"), [("req-1", "req-1"), ("no good", None), ("x" * 129, None)])
def test_correlation_id_follows_the_rule_of_the_header(given: str, taken: str | None) -> None:
    job = a_job(annotations={"build.notifi.network/correlation-id": given})
    assert facts.read(job).correlation_id == taken
