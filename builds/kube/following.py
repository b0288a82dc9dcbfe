"""A namespace's Jobs, pods and Events, watched together and told as one series of changes; decides nothing
about them.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from builds.kube.cluster import Cluster
from builds.kube.errors import ClusterError
from builds.kube.resources import EVENTS, JOBS, PODS
from builds.kube.snapshot import EventSnapshot, JobSnapshot, PodSnapshot
from builds.kube.watching import Altered, Interrupted, Relisted, Watcher

INBOX_LIMIT = 1000
EVENTS_HELD_LIMIT = 5000
EVENT_WAITS_S = 1.0
"""How long an Event may be ahead of its pod: they come over different connections."""
POLL_S = 0.2
STOP_WITHIN_S = 1.5


@dataclass(frozen=True, slots=True)
class Listed:
    """All Jobs that match the selector, as of `version`: one that is missing here was absent from a complete
    list.
    """

    namespace: str
    version: int
    jobs: tuple[JobSnapshot, ...]


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A Job, or one of its pods, was added, changed or (a pod) removed."""

    snapshot: JobSnapshot


@dataclass(frozen=True, slots=True)
class JobGone:
    """The watch said DELETED: the Job is gone, or no longer matches the selector. `snapshot` is its last
    state, with the pods that are still there.
    """

    snapshot: JobSnapshot


@dataclass(frozen=True, slots=True)
class PodGone:
    """A pod whose Job is not there (any more) is gone, `left` others of that Job are still there."""

    namespace: str
    job_uid: str
    pod: PodSnapshot
    left: int


@dataclass(frozen=True, slots=True)
class EventSeen:
    """An Event about a Job or a pod, seen for the first time or repeated with a higher count.

    `job_uid` is None for a pod that is not there (any more). After a list old ones are told again: compare
    `event.uid`.
    """

    event: EventSnapshot
    job_uid: str | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Changes are not seen for now; `what` is the watch concerned. It is tried again by itself."""

    what: str
    error: ClusterError
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Time has passed; `connected` if the watches of Jobs and pods are open."""

    connected: bool


Inbox = queue.Queue[tuple[str, Any]]
Change = Listed | JobChanged | JobGone | PodGone | EventSeen | Trouble | Heartbeat


class View:
    """What is known of the namespace: turns what the watchers see into changes. Used by one thread."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._jobs: dict[str, JobSnapshot] = {}
        self._pods: dict[str, dict[str, PodSnapshot]] = {}
        self._job_of_pod: dict[str, str] = {}
        self._pods_version: dict[str, int] = {}
        self._version = 0
        self._list_is_due = False
        self._pods_are_listed = False
        self._has_listed = False
        self._early_events: deque[EventSnapshot] = deque(maxlen=EVENTS_HELD_LIMIT)
        self._held: dict[str, list[EventSnapshot]] = {}
        self._held_until: deque[tuple[float, str]] = deque()

    def take(self, resource: str, seen: Relisted[Any] | Altered[Any] | Interrupted) -> Iterator[Change]:
        """What follows for the namespace from what was seen of one resource."""
        if isinstance(seen, Interrupted):
            if resource == PODS.name and not seen.resumes:
                self._pods_are_listed = False
            yield Trouble(f"watch {resource} in namespace {self._namespace}", seen.error, seen.retry_in_s)
        elif isinstance(seen, Relisted):
            yield from self._relisted(resource, seen)
        elif resource == JOBS.name:
            yield from self._job_altered(seen)
        elif resource == PODS.name:
            yield from self._pod_altered(seen)
        elif seen.kind != "DELETED":
            # A deleted Event has only outlived its hour.
            yield from self._event(seen.item)

    def let_go(self, now_s: float) -> Iterator[Change]:
        """The Events whose pod did not turn up in time, or that are too many to hold; to be called often."""
        while self._held_until:
            until_s, pod_uid = self._held_until[0]
            if until_s > now_s and len(self._held_until) <= EVENTS_HELD_LIMIT:
                return
            self._held_until.popleft()
            for event in self._held.pop(pod_uid, ()):
                yield EventSeen(event, None)

    def _relisted(self, resource: str, seen: Relisted[Any]) -> Iterator[Change]:
        if resource == JOBS.name:
            self._jobs = {job.uid: job for job in seen.items}
            self._pods_version = {uid: at for uid, at in self._pods_version.items() if uid in self._jobs}
            self._version = seen.version
            self._list_is_due = True
        elif resource == PODS.name:
            yield from self._pods_relisted(seen.items, seen.version)
            self._pods_are_listed = True
        else:
            for event in seen.items:
                yield from self._event(event)
        if self._list_is_due and self._pods_are_listed:
            self._list_is_due = False
            self._has_listed = True
            yield Listed(
                self._namespace, self._version, tuple(self._joined(job) for job in self._jobs.values())
            )
            while self._early_events:
                yield from self._event(self._early_events.popleft())

    def _pods_relisted(self, pods: tuple[PodSnapshot, ...], version: int) -> Iterator[Change]:
        """Pods that vanished unseen are told like those that were seen to go, Jobs whose pods differ as
        changed.
        """
        before = self._pods
        self._pods, self._job_of_pod = {}, {}
        for pod in pods:
            self._keep(pod)
        if not self._has_listed:
            return
        for job_uid, old in before.items():
            left = self._pods.get(job_uid, {})
            for pod in old.values():
                if job_uid not in self._jobs and pod.uid not in left:
                    yield PodGone(self._namespace, job_uid, pod, len(left))
        for uid, job in self._jobs.items():
            now, then = self._pods.get(uid, {}), before.get(uid, {})
            if then.keys() - now.keys():
                self._pods_version[uid] = version
            if now != then:
                yield JobChanged(self._joined(job))

    def _job_altered(self, seen: Altered[JobSnapshot]) -> Iterator[Change]:
        job = seen.item
        if seen.kind == "DELETED":
            self._jobs.pop(job.uid, None)
            yield JobGone(self._joined(job))
            self._pods_version.pop(job.uid, None)
            return
        self._jobs[job.uid] = job
        if self._has_listed:
            yield JobChanged(self._joined(job))

    def _pod_altered(self, seen: Altered[PodSnapshot]) -> Iterator[Change]:
        pod = seen.item
        if pod.job_uid is None:
            return
        if seen.kind == "DELETED":
            left = self._drop(pod, pod.job_uid)
            if pod.job_uid not in self._jobs:
                yield PodGone(self._namespace, pod.job_uid, pod, left)
                return
            self._pods_version[pod.job_uid] = pod.version
        else:
            self._keep(pod)
        job = self._jobs.get(pod.job_uid)
        if job is not None and self._has_listed:
            yield JobChanged(self._joined(job))
        for event in self._held.pop(pod.uid, ()):
            yield EventSeen(event, pod.job_uid)

    def _event(self, event: EventSnapshot) -> Iterator[Change]:
        if event.involved_kind not in ("Job", "Pod"):
            return
        uid = event.involved_uid or ""
        if not self._has_listed:
            self._early_events.append(event)
        elif event.involved_kind == "Job":
            yield EventSeen(event, uid or None)
        elif uid in self._job_of_pod:
            yield EventSeen(event, self._job_of_pod[uid])
        else:
            if uid not in self._held:
                self._held_until.append((time.monotonic() + EVENT_WAITS_S, uid))
            self._held.setdefault(uid, []).append(event)

    def _joined(self, job: JobSnapshot) -> JobSnapshot:
        pods = self._pods.get(job.uid, {}).values()
        return replace(job.with_pods(pods), pods_version=self._pods_version.get(job.uid, 0))

    def _keep(self, pod: PodSnapshot) -> None:
        if pod.job_uid is not None:
            self._pods.setdefault(pod.job_uid, {})[pod.uid] = pod
            self._job_of_pod[pod.uid] = pod.job_uid

    def _drop(self, pod: PodSnapshot, job_uid: str) -> int:
        """Forgets the pod; how many of its Job are left."""
        pods = self._pods.get(job_uid, {})
        pods.pop(pod.uid, None)
        self._job_of_pod.pop(pod.uid, None)
        if not pods:
            self._pods.pop(job_uid, None)
        return len(pods)


def follow(
    cluster: Cluster, namespace: str, *, stop: threading.Event, heartbeat_s: float = 2.0
) -> Iterator[Change]:
    """Every change of the namespace, until `stop` is set; then it returns within 2 s. Nothing that the
    cluster does ends it: Trouble is told and waited out.

    `Listed` comes first and after every new list of Jobs, once the pods have been listed too; then Jobs and
    pods as they change, in the order of their own watch (a pod may be ahead of its Job, or behind). Jobs that
    vanished between two lists are not told as gone: compare `Listed`. Keeps the current Jobs and the pods of
    all Jobs in memory and at most 1,000 unread changes; whoever reads slowly slows the watches down. Three
    threads, three connections.
    """
    halt = threading.Event()
    inbox: Inbox = queue.Queue(INBOX_LIMIT)
    watchers = [Watcher(cluster, resource, namespace, halt) for resource in (JOBS, PODS, EVENTS)]
    threads = [_start(watcher, inbox, halt) for watcher in watchers]
    view = View(namespace)
    beat_at = time.monotonic() + heartbeat_s
    try:
        while not stop.is_set():
            if time.monotonic() >= beat_at:
                beat_at = time.monotonic() + heartbeat_s
                yield Heartbeat(all(one.connected for one in watchers if one.resource is not EVENTS))
            yield from view.let_go(time.monotonic())
            try:
                resource, seen = inbox.get(timeout=min(POLL_S, max(0.001, beat_at - time.monotonic())))
            except queue.Empty:
                continue
            if isinstance(seen, BaseException):
                raise seen
            for change in view.take(resource, seen):
                yield change
                if stop.is_set():
                    return
    finally:
        halt.set()
        ends = time.monotonic() + STOP_WITHIN_S
        for watcher in watchers:
            watcher.cut()
        for thread in threads:
            # One that waits for an answer outlasts this by its read timeout; it is a daemon and touches
            # nothing.
            thread.join(max(0.0, ends - time.monotonic()))


def _start(watcher: Watcher[Any], inbox: Inbox, halt: threading.Event) -> threading.Thread:
    def run() -> None:
        try:
            for seen in watcher.endless():
                _put(inbox, (watcher.resource.name, seen), halt)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that reads the inbox
            _put(inbox, (watcher.resource.name, error), halt)

    thread = threading.Thread(target=run, name=f"watch-{watcher.resource.name}", daemon=True)
    thread.start()
    return thread


def _put(inbox: Inbox, item: tuple[str, Any], halt: threading.Event) -> None:
    """Waits for room, but not for a reader that has gone."""
    while not halt.is_set():
        try:
            inbox.put(item, timeout=POLL_S)
        except queue.Full:
            continue
        return
