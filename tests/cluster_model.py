"""A cluster of Jobs in memory, behind the gateway's interface, and the record of what it really did.

Its rules are those that the recordings show, as far as a build's status depends on them. Whoever holds it may
have things happen in it, and calls fail, in the middle of any call.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from builds.kube import (
    Cluster,
    Conflict,
    JobSnapshot,
    Listing,
    LogUnavailable,
    NotFound,
    PodSnapshot,
)
from tests.snapshots import a_condition, a_container, a_job, a_pod

NAMESPACE = "knative-lambda"
SELECTED = {"app": "knative-lambda-builder"}

Kind = Literal["ADDED", "MODIFIED", "DELETED"]
Remover = Literal["portal", "hand", "ttl"]


@dataclass
class Life:
    """What really became of one Job."""

    outcome: Literal["succeeded", "failed"] | None = None
    remover: Remover | None = None
    has_started: bool = False
    was_orphaned: bool = False
    was_unselected: bool = False
    is_shown: bool = False
    """The portal was given it by a list or a watch, and had the time to write it down."""
    is_outcome_shown: bool = False


@dataclass
class ModelCluster(Cluster):
    """Jobs by name, pods by uid; `jobs_log` and `pods_log` are what watches tell, oldest first."""

    # One for each call of the gateway, before and after it takes effect; it may raise.
    interruption: Callable[[Literal["before", "after"]], None] = lambda _: None
    jobs: dict[str, JobSnapshot] = field(default_factory=dict)
    pods: dict[str, PodSnapshot] = field(default_factory=dict)
    lives: dict[str, Life] = field(default_factory=dict)
    jobs_log: list[tuple[Kind, JobSnapshot]] = field(default_factory=list)
    pods_log: list[tuple[Kind, PodSnapshot]] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    lost_pods: set[str] = field(default_factory=set)
    retries: dict[str, int] = field(default_factory=dict)
    version: int = 0
    handed_out: list[JobSnapshot] = field(default_factory=list)
    wrongs: list[str] = field(default_factory=list)

    # --- What the portal asks -------------------------------------------------------------------------------

    @contextmanager
    def _call(self, namespace: str) -> Iterator[None]:
        assert namespace == NAMESPACE
        self.interruption("before")
        yield
        self.interruption("after")

    def snapshots(self, namespace: str) -> Listing:
        with self._call(namespace):
            jobs = [job for job in self.jobs.values() if is_selected(job)]
            version = self.version
        with self._call(namespace):
            listing = Listing(version, tuple(map(self.with_its_pods, jobs)))
            self.handed_out += listing.jobs
            return listing

    def get(self, namespace: str, name: str) -> JobSnapshot | None:
        with self._call(namespace):
            job = self.jobs.get(name)
        if job is None:
            return None
        with self._call(namespace):
            return self.with_its_pods(job)

    def pods_of(self, namespace: str, job_uid: str) -> tuple[PodSnapshot, ...]:
        with self._call(namespace):
            return self.pods_now(job_uid)

    def read_log(self, namespace: str, pod: str, container: str, **_: Any) -> bytes:
        with self._call(namespace):
            assert container == "kaniko"
            found = next((one for one in self.pods.values() if one.name == pod), None)
            if found is None:
                raise NotFound(f"pods {pod} not found")
            if found.phase == "Pending":
                raise LogUnavailable("is waiting to start", why="pod_initializing")
            return b"printed\n"

    def delete_job(
        self, namespace: str, name: str, *, uid: str, version: int | None, propagation: str = "Background"
    ) -> None:
        with self._call(namespace):
            job = self.jobs.get(name)
            if job is None:
                raise NotFound(f"jobs {name} not found")
            if uid not in ("", job.uid) or version not in (None, job.version):
                raise Conflict("the precondition does not match the record")
            if self.lives[job.uid].outcome is not None:
                self.wrongs.append(
                    f"{job.uid} had {self.lives[job.uid].outcome}, and was deleted all the same"
                )
            self.delete(name, propagation, by="portal")

    def with_its_pods(self, job: JobSnapshot) -> JobSnapshot:
        """The Job with its pods as they are now."""
        return job.with_pods(self.pods_now(job.uid))

    def pods_now(self, job_uid: str) -> tuple[PodSnapshot, ...]:
        return tuple(pod for pod in self.pods.values() if pod.job_uid == job_uid)

    # --- What happens in it ---------------------------------------------------------------------------------

    def create(self, name: str, *, is_suspended: bool = False, retries: int = 0) -> None:
        if name in self.jobs:
            return
        uid = f"uid-{len(self.lives) + 1}"
        self.lives[uid] = Life()
        self.retries[uid] = retries
        self._put_job(a_job(uid, name=name, active=0, suspended=is_suspended))

    def recreate(self, name: str) -> None:
        """Deleted and made anew before anybody can look."""
        self.delete(name, "Background")
        self.create(name)

    def go_on(self, name: str, exit_code: int = 0, *, steps: int = 1) -> None:
        """The next steps of the Job's own story; nothing once it has ended or waits."""
        for _ in range(steps):
            self._go_on(name, exit_code)

    def _go_on(self, name: str, exit_code: int) -> None:
        job = self.jobs.get(name)
        if job is None:
            return
        if job.deleting_at is not None:
            self._end_pods(job.uid)
            self._finish_deletion(job)
        elif job.condition("SuccessCriteriaMet") or job.condition("FailureTarget"):
            self._complete(job)
        elif job.suspended:
            self._put_down(job)
        else:
            self._build(job, exit_code)

    def _build(self, job: JobSnapshot, exit_code: int) -> None:
        pods = self.pods_now(job.uid)
        pod = next((one for one in pods if one.phase in ("Pending", "Running")), None)
        if pod is None:
            uid = f"pod-{self.version}"
            pod = a_pod(uid=uid, name=f"{job.name}-{uid}", job_uid=job.uid, phase="Pending", node=None)
            self._put_pod(pod)
            self._put_job(replace(job, active=1, conditions=()))
        elif pod.uid in self.lost_pods or pod.deleting_at is not None:
            self._end_pods(job.uid)
        elif pod.node is None:
            waiting = a_container(state="waiting", reason="ContainerCreating")
            self._put_pod(replace(pod, node="node-a", containers=(waiting,)))
        elif pod.phase == "Pending":
            self.lives[job.uid].has_started = True
            self._put_pod(replace(pod, phase="Running", containers=(a_container(),)))
        else:
            self._end_run(job, pod, exit_code)

    def _end_run(self, job: JobSnapshot, pod: PodSnapshot, exit_code: int) -> None:
        run = a_container(
            state="terminated", exit_code=exit_code, reason="Error" if exit_code else "Completed"
        )
        self._put_pod(replace(pod, phase="Failed" if exit_code else "Succeeded", containers=(run,)))
        if exit_code == 0:
            self._decide(job, "SuccessCriteriaMet", "CompletionsReached")
        elif job.failed < self.retries[job.uid]:
            self._put_job(replace(job, active=0, failed=job.failed + 1))
        else:
            self._decide(job, "FailureTarget", "BackoffLimitExceeded")

    def pass_deadline(self, name: str) -> None:
        job = self.jobs.get(name)
        if job is not None and self.lives[job.uid].outcome is None and not (job.suspended or job.deleting_at):
            self._decide(job, "FailureTarget", "DeadlineExceeded")
            self._delete_pods(job.uid)

    def _decide(self, job: JobSnapshot, kind: str, reason: str) -> None:
        self.lives[job.uid].outcome = "succeeded" if kind == "SuccessCriteriaMet" else "failed"
        self._put_job(replace(job, conditions=(*job.conditions, a_condition(kind, reason))))

    def _complete(self, job: JobSnapshot) -> None:
        if job.condition("Complete") or job.condition("Failed"):
            return
        is_success = job.condition("SuccessCriteriaMet") is not None
        last = a_condition("Complete") if is_success else a_condition("Failed", job.conditions[-1].reason)
        self._put_job(
            replace(
                job,
                active=0,
                succeeded=int(is_success),
                failed=job.failed + int(not is_success),
                completed_at=last.changed_at if is_success else None,
                conditions=(*job.conditions, last),
            )
        )

    def suspend(self, name: str) -> None:
        """Or resume."""
        job = self.jobs.get(name)
        if job is not None:
            self._put_job(replace(job, suspended=not job.suspended))

    def _put_down(self, job: JobSnapshot) -> None:
        self._delete_pods(job.uid)
        if not job.condition("Suspended"):
            suspended = a_condition("Suspended", "JobSuspended")
            self._put_job(replace(job, active=0, started_at=None, conditions=(suspended,)))

    def unselect(self, name: str) -> None:
        """Or select again: somebody edits the label."""
        job = self.jobs.get(name)
        if job is None:
            return
        labels = {key: value for key, value in job.labels.items() if key not in SELECTED}
        if is_selected(job):
            self.lives[job.uid].was_unselected = True
        else:
            labels |= SELECTED
        self._put_job(replace(job, labels=labels), was_selected=is_selected(job))

    def hold(self, name: str) -> None:
        """By a finalizer; or let it go."""
        job = self.jobs.get(name)
        if job is None:
            return
        self.held ^= {job.uid}
        self._put_job(job)
        if job.deleting_at is not None:
            self._finish_deletion(self.jobs[name])

    def delete(self, name: str, propagation: str = "Background", by: Remover = "hand") -> None:
        job = self.jobs.get(name)
        if job is None:
            return
        life = self.lives[job.uid]
        life.remover = life.remover or by
        life.was_orphaned |= propagation == "Orphan" and by != "portal"
        if propagation == "Foreground" or job.uid in self.held:
            if propagation != "Orphan":
                self._delete_pods(job.uid)
            if job.deleting_at is None:
                self._put_job(replace(job, deleting_at=job.created_at))
            return
        self._remove(job)
        if propagation == "Background":
            self._delete_pods(job.uid)

    def expire(self, name: str) -> None:
        """What ttlSecondsAfterFinished does."""
        job = self.jobs.get(name)
        if job is not None and (job.condition("Complete") or job.condition("Failed")):
            self.delete(name, "Foreground", by="ttl")

    def lose_node(self, name: str) -> None:
        """The node of the Job's pods is silent from now on: they neither run on nor end."""
        job = self.jobs.get(name)
        if job is not None:
            self.lost_pods |= {pod.uid for pod in self.pods_now(job.uid) if pod.node is not None}

    def end_pods(self) -> None:
        """All pods whose end is wished for, end: but on a lost node."""
        for job_uid in {pod.job_uid for pod in self.pods.values()}:
            if job_uid is not None:
                self._end_pods(job_uid)
        for job in list(self.jobs.values()):
            if job.deleting_at is not None:
                self._finish_deletion(job)

    def _finish_deletion(self, job: JobSnapshot) -> None:
        if job.uid not in self.held and not self.pods_now(job.uid):
            self._remove(job)

    def _delete_pods(self, job_uid: str) -> None:
        for pod in self.pods_now(job_uid):
            if pod.deleting_at is None:
                self._put_pod(replace(pod, deleting_at=pod.created_at))

    def _end_pods(self, job_uid: str) -> None:
        for pod in self.pods_now(job_uid):
            if pod.deleting_at is not None and pod.uid not in self.lost_pods:
                self.version += 1
                del self.pods[pod.uid]
                self.pods_log.append(("DELETED", replace(pod, version=self.version)))

    def _remove(self, job: JobSnapshot) -> None:
        self.version += 1
        del self.jobs[job.name]
        if is_selected(job):
            self.jobs_log.append(("DELETED", replace(job, version=self.version)))

    def _put_job(self, job: JobSnapshot, *, was_selected: bool | None = None) -> None:
        self.version += 1
        was_there = job.name in self.jobs
        job = self.jobs[job.name] = replace(job, version=self.version)
        was_selected = was_there and (is_selected(job) if was_selected is None else was_selected)
        if is_selected(job):
            self.jobs_log.append(("MODIFIED" if was_selected else "ADDED", job))
        elif was_selected:
            self.jobs_log.append(("DELETED", job))

    def _put_pod(self, pod: PodSnapshot) -> None:
        self.version += 1
        kind: Kind = "MODIFIED" if pod.uid in self.pods else "ADDED"
        pod = self.pods[pod.uid] = replace(pod, version=self.version)
        self.pods_log.append((kind, pod))


def is_selected(job: JobSnapshot) -> bool:
    """Whether it matches the portal's selector."""
    return SELECTED.items() <= job.labels.items()


def is_decided(job: JobSnapshot) -> bool:
    """Whether the snapshot shows an outcome."""
    return any(job.condition(kind) for kind in ("SuccessCriteriaMet", "Complete", "FailureTarget", "Failed"))
