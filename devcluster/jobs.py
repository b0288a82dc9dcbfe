"""The job controller: makes, counts and ends the pods of Jobs, in the real one's writes; no HTTP."""

import asyncio
import copy
from collections.abc import Iterable

from devcluster import clock, jobstatus, podtemplate
from devcluster.deletion import DeleteOptions, Deletion, tracks
from devcluster.events import Recorder
from devcluster.jobstatus import Outcome
from devcluster.objects import (
    JOB_TRACKING,
    Obj,
    controller_of,
    has_condition,
    is_being_deleted,
    is_finished_job,
    is_finished_pod,
    name_of,
    namespace_of,
    uid_of,
    without_finalizer,
)
from devcluster.store import Change, Key, Store

# What happens to pods shows in the Job up to this much later.
BATCH_S = 1.0


class JobController:
    def __init__(self, store: Store, timers: clock.Timers, recorder: Recorder, deletion: Deletion) -> None:
        self._store = store
        self._timers = timers
        self._recorder = recorder
        self._deletion = deletion

    def start(self) -> None:
        self._store.subscribe(self._on_change)
        for job in self._store.items("jobs"):
            self._sync_soon((namespace_of(job), name_of(job)))
            self._watch_ttl(job)
        for pod in self._store.items("pods"):
            asyncio.get_running_loop().call_soon(self._release_orphan, namespace_of(pod), name_of(pod))

    # What wakes the controller.

    def _on_change(self, change: Change) -> None:
        obj, before = change.obj, change.before
        if change.resource == "jobs":
            key = (namespace_of(obj), name_of(obj))
            if change.type == "DELETED":
                self._timers.cancel(("job", key))
                self._timers.cancel(("ttl", key))
                asyncio.get_running_loop().call_soon(self._release_orphans_of, uid_of(obj))
                return
            generation = before["metadata"].get("generation") if before else None
            if generation != obj["metadata"].get("generation"):
                self._sync_soon(key)
            else:
                self._sync_later(key)
            self._watch_ttl(obj)
        elif change.resource == "pods":
            owner = controller_of(before or obj)
            if owner is not None:
                self._sync_later((namespace_of(obj), owner["name"]))
            if change.type == "MODIFIED" and tracks(obj):
                asyncio.get_running_loop().call_soon(self._release_orphan, namespace_of(obj), name_of(obj))

    def _sync_soon(self, key: Key) -> None:
        self._timers.set(("job", key), clock.now(), lambda: self._sync(key))

    def _sync_later(self, key: Key, delay_s: float = BATCH_S) -> None:
        self._timers.set_if_sooner(("job", key), clock.now() + delay_s, lambda: self._sync(key))

    def _watch_ttl(self, job: Obj) -> None:
        due_at = jobstatus.expires_at(job)
        if due_at is not None:
            key = (namespace_of(job), name_of(job))
            self._timers.set(("ttl", key), due_at, lambda: self._expire(key))

    def _expire(self, key: Key) -> None:
        job = self._store.get("jobs", *key)
        due_at = jobstatus.expires_at(job) if job else None
        if job is not None and due_at is not None and due_at <= clock.now():
            self._deletion.delete("jobs", job, DeleteOptions(propagation="Foreground"))

    # Pods whose Job is gone, or going: nobody will count them.

    def _release_orphans_of(self, job_uid: str) -> None:
        for pod in self._store.owned_pods(job_uid):
            if is_being_deleted(pod):
                self._release_orphan(namespace_of(pod), name_of(pod))

    def _release_orphan(self, namespace: str, name: str) -> None:
        pod = self._store.get("pods", namespace, name)
        if pod is None or not tracks(pod):
            return
        owner = controller_of(pod)
        job = self._store.get("jobs", namespace, owner["name"]) if owner else None
        is_counted = job is not None and owner is not None and uid_of(job) == owner["uid"]
        if is_counted and not (job is not None and is_being_deleted(job) and is_being_deleted(pod)):
            return
        if owner is None or is_being_deleted(pod):
            self._store.update("pods", without_finalizer(pod, JOB_TRACKING))

    # One pass over one Job.

    def _sync(self, key: Key) -> None:
        job = self._store.get("jobs", *key)
        if job is None or is_finished_job(job):
            return
        _Pass(self._store, self._recorder, self._deletion, job).run()
        job = self._store.get("jobs", *key)
        if job is None or is_finished_job(job) or is_being_deleted(job):
            return
        due = [jobstatus.deadline_at(job), jobstatus.retry_at(job, self._store.owned_pods(uid_of(job)))]
        for due_at in due:
            if due_at is not None and due_at > clock.now():
                self._sync_later(key, due_at - clock.now())


class _Pass:
    """One synchronisation: reads the pods, acts on them, and writes the status in the recorded steps."""

    def __init__(self, store: Store, recorder: Recorder, deletion: Deletion, job: Obj) -> None:
        self._store = store
        self._recorder = recorder
        self._deletion = deletion
        self._job = job
        self._now = clock.now()
        self._events: list[tuple[str, str]] = []
        self._released: set[str] = set()

    def run(self) -> None:
        job = self._job
        status: Obj = copy.deepcopy(job["status"])
        status.setdefault("uncountedTerminatedPods", {})
        is_new = "startTime" not in status and not jobstatus.is_suspended(job)
        if is_new and not is_being_deleted(job):
            status["startTime"] = clock.stamp(self._now)
        pods = self._pods()
        outcome = jobstatus.announced_outcome(job)
        if outcome is None and not is_being_deleted(job):
            outcome = self._judge(status, pods)
            if outcome is not None:
                status = jobstatus.with_condition(
                    status, outcome.announced_by, "True", outcome.reason, outcome.message, self._now
                )
        if not is_being_deleted(job):
            status = self._manage_pods(status, outcome)
        self._write_counts(status, outcome)

    def _pods(self) -> list[Obj]:
        return [p for p in self._store.owned_pods(uid_of(self._job)) if controller_of(p) is not None]

    def _judge(self, status: Obj, pods: list[Obj]) -> Outcome | None:
        """Whether the Job is decided by what its pods did or by the clock."""
        job = self._job
        failed = status.get("failed", 0)
        for pod in self._uncounted(pods):
            if not jobstatus.is_failed(pod, job):
                continue
            action, message = jobstatus.failure_action(job, pod)
            if action == "FailJob":
                return Outcome("FailureTarget", "Failed", "PodFailurePolicy", message)
            failed += action != "Ignore"
        limit = job["spec"]["backoffLimit"]
        restarts = jobstatus.restarts(pods)
        restarts_in_place = job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
        if failed > limit or (restarts_in_place and restarts and restarts >= limit):
            return jobstatus.BACKOFF_EXCEEDED
        due_at = jobstatus.deadline_at({**job, "status": status})
        if due_at is not None and due_at <= self._now:
            return jobstatus.DEADLINE_EXCEEDED
        succeeded = status.get("succeeded", 0) + sum(
            pod["status"]["phase"] == "Succeeded" for pod in self._uncounted(pods)
        )
        return jobstatus.COMPLETED if succeeded >= self._wanted_completions() else None

    def _wanted_completions(self) -> int:
        return int(self._job["spec"].get("completions") or 1)

    def _uncounted(self, pods: Iterable[Obj]) -> list[Obj]:
        return [pod for pod in pods if tracks(pod)]

    def _manage_pods(self, status: Obj, outcome: Outcome | None) -> Obj:
        """Makes or deletes pods; returns the status with the condition Suspended brought up to date."""
        if outcome is not None:
            self._delete_active()
            return status
        if jobstatus.is_suspended(self._job):
            return self._suspend(status)
        self._make_missing(status)
        if has_condition({"status": status}, "Suspended"):
            self._recorder.job(self._job, "Resumed", "Job resumed")
            status = jobstatus.with_condition(
                status, "Suspended", "False", "JobResumed", "Job resumed", self._now
            )
        return status

    def _suspend(self, status: Obj) -> Obj:
        # The finalizer goes first: a pod that suspension ends is not counted as failed.
        for pod in self._pods():
            if jobstatus.is_active(pod) and tracks(pod):
                self._store.update("pods", without_finalizer(pod, JOB_TRACKING))
        self._delete_active()
        if not has_condition({"status": status}, "Suspended"):
            status = jobstatus.with_condition(
                status, "Suspended", "True", "JobSuspended", "Job suspended", self._now
            )
            self._events.append(("Suspended", "Job suspended"))
        status.pop("startTime", None)
        return status

    def _delete_active(self) -> None:
        for pod in self._pods():
            if jobstatus.is_active(pod):
                self._deletion.delete("pods", pod, DeleteOptions())
                self._recorder.job(self._job, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    def _make_missing(self, status: Obj) -> None:
        job, pods = self._job, self._pods()
        succeeded = status.get("succeeded", 0) + sum(
            pod["status"]["phase"] == "Succeeded" for pod in self._uncounted(pods)
        )
        wanted = min(job["spec"].get("parallelism", 1), self._wanted_completions() - succeeded)
        present = sum(jobstatus.is_active(pod) for pod in pods)
        if job["spec"]["podReplacementPolicy"] == "Failed":
            present += sum(jobstatus.is_terminating(pod) for pod in pods)
        if present >= wanted or jobstatus.retry_at(job, pods) > self._now:
            return
        for _ in range(wanted - present):
            pod = self._store.create("pods", podtemplate.pod_for(job, self._now))
            self._recorder.job(job, "SuccessfulCreate", f"Created pod: {name_of(pod)}")

    # Counting, with the writes of the real controller: first the uncounted pods are named, then their
    # finalizers are taken, then they are counted; so no pod is lost or counted twice whenever it is killed.

    def _write_counts(self, status: Obj, outcome: Outcome | None) -> None:
        pods = self._pods()
        ended = self._name_uncounted(status, pods, outcome)
        status = self._with_live_counts(status, pods)
        self._write(status)
        if ended:
            for pod in ended:
                self._store.update("pods", without_finalizer(pod, JOB_TRACKING))
            uncounted = status["uncountedTerminatedPods"]
            for phase in ("succeeded", "failed"):
                status[phase] = status.get(phase, 0) + len(uncounted.get(phase, []))
            status["uncountedTerminatedPods"] = {}
        if outcome is not None and not is_being_deleted(self._job) and not status["terminating"]:
            status = jobstatus.with_condition(
                status, outcome.stated_by, "True", outcome.reason, outcome.message, self._now
            )
            if outcome is jobstatus.COMPLETED or outcome.stated_by == "Complete":
                status["completionTime"] = clock.stamp(self._now)
        self._write(status)
        self._report(status, outcome)

    def _name_uncounted(self, status: Obj, pods: list[Obj], outcome: Outcome | None) -> list[Obj]:
        """The pods whose finalizer is to go; those that count are entered as uncounted."""
        uncounted = {phase: list(uids) for phase, uids in status["uncountedTerminatedPods"].items()}
        ended: list[Obj] = []
        for pod in self._uncounted(pods):
            if is_being_deleted(self._job):
                if is_being_deleted(pod) or is_finished_pod(pod):
                    ended.append(pod)
                continue
            if pod["status"]["phase"] == "Succeeded":
                phase = "succeeded"
            elif jobstatus.is_failed(pod, self._job) or (outcome and is_being_deleted(pod)):
                phase = "failed"
            else:
                continue
            ended.append(pod)
            is_ignored = phase == "failed" and jobstatus.failure_action(self._job, pod)[0] == "Ignore"
            if not is_ignored and uid_of(pod) not in uncounted.get(phase, []):
                uncounted.setdefault(phase, []).append(uid_of(pod))
        status["uncountedTerminatedPods"] = uncounted
        return ended

    def _with_live_counts(self, status: Obj, pods: list[Obj]) -> Obj:
        active = [pod for pod in pods if jobstatus.is_active(pod)]
        return {
            **status,
            "active": len(active),
            "terminating": sum(jobstatus.is_terminating(pod) for pod in pods),
            "ready": sum(has_condition(pod, "Ready") for pod in active),
        }

    def _write(self, status: Obj) -> None:
        current = self._store.get("jobs", namespace_of(self._job), name_of(self._job))
        if current is not None and uid_of(current) == uid_of(self._job):
            self._store.update("jobs", {**current, "status": jobstatus.ordered(status)})

    def _report(self, status: Obj, outcome: Outcome | None) -> None:
        for reason, message in self._events:
            self._recorder.job(self._job, reason, message)
        if outcome is None or not has_condition({"status": status}, outcome.stated_by):
            return
        current = self._store.get("jobs", namespace_of(self._job), name_of(self._job)) or self._job
        if outcome.stated_by == "Complete":
            self._recorder.job(current, "Completed", "Job completed")
        else:
            self._recorder.job(current, outcome.reason, outcome.message, "Warning")
