"""What follows for a Job from its spec and its pods: counts, delays, conditions; writes nothing."""

from dataclasses import dataclass

from devcluster import clock
from devcluster.objects import Obj, condition, has_condition, is_being_deleted, name_of, namespace_of

FIRST_BACKOFF_S = 10.0
LONGEST_BACKOFF_S = 600.0

STATUS_ORDER = (
    "conditions", "startTime", "completionTime", "active", "succeeded", "failed", "terminating",
    "uncountedTerminatedPods", "ready",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a Job ends: the condition that announces it, the one that states it, and why."""

    announced_by: str
    stated_by: str
    reason: str
    message: str


COMPLETED = Outcome(
    "SuccessCriteriaMet", "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
)
BACKOFF_EXCEEDED = Outcome(
    "FailureTarget", "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
)
DEADLINE_EXCEEDED = Outcome(
    "FailureTarget", "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
)


def announced_outcome(job: Obj) -> Outcome | None:
    """What an earlier pass has announced, read back from the conditions."""
    for announced_by, stated_by in (("FailureTarget", "Failed"), ("SuccessCriteriaMet", "Complete")):
        entry = condition(job, announced_by)
        if entry is not None and entry["status"] == "True":
            return Outcome(announced_by, stated_by, entry["reason"], entry["message"])
    return None


def is_active(pod: Obj) -> bool:
    return pod["status"]["phase"] not in ("Succeeded", "Failed") and not is_being_deleted(pod)


def is_terminating(pod: Obj) -> bool:
    return pod["status"]["phase"] not in ("Succeeded", "Failed") and is_being_deleted(pod)


def is_failed(pod: Obj, job: Obj) -> bool:
    """A pod that is on its way out counts at once, unless replacements wait for its end."""
    if pod["status"]["phase"] == "Failed":
        return True
    if job["spec"]["podReplacementPolicy"] == "Failed":
        return False
    return is_being_deleted(pod) and pod["status"]["phase"] != "Succeeded"


def restarts(pods: list[Obj]) -> int:
    """Of all containers of the pods that still run (restartPolicy OnFailure)."""
    statuses = [
        status
        for pod in pods
        if pod["status"]["phase"] in ("Pending", "Running") and not is_being_deleted(pod)
        for status in pod["status"].get("containerStatuses", [])
    ]
    return sum(status["restartCount"] for status in statuses)


def finished_at(pod: Obj) -> float:
    """Whole seconds, as the controller reads it from the container states; of a pod without, its deletion."""
    times = [
        status["state"]["terminated"]["finishedAt"]
        for status in pod["status"].get("containerStatuses", [])
        if "terminated" in status["state"]
    ]
    if times:
        return clock.parse(max(times))
    return clock.parse(pod["metadata"].get("deletionTimestamp") or pod["metadata"]["creationTimestamp"])


def retry_at(job: Obj, pods: list[Obj]) -> float:
    """When the next pod may be made: 10 s after the last failure, doubling with each; 0 for at once."""
    failures = [finished_at(pod) for pod in pods if pod["status"]["phase"] == "Failed"]
    count = max(len(failures), job["status"].get("failed", 0))
    if not failures or job["spec"]["template"]["spec"]["restartPolicy"] != "Never":
        return 0.0
    return max(failures) + min(FIRST_BACKOFF_S * 2 ** (count - 1), LONGEST_BACKOFF_S)


def failure_action(job: Obj, pod: Obj) -> tuple[str, str]:
    """The podFailurePolicy's word on a failed pod: Count, Ignore or FailJob, and the latter's message."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules", [])
    for index, rule in enumerate(rules):
        match = _matching_exit_code(rule, pod) or _matching_condition(rule, pod)
        if match:
            message = f"{match} matching {rule['action']} rule at index {index}"
            return rule["action"], message
    return "Count", ""


def _matching_exit_code(rule: Obj, pod: Obj) -> str:
    wanted = rule.get("onExitCodes")
    if not wanted:
        return ""
    for status in pod["status"].get("containerStatuses", []):
        ended = status["state"].get("terminated")
        if ended is None or ended["exitCode"] == 0:
            continue
        if wanted.get("containerName") not in (None, status["name"]):
            continue
        if (ended["exitCode"] in wanted["values"]) == (wanted["operator"] == "In"):
            where = f"{namespace_of(pod)}/{name_of(pod)}"
            code = ended["exitCode"]
            return f"Container {status['name']} for pod {where} failed with exit code {code}"
    return ""


def _matching_condition(rule: Obj, pod: Obj) -> str:
    for pattern in rule.get("onPodConditions") or []:
        entry = condition(pod, pattern["type"])
        if entry is not None and entry["status"] == pattern.get("status", "True"):
            return f"Pod {namespace_of(pod)}/{name_of(pod)} has condition {pattern['type']}"
    return ""


def with_condition(status: Obj, type_: str, value: str, reason: str, message: str, at: float) -> Obj:
    """The status with the condition set or added at the end."""
    entry = {
        "type": type_,
        "status": value,
        "lastProbeTime": clock.stamp(at),
        "lastTransitionTime": clock.stamp(at),
        "reason": reason,
        "message": message,
    }
    conditions = list(status.get("conditions") or [])
    types = [c["type"] for c in conditions]
    if type_ in types:
        conditions[types.index(type_)] = entry
    else:
        conditions.append(entry)
    return {**status, "conditions": conditions}


def ordered(status: Obj) -> Obj:
    """As the API server writes it: counters that are 0 are absent, `ready` and `terminating` are not."""
    kept = {
        name: value
        for name, value in status.items()
        if value is not None and not (name in ("active", "succeeded", "failed") and value == 0)
    }
    return {name: kept[name] for name in STATUS_ORDER if name in kept}


def is_suspended(job: Obj) -> bool:
    return bool(job["spec"].get("suspend"))


def deadline_at(job: Obj) -> float | None:
    """From the start time as it was stored: whole seconds, so up to a second early."""
    limit_s = job["spec"].get("activeDeadlineSeconds")
    started = job["status"].get("startTime")
    if limit_s is None or started is None or is_suspended(job):
        return None
    return clock.parse(started) + float(limit_s)


def expires_at(job: Obj) -> float | None:
    """When a finished Job is to be deleted; None for never."""
    ttl_s = job["spec"].get("ttlSecondsAfterFinished")
    if ttl_s is None or is_being_deleted(job):
        return None
    for type_ in ("Complete", "Failed"):
        if has_condition(job, type_):
            entry = condition(job, type_) or {}
            return clock.parse(entry["lastTransitionTime"]) + float(ttl_s)
    return None
