"""A namespace's Jobs, pods and Events, watched together and told as one series of changes; decides nothing
about them.
"""

import queue
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, islice
from typing import Any

from builds.kube.cluster import Cluster
from builds.kube.errors import ClusterError
from builds.kube.packing import JoinedJobs, PackedJob, PackedPod
from builds.kube.resources import EVENTS, JOBS, PODS, Resource
from builds.kube.snapshot import EventSnapshot, JobSnapshot, PageOf, PodSnapshot
from builds.kube.watching import Altered, Interrupted, Watcher

INBOX_LIMIT = 1000
TOGETHER_LIMIT = 100
EVENTS_HELD_LIMIT = 5000
GONE_LIMIT = 2000
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
    jobs: Sequence[JobSnapshot]
    """Perhaps made anew by each access: go through them once."""
    asked_at: datetime | None = field(default=None, compare=False)
    """When the list began: `version` is not below any that was seen before."""


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
    """Time has passed; `connected` if the watches of Jobs and pods are open, `complete` if all are."""

    connected: bool
    complete: bool


Seen = PageOf[Any] | Altered[Any] | Interrupted
Inbox = queue.Queue[tuple[str, Any]]
Change = Listed | JobChanged | JobGone | PodGone | EventSeen | Trouble | Heartbeat


class View:
    """What is known of the namespace: turns what the watchers see into changes. Used by one thread."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._jobs: dict[str, PackedJob] = {}
        self._pods: dict[str, tuple[PackedPod, ...]] = {}
        self._job_of_pod: dict[str, str] = {}
        self._new_jobs: dict[str, PackedJob] = {}
        self._new_pods: dict[str, tuple[PackedPod, ...]] = {}
        self._pods_version: dict[str, int] = {}
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._version = 0
        self._asked_at: datetime | None = None
        self._list_is_due = False
        self._pods_are_listed = False
        self._has_listed = False
        self._early_events: deque[EventSnapshot] = deque(maxlen=EVENTS_HELD_LIMIT)
        self._held: dict[str, list[EventSnapshot]] = {}
        self._held_until: deque[tuple[float, str]] = deque()

    def take(self, resource: str, seen: Seen) -> Iterator[Change]:
        """What follows for the namespace from what was seen of one resource."""
        if isinstance(seen, Interrupted):
            if resource == PODS.name and not seen.resumes:
                self._pods_are_listed = False
            yield Trouble(f"watch {resource} in namespace {self._namespace}", seen.error, seen.retry_in_s)
        elif isinstance(seen, PageOf):
            yield from self._listed(resource, seen)
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

    def _listed(self, resource: str, page: PageOf[Any]) -> Iterator[Change]:
        """Keeps the page; what was known before stands until the list is complete."""
        if resource == JOBS.name:
            self._jobs_listed(page)
        elif resource == PODS.name:
            yield from self._pods_listed(page)
        else:
            for event in page.items:
                yield from self._event(event)
        if self._list_is_due and self._pods_are_listed:
            yield from self._complete()

    def _jobs_listed(self, page: PageOf[Any]) -> None:
        if page.is_first:
            self._new_jobs = {}
            # Versions may have gone back: the cluster was restored from a backup.
            self._gone.clear()
        self._new_jobs |= {job.uid: job for job in page.items}
        if page.is_last:
            self._jobs, self._new_jobs = self._new_jobs, {}
            self._pods_version = {uid: at for uid, at in self._pods_version.items() if uid in self._jobs}
            self._version = page.version
            self._asked_at = page.asked_at
            self._list_is_due = True

    def _pods_listed(self, page: PageOf[Any]) -> Iterator[Change]:
        if page.is_first:
            self._new_pods = {}
            self._gone.clear()
        for pod in page.items:
            _put_pod(self._new_pods, pod)
        if page.is_last:
            yield from self._pods_relisted(page.version)
            self._pods_are_listed = True

    def _complete(self) -> Iterator[Change]:
        self._list_is_due = False
        self._has_listed = True
        jobs = JoinedJobs(
            (job, self._pods.get(uid, ()), self._pods_version.get(uid, 0)) for uid, job in self._jobs.items()
        )
        yield Listed(self._namespace, self._version, jobs, self._asked_at)
        while self._early_events:
            yield from self._event(self._early_events.popleft())

    def _pods_relisted(self, version: int) -> Iterator[Change]:
        """Pods that vanished unseen are told like those that were seen to go, Jobs whose pods differ as
        changed.
        """
        before = self._pods
        self._pods, self._new_pods = self._new_pods, {}
        self._job_of_pod = {pod.uid: uid for uid, pods in self._pods.items() for pod in pods}
        if not self._has_listed:
            return
        for job_uid, old in before.items():
            left = {pod.uid for pod in self._pods.get(job_uid, ())}
            for pod in old:
                if job_uid not in self._jobs and pod.uid not in left:
                    yield PodGone(self._namespace, job_uid, pod.unpacked(), len(left))
        for uid in self._jobs:
            now, then = set(self._pods.get(uid, ())), set(before.get(uid, ()))
            if {pod.uid for pod in then} - {pod.uid for pod in now}:
                self._pods_version[uid] = version
            if now != then:
                yield JobChanged(self._joined(uid))

    def _job_altered(self, seen: Altered[JobSnapshot]) -> Iterator[Change]:
        uid = seen.item.uid
        known = self._jobs.get(uid)
        if self._is_late(seen, known.version if known else None):
            return
        self._jobs[uid] = PackedJob.of(seen.item)
        if seen.kind == "DELETED":
            self._note_gone(uid, seen.item.version)
            yield JobGone(self._joined(uid))
            self._jobs.pop(uid, None)
            self._pods_version.pop(uid, None)
        elif self._has_listed:
            yield JobChanged(self._joined(uid))

    def _pod_altered(self, seen: Altered[PodSnapshot]) -> Iterator[Change]:
        pod = seen.item
        if pod.job_uid is None:
            return
        known = {one.uid: one.version for one in self._pods.get(pod.job_uid, ())}
        if self._is_late(seen, known.get(pod.uid)):
            return
        if seen.kind == "DELETED":
            self._note_gone(pod.uid, pod.version)
            left = self._drop(pod.uid, pod.job_uid)
            if pod.job_uid not in self._jobs:
                yield PodGone(self._namespace, pod.job_uid, pod, left)
                return
            self._pods_version[pod.job_uid] = pod.version
        else:
            _put_pod(self._pods, PackedPod.of(pod))
            self._job_of_pod[pod.uid] = pod.job_uid
        if pod.job_uid in self._jobs and self._has_listed:
            yield JobChanged(self._joined(pod.job_uid))
        for event in self._held.pop(pod.uid, ()):
            yield EventSeen(event, pod.job_uid)

    def _is_late(self, seen: Altered[Any], known: int | None) -> bool:
        """Whether something newer has been seen already: streams are in order, but not all that pass them on
        keep it.
        """
        gone = self._gone.get(seen.item.uid)
        if gone is not None:
            return seen.item.version <= gone
        return known is not None and seen.item.version < known

    def _note_gone(self, uid: str, version: int) -> None:
        self._gone[uid] = version
        if len(self._gone) > GONE_LIMIT:
            self._gone.popitem(last=False)

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

    def _joined(self, uid: str) -> JobSnapshot:
        return self._jobs[uid].joined(self._pods.get(uid, ()), self._pods_version.get(uid, 0))

    def _drop(self, pod_uid: str, job_uid: str) -> int:
        """Forgets the pod; how many of its Job are left."""
        pods = tuple(pod for pod in self._pods.pop(job_uid, ()) if pod.uid != pod_uid)
        self._job_of_pod.pop(pod_uid, None)
        if pods:
            self._pods[job_uid] = pods
        return len(pods)


def _put_pod(pods: dict[str, tuple[PackedPod, ...]], pod: PackedPod) -> None:
    """Adds the pod to its Job's, or replaces what it was."""
    if pod.job_uid is not None:
        others = tuple(one for one in pods.get(pod.job_uid, ()) if one.uid != pod.uid)
        pods[pod.job_uid] = (*others, pod)


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
    for changes in follow_together(cluster, namespace, stop=stop, heartbeat_s=heartbeat_s):
        for change in changes:
            yield change
            if stop.is_set():
                return


def follow_together(
    cluster: Cluster, namespace: str, *, stop: threading.Event, heartbeat_s: float = 2.0
) -> Iterator[list[Change]]:
    """What `follow` tells, as many changes together as have come by the time they are asked for: never none,
    at most 100, and never waited for.
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
                is_open = {one.resource.name: one.connected for one in watchers}
                yield [Heartbeat(is_open[JOBS.name] and is_open[PODS.name], all(is_open.values()))]
            told = chain(
                view.let_go(time.monotonic()),
                _taken(view, inbox, min(POLL_S, max(0.001, beat_at - time.monotonic()))),
            )
            while changes := list(islice(told, TOGETHER_LIMIT)):
                yield changes
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


def _taken(view: View, inbox: Inbox, wait_s: float) -> Iterator[Change]:
    """What follows from all that is in the inbox, waiting for the first; raises what ended a watcher."""
    with suppress(queue.Empty):
        for number in range(TOGETHER_LIMIT):
            resource, seen = inbox.get(block=number == 0, timeout=wait_s)
            if isinstance(seen, BaseException):
                raise seen
            yield from view.take(resource, seen)


def _start(watcher: Watcher[Any], inbox: Inbox, halt: threading.Event) -> threading.Thread:
    def run() -> None:
        try:
            for seen in watcher.endless():
                _put(inbox, (watcher.resource.name, _packed(watcher.resource, seen)), halt)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that reads the inbox
            _put(inbox, (watcher.resource.name, error), halt)

    thread = threading.Thread(target=run, name=f"watch-{watcher.resource.name}", daemon=True)
    thread.start()
    return thread


def _packed(resource: Resource[Any], seen: Seen) -> Seen:
    """Pages of Jobs and pods wait for their turn in little memory."""
    pack: Any = {JOBS.name: PackedJob.of, PODS.name: PackedPod.of}.get(resource.name)
    if pack is None or not isinstance(seen, PageOf):
        return seen
    return replace(seen, items=tuple(map(pack, seen.items)))


def _put(inbox: Inbox, item: tuple[str, Any], halt: threading.Event) -> None:
    """Waits for room, but not for a reader that has gone."""
    while not halt.is_set():
        try:
            inbox.put(item, timeout=POLL_S)
        except queue.Full:
            continue
        return
