"""What a JobSnapshot says about a build, in the portal's words; pure, no database and no cluster calls.

Sources of the rules: https://kubernetes.io/docs/concepts/workloads/controllers/job/ (conditions, retries,
suspension) and https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ (container states).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from builds.kube import Condition, ContainerSnapshot, JobSnapshot, PodSnapshot
from builds.redaction import redact
from builds.states import Reason, Status

# Whichever of a pair is seen first decides: the outcome cannot change after it. Servers before 1.31 go
# straight to the second.
_SUCCESS = ("Complete", "SuccessCriteriaMet")
_FAILURE = ("FailureTarget", "Failed")

_IMAGE_PULL = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_CONFIG_ERROR = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "CreatePodSandboxError",
    "PreCreateHookError",
    "RunContainerError",
    "StartError",
}
# Reasons of the pod condition DisruptionTarget that mean that the node went, not that the pod was pushed out.
_NODE_LOST = {"DeletionByPodGC", "DeletionByTaintManager"}

MESSAGE_LIMIT_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a Job failed: `code` is the deciding Kubernetes reason in snake_case; unknown parts are None."""

    code: str
    message: str
    container: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """A build as its Job and pods show it; never CANCELLING or CANCELLED, which only the portal knows."""

    status: Status
    reason: Reason | None
    started_at: datetime | None
    completed_at: datetime | None
    failure: Failure | None
    third_party_id: str | None
    parser_id: str | None
    image_uri: str | None
    correlation_id: str | None
    build_container: str | None
    job: dict[str, Any]


def is_decided(snapshot: JobSnapshot) -> bool:
    """Whether the Job's outcome is known."""
    return any(_deciding(snapshot, types) for types in (_SUCCESS, _FAILURE))


def has_evidence(snapshot: JobSnapshot) -> bool:
    """Whether a pod shows how a run ended. A finished Job without: a second look may find more, or the pods
    are gone.
    """
    return any(
        run.state == "terminated" or run.last_exit_code is not None
        for run in _runs(snapshot, _build_container(snapshot))
    )


def read(snapshot: JobSnapshot) -> Facts:
    """All of it. Texts are redacted."""
    container = _build_container(snapshot)
    started_at = min(
        (run.first_started_at for run in _runs(snapshot, container) if run.first_started_at), default=None
    )
    success, failure = _deciding(snapshot, _SUCCESS), _deciding(snapshot, _FAILURE)
    completed_at: datetime | None = None
    why: Failure | None = None
    reason: Reason | None
    if success is not None:
        status, reason = Status.SUCCEEDED, None
        completed_at = snapshot.completed_at or success.changed_at
    elif failure is not None:
        status = Status.FAILED
        reason, why = _failure(snapshot, container, failure)
        completed_at = failure.changed_at
    elif started_at is not None:
        status, reason = Status.RUNNING, _running_reason(snapshot)
    else:
        status, reason = Status.PENDING, _pending_reason(snapshot)
    return Facts(
        status=status,
        reason=reason,
        started_at=started_at,
        completed_at=completed_at,
        failure=why,
        third_party_id=_first(snapshot.labels, settings.THIRD_PARTY_LABELS),
        parser_id=_first(snapshot.labels, settings.PARSER_LABELS),
        image_uri=_image(snapshot, container),
        correlation_id=_correlation_id(snapshot),
        build_container=container,
        job=_as_json(snapshot),
    )


def storable(text: str) -> str:
    """Text from the cluster as it may be stored: redacted, and without NUL, which PostgreSQL refuses."""
    return redact(text.replace("\0", "\ufffd"))


def _build_container(snapshot: JobSnapshot) -> str | None:
    """The container that builds: the first of BUILD_CONTAINERS that the Job has, else its first one."""
    names = [spec.name for spec in snapshot.containers]
    return next((name for name in settings.BUILD_CONTAINERS if name in names), names[0] if names else None)


def _runs(snapshot: JobSnapshot, container: str | None) -> Iterator[ContainerSnapshot]:
    """The runs of that container, in all pods."""
    return (run for pod in snapshot.pods for run in pod.containers if run.name == container)


def _deciding(snapshot: JobSnapshot, types: Iterable[str]) -> Condition | None:
    return next(filter(None, (snapshot.condition(one) for one in types)), None)


def _first(values: Mapping[str, str], keys: Iterable[str]) -> str | None:
    return next((values[key] for key in keys if values.get(key)), None)


def _image(snapshot: JobSnapshot, container: str | None) -> str | None:
    annotated = _first(snapshot.annotations, settings.IMAGE_ANNOTATIONS)
    if annotated:
        return annotated
    args = next((spec.args for spec in snapshot.containers if spec.name == container), ())
    for position, arg in enumerate(args):
        if arg.startswith("--destination="):
            return arg.removeprefix("--destination=") or None
        if arg == "--destination" and position + 1 < len(args):
            return args[position + 1]
    return None


def _correlation_id(snapshot: JobSnapshot) -> str | None:
    """The same rule holds as for the request header: what does not match is not taken."""
    annotated = _first(snapshot.annotations, settings.CORRELATION_ANNOTATIONS)
    return annotated if annotated and re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", annotated) else None


def _running_reason(snapshot: JobSnapshot) -> Reason | None:
    if snapshot.suspended or snapshot.condition("Suspended"):
        return Reason.SUSPENDED
    was_restarted = any(run.restarts for pod in snapshot.pods for run in pod.containers)
    # An eviction that the failure policy ignores is not counted by the Job; the pod after it shows it.
    was_replaced = any(pod.phase == "Failed" and pod.deleting_at is None for pod in snapshot.pods[:-1])
    return Reason.RETRYING if snapshot.failed or was_restarted or was_replaced else None


def _pending_reason(snapshot: JobSnapshot) -> Reason | None:
    if snapshot.suspended or snapshot.condition("Suspended"):
        return Reason.SUSPENDED
    if not snapshot.pods:
        return None
    pod = snapshot.pods[-1]
    if _waits_for_image(pod):
        return Reason.IMAGE_PULL
    if _waiting_reasons(pod) & _CONFIG_ERROR:
        return Reason.CONFIG_ERROR
    return Reason.PULLING if pod.node else Reason.UNSCHEDULED


def _waiting_reasons(pod: PodSnapshot) -> set[str | None]:
    return {run.reason for run in (*pod.init_containers, *pod.containers) if run.state == "waiting"}


def _waits_for_image(pod: PodSnapshot) -> bool:
    return bool(_waiting_reasons(pod) & _IMAGE_PULL)


def _failure(snapshot: JobSnapshot, container: str | None, condition: Condition) -> tuple[Reason, Failure]:
    """The reason and its words: the deadline is the Job's own, all else is told by the last pod to fail."""
    said = condition.message or "The Job failed"
    if condition.reason == "DeadlineExceeded":
        stuck = next((pod for pod in reversed(snapshot.pods) if _waits_for_image(pod)), None)
        if stuck is not None:
            run = next(
                run for run in (*stuck.init_containers, *stuck.containers) if run.reason in _IMAGE_PULL
            )
            return Reason.IMAGE_PULL, _words(str(run.reason), run.message, said, container=run.name)
        return Reason.TIMEOUT, _words("DeadlineExceeded", said)
    for pod in reversed(snapshot.pods):
        disruption = pod.condition("DisruptionTarget")
        if pod.reason == "NodeLost" or (disruption and disruption.reason in _NODE_LOST):
            why = disruption.message if disruption else None
            return Reason.NODE_LOST, _words("NodeLost", why or pod.message, said)
        if pod.reason in ("Evicted", "Preempting") or disruption is not None:
            why = pod.message or (disruption.message if disruption else None)
            return Reason.EVICTED, _words(pod.reason or "Evicted", why, said)
        ended = _failed_run(pod, container)
        if ended is not None:
            return _of_exit(ended, said)
    return Reason.ERROR, _words(condition.reason or "Failed", said)


def _failed_run(pod: PodSnapshot, container: str | None) -> ContainerSnapshot | None:
    """The container whose exit failed the pod, the build container first; a restarted one counts too."""
    runs = sorted((*pod.init_containers, *pod.containers), key=lambda run: run.name != container)
    for run in runs:
        if run.state == "terminated" and run.exit_code:
            return run
    return next((run for run in runs if run.last_exit_code), None)


def _of_exit(run: ContainerSnapshot, said: str) -> tuple[Reason, Failure]:
    is_over = run.state == "terminated"
    exit_code = run.exit_code if is_over else run.last_exit_code
    word = (run.reason if is_over else run.last_reason) or "Error"
    if word == "OOMKilled":
        sentence = f'Container "{run.name}" was killed because it ran out of memory (exit code {exit_code})'
        reason = Reason.OOM_KILLED
    else:
        sentence = f'Container "{run.name}" exited with code {exit_code}'
        reason = Reason.ERROR
    told = run.message if is_over else None
    return reason, _words(word, sentence, told, said, container=run.name, exit_code=exit_code)


def _words(
    code: str, *sentences: str | None, container: str | None = None, exit_code: int | None = None
) -> Failure:
    message = ". ".join(
        sentence.strip().rstrip(".") for sentence in sentences if sentence and sentence.strip()
    )
    return Failure(
        code=re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", code).lower()[:64],
        message=storable(message)[:MESSAGE_LIMIT_CHARS],
        container=container,
        exit_code=exit_code,
    )


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


def _safe(text: str | None) -> str | None:
    return storable(text)[:MESSAGE_LIMIT_CHARS] if text else text


def _as_json(snapshot: JobSnapshot) -> dict[str, Any]:
    """The `job` of the API."""
    return {
        "name": snapshot.name,
        "uid": snapshot.uid,
        "active": snapshot.active,
        "succeeded": snapshot.succeeded,
        "failed": snapshot.failed,
        "conditions": [
            {
                "type": one.type,
                "status": one.status,
                "reason": one.reason,
                "message": _safe(one.message),
                "last_transition_at": _iso(one.changed_at),
            }
            for one in snapshot.conditions
        ],
        "pods": [
            {
                "name": pod.name,
                "phase": pod.phase,
                "node": pod.node,
                "reason": pod.reason,
                "gone": False,
                "containers": [
                    {
                        "name": run.name,
                        "state": run.state,
                        "reason": run.reason,
                        "exit_code": run.exit_code,
                        "restarts": run.restarts,
                    }
                    for run in pod.containers
                ],
            }
            for pod in snapshot.pods
        ],
    }
