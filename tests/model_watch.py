"""What a watcher of the cluster in memory is told: lists and changes, as by the gateway; no faults."""

from collections import deque
from datetime import UTC, datetime

from builds import kube, sync
from builds.kube import JobSnapshot, PodSnapshot
from tests.cluster_model import NAMESPACE, ModelCluster


class Watch:
    """What one `watch_builds` process is told: all changes in the order of their stream, perhaps late."""

    def __init__(self, cluster: ModelCluster) -> None:
        self.cluster = cluster
        self.follower = sync._Follower(cluster, NAMESPACE)
        self.position: tuple[int, int] | None = None
        self.jobs: dict[str, JobSnapshot] = {}
        self.pods: dict[str, PodSnapshot] = {}
        self.told: deque[kube.Change] = deque()

    def read(self, jobs: int, pods: int) -> None:
        """So many further changes of each stream; a list where there is no position to go on from."""
        if self.position is None:
            self._list()
            return
        at_job, at_pod = self.position
        for kind, pod in self.cluster.pods_log[at_pod : at_pod + pods]:
            self._see_pod(kind, pod)
        for kind, job in self.cluster.jobs_log[at_job : at_job + jobs]:
            self._see_job(kind, job)
        self.position = (
            min(at_job + jobs, len(self.cluster.jobs_log)),
            min(at_pod + pods, len(self.cluster.pods_log)),
        )

    def go_back(self, by: int) -> None:
        """What was told last is told again."""
        if self.position is not None:
            self.position = (max(0, self.position[0] - by), max(0, self.position[1] - by))

    def _list(self) -> None:
        asked_at = datetime.now(UTC)
        listing = self.cluster.snapshots(NAMESPACE)
        self.jobs = {job.uid: job for job in listing.jobs}
        self.pods = dict(self.cluster.pods)
        self.position = (len(self.cluster.jobs_log), len(self.cluster.pods_log))
        self.told.append(kube.Listed(NAMESPACE, listing.version, listing.jobs, asked_at))

    def _see_pod(self, kind: str, pod: PodSnapshot) -> None:
        assert pod.job_uid is not None
        self.pods.pop(pod.uid, None)
        if kind != "DELETED":
            self.pods[pod.uid] = pod
        if pod.job_uid in self.jobs:
            self.told.append(kube.JobChanged(self._joined(self.jobs[pod.job_uid])))
        elif kind == "DELETED":
            left = sum(one.job_uid == pod.job_uid for one in self.pods.values())
            self.told.append(kube.PodGone(NAMESPACE, pod.job_uid, pod, left))

    def _see_job(self, kind: str, job: JobSnapshot) -> None:
        self.jobs.pop(job.uid, None)
        if kind == "DELETED":
            self.told.append(kube.JobGone(self._joined(job)))
        else:
            self.jobs[job.uid] = job
            self.told.append(kube.JobChanged(self._joined(job)))

    def _joined(self, job: JobSnapshot) -> JobSnapshot:
        return job.with_pods(pod for pod in self.pods.values() if pod.job_uid == job.uid)
